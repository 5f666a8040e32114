"""A build: what it counts, in which sequence others hear of what it does, and how it ends."""

import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from unittest.mock import AsyncMock

import pytest

from service.archives.archive import Archive, State
from service.archives.layout import Member
from service.disk import OutOfSpace
from service.images.requests import FetchContext, Fetched, ImageRequest
from service.problems import NoImages, StoreFull
from service.reasons import Reason
from service.telemetry.metrics import ArchiveOutcome, CacheResult
from tests.support.archives import ArchiveSystem
from tests.support.samples import ORDER, OTHER_ORDER, jpeg, order, photo
from tests.support.upstream import FakeUpstream


def fill(upstream: FakeUpstream, *image_ids: str) -> None:
    """An order of these images, all of them ready."""
    upstream.orders[ORDER] = order(image_ids)
    upstream.images |= {image_id: jpeg(number) for number, image_id in enumerate(image_ids)}


def counted(system: ArchiveSystem, series: str, label: str) -> dict[str, float]:
    """What a counter shows, without zeros, by the value of its label."""
    found = system.parts.metrics.registry.restricted_registry([series]).collect()
    samples = [one for family in found for one in family.samples if one.name == series and one.value]
    return {one.labels[label]: one.value for one in samples}


async def test_each_image_is_counted_once_by_how_it_turned_out(system: ArchiveSystem, upstream: FakeUpstream) -> None:
    """One that was here, one that came, one that came without its end, and one that is not to be had."""
    fill(upstream, "a", "b", "c", "d")
    await system.finished(image=("a",))
    upstream.images |= {"c": jpeg(2)[:-100], "d": 404}

    archive = await system.finished()

    assert counted(system, "batch_images_total", "outcome") == {"downloaded": 3, "stored": 1, "failed": 1}
    assert counted(system, "batch_image_failures_total", "reason") == {"incomplete": 1, "image_not_found": 1}
    assert [(result.image_id, result.attempts, result.code) for result in archive.results] == [
        ("a", 0, None),
        ("b", 1, None),
        ("c", 2, Reason.INCOMPLETE),
        ("d", 1, Reason.IMAGE_NOT_FOUND),
    ]


async def test_an_archive_is_counted_and_measured_when_it_is_settled(
    system: ArchiveSystem, upstream: FakeUpstream
) -> None:
    """One that failed is counted alone: how long it took says nothing of those that people get."""
    fill(upstream, "a", "b")
    complete = await system.finished(image=("a",))
    upstream.images["b"] = 404
    partial = await system.finished()
    failed, _ = await system.start(image=("b",))
    with pytest.raises(NoImages):
        await system.read_to_the_end(failed)
    await system.build_is_over(failed)

    assert counted(system, "batch_archives_total", "outcome") == dict.fromkeys(list(ArchiveOutcome)[:3], 1)
    assert system.parts.sample("batch_archive_duration_seconds_count") == 2
    assert system.parts.sample("batch_archive_size_bytes_count") == 2
    assert system.parts.sample("batch_archive_size_bytes_sum") == complete.length + partial.length


