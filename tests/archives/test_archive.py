"""An archive that grows: who waits hears of every member, of the end, and of a failure."""

import asyncio
from typing import Any

import pytest

from service.archives.archive import Archive, ImageResult, State
from service.archives.layout import BlobSlice, Member
from service.archives.plan import PlannedOrder
from service.images.blobs import Blob
from service.problems import ImagesMissing, NoImages, OrderNotFound
from service.reasons import Reason
from tests.support.plans import MOMENT, archive_of, plan_of
from tests.support.transport import TIMEOUT, yield_to_loop


def member(name: str, size: int = 50) -> Member:
    return Member(f"{name}.jpg", Blob(name * 64, size, 1, "jpg"), MOMENT, name)


def result(name: str, code: Reason | None = None, size: int = 50) -> ImageResult:
    return ImageResult(name, f"{name}.jpg", f"{name}.jpg" if size else None, size, 1, code, 1)


@pytest.fixture
def archive() -> Archive:
    """Being built, with nothing in it."""
    return archive_of(plan_of("a", "b", "c"))


async def taken(archive: Archive, start: int = 0, stop: int | None = None) -> int:
    """How many bytes a reader is given."""
    return sum(
        [piece.count if isinstance(piece, BlobSlice) else len(piece) async for piece in archive.slices(start, stop)]
    )


async def test_a_reader_is_given_every_byte_in_sequence(archive: Archive) -> None:
    """Those of members that come while it reads, and the directory at the end."""
    reading = asyncio.create_task(taken(archive))
    for name in "abc":
        archive.append(member(name), result(name))
        await yield_to_loop()
    archive.settle(State.COMPLETE, "")

    async with asyncio.timeout(TIMEOUT):
        assert await reading == archive.length


async def test_what_was_added_at_once_with_the_end_is_read_too(archive: Archive) -> None:
    """A reader that was held up finds the archive settled, and more in it than it knew."""
    archive.append(member("a"), result("a"))
    pieces = archive.slices(0, None)
    seen = [await anext(pieces), await anext(pieces)]
    archive.append(member("b"), result("b"))
    archive.settle(State.COMPLETE, "")

    async with asyncio.timeout(TIMEOUT):
        seen += [piece async for piece in pieces]

    assert sum(len(piece) if isinstance(piece, bytes) else piece.count for piece in seen) == archive.length


async def test_a_reader_that_was_held_up_is_told_of_a_failure(archive: Archive) -> None:
    """What it has is no whole archive."""
    archive.append(member("a"), result("a"))
    pieces = archive.slices(0, None)
    seen = [await anext(pieces), await anext(pieces)]
    archive.fail(NoImages([]))

    with pytest.raises(NoImages):
        await anext(pieces)
    assert len(seen) == 2


async def test_a_part_ends_where_it_was_to_end(archive: Archive) -> None:
    """It waits for its last byte, and for nothing after it."""
    reading = asyncio.create_task(taken(archive, 10, 60))
    await yield_to_loop()
    assert not reading.done()
    archive.append(member("a"), result("a"))

    async with asyncio.timeout(TIMEOUT):
        assert await reading == 50


async def test_a_part_that_ends_with_what_is_known_waits_for_nothing_more(archive: Archive) -> None:
    """Though the archive is still being built."""
    archive.append(member("a"), result("a"))

    async with asyncio.timeout(TIMEOUT):
        assert await taken(archive, 10, archive.length) == archive.length - 10


@pytest.mark.parametrize("wait", ["until", "slices"])
async def test_whoever_waits_is_told_of_a_failure(archive: Archive, wait: str) -> None:
    """A reader that has begun, and one that has not."""
    waiting: asyncio.Task[Any] = asyncio.create_task(
        archive.wait_until(lambda: False) if wait == "until" else taken(archive)
    )
    await yield_to_loop()
    archive.fail(NoImages([]))

    async with asyncio.timeout(TIMEOUT):
        with pytest.raises(NoImages):
            await waiting
    assert archive.is_settled


async def test_a_failure_is_an_outcome_to_those_who_wait(archive: Archive) -> None:
    """They look again, as at a new member."""
    waiting = asyncio.create_task(archive.wait_until(lambda: len(archive.results) == 1))
    await yield_to_loop()
    archive.add_failure(result("a", Reason.TIMEOUT, 0))

    async with asyncio.timeout(TIMEOUT):
        await waiting


def test_the_summary_counts_what_is_whole(archive: Archive) -> None:
    """An image that is in the archive without its end has failed, and its bytes count."""
    archive.append(member("a"), result("a"))
    archive.append(member("b"), result("b", Reason.INCOMPLETE))
    archive.add_failure(result("c", Reason.TIMEOUT, 0))

    summary = archive.summary()

    assert [summary[name] for name in ("total", "downloaded", "failed", "bytes")] == [3, 1, 2, 100]
    assert [failure["code"] for failure in summary["failures"]] == [Reason.INCOMPLETE, Reason.TIMEOUT]
    outcomes = [each.line()["outcome"] for each in archive.results]
    assert outcomes == ["downloaded", "incomplete", "failed"]


def test_the_summary_tells_each_order_by_itself() -> None:
    """What is still to come has not failed; what is not listed is no part of the total."""
    plan = plan_of("a", "b", "c")
    there = PlannedOrder(order_id="o", name="One", folder="One", total=3, unlisted=2)
    archive = archive_of(
        plan.model_copy(update={"orders": (there, PlannedOrder.failed("p", None, OrderNotFound("Unknown.")))})
    )
    archive.append(member("a"), result("a"))
    archive.add_failure(result("b", Reason.TIMEOUT, 0))

    first, second = archive.summary()["orders"]

    assert first == {
        "order_id": "o",
        "name": "One",
        "folder": "One",
        "total": 3,
        "downloaded": 1,
        "failed": 1,
        "unlisted": 2,
        "code": None,
        "reason": None,
    }
    assert second["code"] == "order_not_found"
    assert second["reason"].startswith(f"{OrderNotFound.title}. Unknown.")
    assert (second["name"], second["folder"], second["total"], second["failed"]) == (None, None, 0, 0)


def test_a_failure_is_told_under_the_name_that_its_owner_knows() -> None:
    """Also one that has a name in the archive; what Autoenhance says stands in for our advice."""
    failure = ImageResult("a", "My photo.jpg", "My_photo.jpg", code=Reason.INCOMPLETE).failure
    said = ImageResult("a", "a.jpg", code=Reason.EXPIRED, status_reason="Too old.").explanation

    assert failure["name"] == "My photo.jpg"
    assert said == f"{Reason.EXPIRED.description} Autoenhance says: Too old."


@pytest.mark.parametrize("missing", ["a photo", "a photo that is not listed", "an order"])
def test_all_of_it_is_there_only_with_every_photo(missing: str) -> None:
    """Also those that Autoenhance counts and does not list, and those of an order that cannot be had."""
    plan = plan_of("a")
    if missing == "a photo that is not listed":
        plan = plan.model_copy(update={"orders": (PlannedOrder(order_id="o", total=1, unlisted=1),)})
    if missing == "an order":
        plan = plan.model_copy(update={"orders": (*plan.orders, PlannedOrder.failed("p", None, OrderNotFound()))})
    archive = archive_of(plan)
    archive.append(member("a"), result("a", Reason.INCOMPLETE if missing == "a photo" else None))

    with pytest.raises(ImagesMissing) as raised:
        archive.require_all()
    told = raised.value.extra
    assert [bool(told.get(name)) for name in ("failures", "unlisted", "orders")] == [
        missing == "a photo",
        missing == "a photo that is not listed",
        missing == "an order",
    ]
