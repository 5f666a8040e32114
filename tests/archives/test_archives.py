"""One archive for equal requests: found, joined, resumed or begun; and what becomes of it."""

import asyncio
import io
import sqlite3
import time
import zipfile
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import pytest

from service.archives.archive import Archive, State
from service.archives.options import Options
from service.archives.registry import Registry
from service.images.blobs import Blob, Content
from service.images.body import Body
from service.problems import (
    ArchiveGone,
    ArchiveNotFound,
    BreakerOpen,
    Draining,
    InvalidParameter,
    MaxCreditsExceeded,
    NoImages,
    OrderNotFound,
    StillBuilding,
    StoreFull,
)
from service.reasons import Reason
from service.telemetry.metrics import CacheResult, Circuit
from tests.support.archives import ArchiveSystem, open_archives
from tests.support.images import put
from tests.support.plans import archive_of, plan_of
from tests.support.samples import ORDER, OTHER_ORDER, jpeg, order, photo
from tests.support.transport import TIMEOUT, yield_to_loop
from tests.support.upstream import FakeUpstream, Reply


def names(data: bytes) -> list[str]:
    return zipfile.ZipFile(io.BytesIO(data)).namelist()


def _only(digest: str, _: sqlite3.Connection) -> list[str]:
    return [digest]


def fill(upstream: FakeUpstream, *image_ids: str) -> None:
    """An order of these images, all of them ready."""
    upstream.orders[ORDER] = order(image_ids)
    upstream.images |= {image_id: jpeg(number) for number, image_id in enumerate(image_ids)}


class TestFinished:
    async def test_one_that_lost_an_image_hides_no_older_one(
        self, system: ArchiveSystem, upstream: FakeUpstream
    ) -> None:
        """Given two for the same key, of which the newer one lacks a blob: the older one is served."""
        fill(upstream, "a")
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
        fill(upstream, "a")
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
        fill(upstream, "a")
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
        fill(upstream, "a", "b")
        archive = await system.finished()

        again, result = await system.start()

        assert (again is archive, result, archive.state) == (True, CacheResult.HIT, State.COMPLETE)
        assert upstream.image_calls == 2
        assert sorted(names(await system.bytes_of(archive))) == ["a.jpg", "b.jpg"]

    async def test_what_changes_by_itself_is_no_change(self, system: ArchiveSystem, upstream: FakeUpstream) -> None:
        """Signed addresses, counters and purchases buy nothing again."""
        fill(upstream, "a")
        archive = await system.finished()
        upstream.orders[ORDER] = order([photo("a", url="https://x.example/2", views=2, downloaded=True, version="2")])

        again, result = await system.start()

        assert (again.id, result) == (archive.id, CacheResult.HIT)

    async def test_a_renamed_image_is_there_under_its_new_name(
        self, system: ArchiveSystem, upstream: FakeUpstream
    ) -> None:
        """Another archive of the same stored image."""
        fill(upstream, "a")
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
        fill(upstream, "a", "b")
        await system.finished()
        upstream.orders[ORDER] = order([photo("a", version="2"), "b"])
        upstream.images["a"] = jpeg(77)

        again = await system.finished()

        assert [upstream.calls(image_id) for image_id in "ab"] == [2, 1]
        assert jpeg(77) in await system.bytes_of(again)

    async def test_refresh_asks_for_all_anew(self, system: ArchiveSystem, upstream: FakeUpstream) -> None:
        """Once for all who ask at the same time."""
        fill(upstream, "a")
        archive = await system.finished()

        again = [await system.finished(refresh=True) for _ in range(2)]

        assert archive.id not in {one.id for one in again}
        assert len({one.id for one in again}) == 1
        assert upstream.calls("a") == 2

    async def test_a_partial_one_is_not_used_again_and_its_images_are(
        self, system: ArchiveSystem, upstream: FakeUpstream
    ) -> None:
        """The retry costs only what failed."""
        fill(upstream, "a", "b")
        upstream.images["b"] = [500, jpeg(5)]
        partial = await system.finished()

        whole, result = await system.start()
        await system.read_to_the_end(whole)

        assert (partial.state, whole.state, result) == (State.PARTIAL, State.COMPLETE, CacheResult.MISS)
        assert [upstream.calls(image_id) for image_id in "ab"] == [1, 2]

    async def test_with_a_lost_image_it_is_made_again(self, system: ArchiveSystem, upstream: FakeUpstream) -> None:
        """A new archive; only what is lost is fetched."""
        fill(upstream, "a", "b")
        archive = await system.finished()
        lost = next(member.blob for member in archive.members if member.image_id == "a")
        system.images._files.path(lost.digest).unlink()

        again = await system.finished()

        assert again.id != archive.id
        assert [upstream.calls(image_id) for image_id in "ab"] == [2, 1]

    async def test_the_same_content_twice_is_two_members(self, system: ArchiveSystem, upstream: FakeUpstream) -> None:
        """Of one blob."""
        fill(upstream, "a", "b")
        upstream.images["b"] = upstream.images["a"]

        archive = await system.finished()

        assert sorted(names(await system.bytes_of(archive))) == ["a.jpg", "b.jpg"]
        assert len({member.blob.digest for member in archive.members}) == 1


