"""One archive for equal requests: found, joined, resumed or begun; and what becomes of it."""

import asyncio
import io
import sqlite3
import time
import zipfile
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock

import pytest

from service.archives import archive_index
from service.archives.archive import Archive, State
from service.archives.options import Options
from service.archives.plan import Plan
from service.archives.record import GONE, Record
from service.archives.registry import Registry
from service.images.blobs import Blob
from service.orders.orders import Orders
from service.problems import (
    ArchiveGone,
    ArchiveNotFound,
    BreakerOpen,
    Draining,
    NoOrders,
    NothingNew,
    OrderEmpty,
    OrderNotFound,
    Problem,
    StillBuilding,
    TooManyImages,
    UpstreamError,
    UpstreamTimeout,
)
from service.telemetry.metrics import CacheResult
from service.upstream.models import Order, Rendition
from service.upstream.order_document import parse_order
from tests.support.archives import ArchiveSystem, open_archives
from tests.support.images import put
from tests.support.orders import fill_with
from tests.support.plans import archive_of, plan_of
from tests.support.samples import ORDER, OTHER_ORDER, jpeg, order, photo
from tests.support.transport import TIMEOUT, yield_to_loop
from tests.support.upstream import FakeUpstream, Reply


def names(data: bytes) -> list[str]:
    return zipfile.ZipFile(io.BytesIO(data)).namelist()


def _only(digest: str, _: sqlite3.Connection) -> list[str]:
    return [digest]


async def interrupted(upstream: FakeUpstream, data_dir: Path, **options: Any) -> Archive:
    """One that has its first image, and whose build a restart has ended."""
    async with open_archives(upstream, data_dir, concurrency=1, window=1) as system:
        archive, _ = await system.start(**options)
        with archive.readers.reading():
            await archive.wait_until(lambda: len(archive.members) == 1)
        await system.archives.close()
    return archive


class TestFinished:
    async def test_one_that_lost_an_image_hides_no_older_one(
        self, system: ArchiveSystem, upstream: FakeUpstream
    ) -> None:
        """Given two for the same key, of which the newer one lacks a blob: the older one is served."""
        fill_with(upstream, "a")
        older = await system.finished()
        record = await system.catalogue.load(older.id)
        assert record is not None
        newer = archive_of(record.plan)
        await system.catalogue.begin(newer, record.plan)
        member = replace(older.members[0], blob=await put(system.images, "b.0", jpeg(9)))
        assert await system.catalogue.append(newer, [(member, 1)])
        newer.append(member)
        await system.catalogue.settle(newer, State.COMPLETE, "")
        await system.images.delete(partial(_only, member.blob.digest))

        found, result = await system.start()

        assert (found.id, result, upstream.image_calls) == (older.id, CacheResult.HIT, 1)

    async def test_one_that_was_found_and_is_not_read_is_evicted(
        self, system: ArchiveSystem, upstream: FakeUpstream
    ) -> None:
        """Given callers who only asked for it: they keep no room from others."""
        fill_with(upstream, "a")
        archive = await system.finished()
        await system.start()
        await system.archives.by_id(archive.id)
        await yield_to_loop()

        await system.images._make_room(1)

        assert await system.images.missing(archive.blobs())

    @pytest.mark.parametrize("by_id", [False, True])
    async def test_one_that_was_found_is_not_evicted_before_it_is_read(
        self, system: ArchiveSystem, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch, by_id: bool
    ) -> None:
        """Given want of room between the two."""
        fill_with(upstream, "a")
        archive = await system.finished()
        before = await system.bytes_of(archive)
        really_missing = system.images.missing

        async def missing_then_evict(blobs: Iterable[Blob]) -> set[str]:
            lost = await really_missing(blobs)
            await system.images._make_room(1)
            return lost

        monkeypatch.setattr(system.images, "missing", missing_then_evict)
        found = await system.archives.by_id(archive.id) if by_id else (await system.start())[0]
        with found.readers.reading():
            await system.images._make_room(1)

        assert await system.bytes_of(found) == before
        await system.images._make_room(1)
        assert await really_missing(archive.blobs())

    async def test_an_equal_request_finds_it(self, system: ArchiveSystem, upstream: FakeUpstream) -> None:
        """The same object, the same bytes, nothing fetched."""
        fill_with(upstream, "a", "b")
        archive = await system.finished()

        again, result = await system.start()

        assert (again is archive, result, archive.state) == (True, CacheResult.HIT, State.COMPLETE)
        assert upstream.image_calls == 2
        assert sorted(names(await system.bytes_of(archive))) == ["a.jpg", "b.jpg"]

    async def test_what_changes_by_itself_is_no_change(self, system: ArchiveSystem, upstream: FakeUpstream) -> None:
        """Signed addresses, counters and purchases buy nothing again."""
        fill_with(upstream, "a")
        archive = await system.finished()
        upstream.orders[ORDER] = order([photo("a", url="https://x.example/2", views=2, downloaded=True, version="2")])

        again, result = await system.start()

        assert (again.id, result) == (archive.id, CacheResult.HIT)

    async def test_a_renamed_image_is_there_under_its_new_name(
        self, system: ArchiveSystem, upstream: FakeUpstream
    ) -> None:
        """Another archive of the same stored image."""
        fill_with(upstream, "a")
        archive = await system.finished()
        upstream.orders[ORDER] = order([photo("a", "renamed.jpg")])

        again = await system.finished()

        assert again.id != archive.id
        assert names(await system.bytes_of(again)) == ["renamed.jpg"]
        assert upstream.calls("a") == 1

    async def test_an_image_that_was_made_anew_is_fetched_again(
        self, system: ArchiveSystem, upstream: FakeUpstream
    ) -> None:
        """And the other is not."""
        fill_with(upstream, "a", "b")
        await system.finished()
        upstream.orders[ORDER] = order([photo("a", version="2"), "b"])
        upstream.images["a"] = jpeg(77)

        again = await system.finished()

        assert [upstream.calls(image_id) for image_id in "ab"] == [2, 1]
        assert jpeg(77) in await system.bytes_of(again)

    @pytest.mark.parametrize(
        ("before", "now", "unlisted"),
        [
            ({"is_merging": True, "total_images": 15}, {}, 0),
            ({}, {"total_images": 5}, 3),
        ],
        ids=["no longer", "by now"],
    )
    async def test_it_is_not_given_to_who_asks_when_another_number_is_unlisted(
        self,
        system: ArchiveSystem,
        upstream: FakeUpstream,
        monkeypatch: pytest.MonkeyPatch,
        before: dict[str, Any],
        now: dict[str, Any],
        unlisted: int,
    ) -> None:
        """Given the same images listed: `strict` judges by what is unlisted now, and none is fetched again."""
        monkeypatch.setattr("service.orders.orders._SHORT_SECONDS", 0)
        fill_with(upstream, "a", "b")
        upstream.orders[ORDER] = order(["a", "b"], **before)
        await system.finished()
        upstream.orders[ORDER] = order(["a", "b"], **now)

        archive = await system.finished()

        assert archive.unlisted == unlisted
        assert [upstream.calls(image_id) for image_id in "ab"] == [1, 1]

    async def test_refresh_asks_for_all_anew(self, system: ArchiveSystem, upstream: FakeUpstream) -> None:
        """Once for all who ask at the same time."""
        fill_with(upstream, "a")
        archive = await system.finished()

        again = [await system.finished(refresh=True) for _ in range(2)]

        assert archive.id not in {one.id for one in again}
        assert len({one.id for one in again}) == 1
        assert upstream.calls("a") == 2

    async def test_a_partial_one_is_not_used_again_and_its_images_are(
        self, system: ArchiveSystem, upstream: FakeUpstream
    ) -> None:
        """The retry costs only what failed."""
        fill_with(upstream, "a", "b")
        upstream.images["b"] = [500, jpeg(5)]
        partial = await system.finished()

        whole, result = await system.start()
        await system.read_to_the_end(whole)

        assert (partial.state, whole.state, result) == (State.PARTIAL, State.COMPLETE, CacheResult.MISS)
        assert [upstream.calls(image_id) for image_id in "ab"] == [1, 2]

    async def test_with_a_lost_image_it_is_made_again(self, system: ArchiveSystem, upstream: FakeUpstream) -> None:
        """A new archive; only what is lost is fetched."""
        fill_with(upstream, "a", "b")
        archive = await system.finished()
        lost = next(member.blob for member in archive.members if member.image_id == "a")
        system.images._files.path(lost.digest).unlink()

        again = await system.finished()

        assert again.id != archive.id
        assert [upstream.calls(image_id) for image_id in "ab"] == [2, 1]

    async def test_who_has_all_of_it_already_is_told_so(self, system: ArchiveSystem, upstream: FakeUpstream) -> None:
        """Instead of an archive with nothing in it."""
        fill_with(upstream, "a")
        archive = await system.finished()

        with pytest.raises(NothingNew):
            await system.start(since=archive.id)

    async def test_the_same_content_twice_is_two_members(self, system: ArchiveSystem, upstream: FakeUpstream) -> None:
        """Of one blob."""
        fill_with(upstream, "a", "b")
        upstream.images["b"] = upstream.images["a"]

        archive = await system.finished()

        assert sorted(names(await system.bytes_of(archive))) == ["a.jpg", "b.jpg"]
        assert len({member.blob.digest for member in archive.members}) == 1


