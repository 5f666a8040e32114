"""A build: what it counts, in which sequence others hear of what it does, and how it ends."""

import asyncio
import io
import sqlite3
import threading
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import pytest

from service.archives import build, repair
from service.archives.archive import Archive, ImageResult, State
from service.archives.layout import Member
from service.archives.plan import Plan
from service.archives.report import texts_of
from service.archives.shared_archives import TakenOver
from service.disk import OutOfSpace
from service.images.blobs import Blob, Content
from service.images.body import Body
from service.images.requests import FetchContext, Fetched, ImageRequest
from service.problems import ArchiveGone, BreakerOpen, Draining, NoImages, OrderNotFound, StoreFull
from service.reasons import Reason
from service.telemetry.metrics import ArchiveOutcome, CacheResult, Circuit
from tests.support.archives import ArchiveSystem, open_archives
from tests.support.orders import fill_with
from tests.support.samples import ORDER, OTHER_ORDER, jpeg, order, photo
from tests.support.transport import TIMEOUT, yield_to_loop
from tests.support.upstream import FakeUpstream, Reply


def names(data: bytes) -> list[str]:
    return zipfile.ZipFile(io.BytesIO(data)).namelist()


def counted(system: ArchiveSystem, series: str, label: str) -> dict[str, float]:
    """What a counter shows, without zeros, by the value of its label."""
    found = system.parts.metrics.registry.restricted_registry([series]).collect()
    samples = [one for family in found for one in family.samples if one.name == series and one.value]
    return {one.labels[label]: one.value for one in samples}


async def test_each_image_is_counted_once_by_how_it_turned_out(system: ArchiveSystem, upstream: FakeUpstream) -> None:
    """One that was here, one that came, one that came without its end, and one that is not to be had."""
    fill_with(upstream, "a", "b", "c", "d")
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
    fill_with(upstream, "a", "b")
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
    fill_with(upstream, "a")
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
    fill_with(upstream, "a", "b")
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
    fill_with(upstream, "a")
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
    fill_with(upstream, "a", "b")
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


@pytest.mark.parametrize(("many", "thread"), [(2, "MainThread"), (1, "computing_0")])
async def test_a_report_on_many_images_is_written_beside_the_loop(
    system: ArchiveSystem, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch, many: int, thread: str
) -> None:
    """Readers of other archives get their bytes meanwhile; a lost one is written again in the same way."""
    fill_with(upstream, "a", "b")
    upstream.images["b"] = 404
    threads = []

    def watched(plan: Plan, results: Sequence[ImageResult]) -> dict[str, bytes]:
        threads.append(threading.current_thread().name)
        return texts_of(plan, results)

    for module in (build, repair):
        monkeypatch.setattr(module, "texts_of", watched)
        monkeypatch.setattr(module, "MANY_IMAGES", many)
    archive = await system.finished()
    (report,) = [member.blob.digest for member in archive.members if member.image_id is None]
    await system.images.delete(lambda _: [report])
    await system.archives.by_id(archive.id)

    assert threads == 2 * [thread]


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
    fill_with(upstream, "a")
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


class TestOriginals:
    @pytest.mark.parametrize(("answer", "again"), [(503, CacheResult.MISS), (404, CacheResult.HIT)])
    async def test_one_that_may_come_yet_is_asked_for_again(
        self, system: ArchiveSystem, upstream: FakeUpstream, answer: int, again: CacheResult
    ) -> None:
        """The archive is complete without it; one that is not there is not there the next time either."""
        fill_with(upstream, "a")
        upstream.originals["a"] = answer

        archive = await system.finished(include=("original",))
        _, result = await system.start(include=("original",))

        assert (archive.state, [failure.is_original for failure in archive.failures]) == (State.COMPLETE, [True])
        assert result is again

    async def test_one_that_may_come_yet_is_asked_for_again_beside_one_that_never_will(
        self, system: ArchiveSystem, upstream: FakeUpstream
    ) -> None:
        """Given two that are missing, of which one is not there: the other one is had by the next request."""
        fill_with(upstream, "a", "b")
        upstream.originals |= {"a": 404, "b": 503}
        first = await system.finished(include=("original",))

        upstream.originals["b"] = jpeg(7)
        second = await system.finished(include=("original",))

        assert [failure.image_id for failure in first.failures] == ["a", "b"]
        assert [failure.image_id for failure in second.failures] == ["a"]