class TestJoining:
    async def test_who_comes_while_it_is_built_joins(self, system: ArchiveSystem, upstream: FakeUpstream) -> None:
        """However many, whenever; also all at once before there is anything."""
        fill(upstream, "a")
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
        fill(upstream, "a")
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
        fill(upstream, "a")
        upstream.orders[OTHER_ORDER] = order(["a"], order_id=OTHER_ORDER)
        one, _ = await system.start()
        other, _ = await system.start(OTHER_ORDER)

        assert one is not other


class TestRegistry:
    async def test_nothing_of_a_build_stays_when_it_is_over(
        self, system: ArchiveSystem, upstream: FakeUpstream
    ) -> None:
        """But for the archive itself, for a while."""
        fill(upstream, "a")
        archive = await system.finished()
        await yield_to_loop()

        assert (system.registry.builds, system.registry._by_key, system.archives._tasks) == ({}, {}, set())
        assert system.registry.known(archive.id) is archive

    async def test_what_was_asked_for_longest_ago_is_forgotten_unless_it_is_used(
        self, system: ArchiveSystem, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whoever asks again gets it from the disk."""
        monkeypatch.setattr("service.archives.registry._RECENT", 2)
        fill(upstream, "a", "b", "c")
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


class TestOriginals:
    @pytest.mark.parametrize(("answer", "again"), [(503, CacheResult.MISS), (404, CacheResult.HIT)])
    async def test_one_that_may_come_yet_is_asked_for_again(
        self, system: ArchiveSystem, upstream: FakeUpstream, answer: int, again: CacheResult
    ) -> None:
        """The archive is complete without it; one that is not there is not there the next time either."""
        fill(upstream, "a")
        upstream.originals["a"] = answer

        archive = await system.finished(include=("original",))
        _, result = await system.start(include=("original",))

        assert (archive.state, [failure.is_original for failure in archive.failures]) == (State.COMPLETE, [True])
        assert result is again


class TestRefresh:
    async def test_images_that_are_stored_and_fetched_anew_are_counted(
        self, system: ArchiveSystem, upstream: FakeUpstream
    ) -> None:
        """Not those that were never here, nor those that another request fetches anew just now."""
        fill(upstream, "a", "b")
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


class TestPrice:
    async def test_as_much_as_may_be_spent_and_no_more(self, system: ArchiveSystem, upstream: FakeUpstream) -> None:
        """Whether it is too much is known before anything is asked for; what is stored costs nothing."""
        fill(upstream, "a", "b")

        with pytest.raises(MaxCreditsExceeded):
            await system.start(preview=False, max_credits=1)
        before = upstream.image_calls
        bought = await system.finished(preview=False, max_credits=2)
        again = await system.finished(preview=False, max_credits=0)

        assert (before, bought.state, again.id, upstream.image_calls) == (0, State.COMPLETE, bought.id, 2)

    async def test_what_is_fetched_anew_is_bought_anew(self, system: ArchiveSystem, upstream: FakeUpstream) -> None:
        """Though it is stored."""
        fill(upstream, "a")
        await system.finished(preview=False)

        with pytest.raises(MaxCreditsExceeded):
            await system.start(preview=False, max_credits=0, refresh=True)

        assert upstream.image_calls == 1


class TestSince:
    async def test_only_an_archive_of_the_same_order_says_what_is_held(
        self, system: ArchiveSystem, upstream: FakeUpstream
    ) -> None:
        """Another order's may have the same images."""
        fill(upstream, "a")
        upstream.orders[OTHER_ORDER] = order(["a"], order_id=OTHER_ORDER)
        other = await system.finished(OTHER_ORDER)

        with pytest.raises(InvalidParameter, match="since"):
            await system.start(since=other.id)

    async def test_of_one_that_is_being_built_it_is_not_known_yet(
        self, system: ArchiveSystem, upstream: FakeUpstream
    ) -> None:
        """Come back when it is there."""
        fill(upstream, "a")
        gate = upstream.hold("a")
        archive, _ = await system.start()

        with archive.readers.reading(to_the_end=True):
            with pytest.raises(StillBuilding):
                await system.start(since=archive.id)
            gate.set()
            await system.read_to_the_end(archive)


class TestById:
    async def test_an_unknown_id_is_not_found(self, system: ArchiveSystem) -> None:
        """Nor was it ever here."""
        with pytest.raises(ArchiveNotFound):
            await system.archives.by_id("0" * 32)

    async def test_after_a_restart_it_is_the_same_bytes(self, upstream: FakeUpstream, tmp_path: Path) -> None:
        """With its report, when it is partial; and nothing is fetched."""
        fill(upstream, "a", "b")
        upstream.images["b"] = 404
        async with open_archives(upstream, tmp_path / "data") as system:
            archive = await system.finished()
            before = await system.bytes_of(archive)
        upstream.received.clear()

        async with open_archives(upstream, tmp_path / "data") as system:
            again = await system.archives.by_id(archive.id)
            after = await system.bytes_of(again)

        assert (again.state, again.results, after) == (State.PARTIAL, archive.results, before)
        assert upstream.received == []

    async def test_one_that_a_restart_interrupted_goes_on(self, upstream: FakeUpstream, tmp_path: Path) -> None:
        """Its first bytes are what they were, and what was stored is not fetched again."""
        fill(upstream, "a", "b")
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
        fill(upstream, "a", "b")
        renditions = ["web", "flyer,quality=3"]
        async with open_archives(upstream, tmp_path / "data", concurrency=1, window=1) as system:
            archive, _ = await system.start(rendition=renditions)
            with archive.readers.reading():
                await archive.wait_until(lambda: len(archive.members) == 1)
            await system.archives.close()

        async with open_archives(upstream, tmp_path / "data") as system:
            again = await system.archives.by_id(archive.id)
            await system.read_to_the_end(again)

        assert (again.id, again.state, again.downloaded) == (archive.id, State.COMPLETE, 4)
        assert [result.name for result in again.results] == ["flyer/a.jpg", "flyer/b.jpg", "web/a.jpg", "web/b.jpg"]
        assert [upstream.calls(image_id) for image_id in "ab"] == [2, 2]

    async def test_an_equal_request_resumes_it_too(self, upstream: FakeUpstream, tmp_path: Path) -> None:
        """What was sent of it can be continued by its id."""
        fill(upstream, "a", "b")
        upstream.images["b"] = jpeg(5)
        async with open_archives(upstream, tmp_path / "data", concurrency=1, window=1) as system:
            archive, _ = await system.start()
            with archive.readers.reading():
                await archive.wait_until(lambda: len(archive.members) == 1)
            await system.archives.close()

        async with open_archives(upstream, tmp_path / "data") as system:
            again, result = await system.start()
            await system.read_to_the_end(again)

        assert (again.id, result) == (archive.id, CacheResult.HIT)
        assert [upstream.calls(image_id) for image_id in "ab"] == [1, 1]

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

    async def test_a_clock_that_was_put_back_makes_nobody_wait_longer(
        self, upstream: FakeUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Given a build that waits, and an hour that comes twice: its time is what was asked for at most."""
        upstream.orders[ORDER] = order([photo("a"), photo("b", status="processing")])
        upstream.images["a"] = jpeg()
        async with open_archives(upstream, tmp_path / "data") as system:
            archive, _ = await system.start(wait=True, wait_timeout=600)
            with archive.readers.reading(to_the_end=True):
                await archive.wait_until(lambda: len(archive.members) == 1)
                await system.archives.close()
        now = time.time
        monkeypatch.setattr(time, "time", lambda: now() - 3_600)

        async with open_archives(upstream, tmp_path / "data") as system:
            await system.archives.by_id(archive.id)
            left = system.registry.builds[archive.id].deadline - time.monotonic()

        assert left <= 600

    async def test_after_a_restart_its_readers_have_the_grace_to_come_back(
        self, upstream: FakeUpstream, tmp_path: Path
    ) -> None:
        """Given one that nobody used for an hour, since the service was down: it goes only when the grace is over."""
        fill(upstream, "a", "b")
        async with open_archives(upstream, tmp_path / "data", concurrency=1, window=1) as system:
            archive, _ = await system.start()
            with archive.readers.reading():
                await archive.wait_until(lambda: len(archive.members) == 1)
            await system.archives.close()

        async def state(system: ArchiveSystem) -> str:
            query = "SELECT state FROM archives"
            return str(await system.database.run(lambda connection: connection.execute(query).fetchone()[0]))

        async with open_archives(upstream, tmp_path / "data", grace=60) as system:
            await system.database.run(lambda connection: connection.execute("UPDATE archives SET used = used - 3600"))
            await system.archives._sweep()
            at_first = await state(system)
            system.archives._started -= 61
            await system.archives._sweep()

            assert (at_first, await state(system)) == ("building", "gone")

    async def test_a_look_at_it_begins_nothing(self, upstream: FakeUpstream, tmp_path: Path) -> None:
        """Neither its build, nor a download of what was lost."""
        fill(upstream, "a", "b")
        async with open_archives(upstream, tmp_path / "data", concurrency=1, window=1) as system:
            archive, _ = await system.start()
            with archive.readers.reading():
                await archive.wait_until(lambda: len(archive.members) == 1)
            await system.archives.close()

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
        fill(upstream, "a", "b")
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
        fill(upstream, "a", "b", "c")
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
        fill(upstream, "a", "b", "c")
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

    async def test_a_lost_report_is_written_again(self, system: ArchiveSystem, upstream: FakeUpstream) -> None:
        """From what is kept of the archive, to the same bytes; no image is asked for."""
        fill(upstream, "a", "b")
        upstream.images["b"] = 404
        archive = await system.finished()
        before, calls = await system.bytes_of(archive), upstream.image_calls
        (report,) = [member.blob.digest for member in archive.members if member.image_id is None]
        await system.images.delete(partial(_only, report))

        again = await system.archives.by_id(archive.id)

        assert (await system.bytes_of(again), upstream.image_calls) == (before, calls)

    async def test_with_other_bytes_it_is_gone(self, system: ArchiveSystem, upstream: FakeUpstream) -> None:
        """An id names one sequence of bytes for ever."""
        fill(upstream, "a")
        archive = await system.finished()
        await system.images.delete(lambda _: [archive.members[0].blob.digest])
        upstream.images["a"] = jpeg(99)

        for _ in range(2):
            with pytest.raises(ArchiveGone):
                await system.archives.by_id(archive.id)

    async def test_after_its_time_it_is_gone(self, upstream: FakeUpstream, tmp_path: Path) -> None:
        """Unless it is kept for longer."""
        fill(upstream, "a", "b")
        async with open_archives(upstream, tmp_path / "data", ttl=0) as system:
            archives = [await system.finished(image=(image_id,)) for image_id in "ab"]
            await system.archives.keep(archives[1].id, archives[1].created + 1_000)
            await system.archives._sweep()

            with pytest.raises(ArchiveGone):
                await system.archives.by_id(archives[0].id)
            assert (await system.archives.by_id(archives[1].id)).id == archives[1].id

    async def test_one_that_is_read_is_not_swept(self, upstream: FakeUpstream, tmp_path: Path) -> None:
        """Nobody is cut off in the middle because an hour is over."""
        fill(upstream, "a")
        async with open_archives(upstream, tmp_path / "data", ttl=0) as system:
            archive = await system.finished()
            with archive.readers.reading():
                await system.archives._sweep()
                record = await system.catalogue.load(archive.id)

        assert record is not None
        assert record.state == "complete"

    async def test_who_holds_a_part_finds_it_for_the_same_options_only(
        self, system: ArchiveSystem, upstream: FakeUpstream
    ) -> None:
        """Without asking Autoenhance."""
        fill(upstream, "a")
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


class TestBuild:
    async def test_new_downloads_start_only_while_somebody_wants_them(
        self, upstream: FakeUpstream, tmp_path: Path
    ) -> None:
        """Given a reader with a window of one byte: one image after the other, as he takes them."""
        fill(upstream, "a", "b", "c")
        async with open_archives(upstream, tmp_path / "data", window=1, concurrency=1) as system:
            archive, _ = await system.start()
            with archive.readers.reading() as reader:
                seen = []
                for count in (1, 2, 3):
                    await archive.wait_until(lambda: len(archive.members) == count)  # noqa: B023
                    await yield_to_loop(50)
                    seen.append(upstream.image_calls)
                    reader.advance(archive.length)
                await archive.wait_until(lambda: False)

        assert seen == [1, 2, 3]

    async def test_what_is_in_flight_when_the_last_reader_leaves_is_kept(
        self, upstream: FakeUpstream, tmp_path: Path
    ) -> None:
        """It may have been paid for; the archive is dropped, the next request finds the image."""
        fill(upstream, "a", "b")
        gate = upstream.hold("a")
        async with open_archives(upstream, tmp_path / "data", concurrency=1, grace=0) as system:
            archive, _ = await system.start()
            with archive.readers.reading():
                await upstream.until(lambda: upstream.calls("a") == 1)
            gate.set()
            await system.build_is_over(archive)
            fetched = [upstream.calls(image_id) for image_id in "ab"]
            again = await system.finished()

        assert isinstance(archive.failure, ArchiveGone)
        assert (fetched, again.state) == ([1, 0], State.COMPLETE)
        assert [upstream.calls(image_id) for image_id in "ab"] == [1, 1]

    async def test_an_image_that_cannot_be_stored_makes_room_for_the_next(
        self, upstream: FakeUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Given a window that one image fills: the next is fetched when that one fails, though no reader moved."""
        fill(upstream, "a", "b")
        storing, fail = asyncio.Event(), asyncio.Event()
        async with open_archives(upstream, tmp_path / "data", concurrency=1, window=1) as system:
            publish = system.images.publish

            async def refuse(*arguments: Any, **options: Any) -> Blob:
                if storing.is_set():
                    return await publish(*arguments, **options)
                storing.set()
                await fail.wait()
                raise OSError("no such device")

            monkeypatch.setattr(system.images, "publish", refuse)
            archive, _ = await system.start()
            with archive.readers.reading():
                await storing.wait()
                await yield_to_loop(50)
                before = upstream.image_calls
                fail.set()
                async with asyncio.timeout(TIMEOUT):
                    await archive.wait_until(lambda: bool(archive.members))

        assert (before, [member.image_id for member in archive.members]) == (1, ["b"])

    async def test_one_that_fails_is_not_joined_while_it_is_taken_off_the_disk(
        self, system: ArchiveSystem, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Who asks then has an archive of their own."""
        fill(upstream, "a")
        upstream.images["a"] = 404
        forgetting, forget = asyncio.Event(), asyncio.Event()

        async def forget_slowly(_: str) -> None:
            forgetting.set()
            await forget.wait()

        monkeypatch.setattr(system.catalogue, "forget", forget_slowly)
        failed, _ = await system.start()
        with failed.readers.reading(to_the_end=True):
            await forgetting.wait()
            again, result = await system.start()
            forget.set()

        assert (again.id != failed.id, result) == (True, CacheResult.MISS)

    async def test_a_failed_image_is_reported_and_the_rest_delivered(
        self, system: ArchiveSystem, upstream: FakeUpstream
    ) -> None:
        """In the plan's sequence, with reasons, and a report in the ZIP."""
        upstream.orders[ORDER] = order(
            ["a", photo("b", status="error"), photo("c", status="waiting"), "d", {"image_name": "lost.jpg"}]
        )
        upstream.images |= {"a": jpeg(), "d": 404}

        archive = await system.finished()

        assert [(result.image_id, result.code) for result in archive.results] == [
            ("a", None),
            ("b", Reason.ENHANCEMENT_FAILED),
            ("c", Reason.NOT_UPLOADED),
            ("d", Reason.IMAGE_NOT_FOUND),
            ("unidentified-5", Reason.ENHANCEMENT_FAILED),
        ]
        assert names(await system.bytes_of(archive)) == ["a.jpg", "_download_report.txt"]
        assert (archive.downloaded, archive.total) == (1, 5)

    async def test_a_cut_image_is_delivered_and_named(self, system: ArchiveSystem, upstream: FakeUpstream) -> None:
        """The archive is partial; asked again, nothing is fetched again for it."""
        fill(upstream, "a", "b")
        upstream.images["a"] = jpeg()[:-2]

        archive = await system.finished()
        calls = upstream.calls("a")
        again = await system.finished()

        assert (archive.state, archive.downloaded) == (State.PARTIAL, 1)
        assert [(result.image_id, result.code) for result in archive.failures] == [("a", Reason.INCOMPLETE)]
        assert sorted(names(await system.bytes_of(again))) == ["_download_report.txt", "a.jpg", "b.jpg"]
        assert (calls, upstream.calls("a")) == (2, 2)

    async def test_a_bad_redirect_of_one_image_does_not_end_the_others(
        self, system: ArchiveSystem, upstream: FakeUpstream
    ) -> None:
        """Whatever it is that cannot be done with it."""
        fill(upstream, "a", "b")
        upstream.images["b"] = Reply(status=302, headers={"Location": f"http://{'x' * 70}.example/b"})

        archive = await system.finished()

        assert archive.state is State.PARTIAL
        assert [(result.image_id, result.code is None) for result in archive.results] == [("a", True), ("b", False)]

    async def test_an_error_in_one_download_does_not_end_the_others(
        self, system: ArchiveSystem, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Not one of those that are expected."""
        fill(upstream, "a", "b")
        publish = system.images.publish

        async def broken(body: Body, content: Content, extension: str, image: Any = None, **more: Any) -> Blob:
            if image is not None and image.image_id == "b":
                raise LookupError
            return await publish(body, content, extension, image, **more)

        monkeypatch.setattr(system.images, "publish", broken)

        archive = await system.finished()

        assert [result.code for result in archive.results] == [None, Reason.INTERNAL_ERROR]

    async def test_a_download_that_is_cancelled_makes_no_whole_archive(
        self, system: ArchiveSystem, upstream: FakeUpstream
    ) -> None:
        """It fails instead."""
        fill(upstream, "a", "b")
        upstream.hold("b")
        archive, _ = await system.start()
        with archive.readers.reading(to_the_end=True):
            await archive.wait_until(lambda: len(archive.members) == 1)
            for flight in list(system.archives._context.fetcher._flights._flights.values()):
                flight.task.cancel()
            with pytest.raises(Draining):
                await archive.wait_until(lambda: False)

    async def test_an_error_on_the_way_out_keeps_no_reader_waiting(
        self, system: ArchiveSystem, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Given a failed build whose record cannot be removed."""
        fill(upstream, "a")
        upstream.images["a"] = 404
        monkeypatch.setattr(system.catalogue, "forget", AsyncMock(side_effect=LookupError))
        archive, _ = await system.start()

        async with asyncio.timeout(TIMEOUT):
            with archive.readers.reading(to_the_end=True), pytest.raises(NoImages):
                await archive.wait_until(lambda: False)
        assert isinstance(
            next(iter(await asyncio.gather(*system.archives._tasks, return_exceptions=True))), LookupError
        )

    async def test_nothing_usable_is_a_problem(self, system: ArchiveSystem, upstream: FakeUpstream) -> None:
        """With each failure; nothing of the archive stays."""
        fill(upstream, "a", "b")
        upstream.images |= {"a": 404, "b": 500}
        archive, _ = await system.start()

        with pytest.raises(NoImages) as raised:
            await system.read_to_the_end(archive)

        assert [failure["code"] for failure in raised.value.extra["failures"]] == ["image_not_found", "upstream_error"]
        await system.build_is_over(archive)
        assert await system.catalogue.load(archive.id) is None

    async def test_while_calls_are_paused_that_is_the_problem(
        self, system: ArchiveSystem, upstream: FakeUpstream
    ) -> None:
        """When it is the only one."""
        fill(upstream, "a")
        system.parts.breakers[Circuit.ASSETS].advise(60)
        archive, _ = await system.start()

        with pytest.raises(BreakerOpen):
            await system.read_to_the_end(archive)

    async def test_without_room_it_says_so(self, upstream: FakeUpstream, tmp_path: Path) -> None:
        """And what is stored is still served."""
        fill(upstream, "a", "b", "c", "d", "e")
        async with open_archives(upstream, tmp_path / "data", limit=8_500, concurrency=1) as system:
            held = await system.finished(image=("a",))
            with held.readers.reading():
                archive, _ = await system.start()
                with pytest.raises(StoreFull):
                    await system.read_to_the_end(archive)
                assert await system.bytes_of(held)

    async def test_an_unknown_state_is_tried_by_those_in_a_hurry(
        self, system: ArchiveSystem, upstream: FakeUpstream
    ) -> None:
        """A word of tomorrow may mean that it is finished."""
        upstream.orders[ORDER] = order([photo("a", status="a word of tomorrow")])
        upstream.images["a"] = jpeg()

        assert (await system.finished()).state is State.COMPLETE

    @pytest.mark.parametrize("status", ["a word of tomorrow", "expired"])
    @pytest.mark.parametrize("how", [{}, {"wait": True, "wait_timeout": 0}])
    async def test_what_is_stored_is_found_whatever_became_of_it_upstream(
        self, upstream: FakeUpstream, tmp_path: Path, status: str, how: dict[str, Any]
    ) -> None:
        """Also after a restart: nothing is bought again, or missing, for a word that came after it was stored."""
        fill(upstream, "a", "b")
        async with open_archives(upstream, tmp_path / "data") as system:
            await system.finished(preview=False)
        upstream.orders[ORDER] = order([photo("a", status=status), "b"])
        async with open_archives(upstream, tmp_path / "data") as system:
            archive = await system.finished(preview=False, image=("a",), **how)

        assert archive.state is State.COMPLETE
        assert upstream.image_calls == 2

    async def test_an_unknown_state_is_waited_for_by_those_who_wait(
        self, system: ArchiveSystem, upstream: FakeUpstream
    ) -> None:
        """Until it is one that is known; not fetched before."""
        unknown = order([photo("a", status="a word of tomorrow"), "b"])
        upstream.orders[ORDER] = [unknown, unknown, order(["a", "b"])]
        upstream.images |= {"a": jpeg(1), "b": jpeg(2)}
        archive, _ = await system.start(wait=True, wait_timeout=TIMEOUT)
        with archive.readers.reading(to_the_end=True):
            await archive.wait_until(lambda: len(archive.members) == 1)
            before = upstream.calls("a")
            for _ in range(2):
                calls = upstream.calls(ORDER)
                system.orders.notify(ORDER)
                await upstream.until(lambda: upstream.calls(ORDER) > calls)  # noqa: B023
            await archive.wait_until(lambda: False)

        assert (before, archive.state) == (0, State.COMPLETE)

    async def test_at_the_deadline_an_unknown_state_is_tried_too(
        self, system: ArchiveSystem, upstream: FakeUpstream
    ) -> None:
        """It would be reported as failed without having been asked for."""
        upstream.orders[ORDER] = order([photo("a", status="a word of tomorrow"), photo("b", status="processing")])
        upstream.images["a"] = jpeg()

        archive = await system.finished(wait=True, wait_timeout=0)

        assert [(result.image_id, result.code) for result in archive.results] == [("a", None), ("b", Reason.NOT_READY)]

    @pytest.mark.parametrize("asked", ["numbered", "several orders"])
    async def test_a_photo_listed_meanwhile_changes_no_name(
        self, system: ArchiveSystem, upstream: FakeUpstream, asked: str
    ) -> None:
        """Given one that comes in front of the others while they are waited for: no two files have one name."""
        first, second = photo("a", "IMG.jpg"), photo("b", "IMG.jpg")
        upstream.orders[ORDER] = order([first | {"status": "processing"}, second])
        upstream.orders[OTHER_ORDER] = order(["c"], order_id=OTHER_ORDER)
        upstream.images |= {"a": jpeg(1), "b": jpeg(2), "c": jpeg(3)}
        orders: Any = ORDER if asked == "numbered" else (ORDER, OTHER_ORDER)
        names = {"names": "{seq}"} if asked == "numbered" else {}
        archive, _ = await system.start(orders, wait=True, wait_timeout=TIMEOUT, **names)
        with archive.readers.reading(to_the_end=True):
            await archive.wait_until(lambda: any(member.image_id == "b" for member in archive.members))
            upstream.orders[ORDER] = order([photo("0", "IMG.jpg", date_added=1), first, second])
            system.orders.notify(ORDER)
            await archive.wait_until(lambda: False)

        found = {member.image_id: member.name.rpartition("/")[2] for member in archive.members}
        assert found.pop("c", None) in {None, "c.jpg"}
        assert found == ({"a": "01.jpg", "b": "02.jpg"} if asked == "numbered" else {"a": "IMG.jpg", "b": "IMG_1.jpg"})

    async def test_what_was_finished_while_another_order_was_awaited_is_not_missing(
        self, system: ArchiveSystem, upstream: FakeUpstream
    ) -> None:
        """Given an order without images until the deadline, and one whose images became ready meanwhile."""
        upstream.orders[ORDER] = order([], is_merging=True, status="processing")
        other = [photo("b", status="processing")]
        upstream.orders[OTHER_ORDER] = [order(other, order_id=OTHER_ORDER), order(["b"], order_id=OTHER_ORDER)]
        upstream.images["b"] = jpeg()

        archive = await system.finished((ORDER, OTHER_ORDER), wait=True, wait_timeout=0.1)

        assert [(result.image_id, result.code) for result in archive.results] == [("b", None)]

    async def test_images_are_fetched_as_they_become_ready(self, system: ArchiveSystem, upstream: FakeUpstream) -> None:
        """Each when a look shows it; what was made meanwhile is what the archive's key stands for."""
        processing = {image_id: photo(image_id, status="processing") for image_id in "ab"}
        upstream.orders[ORDER] = [
            order(processing.values()), order(["a", processing["b"]]), order(["a", "b"]),
        ]  # fmt: skip
        upstream.images |= {"a": jpeg(1), "b": jpeg(2)}
        archive, _ = await system.start(wait=True, wait_timeout=TIMEOUT)
        with archive.readers.reading(to_the_end=True):
            await yield_to_loop(50)
            system.orders.notify(ORDER)
            await archive.wait_until(lambda: len(archive.members) == 1)
            first = archive.members[0].image_id
            system.orders.notify(ORDER)
            await archive.wait_until(lambda: False)
        again, result = await system.start()

        assert (first, archive.state) == ("a", State.COMPLETE)
        assert (again, result) == (archive, CacheResult.HIT)

    async def test_what_was_made_anew_while_it_was_awaited_is_found_as_it_is_now(
        self, system: ArchiveSystem, upstream: FakeUpstream
    ) -> None:
        """Given a photo whose state nobody can tell at first: its archive is that of the new photo."""
        fill(upstream, "a")
        await system.finished(format="png")
        upstream.orders[ORDER] = order([photo("a", status="dreaming")])
        archive, _ = await system.start(wait=True, wait_timeout=TIMEOUT)
        with archive.readers.reading(to_the_end=True):
            await yield_to_loop(50)
            upstream.orders[ORDER] = order([photo("a", version="2")])
            system.orders.notify(ORDER)
            await archive.wait_until(lambda: False)

        again, result = await system.start()

        assert (again, result) == (archive, CacheResult.HIT)

    async def test_an_order_that_is_gone_ends_the_wait(self, system: ArchiveSystem, upstream: FakeUpstream) -> None:
        """Unknown twice in a row: with nothing in, that is the problem."""
        upstream.orders[ORDER] = [order([photo("a", status="processing")]), 404]
        archive, _ = await system.start(wait=True, wait_timeout=10 * TIMEOUT)
        with archive.readers.reading(to_the_end=True), pytest.raises(OrderNotFound):
            await _notify_until_settled(system, upstream, archive)

        assert upstream.calls(ORDER) == 3

    async def test_an_image_that_is_gone_from_its_order_is_not_waited_for(
        self, system: ArchiveSystem, upstream: FakeUpstream
    ) -> None:
        """It is reported, and the rest delivered."""
        upstream.orders[ORDER] = [order(["a", photo("b", status="processing")]), order(["a"])]
        upstream.images["a"] = jpeg()
        archive, _ = await system.start(wait=True, wait_timeout=10 * TIMEOUT)
        with archive.readers.reading(to_the_end=True):
            await _notify_until_settled(system, upstream, archive)

        assert [(result.image_id, result.code) for result in archive.results] == [
            ("a", None),
            ("b", Reason.IMAGE_NOT_FOUND),
        ]

    async def test_while_nobody_reads_nobody_looks(self, upstream: FakeUpstream, tmp_path: Path) -> None:
        """And the build is dropped after the grace."""
        upstream.orders[ORDER] = order([photo("a", status="processing")])
        async with open_archives(upstream, tmp_path / "data", grace=0) as system:
            archive, _ = await system.start(wait=True, wait_timeout=TIMEOUT)
            await system.build_is_over(archive)

        assert isinstance(archive.failure, ArchiveGone)
        assert upstream.calls(ORDER) == 1

    async def test_an_image_that_was_evicted_before_it_was_appended_is_no_member(
        self, system: ArchiveSystem, upstream: FakeUpstream
    ) -> None:
        """The archive fails for want of room: it would name bytes that nobody has."""
        fill(upstream, "a")
        really_append = system.catalogue.append

        async def evict_first(archive: Archive, members: list) -> bool:  # type: ignore[type-arg]
            await system.images.delete(lambda _: [members[0][0].blob.digest])
            return await really_append(archive, members)

        system.catalogue.append = evict_first  # type: ignore[method-assign,assignment]
        archive, _ = await system.start()

        with pytest.raises(StoreFull):
            await system.read_to_the_end(archive)

    async def test_downloads_take_turns_by_caller(self, upstream: FakeUpstream, tmp_path: Path) -> None:
        """Given one slot and a large build, another caller's single image is next but one."""
        many = [f"i{number}" for number in range(8)]
        fill(upstream, *many)
        upstream.orders[OTHER_ORDER] = order(["single"], order_id=OTHER_ORDER)
        upstream.images["single"] = jpeg(99)
        gate = upstream.hold("i0")
        async with open_archives(upstream, tmp_path / "data", concurrency=1) as system:
            large, _ = await system.start(caller="many")
            with large.readers.reading(to_the_end=True):
                await upstream.until(lambda: upstream.calls("i0") == 1)
                small, _ = await system.start(OTHER_ORDER, caller="one")
                reading = asyncio.create_task(system.read_to_the_end(small))
                await yield_to_loop(100)
                gate.set()
                await upstream.until(lambda: upstream.calls("single") == 1)
                fetched_before = sum(upstream.calls(image_id) for image_id in many)
                await reading
                await large.wait_until(lambda: False)

        assert fetched_before <= 3


async def _notify_until_settled(system: ArchiveSystem, upstream: FakeUpstream, archive: Archive) -> None:
    """As webhooks would: one after each look."""
    settled = asyncio.create_task(archive.wait_until(lambda: False))
    async with asyncio.timeout(TIMEOUT):
        while not settled.done():
            system.orders.notify(ORDER)
            await asyncio.wait([settled], timeout=0.02)
    await settled


async def test_a_running_build_needs_the_images_it_is_about_to_have(
    system: ArchiveSystem, upstream: FakeUpstream
) -> None:
    """Also those that were made anew since it was planned; nothing once it is over."""
    fill(upstream, "a", "b")
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