async def test_who_waits_is_given_an_order_once_its_images_are_listed(
    system: ArchiveSystem, upstream: FakeUpstream
) -> None:
    """Who does not is told that there are none."""
    fill_with(upstream, "a")
    listed, upstream.orders[ORDER] = upstream.orders[ORDER], order([], is_processing=True)
    with pytest.raises(OrderEmpty):
        await system.start()
    waiting = asyncio.create_task(system.start(wait=True))
    await upstream.until(lambda: len(upstream.received) == 2)
    upstream.orders[ORDER] = listed
    system.orders.notify(ORDER)

    async with asyncio.timeout(TIMEOUT):
        archive, _ = await waiting

    assert archive.total == 1


class TestJoining:
    async def test_who_comes_while_it_is_built_joins(self, system: ArchiveSystem, upstream: FakeUpstream) -> None:
        """However many, whenever; also all at once before there is anything."""
        fill_with(upstream, "a")
        gate = upstream.hold("a")
        starts = await asyncio.gather(*(system.start() for _ in range(5)))
        archive = starts[0][0]
        with archive.readers.reading(to_the_end=True):
            await upstream.until(lambda: upstream.calls("a") == 1)
            late, result = await system.start()
            gate.set()
            await archive.wait_until(lambda: False)

        assert {id(one) for one, _ in starts} == {id(archive)} == {id(late)}
        assert sorted(result for _, result in starts) == [CacheResult.JOINED] * 4 + [CacheResult.MISS]
        assert result is CacheResult.JOINED
        assert upstream.calls("a") == 1

    async def test_a_build_that_was_abandoned_is_not_joined(self, upstream: FakeUpstream, tmp_path: Path) -> None:
        """Given an equal request that comes while it is being dropped, it has a build of its own, not a 410."""
        fill_with(upstream, "a")
        async with open_archives(upstream, tmp_path / "data", grace=0) as system:
            first, _ = await system.start()
            dropping, go_on = asyncio.Event(), asyncio.Event()
            really_forget = system.catalogue.forget

            async def forget_slowly(archive_id: str) -> None:
                dropping.set()
                await go_on.wait()
                await really_forget(archive_id)

            system.catalogue.forget = forget_slowly  # type: ignore[method-assign]
            await dropping.wait()
            second, result = await system.start()
            go_on.set()
            await system.read_to_the_end(second)
            await system.build_is_over(first)

        assert (second is first, result, second.state) == (False, CacheResult.MISS, State.COMPLETE)
        assert isinstance(first.failure, ArchiveGone)

    async def test_a_build_that_was_abandoned_is_gone_for_who_holds_a_part(
        self, upstream: FakeUpstream, tmp_path: Path
    ) -> None:
        """Also while it is being dropped: the order's URL then has the whole of another one for it, not a 410."""
        fill_with(upstream, "a")
        async with open_archives(upstream, tmp_path / "data", grace=0) as system:
            archive, _ = await system.start()
            dropping, go_on = asyncio.Event(), asyncio.Event()

            async def forget_slowly(archive_id: str) -> None:
                dropping.set()
                await go_on.wait()

            system.catalogue.forget = forget_slowly  # type: ignore[method-assign]
            await dropping.wait()
            found = await system.archives.resumable(archive.id, ORDER, Options())
            with pytest.raises(ArchiveGone):
                await system.archives.by_id(archive.id)
            go_on.set()
            await system.build_is_over(archive)

        assert found is None

    async def test_who_waits_joins_only_a_build_that_waits_about_as_long(
        self, system: ArchiveSystem, upstream: FakeUpstream
    ) -> None:
        """Neither a shorter one, which would be over too early, nor a longer one, which would keep it waiting."""
        upstream.orders[ORDER] = order([photo("a", status="processing"), "b"])
        upstream.images["b"] = jpeg()
        first, _ = await system.start(wait=True, wait_timeout=100)

        others = {seconds: (await system.start(wait=True, wait_timeout=seconds))[0] for seconds in (1, 60, 100, 200)}
        impatient, _ = await system.start()

        assert [others[seconds] is first for seconds in (1, 60, 100, 200)] == [False, False, True, False]
        assert impatient is not first

    async def test_callers_keys_and_orders_are_distinguished(
        self, system: ArchiveSystem, upstream: FakeUpstream
    ) -> None:
        """Another order, another archive."""
        fill_with(upstream, "a")
        upstream.orders[OTHER_ORDER] = order(["a"], order_id=OTHER_ORDER)
        one, _ = await system.start()
        other, _ = await system.start(OTHER_ORDER)

        assert one is not other