async def test_readers_hear_of_what_is_committed(
    system: ArchiveSystem, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each member, and of the end: whatever they hold can be resumed after a crash."""
    fill(upstream, "a")
    really_append, really_settle = system.catalogue.append, system.catalogue.settle
    shown: list[tuple[int, bool]] = []

    async def append(archive: Archive, members: Sequence[tuple[Member, int]]) -> bool:
        is_there = await really_append(archive, members)
        shown.append((len(archive.members), archive.is_settled))
        return is_there

    async def settle(archive: Archive, state: State, comment: str) -> None:
        await really_settle(archive, state, comment)
        shown.append((len(archive.members), archive.is_settled))

    monkeypatch.setattr(system.catalogue, "append", append)
    monkeypatch.setattr(system.catalogue, "settle", settle)

    archive = await system.finished()

    assert (shown, archive.is_settled) == ([(0, False), (1, False)], True)


@pytest.mark.parametrize("was_seen", [True, False])
async def test_what_failed_is_gone_where_somebody_may_know_of_it(
    system: ArchiveSystem, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch, was_seen: bool
) -> None:
    """Who holds a part is told that there is no more of it; of what nobody saw there is no trace."""
    fill(upstream, "a", "b")
    really_append, appended = system.catalogue.append, 0

    async def append(archive: Archive, members: Sequence[tuple[Member, int]]) -> bool:
        nonlocal appended
        appended += 1
        return was_seen and appended == 1 and await really_append(archive, members)

    monkeypatch.setattr(system.catalogue, "append", append)
    upstream.hold("b")
    archive, _ = await system.start()
    with archive.readers.reading(to_the_end=True):
        if was_seen:
            await archive.wait_until(lambda: bool(archive.members))
        upstream._gates["b"].set()
        with pytest.raises(StoreFull):
            await archive.wait_until(lambda: False)

    record = await system.catalogue.load(archive.id)
    assert (record and record.state) == ("gone" if was_seen else None)


async def test_a_database_that_is_broken_keeps_no_reader_waiting(
    system: ArchiveSystem, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The problem is the one that ended the build, and the build's task ends as any other."""
    fill(upstream, "a")
    upstream.images["a"] = 404
    monkeypatch.setattr(system.catalogue, "forget", AsyncMock(side_effect=sqlite3.OperationalError))
    archive, _ = await system.start()

    with pytest.raises(NoImages):
        await system.read_to_the_end(archive)
    await system.build_is_over(archive)

    assert counted(system, "batch_archives_total", "outcome") == {"failure": 1}


@pytest.mark.parametrize(("times", "state"), [(1, State.PARTIAL), (2, State.FAILED)])
async def test_a_report_that_was_evicted_is_written_once_more(
    system: ArchiveSystem, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch, times: int, state: State
) -> None:
    """No archive names it yet, so want of room may take it at once; twice is want of room for this one."""
    fill(upstream, "a", "b")
    upstream.images["b"] = 404
    really_append, evicted = system.catalogue.append, 0

    async def append(archive: Archive, members: Sequence[tuple[Member, int]]) -> bool:
        nonlocal evicted
        if members[0][0].image_id is None and evicted < times:
            evicted += 1
            await system.images.delete(lambda _: [members[0][0].blob.digest])
        return await really_append(archive, members)

    monkeypatch.setattr(system.catalogue, "append", append)
    archive, _ = await system.start()
    if state is State.FAILED:
        with pytest.raises(StoreFull):
            await system.read_to_the_end(archive)
    else:
        await system.read_to_the_end(archive)
        assert [member.name for member in archive.members] == ["a.jpg", "_download_report.txt"]

    assert archive.state is state


async def test_a_report_is_as_old_as_the_newest_image(system: ArchiveSystem, upstream: FakeUpstream) -> None:
    """Whether that one is there or not; so the same archive has the same bytes whenever it is made."""
    dates = [1_772_442_904, 1_772_442_906, 1_772_442_905]
    upstream.orders[ORDER] = order(
        photo(image_id, date_added=date) for image_id, date in zip("abc", dates, strict=True)
    )
    upstream.images["a"] = jpeg()

    archive = await system.finished()

    assert [member.modified for member in archive.members] == [datetime.fromtimestamp(at, UTC) for at in dates[:2]]


@pytest.mark.parametrize(("scarce", "state"), [("original", State.COMPLETE), ("enhanced", State.FAILED)])
async def test_want_of_room_for_an_original_is_that_ones_alone(
    system: ArchiveSystem, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch, scarce: str, state: State
) -> None:
    """The archive is complete without it; without an image there is none."""
    fill(upstream, "a")
    upstream.originals["a"] = jpeg(7)
    fetcher = system.archives._context.fetcher
    really_fetch = fetcher.fetch

    async def fetch(image: ImageRequest, context: FetchContext) -> Fetched:
        if image.rendition.is_original == (scarce == "original"):
            raise OutOfSpace("no room")
        return await really_fetch(image, context)

    monkeypatch.setattr(fetcher, "fetch", fetch)
    archive, _ = await system.start(include=("original",))
    if state is State.FAILED:
        with pytest.raises(StoreFull):
            await system.read_to_the_end(archive)
    else:
        await system.read_to_the_end(archive)
        assert [failure.code for failure in archive.failures] == [Reason.STORE_FULL]

    assert archive.state is state


async def test_an_image_that_failed_at_autoenhance_is_not_taken_from_the_store(
    system: ArchiveSystem, upstream: FakeUpstream
) -> None:
    """What was stored of it is no longer what its owner asked for."""
    fill(upstream, "a", "b")
    await system.finished()
    upstream.orders[ORDER] = order([photo("a", status="failed"), "b"])

    archive = await system.finished()

    assert [(result.image_id, result.code) for result in archive.failures] == [("a", Reason.ENHANCEMENT_FAILED)]


async def test_what_is_known_of_an_image_when_it_is_ready_is_what_counts(
    system: ArchiveSystem, upstream: FakeUpstream
) -> None:
    """Given one that was bought and dated while it was waited for."""
    before = photo("a", status="processing", date_added=1_772_442_904)
    upstream.orders[ORDER] = [order([before]), order([photo("a", date_added=1_772_442_906, downloaded=True)])]
    upstream.images["a"] = jpeg()
    fetcher = system.archives._context.fetcher
    fetch = AsyncMock(side_effect=fetcher.fetch)
    fetcher.fetch = fetch  # type: ignore[method-assign]
    archive, _ = await system.start(wait=True, wait_timeout=60, preview=False)
    with archive.readers.reading(to_the_end=True):
        system.orders.notify(ORDER)
        await archive.wait_until(lambda: False)

    assert fetch.call_args.args[0].is_bought
    assert archive.members[0].modified == datetime.fromtimestamp(1_772_442_906, UTC)


class TestSeveralOrders:
    async def test_they_are_one_archive_in_whatever_sequence(
        self, system: ArchiveSystem, upstream: FakeUpstream
    ) -> None:
        """With the same folders."""
        fill(upstream, "a")
        upstream.orders[OTHER_ORDER] = order(["a"], order_id=OTHER_ORDER)
        archive = await system.finished((ORDER, OTHER_ORDER))

        again, result = await system.start((OTHER_ORDER, ORDER))

        assert (again is archive, result) == (True, CacheResult.HIT)

    async def test_of_one_that_cannot_be_had_its_name_is_known(
        self, system: ArchiveSystem, upstream: FakeUpstream
    ) -> None:
        """If it has one; the archive is partial, though nothing of the others is missing."""
        fill(upstream, "a")
        upstream.orders[OTHER_ORDER] = order([], order_id=OTHER_ORDER, name="Empty Lane")

        archive = await system.finished((ORDER, OTHER_ORDER))

        (failed,) = archive.failed_orders
        assert (failed.name, failed.code, archive.state) == ("Empty Lane", "order_empty", State.PARTIAL)

    async def test_none_of_them_has_an_answer_of_its_own_to_what_they_cost(
        self, system: ArchiveSystem, upstream: FakeUpstream
    ) -> None:
        """And fetched anew, each of them is."""
        fill(upstream, "a", "b")
        upstream.orders |= {ORDER: order(["a"]), OTHER_ORDER: order(["b"], order_id=OTHER_ORDER)}
        both: Any = (ORDER, OTHER_ORDER)
        with pytest.raises(Exception, match="It would buy 2 images"):
            await system.start(both, preview=False, max_credits=1)
        await system.finished(both)
        await system.finished(both, refresh=True)

        assert [upstream.calls(image_id) for image_id in "ab"] == [2, 2]