class TestBuild:
    async def test_new_downloads_start_only_while_somebody_wants_them(
        self, upstream: FakeUpstream, tmp_path: Path
    ) -> None:
        """Given a reader with a window of one byte: one image after the other, as he takes them."""
        fill_with(upstream, "a", "b", "c")
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
        fill_with(upstream, "a", "b")
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
        fill_with(upstream, "a", "b")
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

    async def test_what_is_being_recorded_counts_as_built(self, upstream: FakeUpstream, tmp_path: Path) -> None:
        """Given a window that one image fills: no other is wanted before a reader has taken it."""
        fill_with(upstream, "a")
        async with open_archives(upstream, tmp_path / "data", window=1) as system:
            recording, go_on = asyncio.Event(), asyncio.Event()
            append = system.catalogue.append

            async def append_slowly(archive: Archive, members: Sequence[tuple[Member, int]]) -> bool:
                recording.set()
                await go_on.wait()
                return await append(archive, members)

            system.catalogue.append = append_slowly  # type: ignore[method-assign]
            archive, _ = await system.start()
            with archive.readers.reading():
                await recording.wait()
                wanted = system.registry.builds[archive.id]._fetches.is_wanted()
                go_on.set()
                await archive.wait_until(lambda: False)

        assert not wanted

    async def test_while_images_are_stored_as_many_others_are_downloaded_and_no_more(
        self, upstream: FakeUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Given one download at once."""
        fill_with(upstream, "a", "b", "c")
        go_on = asyncio.Event()
        async with open_archives(upstream, tmp_path / "data", concurrency=1) as system:
            publish = system.images.publish

            async def publish_slowly(*arguments: Any, **options: Any) -> Blob:
                await go_on.wait()
                return await publish(*arguments, **options)

            monkeypatch.setattr(system.images, "publish", publish_slowly)
            archive, _ = await system.start()
            with archive.readers.reading(to_the_end=True):
                await upstream.until(lambda: upstream.image_calls == 2)
                await yield_to_loop(100)
                calls = upstream.image_calls
                go_on.set()
                await archive.wait_until(lambda: False)

        assert calls == 2

    async def test_what_another_instance_took_over_and_left_goes_on_from_what_is_there(
        self, upstream: FakeUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Given one image that had failed before, and a window with room for both."""
        fill_with(upstream, "b", "a")
        upstream.images["b"] = [404, jpeg()]
        async with open_archives(upstream, tmp_path / "data", concurrency=1, window=2 * len(jpeg())) as system:
            monkeypatch.setattr(system.catalogue, "continue_here", continuing := AsyncMock(return_value=True))
            append, taken_over = system.catalogue.append, [TakenOver()]

            async def append_later(archive: Archive, members: Sequence[tuple[Member, int]]) -> bool:
                if taken_over:
                    raise taken_over.pop()
                return await append(archive, members)

            monkeypatch.setattr(system.catalogue, "append", append_later)
            archive, _ = await system.start()
            async with asyncio.timeout(TIMEOUT):
                with archive.readers.reading():
                    await archive.wait_until(lambda: False)

        continuing.assert_awaited_once()
        assert archive.state is State.COMPLETE
        assert [result.code for result in archive.arrived] == [None, None]

    async def test_one_that_fails_is_not_joined_while_it_is_taken_off_the_disk(
        self, system: ArchiveSystem, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Who asks then has an archive of their own."""
        fill_with(upstream, "a")
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
        fill_with(upstream, "a", "b")
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
        fill_with(upstream, "a", "b")
        upstream.images["b"] = Reply(status=302, headers={"Location": f"http://{'x' * 70}.example/b"})

        archive = await system.finished()

        assert archive.state is State.PARTIAL
        assert [(result.image_id, result.code is None) for result in archive.results] == [("a", True), ("b", False)]

    async def test_an_error_in_one_download_does_not_end_the_others(
        self, system: ArchiveSystem, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Not one of those that are expected."""
        fill_with(upstream, "a", "b")
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
        fill_with(upstream, "a", "b")
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
        fill_with(upstream, "a")
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
        fill_with(upstream, "a", "b")
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
        fill_with(upstream, "a")
        system.parts.breakers[Circuit.ASSETS].advise(60)
        archive, _ = await system.start()

        with pytest.raises(BreakerOpen):
            await system.read_to_the_end(archive)

    async def test_without_room_it_says_so(self, upstream: FakeUpstream, tmp_path: Path) -> None:
        """And what is stored is still served."""
        fill_with(upstream, "a", "b", "c", "d", "e")
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
        fill_with(upstream, "a", "b")
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
        fill_with(upstream, "a")
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

    @pytest.mark.parametrize(
        ("now", "options"),
        [
            (order([photo("a", "renamed.jpg")]), {}),
            (order(["a", "b"]), {}),
            (order(["a"], name="Another name"), {"names": "{order}"}),
            (order(["a"], total_images=2), {}),
        ],
        ids=["renamed", "one more", "another order's name", "one that is not listed"],
    )
    async def test_an_order_that_changed_meanwhile_has_another_archive(
        self,
        system: ArchiveSystem,
        upstream: FakeUpstream,
        monkeypatch: pytest.MonkeyPatch,
        now: Any,
        options: dict[str, Any],
    ) -> None:
        """Given a photo that is waited for: its archive is not given to who asks for the order as it is now."""
        monkeypatch.setattr("service.orders.orders._SHORT_SECONDS", 0)
        upstream.orders[ORDER] = [order([photo("a", status="processing")]), now]
        upstream.images["a"] = jpeg()
        archive, _ = await system.start(wait=True, wait_timeout=10 * TIMEOUT, **options)
        with archive.readers.reading(to_the_end=True):
            await _notify_until_settled(system, upstream, archive)

        again, result = await system.start(**options)

        assert (archive.state, again.id != archive.id, result) == (State.COMPLETE, True, CacheResult.MISS)

    async def test_what_is_new_since_another_archive_is_found_again(
        self, system: ArchiveSystem, upstream: FakeUpstream
    ) -> None:
        """Given a numbered photo that was waited for: its archive is that of the same request later."""
        upstream.images |= {"a": jpeg(1), "b": jpeg(2)}
        upstream.orders[ORDER] = order(["a"])
        earlier = await system.finished()
        upstream.orders[ORDER] = order(["a", photo("b", status="processing")])
        archive, _ = await system.start(wait=True, wait_timeout=10 * TIMEOUT, since=earlier.id, names="{seq}")
        with archive.readers.reading(to_the_end=True):
            upstream.orders[ORDER] = order(["a", "b"])
            await _notify_until_settled(system, upstream, archive)

        again, result = await system.start(since=earlier.id, names="{seq}")

        assert [member.image_id for member in archive.members] == ["b"]
        assert (again, result) == (archive, CacheResult.HIT)

    async def test_one_order_that_is_gone_is_not_why_the_other_has_nothing(
        self, system: ArchiveSystem, upstream: FakeUpstream
    ) -> None:
        """The problem tells of each image."""
        upstream.orders[ORDER] = [order([photo("a", status="processing")]), 404]
        upstream.orders[OTHER_ORDER] = order(["b"], order_id=OTHER_ORDER)
        upstream.images["b"] = 500
        archive, _ = await system.start((ORDER, OTHER_ORDER), wait=True, wait_timeout=10 * TIMEOUT)

        with archive.readers.reading(to_the_end=True), pytest.raises(NoImages) as raised:
            await _notify_until_settled(system, upstream, archive)

        assert [failure["code"] for failure in raised.value.extra["failures"]] == ["image_not_found", "upstream_error"]

    async def test_images_are_told_as_they_come_and_reported_as_they_were_planned(
        self, system: ArchiveSystem, upstream: FakeUpstream
    ) -> None:
        """Who follows a build misses none, also once the report has its sequence."""
        fill_with(upstream, "a", "b")
        gate = upstream.hold("a")
        archive, _ = await system.start()
        with archive.readers.reading(to_the_end=True):
            await archive.wait_until(lambda: bool(archive.members))
            gate.set()
            await archive.wait_until(lambda: False)

        assert [result.image_id for result in archive.arrived] == ["b", "a"]
        assert [result.image_id for result in archive.results] == ["a", "b"]

    async def test_an_order_that_is_gone_ends_the_wait(self, system: ArchiveSystem, upstream: FakeUpstream) -> None:
        """Unknown twice in a row: with nothing in, that is the problem."""
        upstream.orders[ORDER] = [order([photo("a", status="processing")]), 404]
        archive, _ = await system.start(wait=True, wait_timeout=10 * TIMEOUT)
        with archive.readers.reading(to_the_end=True), pytest.raises(OrderNotFound):
            await _notify_until_settled(system, upstream, archive)

        assert upstream.calls(ORDER) == 3

    @pytest.mark.parametrize(
        ("then", "reason"),
        [
            (order(["a"]), Reason.IMAGE_NOT_FOUND),
            (404, Reason.IMAGE_NOT_FOUND),
            (order(["a", photo("b", status="error")]), Reason.ENHANCEMENT_FAILED),
            (order(["a", photo("b", status="expired")]), Reason.EXPIRED),
        ],
    )
    async def test_an_image_that_will_not_come_any_more_is_not_waited_for(
        self, system: ArchiveSystem, upstream: FakeUpstream, then: Any, reason: Reason
    ) -> None:
        """It is reported, and the rest delivered: one that its order no longer lists, also with the order, or that
        failed."""
        upstream.orders[ORDER] = [order(["a", photo("b", status="processing")]), then]
        upstream.images["a"] = jpeg()
        archive, _ = await system.start(wait=True, wait_timeout=10 * TIMEOUT)
        with archive.readers.reading(to_the_end=True):
            await _notify_until_settled(system, upstream, archive)

        assert [(result.image_id, result.code) for result in archive.results] == [("a", None), ("b", reason)]

    async def test_a_listing_that_lags_once_ends_no_wait(self, system: ArchiveSystem, upstream: FakeUpstream) -> None:
        """What it left out is listed, and ready, at the next look."""
        unfinished, short = order([photo(one, status="processing") for one in "ab"]), order(["a"])
        upstream.orders[ORDER] = [unfinished, short, 500, unfinished, short, order(["a", "b"])]
        upstream.images |= {"a": jpeg(), "b": jpeg(2)}
        archive, _ = await system.start(wait=True, wait_timeout=10 * TIMEOUT)
        with archive.readers.reading(to_the_end=True):
            await _notify_until_settled(system, upstream, archive)

        assert {result.image_id: result.code for result in archive.results} == {"a": None, "b": None}

    @pytest.mark.parametrize(
        ("options", "now", "results"),
        [
            ({"image": ("a", "b")}, ["b", "c"], {"a": Reason.IMAGE_NOT_FOUND, "b": None}),
            ({"image": ("a",)}, ["b", "c"], {"a": Reason.IMAGE_NOT_FOUND}),
            ({}, ["a", "b", "c", "d"], {"a": None, "b": None, "c": None}),
            ({"part": 1}, [photo("0", date_added=1), "a", "b", "c", "d"], {"a": None, "b": None, "c": None}),
        ],
        ids=["one chosen is gone", "all chosen are gone", "too large", "another part"],
    )
    async def test_an_order_that_could_not_be_asked_for_like_this_any_more_ends_no_wait(
        self,
        upstream: FakeUpstream,
        tmp_path: Path,
        options: dict[str, Any],
        now: Any,
        results: dict[str, Reason | None],
    ) -> None:
        """Given one that gained or lost images meanwhile: those that were planned come as they become ready."""
        upstream.orders[ORDER] = [order([photo(one, status="processing") for one in "abc"]), order(now)]
        upstream.images |= {one: jpeg(number) for number, one in enumerate("abc")}
        async with open_archives(upstream, tmp_path / "data", max_images=3) as system:
            archive, _ = await system.start(wait=True, wait_timeout=10 * TIMEOUT, **options)
            with archive.readers.reading(to_the_end=True), suppress(NoImages):
                await _notify_until_settled(system, upstream, archive)

        assert {result.image_id: result.code for result in archive.results} == results

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
        fill_with(upstream, "a")
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
        fill_with(upstream, *many)
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