class TestRegistry:
    async def test_nothing_of_a_build_stays_when_it_is_over(
        self, system: ArchiveSystem, upstream: FakeUpstream
    ) -> None:
        """But for the archive itself, for a while."""
        fill_with(upstream, "a")
        archive = await system.finished()
        await yield_to_loop()

        assert (system.registry.builds, system.registry._by_key, system.archives._tasks) == ({}, {}, set())
        assert system.registry.known(archive.id) is archive

    async def test_what_was_asked_for_longest_ago_is_forgotten_unless_it_is_used(
        self, system: ArchiveSystem, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whoever asks again gets it from the disk."""
        monkeypatch.setattr("service.archives.registry._RECENT", 2)
        fill_with(upstream, "a", "b", "c")
        archives = [await system.finished(image=(image_id,)) for image_id in "ab"]
        with archives[0].readers.reading():
            await system.finished(image=("c",))
            known = [system.registry.known(archive.id) is archive for archive in archives]
        restored = await system.archives.by_id(archives[1].id)

        assert known == [True, False]
        assert restored is not archives[1]
        assert await system.bytes_of(restored) == await system.bytes_of(archives[1])

    def test_what_failed_is_not_known(self) -> None:
        """Nobody may find it again."""
        registry, archive = Registry(), archive_of(plan_of("a"))
        registry.remember(archive)
        archive.fail(ArchiveGone())

        assert registry.known(archive.id) is None


class TestRefresh:
    async def test_images_that_are_stored_and_fetched_anew_are_counted(
        self, system: ArchiveSystem, upstream: FakeUpstream
    ) -> None:
        """Not those that were never here, nor those that another request fetches anew just now."""
        fill_with(upstream, "a", "b")
        counted = []
        for image in (("a",), ("a", "b"), ("a", "b")):
            await system.finished(image=image, refresh=True)
            counted.append(system.parts.sample("batch_images_refetched_total", why="refresh"))

        assert counted == [0, 0, 0]
        later = time.time() + 60
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(time, "time", lambda: later)
            await system.finished(refresh=True)
            await system.finished(refresh=True)

        assert system.parts.sample("batch_images_refetched_total", why="refresh") == 2
        assert [upstream.calls(image_id) for image_id in "ab"] == [2, 2]

    @pytest.mark.parametrize("listed", [["p"], []], ids=["listed", "not listed"])
    async def test_an_original_is_fetched_anew_from_the_image_that_its_image_was_made_from(
        self, system: ArchiveSystem, upstream: FakeUpstream, listed: list[str]
    ) -> None:
        """Whether that one is listed or not; later it is found."""
        upstream.orders[ORDER] = order([*listed, photo("b", parent_image_id="p")])
        upstream.images["b"], upstream.originals["p"] = jpeg(1), jpeg(2)
        chosen: dict[str, Any] = {"image": ("b",), "include": ("original",)}

        await system.finished(**chosen)
        await system.finished(**chosen, refresh=True)
        await system.finished(**chosen)

        assert (upstream.calls("b"), upstream.calls("original/p")) == (2, 2)


class TestById:
    async def test_an_unknown_id_is_not_found(self, system: ArchiveSystem) -> None:
        """Nor was it ever here."""
        with pytest.raises(ArchiveNotFound):
            await system.archives.by_id("0" * 32)

    async def test_after_a_restart_it_is_the_same_bytes(self, upstream: FakeUpstream, tmp_path: Path) -> None:
        """With its report, when it is partial; and nothing is fetched."""
        fill_with(upstream, "a", "b")
        upstream.images["b"] = 404
        async with open_archives(upstream, tmp_path / "data") as system:
            archive = await system.finished()
            before = await system.bytes_of(archive)
        upstream.received.clear()

        async with open_archives(upstream, tmp_path / "data") as system:
            again = await system.archives.by_id(archive.id)
            after = await system.bytes_of(again)

        assert again.created == archive.created
        assert (again.state, again.results, after) == (State.PARTIAL, archive.results, before)
        assert upstream.received == []

    async def test_a_look_sees_what_another_instance_has_added(
        self, upstream: FakeUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Since the look before; nothing is built for it here."""
        fill_with(upstream, "a", "b")
        archive = await interrupted(upstream, tmp_path / "data")
        async with open_archives(upstream, tmp_path / "data") as system:
            record = await system.catalogue.load(archive.id)
            assert record is not None
            seen = await system.archives.by_id(archive.id, begin=False)
            before = seen.downloaded
            member = replace(record.members[0][0], name="b.jpg", image_id="b")
            longer = replace(record, members=(*record.members, (member, 1)))
            monkeypatch.setattr(system.catalogue, "load", AsyncMock(return_value=longer))

            assert await system.archives.by_id(archive.id, begin=False) is seen
            assert (before, seen.downloaded, system.registry.builds) == (1, 2, {})

            monkeypatch.setattr(system.catalogue, "load", AsyncMock(return_value=record))  # asked before, answered late
            assert await system.archives.by_id(archive.id, begin=False) is seen
            assert seen.downloaded == 2

    async def test_one_that_a_restart_interrupted_goes_on(self, upstream: FakeUpstream, tmp_path: Path) -> None:
        """Its first bytes are what they were, and what was stored is not fetched again."""
        fill_with(upstream, "a", "b")
        upstream.hold("b")
        async with open_archives(upstream, tmp_path / "data") as system:
            archive, _ = await system.start()
            with archive.readers.reading(to_the_end=True):
                await archive.wait_until(lambda: len(archive.members) == 1)
                first = archive.members[0]
                for flight in list(system.archives._context.fetcher._flights._flights.values()):
                    flight.task.cancel()
                await system.archives.close()
        assert isinstance(archive.failure, Draining)
        upstream._gates.pop("b").set()

        async with open_archives(upstream, tmp_path / "data") as system:
            again = await system.archives.by_id(archive.id)
            await system.read_to_the_end(again)

        assert (again.id, again.members[0], again.state) == (archive.id, first, State.COMPLETE)
        assert upstream.calls("a") == 1

    async def test_one_of_several_renditions_goes_on_too(self, upstream: FakeUpstream, tmp_path: Path) -> None:
        """With the files that it lacks: an image that is there in one rendition is fetched in the other."""
        fill_with(upstream, "a", "b")
        renditions = ["web", "flyer,quality=3"]
        archive = await interrupted(upstream, tmp_path / "data", rendition=renditions)

        async with open_archives(upstream, tmp_path / "data") as system:
            again = await system.archives.by_id(archive.id)
            await system.read_to_the_end(again)

        assert (again.id, again.state, again.downloaded) == (archive.id, State.COMPLETE, 4)
        assert [result.name for result in again.results] == ["flyer/a.jpg", "flyer/b.jpg", "web/a.jpg", "web/b.jpg"]
        assert [upstream.calls(image_id) for image_id in "ab"] == [2, 2]

    async def test_an_equal_request_resumes_it_too(self, upstream: FakeUpstream, tmp_path: Path) -> None:
        """What was sent of it can be continued by its id."""
        fill_with(upstream, "a", "b")
        upstream.images["b"] = jpeg(5)
        archive = await interrupted(upstream, tmp_path / "data")

        async with open_archives(upstream, tmp_path / "data") as system:
            again, result = await system.start()
            await system.read_to_the_end(again)

        assert (again.id, result) == (archive.id, CacheResult.HIT)
        assert [upstream.calls(image_id) for image_id in "ab"] == [1, 1]

    @pytest.mark.parametrize(
        ("boot", "is_orderly", "goes_on"), [("first", False, True), ("second", False, False), ("second", True, True)]
    )
    async def test_one_that_a_power_cut_interrupted_is_gone(
        self,
        upstream: FakeUpstream,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        boot: str,
        is_orderly: bool,
        goes_on: bool,
    ) -> None:
        """The last entries of its list may be lost, which a caller has: its id is not given to other bytes. The death
        of the process loses none, nor does a stop."""
        fill_with(upstream, "a", "b")
        if not is_orderly:
            monkeypatch.setattr(archive_index, "end_boot", lambda _: None)
        async with open_archives(upstream, tmp_path / "data", concurrency=1, window=1, boot="first") as system:
            archive, _ = await system.start()
            with archive.readers.reading():
                await archive.wait_until(lambda: len(archive.members) == 1)
            await system.archives.close()

        async with open_archives(upstream, tmp_path / "data", boot=boot) as system:
            with nullcontext() if goes_on else pytest.raises(ArchiveGone):
                assert (await system.archives.by_id(archive.id)).id == archive.id
            again, _ = await system.start()
            assert (again.id == archive.id) is goes_on
            await system.read_to_the_end(again)

        assert (again.downloaded, upstream.calls("a")) == (2, 1)

    async def test_one_that_began_when_less_was_ready_does_not_go_on(
        self, upstream: FakeUpstream, tmp_path: Path
    ) -> None:
        """What has become ready since would be missing; what was fetched is not fetched again."""
        fill_with(upstream, "a", "b", "c")
        upstream.orders[ORDER] = order([photo("a"), photo("b"), photo("c", status="processing")])
        archive = await interrupted(upstream, tmp_path / "data")
        upstream.orders[ORDER] = order(["a", "b", "c"])

        async with open_archives(upstream, tmp_path / "data") as system:
            again, result = await system.start()
            await system.read_to_the_end(again)

        assert (again.id != archive.id, result) == (True, CacheResult.MISS)
        assert (again.downloaded, upstream.calls("a")) == (3, 1)

    async def test_what_is_to_go_on_is_not_swept_meanwhile(
        self, upstream: FakeUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whether its images are here takes a while to tell."""
        fill_with(upstream, "a", "b")
        archive = await interrupted(upstream, tmp_path / "data")

        async with open_archives(upstream, tmp_path / "data") as system:
            kept: list[bool] = []
            missing = system.images.missing

            async def look(blobs: Any) -> set[str]:
                kept.append(archive.id in system.registry.live())
                return await missing(blobs)

            monkeypatch.setattr(system.images, "missing", look)
            again, _ = await system.start()

        assert again.id == archive.id
        assert kept[0]

    async def test_who_waits_longer_does_not_resume_it(self, upstream: FakeUpstream, tmp_path: Path) -> None:
        """Given a build whose time was nearly over, a request that waits for ten minutes waits for ten minutes."""
        upstream.orders[ORDER] = order([photo("a"), photo("b", status="processing")])
        upstream.images["a"] = jpeg()
        async with open_archives(upstream, tmp_path / "data") as system:
            archive, _ = await system.start(wait=True, wait_timeout=3)
            with archive.readers.reading(to_the_end=True):
                await archive.wait_until(lambda: len(archive.members) == 1)
                await system.archives.close()

        async with open_archives(upstream, tmp_path / "data") as system:
            again, result = await system.start(wait=True, wait_timeout=600)

        assert (again.id != archive.id, result) == (True, CacheResult.MISS)
        assert upstream.calls("a") == 1

    async def _left_after_a_restart(
        self, upstream: FakeUpstream, data_dir: Path, monkeypatch: pytest.MonkeyPatch, *, later: float
    ) -> float:
        """Seconds that a build which may wait for ten minutes has left when it goes on so many seconds later."""
        upstream.orders[ORDER] = order([photo("a"), photo("b", status="processing")])
        upstream.images["a"] = jpeg()
        async with open_archives(upstream, data_dir) as system:
            archive, _ = await system.start(wait=True, wait_timeout=600)
            with archive.readers.reading(to_the_end=True):
                await archive.wait_until(lambda: len(archive.members) == 1)
                await system.archives.close()
        now = time.time
        monkeypatch.setattr(time, "time", lambda: now() + later)

        async with open_archives(upstream, data_dir) as system:
            await system.archives.by_id(archive.id)
            return system.registry.builds[archive.id].deadline - time.monotonic()

    async def test_a_clock_that_was_put_back_makes_nobody_wait_longer(
        self, upstream: FakeUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Given a build that waits, and an hour that comes twice: its time is what was asked for at most."""
        left = await self._left_after_a_restart(upstream, tmp_path / "data", monkeypatch, later=-3_600)

        assert left <= 600

    async def test_after_a_restart_it_waits_for_what_is_left_of_its_time(
        self, upstream: FakeUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Given a build that has waited for four of ten minutes: it waits for six more."""
        left = await self._left_after_a_restart(upstream, tmp_path / "data", monkeypatch, later=240)

        assert 0 < left <= 360

    async def test_the_time_until_the_images_are_listed_is_part_of_what_it_may_wait(
        self, upstream: FakeUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Given an order that lists nothing for 20 seconds, and a restart after which it is looked up for 10: whoever
        goes on with it until the same moment is given the same archive."""
        upstream.orders[ORDER] = order(["a", photo("b", status="processing")])
        upstream.images["a"] = jpeg()
        began, late, looks = time.time(), 0.0, [20.0, 10.0]
        really_wait = Orders.wait_until_listed

        async def wait_until_listed(*args: Any) -> Order:
            nonlocal late
            late += looks.pop(0)
            return await really_wait(*args)

        clock = SimpleNamespace(time=lambda: time.time() + late, monotonic=lambda: time.monotonic() + late)
        monkeypatch.setattr(Orders, "wait_until_listed", wait_until_listed)
        monkeypatch.setattr("service.archives.archives.time", clock)
        archive = await interrupted(upstream, tmp_path / "data", wait=True, wait_timeout=600)

        async with open_archives(upstream, tmp_path / "data") as system:
            again, result = await system.start(wait=True, wait_timeout=580)
            record = await system.catalogue.load(archive.id)

        assert record is not None
        assert record.created + record.plan.wait_timeout - began == pytest.approx(600, abs=5)
        assert (again.id, result) == (archive.id, CacheResult.HIT)

    async def test_after_a_restart_it_looks_once_also_when_its_time_is_over(
        self, upstream: FakeUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Given an image that became ready while the service was down: it is not said to be in the making."""
        upstream.orders[ORDER] = order(["a", photo("b", status="processing")])
        upstream.images |= {"a": jpeg(1), "b": jpeg(2)}
        archive = await interrupted(upstream, tmp_path / "data", wait=True, wait_timeout=600)
        upstream.orders[ORDER] = order(["a", "b"])
        now = time.time
        monkeypatch.setattr(time, "time", lambda: now() + 601)

        async with open_archives(upstream, tmp_path / "data") as system:
            again = await system.read_to_the_end(await system.archives.by_id(archive.id))

        assert [(result.image_id, result.code) for result in again.results] == [("a", None), ("b", None)]

    async def test_after_a_restart_what_became_ready_and_was_fetched_meanwhile_is_not_fetched_again(
        self, upstream: FakeUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Given an image that was in the making when the build was planned, and that another build has stored."""
        upstream.orders[ORDER] = order(["a", photo("b", status="processing")])
        upstream.images |= {"a": jpeg(1), "b": jpeg(2)}
        archive = await interrupted(upstream, tmp_path / "data", wait=True, wait_timeout=600)
        upstream.orders[ORDER] = order(["a", "b"])
        async with open_archives(upstream, tmp_path / "data") as system:
            await system.finished()
        now = time.time
        monkeypatch.setattr(time, "time", lambda: now() + 601)

        async with open_archives(upstream, tmp_path / "data") as system:
            again = await system.read_to_the_end(await system.archives.by_id(archive.id))

        assert (again.downloaded, upstream.calls("b")) == (2, 1)

    async def test_after_a_restart_its_readers_have_the_grace_to_come_back(
        self, upstream: FakeUpstream, tmp_path: Path
    ) -> None:
        """Given one that nobody used for an hour, since the service was down: it goes only when the grace is over."""
        fill_with(upstream, "a", "b")
        await interrupted(upstream, tmp_path / "data")

        async def state(system: ArchiveSystem) -> str:
            query = "SELECT state FROM archives"
            return str(await system.database.run(lambda connection: connection.execute(query).fetchone()[0]))

        async with open_archives(upstream, tmp_path / "data", grace=60) as system:
            await system.database.run(lambda connection: connection.execute("UPDATE archives SET used = used - 3600"))
            await system.archives.sweep()
            at_first = await state(system)
            system.archives._started -= 61
            await system.archives.sweep()

            assert (at_first, await state(system)) == ("building", "gone")

    async def test_a_look_at_it_begins_nothing(self, upstream: FakeUpstream, tmp_path: Path) -> None:
        """Neither its build, nor a download of what was lost."""
        fill_with(upstream, "a", "b")
        archive = await interrupted(upstream, tmp_path / "data")

        async with open_archives(upstream, tmp_path / "data") as system:
            await system.images.delete(lambda _: [archive.members[0].blob.digest])
            seen = await system.archives.by_id(archive.id, begin=False)
            await yield_to_loop()

            assert (seen.id, seen.is_settled, system.registry.builds) == (archive.id, False, {})
        assert upstream.image_calls == 1

    @pytest.mark.parametrize("failure", [503, 500, 429, 402, 401])
    async def test_while_lost_images_cannot_be_had_it_is_not_gone(
        self, system: ArchiveSystem, upstream: FakeUpstream, failure: int
    ) -> None:
        """A failure that may pass loses nothing: who comes back when it has passed is served."""
        fill_with(upstream, "a", "b")
        archive = await system.finished()
        lost = next(member for member in archive.members if member.image_id == "a")
        await system.images.delete(lambda _: [lost.blob.digest])
        upstream.images["a"] = failure
        seconds, client = system.parts.client._image_seconds, system.parts.client

        client._image_seconds = 0.3  # a 429 is asked again until the image's time is over
        with pytest.raises(StillBuilding):
            await system.archives.by_id(archive.id)
        client._image_seconds, upstream.images["a"] = seconds, jpeg(0)
        again = await system.archives.by_id(archive.id)

        assert again.id == archive.id
        assert sorted(names(await system.bytes_of(again))) == ["a.jpg", "b.jpg"]

    async def test_lost_images_are_fetched_again_all_at_once(
        self, system: ArchiveSystem, upstream: FakeUpstream
    ) -> None:
        """And when all of them are what they were, it is served."""
        fill_with(upstream, "a", "b", "c")
        archive = await system.finished()
        before = await system.bytes_of(archive)
        for member in archive.members:
            await system.images.delete(partial(_only, member.blob.digest))
        gates = [upstream.hold(image_id) for image_id in "abc"]
        repairing = asyncio.create_task(system.archives.by_id(archive.id))
        await upstream.until(lambda: upstream.image_calls == 6)
        for gate in gates:
            gate.set()

        again = await repairing

        assert await system.bytes_of(again) == before

    async def test_once_one_is_gone_for_good_no_further_one_is_fetched(
        self, upstream: FakeUpstream, tmp_path: Path
    ) -> None:
        """They would be of no use."""
        fill_with(upstream, "a", "b", "c")
        async with open_archives(upstream, tmp_path / "data", concurrency=1) as system:
            archive = await system.finished()
            for member in archive.members:
                await system.images.delete(partial(_only, member.blob.digest))
            gate, upstream.images["a"] = upstream.hold("b"), 404

            with pytest.raises(ArchiveGone):
                await system.archives.by_id(archive.id)
            gate.set()
            async with asyncio.timeout(TIMEOUT):
                while system.archives._context.fetcher._flights._flights:  # noqa: ASYNC110  # nobody waits for them
                    await asyncio.sleep(0)

        assert (upstream.calls("a"), upstream.calls("c")) == (2, 1)

    async def test_only_what_is_lost_is_fetched_again(self, system: ArchiveSystem, upstream: FakeUpstream) -> None:
        """And counted as that."""
        fill_with(upstream, "a", "b")
        archive = await system.finished()
        before, calls = await system.bytes_of(archive), upstream.image_calls
        await system.images.delete(partial(_only, archive.members[0].blob.digest))

        again = await system.archives.by_id(archive.id)

        assert (await system.bytes_of(again), upstream.image_calls) == (before, calls + 1)
        assert system.parts.sample("batch_images_refetched_total", why="lost") == 1

    async def test_a_lost_report_is_written_again(self, system: ArchiveSystem, upstream: FakeUpstream) -> None:
        """From what is kept of the archive, to the same bytes; no image is asked for."""
        fill_with(upstream, "a", "b")
        upstream.images["b"] = 404
        archive = await system.finished()
        before, calls = await system.bytes_of(archive), upstream.image_calls
        (report,) = [member.blob.digest for member in archive.members if member.image_id is None]
        await system.images.delete(partial(_only, report))

        again = await system.archives.by_id(archive.id)

        assert (await system.bytes_of(again), upstream.image_calls) == (before, calls)

    async def test_with_other_bytes_it_is_gone(self, system: ArchiveSystem, upstream: FakeUpstream) -> None:
        """An id names one sequence of bytes for ever."""
        fill_with(upstream, "a")
        archive = await system.finished()
        await system.images.delete(lambda _: [archive.members[0].blob.digest])
        upstream.images["a"] = jpeg(99)

        for _ in range(2):
            with pytest.raises(ArchiveGone):
                await system.archives.by_id(archive.id)
        record = await system.catalogue.load(archive.id)
        assert record is not None
        assert record.state == GONE

    async def test_after_its_time_it_is_gone(self, upstream: FakeUpstream, tmp_path: Path) -> None:
        """Unless it is kept for longer."""
        fill_with(upstream, "a", "b")
        async with open_archives(upstream, tmp_path / "data", ttl=0) as system:
            archives = [await system.finished(image=(image_id,)) for image_id in "ab"]
            await system.catalogue.keep(archives[1].id, archives[1].created + 1_000)
            await system.archives.sweep()

            with pytest.raises(ArchiveGone):
                await system.archives.by_id(archives[0].id)
            assert await system.archives.resumable(archives[0].id, ORDER, Options(image=("a",))) is None
            assert (await system.archives.by_id(archives[1].id)).id == archives[1].id

    async def test_one_that_is_read_is_not_swept(self, upstream: FakeUpstream, tmp_path: Path) -> None:
        """Nobody is cut off in the middle because an hour is over."""
        fill_with(upstream, "a")
        async with open_archives(upstream, tmp_path / "data", ttl=0) as system:
            archive = await system.finished()
            with archive.readers.reading():
                await system.archives.sweep()
                record = await system.catalogue.load(archive.id)

        assert record is not None
        assert record.state == "complete"

    async def test_who_holds_a_part_finds_it_for_the_same_options_only(
        self, system: ArchiveSystem, upstream: FakeUpstream
    ) -> None:
        """Without asking Autoenhance."""
        fill_with(upstream, "a")
        archive = await system.finished()
        upstream.received.clear()

        found = [
            await system.archives.resumable(archive.id, ORDER, Options()),
            await system.archives.resumable(archive.id, ORDER, Options(quality=80)),
            await system.archives.resumable(archive.id, OTHER_ORDER, Options()),
            await system.archives.resumable("0" * 32, ORDER, Options()),
        ]

        assert found == [archive, None, None, None]
        assert upstream.received == []

    @pytest.mark.parametrize("is_old", [True, False])
    async def test_who_holds_a_part_of_an_old_one_begins_anew_where_its_state_cannot_be_told(
        self, system: ArchiveSystem, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch, is_old: bool
    ) -> None:
        """Given a Redis that is away. One that is not old is not given up for that."""
        fill_with(upstream, "a")
        archive = await system.finished()
        monkeypatch.setattr(system.catalogue, "load", AsyncMock(side_effect=StillBuilding))
        monkeypatch.setattr(system.catalogue, "is_expired", lambda _: is_old)

        with nullcontext() if is_old else pytest.raises(StillBuilding):
            assert await system.archives.resumable(archive.id, ORDER, Options()) is None


async def test_a_running_build_needs_the_images_it_is_about_to_have(
    system: ArchiveSystem, upstream: FakeUpstream
) -> None:
    """Also those that were made anew since it was planned; nothing once it is over."""
    fill_with(upstream, "a", "b")
    upstream.images["a"] = Reply(body=jpeg())
    gate = upstream.hold("a")
    archive, _ = await system.start()
    with archive.readers.reading(to_the_end=True):
        await upstream.until(lambda: upstream.calls("a") == 1)
        needed = system.registry.needed()
        gate.set()
        await archive.wait_until(lambda: False)
        await system.build_is_over(archive)
    await yield_to_loop()

    assert {key.partition(".")[2] for key in needed} == {"0"}
    assert len(needed) == 2
    assert system.registry.needed() == set()


class TestSeveralOrders:
    async def test_they_are_one_archive_in_whatever_sequence(
        self, system: ArchiveSystem, upstream: FakeUpstream
    ) -> None:
        """With the same folders."""
        fill_with(upstream, "a")
        upstream.orders[OTHER_ORDER] = order(["a"], order_id=OTHER_ORDER)
        archive = await system.finished((ORDER, OTHER_ORDER))

        again, result = await system.start((OTHER_ORDER, ORDER))

        assert (again is archive, result) == (True, CacheResult.HIT)

    async def test_of_one_that_cannot_be_had_its_name_is_known(
        self, system: ArchiveSystem, upstream: FakeUpstream
    ) -> None:
        """If it has one; the archive is partial, though nothing of the others is missing."""
        fill_with(upstream, "a")
        upstream.orders[OTHER_ORDER] = order([], order_id=OTHER_ORDER, name="Empty Lane")

        archive = await system.finished((ORDER, OTHER_ORDER))

        (failed,) = archive.failed_orders
        assert (failed.name, failed.code, archive.state) == ("Empty Lane", "order_empty", State.PARTIAL)

    async def test_each_is_fetched_anew(self, system: ArchiveSystem, upstream: FakeUpstream) -> None:
        """Where that is asked for."""
        fill_with(upstream, "a", "b")
        upstream.orders |= {ORDER: order(["a"]), OTHER_ORDER: order(["b"], order_id=OTHER_ORDER)}
        await system.finished((ORDER, OTHER_ORDER))
        await system.finished((ORDER, OTHER_ORDER), refresh=True)

        assert [upstream.calls(image_id) for image_id in "ab"] == [2, 2]

    async def test_what_is_finished_while_another_one_is_looked_up_is_not_made_anew(
        self, system: ArchiveSystem, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Given an order whose document comes late, and an image of the other one that others see ready by then."""
        upstream.orders[ORDER] = order([photo("a", status="processing")])
        upstream.orders[OTHER_ORDER] = order(["b"], order_id=OTHER_ORDER)
        generations, is_seen = system.archives._context.generations, asyncio.Event()
        really_observe = generations.observe

        async def observe(*args: Any) -> dict[str, int]:
            seen = await really_observe(*args)
            is_seen.set()
            return seen

        monkeypatch.setattr(generations, "observe", observe)
        late = upstream.hold(OTHER_ORDER)
        starting = asyncio.create_task(system.start((ORDER, OTHER_ORDER)))
        async with asyncio.timeout(TIMEOUT):
            await is_seen.wait()
        ready = parse_order(order(["a"]))
        before = await really_observe(ORDER, ready)
        late.set()
        await starting

        assert (before, await really_observe(ORDER, ready)) == ({"a": 0}, {"a": 0})

    @pytest.mark.parametrize(
        "problem", [OrderNotFound(), OrderEmpty(), TooManyImages(3, 2), UpstreamError(), UpstreamTimeout()], ids=repr
    )
    async def test_what_is_wrong_with_one_is_wrong_with_that_one(
        self, system: ArchiveSystem, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch, problem: Problem
    ) -> None:
        """The others are delivered; when nothing can be had of any, there is no archive."""
        fill_with(upstream, "a")
        really_get = system.orders.get

        async def get(order_id: str) -> Order:
            if order_id == OTHER_ORDER:
                raise problem
            return await really_get(order_id)

        monkeypatch.setattr(system.orders, "get", get)
        archive = await system.finished((ORDER, OTHER_ORDER))
        with pytest.raises(NoOrders):
            await system.start((OTHER_ORDER,))

        assert ([order.code for order in archive.failed_orders], archive.downloaded) == ([problem.code], 1)

    async def test_what_was_known_of_one_counts_where_it_cannot_be_asked_for_again(
        self, system: ArchiveSystem, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Given orders that are waited for, and a second look that fails."""
        fill_with(upstream, "a")
        listed = await system.orders.get(ORDER)
        monkeypatch.setattr(system.orders, "wait_until_listed", AsyncMock(return_value=listed))
        monkeypatch.setattr(system.orders, "get", AsyncMock(side_effect=UpstreamError()))

        archive, _ = await system.start((ORDER, OTHER_ORDER), wait=True)

        assert archive.failed_orders == []

    async def test_what_concerns_all_of_them_ends_it(
        self, system: ArchiveSystem, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Calls are paused for each of them."""
        fill_with(upstream, "a")
        monkeypatch.setattr(system.orders, "get", AsyncMock(side_effect=BreakerOpen()))

        with pytest.raises(BreakerOpen):
            await system.start((ORDER, OTHER_ORDER))


class TestFind:
    async def test_it_is_what_a_request_would_be_given_and_begins_nothing(
        self, system: ArchiveSystem, upstream: FakeUpstream
    ) -> None:
        """A plan, a build that can be joined, the finished archive; nothing, for who has all of it."""
        fill_with(upstream, "a")
        document, gate = await system.orders.get(ORDER), upstream.hold("a")
        waiting = Options(wait=True, wait_timeout=100)

        planned = await system.archives.find(ORDER, document, waiting)
        begun = dict(system.registry.builds)
        archive, _ = await system.start(wait=True, wait_timeout=100)
        running = await system.archives.find(ORDER, document, waiting)
        gate.set()
        await system.read_to_the_end(archive)
        finished = await system.archives.find(ORDER, document, Options())
        with pytest.raises(NothingNew):
            await system.archives.find(ORDER, document, Options(since=archive.id))

        assert (isinstance(planned, Plan), begun) == (True, {})
        assert (running, finished) == (archive, archive)

    async def test_a_finished_one_that_is_found_is_in_use(self, system: ArchiveSystem, upstream: FakeUpstream) -> None:
        """It is not the first to go for want of room."""
        fill_with(upstream, "a")
        await system.finished()
        await system.database.run(lambda connection: connection.execute("UPDATE archives SET used = 0"))

        await system.start()

        query = "SELECT used FROM archives"
        assert await system.database.run(lambda connection: connection.execute(query).fetchone()[0]) > 0

    async def test_the_renditions_of_one_are_known_while_it_is_built_and_later(
        self, system: ArchiveSystem, upstream: FakeUpstream
    ) -> None:
        """By its record."""
        fill_with(upstream, "a")
        archive, _ = await system.start(quality=70)
        building = await system.archives.renditions_of(archive)
        await system.read_to_the_end(archive)
        await yield_to_loop()

        assert (building, await system.archives.renditions_of(archive)) == ({"": Rendition(quality=70)},) * 2


class TestBeginning:
    async def test_a_build_whose_caller_left_at_once_is_there_for_the_next(
        self, system: ArchiveSystem, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Others may have heard of it by then."""
        fill_with(upstream, "a")
        announcing, go_on = asyncio.Event(), asyncio.Event()
        really_announce = system.catalogue.announce

        async def announce(*args: Any, **kwargs: Any) -> Any:
            announcing.set()
            await go_on.wait()
            return await really_announce(*args, **kwargs)

        monkeypatch.setattr(system.catalogue, "announce", announce)
        leaving = asyncio.create_task(system.start())
        await announcing.wait()
        known = len(system.archives._tasks)
        leaving.cancel()
        await asyncio.wait([leaving])
        go_on.set()
        await yield_to_loop()

        _, result = await system.start()

        assert (leaving.cancelled(), known, result) == (True, 1, CacheResult.JOINED)

    async def test_an_archive_that_was_announced_and_is_not_built_is_taken_back(
        self, system: ArchiveSystem, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Given two equal requests that could not use what there was: other instances would wait for it for ever."""
        fill_with(upstream, "a")
        go_on, announced = asyncio.Event(), list[str]()

        async def announce(*_: object, **__: object) -> tuple[str, None]:
            announced.append(mine := f"{len(announced) + 1}" * 32)
            await go_on.wait()
            return mine, None

        monkeypatch.setattr(system.catalogue, "announce", announce)
        monkeypatch.setattr(system.catalogue, "forget", forget := AsyncMock())
        starting = [asyncio.create_task(system.start()) for _ in range(2)]
        async with asyncio.timeout(TIMEOUT):
            while len(announced) < 2:  # noqa: ASYNC110  # both are there
                await asyncio.sleep(0)
        go_on.set()
        given = [archive.id for archive, _ in await asyncio.gather(*starting)]

        assert given == ["1" * 32] * 2
        forget.assert_awaited_once_with("2" * 32)

    @pytest.mark.parametrize(
        ("theirs", "wait", "result"),
        [(False, True, CacheResult.MISS), (True, False, CacheResult.MISS), (False, False, CacheResult.HIT)],
    )
    async def test_only_who_waits_continues_a_build_that_waits(
        self, upstream: FakeUpstream, tmp_path: Path, theirs: bool, wait: bool, result: CacheResult
    ) -> None:
        """Given one that a restart interrupted: it would be over before what is waited for is there, or too late."""
        fill_with(upstream, "a", "b")
        archive = await interrupted(upstream, tmp_path / "data", wait=theirs)

        async with open_archives(upstream, tmp_path / "data") as system:
            again, met = await system.start(wait=wait)

        assert (met, again.id == archive.id) == (result, result is CacheResult.HIT)

    async def test_what_would_have_other_bytes_by_now_is_not_continued(
        self, upstream: FakeUpstream, tmp_path: Path
    ) -> None:
        """Given one that another version of the service began."""
        fill_with(upstream, "a", "b")
        archive = await interrupted(upstream, tmp_path / "data")

        async with open_archives(upstream, tmp_path / "data") as system:
            await system.database.run(lambda connection: connection.execute("UPDATE archives SET layout = 0"))
            again, result = await system.start()

        assert (again.id != archive.id, result) == (True, CacheResult.MISS)

    async def test_what_has_its_report_already_is_not_continued(self, upstream: FakeUpstream, tmp_path: Path) -> None:
        """Given a build that died before its end: an image that came now would belie the report."""
        fill_with(upstream, "a", "b")
        upstream.images["b"] = 404
        async with open_archives(upstream, tmp_path / "data") as system:
            system.catalogue.settle = lambda *_: asyncio.Event().wait()  # type: ignore[assignment,method-assign]
            archive, _ = await system.start()
            with archive.readers.reading(to_the_end=True):
                await archive.wait_until(lambda: archive.has_report)
            await system.archives.close()

        async with open_archives(upstream, tmp_path / "data") as system:
            again, result = await system.start()
            with pytest.raises(ArchiveGone):
                await system.read_to_the_end(await system.archives.by_id(archive.id))

        assert (again.id != archive.id, result) == (True, CacheResult.MISS)

    @pytest.mark.parametrize("build", ["new", "continued", "announced"])
    async def test_downloads_take_the_turn_of_who_asked_for_them(
        self, upstream: FakeUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, build: str
    ) -> None:
        """Whether the build is new, goes on after a restart, or was begun by another instance."""
        fill_with(upstream, "a", "b")
        archive = await interrupted(upstream, tmp_path / "data")

        async with open_archives(upstream, tmp_path / "data") as system:
            record = await system.catalogue.load(archive.id)
            if build == "announced":
                monkeypatch.setattr(system.catalogue, "find_unfinished", AsyncMock(return_value=None))
                monkeypatch.setattr(system.catalogue, "announce", AsyncMock(return_value=(archive.id, record)))
            given, _ = await system.start(caller="anna", refresh=build == "new")

            assert (given.id == archive.id) is (build != "new")
            assert system.registry.builds[given.id]._fetches.caller == "anna"

    async def test_what_is_unfinished_when_the_service_stops_may_go_on_elsewhere(
        self, system: ArchiveSystem, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """At once: no instance waits until this one counts as dead."""
        fill_with(upstream, "a")
        await system.finished()
        archive, _ = await system.start(quality=70)
        monkeypatch.setattr(system.catalogue, "release", release := AsyncMock())

        await system.archives.close()

        release.assert_awaited_once_with(archive.id)

    @pytest.mark.parametrize("theirs", ["partial", "lost", "complete"])
    async def test_what_others_have_settled_is_given_only_if_it_is_whole(
        self, system: ArchiveSystem, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch, theirs: str
    ) -> None:
        """Given an archive that is announced for the same plan, and was settled meanwhile."""
        fill_with(upstream, "a", "b")
        upstream.images["b"] = jpeg(1) if theirs != "partial" else [404, jpeg(1)]
        archive, new_id = await system.finished(), "1" * 32
        record = await system.catalogue.load(archive.id)
        if theirs == "lost":
            await system.images.delete(lambda _: [archive.members[0].blob.digest])
        await system.database.run(lambda connection: connection.execute("DELETE FROM archives"))

        async def announce(*_: object, anyway: bool = False) -> tuple[str, Record | None]:
            return (new_id, None) if anyway else (archive.id, record)

        monkeypatch.setattr(system.catalogue, "announce", announce)
        given, _ = await system.start()

        assert given.id == (archive.id if theirs == "complete" else new_id)

    async def test_what_is_being_dropped_is_not_given_to_who_comes_now(
        self, upstream: FakeUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Given several instances, which have not heard yet that it is given up here."""
        fill_with(upstream, "a")
        async with open_archives(upstream, tmp_path / "data", grace=0) as system:
            archive, new_id = (await system.start())[0], "1" * 32
            dropping, go_on = asyncio.Event(), asyncio.Event()

            async def forget_slowly(archive_id: str) -> None:
                dropping.set()
                await go_on.wait()

            async def announce(*_: object, anyway: bool = False) -> tuple[str, Record | None]:
                return (new_id, None) if anyway else (archive.id, record)

            monkeypatch.setattr(system.catalogue, "forget", forget_slowly)
            monkeypatch.setattr(system.catalogue, "announce", announce)
            await dropping.wait()
            record = await system.catalogue.load(archive.id)
            given, _ = await system.start()
            go_on.set()
            await system.build_is_over(archive)

        assert given.id == new_id

    async def test_what_lost_an_image_is_not_continued(self, upstream: FakeUpstream, tmp_path: Path) -> None:
        """Its bytes could not be sent: a new one is begun."""
        fill_with(upstream, "a", "b")
        archive = await interrupted(upstream, tmp_path / "data")

        async with open_archives(upstream, tmp_path / "data") as system:
            await system.images.delete(lambda _: [archive.members[0].blob.digest])
            again, result = await system.start()

        assert (again.id != archive.id, result) == (True, CacheResult.MISS)


async def test_what_is_known_of_images_is_swept_with_archives(
    system: ArchiveSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would grow for ever."""
    sweep = AsyncMock()
    monkeypatch.setattr(system.archives._context.generations, "sweep", sweep)

    await system.archives.sweep()

    sweep.assert_awaited_once()
