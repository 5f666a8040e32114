"""Fetching images into the store: one download per image, finished once it has begun."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from service.disk import OutOfSpace
from service.images import fetch as fetch_module
from service.images.blobs import Blob, BlobWriter
from service.images.body import ImageTooLarge
from service.images.fetch import ImageFetcher
from service.images.protocols import Lease
from service.images.requests import FetchContext, Fetched, ImageFailed, ImageRequest
from service.images.spending import LocalSpending, Reservation
from service.images.store import ImageStore
from service.reasons import Reason
from service.telemetry.metrics import Circuit
from service.upstream import download as download_module
from service.upstream.answers import UpstreamFailure
from service.upstream.concurrency import DownloadSlots, NotWanted
from service.upstream.models import Rendition
from service.upstream.retry import Retries
from tests.support.images import MIB, found, left_over, open_store, put, read
from tests.support.loopback import free_port
from tests.support.samples import jpeg
from tests.support.transport import TIMEOUT, Parts, failure, open_client, sample, yield_to_loop
from tests.support.upstream import FakeUpstream, Handler, Reply, Script


@dataclass
class Scene:
    """A fetcher with what it works with. Leaving ends all it has begun."""

    fetcher: ImageFetcher
    images: ImageStore
    slots: DownloadSlots
    parts: Parts
    spending: LocalSpending
    tasks: list[asyncio.Task[Any]] = field(default_factory=list)

    def fetch(
        self, image_id: str = "a", context: FetchContext | None = None, **rendition: Any
    ) -> asyncio.Task[Fetched]:
        """Begin to fetch an image of that id, for a build of its own unless told."""
        request = ImageRequest(f"{image_id}.0", image_id, Rendition(**rendition))
        return self.start(self.fetcher.fetch(request, context or FetchContext("build")))

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        self.tasks.append(task)
        return task

    def queued(self) -> list[int]:
        """How many wait for a slot: in the line, and behind it."""
        lines = (self.slots._line, self.slots._behind)
        return [
            len({slot for builds in line._callers.values() for queue in builds.values() for slot in queue.waiting})
            for line in lines
        ]

    def in_flight(self) -> float:
        return sample(self.parts.metrics.registry, "batch_downloads_in_flight")


@asynccontextmanager
async def scene_of(
    upstream: FakeUpstream,
    images: ImageStore,
    *,
    limit: int = 5,
    attempts: int = 3,
    seconds: float = TIMEOUT,
    failures: int = 1_000,
    credits_a_day: int | None = None,
) -> AsyncIterator[Scene]:
    """A fetcher with so many slots; the other arguments are those of `open_client`."""
    async with open_client(upstream.url, attempts=attempts, seconds=seconds, failures=failures) as parts:
        slots = DownloadSlots(limit, parts.metrics)
        spending = LocalSpending(images._database, credits_a_day)
        scene = Scene(
            ImageFetcher(parts.client, images, slots, parts.metrics, spending), images, slots, parts, spending
        )
        try:
            yield scene
        finally:
            for task in scene.tasks:
                task.cancel()
            await asyncio.gather(*scene.tasks, return_exceptions=True)
            await scene.fetcher.close()


@pytest.fixture
async def scene(upstream: FakeUpstream, images: ImageStore) -> AsyncIterator[Scene]:
    """With five slots, three attempts, and more time than is needed."""
    async with scene_of(upstream, images) as scene:
        yield scene


async def reason(task: asyncio.Task[Fetched]) -> tuple[Reason, int]:
    """Why an image could not be fetched, and the attempts it took."""
    with pytest.raises(ImageFailed) as raised:
        await task
    return raised.value.reason, raised.value.attempts


_really_append = BlobWriter.append


def append_slowly(writer: BlobWriter, chunks: list[bytes]) -> None:
    """As a busy disk does: longer than an image may take, which is here more than a busy machine needs for one."""
    time.sleep(1.2)
    _really_append(writer, chunks)


def trickle(pieces: list[bytes], between: Callable[[int], Coroutine[Any, Any, Any]]) -> Handler:
    """An answer of known length that comes by pieces; before each but the first, `between(number)` is awaited."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = sum(map(len, pieces))
        await response.prepare(request)
        for number, piece in enumerate(pieces):
            if number:
                await between(number)
            await response.write(piece)
        return response

    return answer


class TestOneImage:
    async def test_it_is_stored_and_found(self, scene: Scene, upstream: FakeUpstream) -> None:
        """With the attempts it took; what is measured is told."""
        upstream.images["a"] = [503, jpeg(size=3 * MIB)]

        fetched = await scene.fetch()

        assert (fetched.attempts, fetched.blob.extension) == (2, "jpg")
        assert await read(scene.images, fetched.blob) == jpeg(size=3 * MIB)
        assert await found(scene.images, "a.0") == {"a.0": fetched.blob}
        assert sample(scene.parts.metrics.registry, "batch_image_size_bytes_sum") == 3 * MIB
        assert scene.in_flight() == 0

    @pytest.mark.parametrize("is_stored", [True, False])
    async def test_bytes_that_are_being_stored_count_until_that_is_over(
        self, scene: Scene, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch, is_stored: bool
    ) -> None:
        """However it ends: a build must neither run ahead meanwhile, nor stand still for ever."""
        upstream.images["a"] = jpeg(size=5_000)
        context, during = FetchContext("build"), []
        publish = scene.images.publish

        async def watched(*arguments: Any, **options: Any) -> Any:
            during.append(context.storing)
            if not is_stored:
                raise OSError("no such device")
            return await publish(*arguments, **options)

        monkeypatch.setattr(scene.images, "publish", watched)
        await asyncio.wait([scene.fetch(context=context)])

        assert (during, context.storing) == ([5_000], 0)

    async def test_what_was_published_meanwhile_is_not_fetched_again(
        self, scene: Scene, upstream: FakeUpstream
    ) -> None:
        """Neither what came since the build looked, nor, for one that never looked, what was there before."""
        looked = FetchContext("build", looked_at={"a.0": time.monotonic()})
        blob = await put(scene.images, "a.0", jpeg())

        outcomes = [await scene.fetch(context=context) for context in (looked, FetchContext("other"))]

        assert outcomes == [Fetched(blob, 0)] * 2
        assert upstream.received == []

    @pytest.mark.parametrize(
        ("status", "expected"),
        [
            (404, (Reason.IMAGE_NOT_FOUND, 1)), (500, (Reason.UPSTREAM_ERROR, 3)), (402, (Reason.NO_CREDIT, 1)),
            (408, (Reason.TIMEOUT, 3)), (425, (Reason.NOT_READY, 3)),
        ],
    )  # fmt: skip
    async def test_a_failure_has_a_reason_and_leaves_nothing(
        self, scene: Scene, upstream: FakeUpstream, tmp_path: Path, status: int, expected: tuple[Reason, int]
    ) -> None:
        """No slot, no file, no entry."""
        upstream.images["a"] = status

        assert await reason(scene.fetch()) == expected
        assert (scene.in_flight(), left_over(tmp_path), await found(scene.images, "a.0")) == (0, [], {})

    async def test_while_calls_are_paused_nothing_is_asked(self, scene: Scene, upstream: FakeUpstream) -> None:
        """Whichever circuit is open: an image that cannot be delivered is not bought."""
        scene.parts.breakers[Circuit.ASSETS].advise(60)

        assert await reason(scene.fetch()) == (Reason.BREAKER_OPEN, 0)
        assert upstream.received == []

    async def test_one_that_is_too_large_fails_alone(
        self, upstream: FakeUpstream, tmp_path: Path, database: Any
    ) -> None:
        """By its announced length, and by what arrives without one."""
        upstream.images |= {"a": jpeg(size=2 * MIB), "b": Reply(body=jpeg(size=2 * MIB), chunked=True), "c": jpeg()}
        async with (
            open_store(tmp_path, database, max_image_bytes=MIB) as images,
            scene_of(upstream, images) as scene,
        ):
            outcomes = [await reason(scene.fetch(image_id)) for image_id in ("a", "b")]
            fetched = await scene.fetch("c")

        assert outcomes == [(Reason.TOO_LARGE, 1)] * 2
        assert fetched.attempts == 1

    async def test_without_room_it_is_said_so(self, upstream: FakeUpstream, tmp_path: Path, database: Any) -> None:
        """It is no failure of upstream."""
        upstream.images["a"] = jpeg(size=2_000)
        async with open_store(tmp_path, database, limit=8_000) as images, scene_of(upstream, images) as scene:
            for number in range(4):
                await put(images, f"k{number}.0", bytes([number]) * 1_900)

            with pytest.raises(OutOfSpace):
                await scene.fetch()
            assert not any(breaker.is_open for breaker in scene.parts.breakers.values())
            assert scene.in_flight() == 0


class TestCutImages:
    """Bodies that arrive whole and lack the end that their format has."""

    async def test_the_same_bytes_twice_are_what_upstream_has(self, scene: Scene, upstream: FakeUpstream) -> None:
        """Stored, and marked; the whole is asked for, not a rest."""
        cut = jpeg(size=5_000)[:-2]
        upstream.images["a"] = Reply(body=cut, etag='"v1"')

        fetched = await scene.fetch()

        assert (fetched.blob.is_incomplete, fetched.attempts) == (True, 2)
        assert await read(scene.images, fetched.blob) == cut
        assert all("Range" not in request.headers for request in upstream.requests("a"))

    async def test_a_second_body_with_an_end_is_the_image(self, scene: Scene, upstream: FakeUpstream) -> None:
        """Nothing is wrong with it."""
        upstream.images["a"] = [jpeg(size=3 * MIB)[:-2], jpeg(size=3 * MIB)]

        fetched = await scene.fetch()

        assert not fetched.blob.is_incomplete
        assert await read(scene.images, fetched.blob) == jpeg(size=3 * MIB)

    async def test_the_second_time_is_as_long_as_the_first(self, scene: Scene, upstream: FakeUpstream) -> None:
        """Given one whose bytes took all the time that an image has."""
        cut = jpeg(size=5_000)[:-2]

        async def take_all_the_time(_: web.Request) -> web.Response:
            download = scene.fetcher._under_way["a.0"].download
            assert download is not None
            download.deadline.extend(-TIMEOUT)
            return web.Response(body=cut)

        upstream.images["a"] = [take_all_the_time, cut]

        fetched = await scene.fetch()

        assert (fetched.blob.is_incomplete, fetched.attempts) == (True, 2)

    async def test_the_second_time_has_all_its_attempts(self, upstream: FakeUpstream, images: ImageStore) -> None:
        """Whatever the first one took of them."""
        cut = jpeg(size=5_000)[:-2]
        upstream.images["a"] = [503, cut, 503, cut]

        async with scene_of(upstream, images, attempts=2) as scene:
            fetched = await scene.fetch()

        assert (fetched.blob.is_incomplete, fetched.attempts) == (True, 4)

    @pytest.mark.parametrize("hops", [0, 1])
    async def test_two_different_ones_are_none(self, upstream: FakeUpstream, images: ImageStore, hops: int) -> None:
        """And speak against whoever sent them."""
        upstream.images["a"] = [jpeg(1)[:-2], jpeg(2)[:-2]]
        upstream.hops["a"] = hops
        async with scene_of(upstream, images, failures=1) as scene:
            outcome = await reason(scene.fetch())
            opened = {circuit for circuit, breaker in scene.parts.breakers.items() if breaker.is_open}

        assert outcome == (Reason.TRUNCATED, 2)
        assert opened == {Circuit.ASSETS if hops else Circuit.API}


class TestFlights:
    async def test_who_asks_for_the_same_joins(self, scene: Scene, upstream: FakeUpstream) -> None:
        """One download, one outcome for all, for any number of builds."""
        upstream.images["a"] = jpeg()
        gate = upstream.hold("a")
        fetches = [scene.fetch(context=FetchContext(f"build {number}")) for number in range(5)]
        await upstream.until(lambda: upstream.calls("a") == 1)
        fetches.append(scene.fetch(context=FetchContext("late")))
        await yield_to_loop()
        gate.set()

        outcomes = await asyncio.gather(*fetches)

        assert len(set(outcomes)) == 1
        assert upstream.calls("a") == 1

    async def test_who_joins_a_thumbnail_does_not_wait_behind_all_others(
        self, upstream: FakeUpstream, images: ImageStore
    ) -> None:
        """A build wants what a page had asked for only as a thumbnail: it takes its turn with the downloads."""
        upstream.images |= {image_id: jpeg(seed) for seed, image_id in enumerate("abcd")}
        gate = upstream.hold("a")
        build, page = FetchContext("build"), FetchContext("page", behind=True)
        async with scene_of(upstream, images, limit=1) as scene:
            fetches = [scene.fetch("a", build)]
            await upstream.until(lambda: upstream.calls("a") == 1)
            for image_id, context in (("b", page), ("c", page), ("c", build), ("d", build)):
                fetches.append(scene.fetch(image_id, context))
                await yield_to_loop()
            async with asyncio.timeout(TIMEOUT):
                while scene.queued() != [2, 1]:  # noqa: ASYNC110  # they look in the store first
                    await asyncio.sleep(0.01)
            gate.set()
            await asyncio.gather(*fetches)

        asked = [request.path.split("/")[-2] for request in upstream.received]
        assert (sorted(asked[:3]), asked[3:]) == (["a", "c", "d"], ["b"])

    async def test_who_joins_a_thumbnail_before_it_queues_does_not_wait_behind_either(
        self, upstream: FakeUpstream, images: ImageStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Given one that is still looked for in the store."""
        find, looking = images.find_published, asyncio.Event()

        async def find_slowly(key: str, since: float) -> Blob | None:
            await looking.wait()
            return await find(key, since)

        upstream.images |= {"held": jpeg(1), "a": jpeg(2)}
        upstream.hold("held")
        async with scene_of(upstream, images, limit=1) as scene:
            fetches = [scene.fetch("held")]
            await upstream.until(lambda: upstream.calls("held") == 1)
            monkeypatch.setattr(images, "find_published", find_slowly)
            for behind in (True, False):
                fetches.append(scene.fetch("a", FetchContext("build", behind=behind)))
                await yield_to_loop()
            looking.set()
            async with asyncio.timeout(TIMEOUT):
                while not any(scene.queued()):
                    await yield_to_loop()

            assert (scene.queued(), [fetch.done() for fetch in fetches]) == ([1, 0], [False] * 3)

    async def test_thumbnails_that_join_a_thumbnail_stay_behind(
        self, upstream: FakeUpstream, images: ImageStore
    ) -> None:
        """However many want it."""
        upstream.images |= {"held": jpeg(1), "a": jpeg(2)}
        upstream.hold("held")
        async with scene_of(upstream, images, limit=1) as scene:
            held = scene.fetch("held")
            await upstream.until(lambda: upstream.calls("held") == 1)
            thumbnails = [scene.fetch("a", FetchContext("build", behind=True)) for _ in range(2)]
            async with asyncio.timeout(TIMEOUT):
                while not any(scene.queued()):
                    await yield_to_loop()
            thumbnails.append(scene.fetch("a", FetchContext("build", behind=True)))
            await yield_to_loop()

            assert scene.queued() == [0, 1]
            assert not any(task.done() for task in (held, *thumbnails))

    async def test_of_a_thumbnail_that_was_fetched_nothing_is_kept(self, scene: Scene, upstream: FakeUpstream) -> None:
        """Nor of one that could not be."""
        upstream.images |= {"a": jpeg(), "b": 404}
        await asyncio.wait([scene.fetch(image_id, FetchContext("page", behind=True)) for image_id in "ab"])

        assert scene.fetcher._under_way == {}

    async def test_another_rendition_is_another_download(self, scene: Scene, upstream: FakeUpstream) -> None:
        """Keys decide."""
        upstream.images["a"] = jpeg()
        requests = [ImageRequest(f"k{number}.0", "a", Rendition()) for number in range(2)]

        await asyncio.gather(*(scene.fetcher.fetch(request, FetchContext("build")) for request in requests))

        assert upstream.calls("a") == 2

    async def test_a_failure_is_everybodys_and_the_next_tries_anew(self, scene: Scene, upstream: FakeUpstream) -> None:
        """It is not remembered."""
        upstream.images["a"] = [404, jpeg()]
        gate = upstream.hold("a")
        fetches = [scene.fetch() for _ in range(2)]
        await upstream.until(lambda: upstream.calls("a") == 1)
        gate.set()

        assert [await reason(fetch) for fetch in fetches] == [(Reason.IMAGE_NOT_FOUND, 1)] * 2
        assert (await scene.fetch()).attempts == 1

    async def test_one_who_leaves_does_not_end_it_for_the_others(self, scene: Scene, upstream: FakeUpstream) -> None:
        """Not even the one who began it."""
        upstream.images["a"] = jpeg()
        gate = upstream.hold("a")
        first, second = scene.fetch(), scene.fetch()
        await upstream.until(lambda: upstream.calls("a") == 1)

        first.cancel()
        await yield_to_loop()
        gate.set()

        assert (await second).attempts == 1
        assert first.cancelled()

    async def test_one_that_waits_for_a_slot_ends_with_its_last_waiter(
        self, upstream: FakeUpstream, images: ImageStore
    ) -> None:
        """Nothing was asked of upstream: nothing is bought that nobody wants any more."""
        upstream.images |= {"held": jpeg(1), "a": jpeg(2)}
        gate = upstream.hold("held")
        async with scene_of(upstream, images, limit=1) as scene:
            held = scene.fetch("held")
            await upstream.until(lambda: upstream.calls("held") == 1)
            waiters = [scene.fetch(), scene.fetch()]
            await yield_to_loop()
            waiters[0].cancel()
            await yield_to_loop()
            still_there = scene.fetcher._flights.is_running("a.0")
            waiters[1].cancel()
            await yield_to_loop()

            assert still_there
            assert not scene.fetcher._flights.is_running("a.0")
            assert scene.fetcher._flights.is_running("held.0")
            gate.set()
            await held
            assert upstream.calls("a") == 0

    async def test_nobody_joins_one_that_is_being_cancelled(self, upstream: FakeUpstream, images: ImageStore) -> None:
        """Who asks in the very moment in which the last waiter leaves has a download of his own."""
        upstream.images |= {"held": jpeg(1), "a": jpeg(2)}
        gate = upstream.hold("held")
        async with scene_of(upstream, images, limit=1) as scene:
            held = scene.fetch("held")
            await upstream.until(lambda: upstream.calls("held") == 1)
            leaving = scene.fetch()
            await yield_to_loop()
            leaving.cancel()
            next_one = scene.fetch()
            gate.set()

            assert (await next_one).attempts == 1
            await held

    async def test_of_one_that_all_leave_before_it_could_begin_nothing_is_kept(
        self, upstream: FakeUpstream, images: ImageStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Given one before it that is still being cancelled: who had begun it leaves, then who had joined it."""
        upstream.images |= {"held": jpeg(1), "a": jpeg(2)}
        upstream.hold("held")
        cancelled = asyncio.Event()
        async with scene_of(upstream, images, limit=1) as scene:
            held = scene.fetch("held")
            await upstream.until(lambda: upstream.calls("held") == 1)
            with monkeypatch.context() as patch:
                patch.setattr(scene.fetcher, "_close_reservation", lambda *_: cancelled.wait())
                fetches = [scene.fetch()]
                await yield_to_loop()
                fetches[0].cancel()
                await yield_to_loop()
                fetches += [scene.fetch(), scene.fetch()]
                await yield_to_loop()
                for fetch in fetches[1:]:
                    fetch.cancel()
                    await yield_to_loop()
                cancelled.set()
                await asyncio.wait(fetches)
                await yield_to_loop()

            assert list(scene.fetcher._under_way) == ["held.0"]
            assert not held.done()

    async def test_one_that_has_begun_is_finished_and_published_though_nobody_waits(
        self, scene: Scene, upstream: FakeUpstream
    ) -> None:
        """It may have been paid for; who asks again joins it."""
        upstream.images["a"] = jpeg()
        gate = upstream.hold("a")
        leaving = scene.fetch(preview=False)
        await upstream.until(lambda: upstream.calls("a") == 1)
        leaving.cancel()
        await yield_to_loop()
        again = scene.fetch(preview=False)
        await yield_to_loop()
        gate.set()

        assert (await again).attempts == 1
        assert upstream.calls("a") == 1
        assert "a.0" in await found(scene.images, "a.0")

    async def test_a_second_attempt_is_made_though_nobody_waits(self, scene: Scene, upstream: FakeUpstream) -> None:
        """The first one may have bought it. Its build is not asked whether it still wants it."""
        upstream.images["a"] = [Reply(body=jpeg(), cut_after=100), jpeg()]
        gate = upstream.hold("a")
        wanted = True
        leaving = scene.fetch(context=FetchContext("build", is_wanted=lambda: wanted))
        await upstream.until(lambda: upstream.calls("a") == 1)
        wanted = False
        leaving.cancel()
        await yield_to_loop()
        gate.set()
        await upstream.until(lambda: upstream.calls("a") == 2)
        flight = scene.fetcher._flights._flights["a.0"]

        assert (await flight.task).attempts == 2

    async def test_one_that_its_build_does_not_want_any_more_is_not_begun(
        self, upstream: FakeUpstream, images: ImageStore
    ) -> None:
        """It says so when its turn comes."""
        upstream.images |= {"held": jpeg(1), "a": jpeg(2)}
        gate = upstream.hold("held")
        wanted = True
        async with scene_of(upstream, images, limit=1) as scene:
            held = scene.fetch("held")
            await upstream.until(lambda: upstream.calls("held") == 1)
            unwanted = scene.fetch(context=FetchContext("build", is_wanted=lambda: wanted))
            await yield_to_loop()
            wanted = False
            gate.set()

            with pytest.raises(NotWanted):
                await unwanted
            await held
        assert upstream.calls("a") == 0

    async def test_who_has_joined_one_that_is_not_wanted_any_more_has_it_all_the_same(
        self, upstream: FakeUpstream, images: ImageStore
    ) -> None:
        """It is the build that had begun it which does not want it."""
        upstream.images |= {"held": jpeg(1), "a": jpeg(2)}
        gate = upstream.hold("held")
        wanted = True
        async with scene_of(upstream, images, limit=1) as scene:
            held = scene.fetch("held")
            await upstream.until(lambda: upstream.calls("held") == 1)
            unwanted = scene.fetch(context=FetchContext("build", is_wanted=lambda: wanted))
            joined = [scene.fetch(context=FetchContext(f"another {number}")) for number in range(2)]
            await yield_to_loop()
            wanted = False
            gate.set()

            with pytest.raises(NotWanted):
                await unwanted
            assert [(await one).attempts for one in joined] == [1, 1]
            await held
        assert upstream.calls("a") == 1


class TestClose:
    async def test_what_is_being_bought_is_finished_and_published(self, scene: Scene, upstream: FakeUpstream) -> None:
        """Within the grace, waited for or not."""
        upstream.images |= {"a": jpeg(1), "b": jpeg(2)}
        gates = [upstream.hold("a"), upstream.hold("b")]
        fetches = [scene.fetch("a", preview=False), scene.fetch("b", preview=False)]
        await upstream.until(lambda: upstream.calls("a") + upstream.calls("b") == 2)
        fetches[1].cancel()
        await yield_to_loop()

        closing = scene.start(scene.fetcher.close())
        await yield_to_loop()
        before = closing.done()
        for gate in gates:
            gate.set()
        await closing

        assert not before
        assert (await found(scene.images, "a.0", "b.0")).keys() == {"a.0", "b.0"}

    async def test_what_is_free_is_not_waited_for(self, scene: Scene, upstream: FakeUpstream) -> None:
        """An upstream that never sends it keeps nobody from stopping."""
        upstream.images["a"] = jpeg()
        upstream.hold("a")
        fetch = scene.fetch()
        await upstream.until(lambda: upstream.calls("a") == 1)

        await scene.fetcher.close()

        assert fetch.cancelled()

    async def test_what_has_not_begun_is_not(self, upstream: FakeUpstream, images: ImageStore) -> None:
        """It waits for a slot, which comes free meanwhile; it is cancelled."""
        upstream.images |= {"held": jpeg(1), "a": jpeg(2)}
        gate = upstream.hold("held")
        async with scene_of(upstream, images, limit=1) as scene:
            held, waiting = scene.fetch("held", preview=False), scene.fetch(preview=False)
            await upstream.until(lambda: upstream.calls("held") == 1)
            await yield_to_loop()
            closing = scene.start(scene.fetcher.close())
            await yield_to_loop()
            gate.set()
            await closing

            assert (held.done(), waiting.cancelled()) == (True, True)
        assert upstream.calls("a") == 0

    async def test_the_grace_has_an_end(
        self, scene: Scene, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An upstream that says nothing does not keep the process."""
        monkeypatch.setattr(fetch_module, "GRACE_SECONDS", 0.05)
        upstream.images["a"] = jpeg()
        upstream.hold("a")
        fetch = scene.fetch(preview=False)
        await upstream.until(lambda: upstream.calls("a") == 1)

        await scene.fetcher.close()

        assert fetch.cancelled()


class TestCredit:
    async def test_after_a_402_the_build_buys_nothing_more(self, scene: Scene, upstream: FakeUpstream) -> None:
        """What costs nothing is still fetched; other builds try for themselves."""
        upstream.images |= {"a": 402, "b": jpeg(1), "c": jpeg(2), "d": jpeg(3)}
        context = FetchContext("build")
        first = await reason(scene.fetch("a", context, preview=False))
        second = await reason(scene.fetch("b", context, preview=False))
        free = await scene.fetch("c", context)
        bought = ImageRequest("d.0", "d", Rendition(preview=False), is_bought=True)
        paid = await scene.fetcher.fetch(bought, context)
        other = await scene.fetch("b", preview=False)

        assert (first, second) == ((Reason.NO_CREDIT, 1), (Reason.NO_CREDIT, 0))
        assert (free.attempts, paid.attempts, other.attempts) == (1, 1, 1)

    async def test_after_a_402_those_that_wait_for_their_turn_are_not_asked_for(
        self, upstream: FakeUpstream, images: ImageStore
    ) -> None:
        """Given one slot, and images of the same build behind the first."""
        upstream.images |= {"a": 402, "b": jpeg()}
        context = FetchContext("build")
        async with scene_of(upstream, images, limit=1) as scene:
            fetches = [scene.fetch(image_id, context, preview=False) for image_id in "ab"]

            assert [await reason(fetch) for fetch in fetches] == [(Reason.NO_CREDIT, 1), (Reason.NO_CREDIT, 0)]

        assert upstream.calls("b") == 0

    async def test_a_402_of_a_download_that_was_joined_counts_too(self, scene: Scene, upstream: FakeUpstream) -> None:
        """Both builds have learned that there is no credit."""
        upstream.images |= {"a": 402, "b": jpeg()}
        gate = upstream.hold("a")
        contexts = [FetchContext("build 1"), FetchContext("build 2")]
        fetches = [scene.fetch("a", context, preview=False) for context in contexts]
        await upstream.until(lambda: upstream.calls("a") == 1)
        gate.set()

        assert [await reason(fetch) for fetch in fetches] == [(Reason.NO_CREDIT, 1)] * 2
        assert [await reason(scene.fetch("b", context, preview=False)) for context in contexts] == [
            (Reason.NO_CREDIT, 0)
        ] * 2
        assert upstream.calls("b") == 0

    async def test_what_others_have_or_are_buying_is_had_without_credit(
        self, scene: Scene, upstream: FakeUpstream
    ) -> None:
        """A build that buys nothing more takes what is stored, and joins what runs."""
        upstream.images |= {"a": jpeg(1), "b": jpeg(2)}
        context = FetchContext("build", out_of_credit=True, looked_at={"a.0": time.monotonic()})
        await scene.fetch("a", preview=False)
        gate = upstream.hold("b")
        buying = scene.fetch("b", preview=False)
        await upstream.until(lambda: upstream.calls("b") == 1)
        stored, joined = scene.fetch("a", context, preview=False), scene.fetch("b", context, preview=False)
        await yield_to_loop()
        gate.set()

        assert [(await fetch).attempts for fetch in (stored, joined, buying)] == [0, 1, 1]
        assert await reason(scene.fetch("c", context, preview=False)) == (Reason.NO_CREDIT, 0)

    async def test_what_another_instance_has_is_had_without_credit(
        self, scene: Scene, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is looked for there before it is called missing."""
        blob = await put(scene.images, "other.0", jpeg())

        async def find_shared(*_: object) -> tuple[Blob, bool]:
            return blob, True

        monkeypatch.setattr(scene.images, "find_shared", find_shared)

        assert await scene.fetch("a", FetchContext("build", out_of_credit=True), preview=False) == Fetched(blob, 0)
        assert upstream.calls("a") == 0

    async def test_what_others_began_meanwhile_is_joined_without_credit(
        self, scene: Scene, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Given a download that begins while it is looked for in the store."""
        upstream.images["a"] = jpeg()
        buying: list[asyncio.Task[Fetched]] = []

        async def begin_meanwhile(*_: object) -> None:
            buying.append(scene.fetch("a", preview=False))
            await upstream.until(lambda: upstream.calls("a") == 1)

        upstream.hold("a")
        monkeypatch.setattr(scene.fetcher, "_find_only", begin_meanwhile)
        fetch = scene.fetch("a", FetchContext("build", out_of_credit=True), preview=False)
        await upstream.until(lambda: upstream.calls("a") == 1)
        upstream._gates["a"].set()

        assert (await fetch).blob == (await buying[0]).blob

    async def test_a_402_for_a_preview_says_nothing_about_credit(self, scene: Scene, upstream: FakeUpstream) -> None:
        """It did not want to buy."""
        upstream.images |= {"a": 402, "b": jpeg()}
        context = FetchContext("build")
        await reason(scene.fetch("a", context))

        assert (await scene.fetch("b", context, preview=False)).attempts == 1

    @pytest.mark.parametrize(
        ("answers", "hops", "spent", "bought"),
        [
            ([404], 0, 0, 0),
            ([Reply(body=jpeg(), cut_after=0), 404], 0, 1, 0),
            ([404, 404], 1, 1, 1),
            ([503, 404], 1, 1, 1),
        ],
        ids=["refused", "no answer and then refused", "sold, and not there", "sold, and then not there"],
    )
    async def test_what_may_have_been_sold_stays_counted(
        self, scene: Scene, upstream: FakeUpstream, answers: list[Any], hops: int, spent: int, bought: int
    ) -> None:
        """Only a refusal by whoever sells, in answer to everything that was asked, takes the credit back."""
        upstream.images["a"], upstream.hops["a"] = answers, hops

        await reason(scene.fetch(preview=False))

        assert await scene.spending.spent() == spent
        assert sample(scene.parts.metrics.registry, "batch_images_bought_total") == bought

    @pytest.mark.parametrize("before", [[], [429]], ids=["at once", "after a refusal"])
    async def test_what_was_asked_for_and_is_of_no_use_here_stays_counted(
        self, scene: Scene, upstream: FakeUpstream, before: list[Any]
    ) -> None:
        """Given an image that is larger than one may be: Autoenhance did not refuse."""
        upstream.images["a"] = [*before, jpeg()]
        scene.images._max_image_bytes = 100

        assert await reason(scene.fetch(preview=False)) == (Reason.TOO_LARGE, len(before) + 1)
        assert await scene.spending.spent() == 1
        assert sample(scene.parts.metrics.registry, "batch_images_bought_total") == 1

    async def test_what_was_sold_and_is_not_asked_for_any_more_was_bought(
        self, upstream: FakeUpstream, images: ImageStore
    ) -> None:
        """Given calls to the assets that are paused meanwhile."""
        async with scene_of(upstream, images) as scene:

            async def pause(_: web.Request) -> web.StreamResponse:
                scene.parts.breakers[Circuit.ASSETS].advise(60)
                return web.Response(status=302, headers={"Location": f"{upstream.assets_url}/assets/a?hop=1"})

            upstream.images["a"] = pause

            assert await reason(scene.fetch(preview=False)) == (Reason.BREAKER_OPEN, 1)
            assert await scene.spending.spent() == 1
            assert sample(scene.parts.metrics.registry, "batch_images_bought_total") == 1

    async def test_what_was_refused_and_is_not_asked_for_again_costs_nothing(
        self, scene: Scene, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Given calls that are paused before the next attempt."""
        upstream.images["a"] = 429
        really_pause = Retries.pause

        async def pause(retries: Retries, failed: UpstreamFailure) -> None:
            await really_pause(retries, failed)
            scene.parts.breakers[Circuit.API].advise(60)

        monkeypatch.setattr(Retries, "pause", pause)

        assert await reason(scene.fetch(preview=False)) == (Reason.BREAKER_OPEN, 1)
        assert await scene.spending.spent() == 0

    async def test_an_image_is_bought_once_whatever_its_attempts(
        self, upstream: FakeUpstream, images: ImageStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One credit is reserved for it, and confirmed once it is here."""
        upstream.images["a"] = [503, 429, jpeg()]
        async with scene_of(upstream, images, credits_a_day=1) as scene:
            reserved: list[str] = []
            reserve = scene.spending.reserve

            async def noted(key: str) -> Reservation | None:
                reserved.append(key)
                return await reserve(key)

            monkeypatch.setattr(scene.spending, "reserve", noted)
            await scene.fetch(preview=False)

            assert (len(reserved), await scene.spending.spent()) == (1, 1)
            assert sample(scene.parts.metrics.registry, "batch_images_bought_total") == 1

    @pytest.mark.parametrize(
        "confirmed",
        [True, False, OutOfSpace("no room"), sqlite3.OperationalError("disk I/O error")],
        ids=["first", "known", "no room", "broken"],
    )
    async def test_only_a_credit_that_is_confirmed_the_first_time_counts_as_bought(
        self, scene: Scene, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch, confirmed: bool | Exception
    ) -> None:
        """Where that cannot be noted the image is here all the same."""
        upstream.images["a"] = jpeg()

        async def confirm(_: Reservation) -> bool:
            if isinstance(confirmed, Exception):
                raise confirmed
            return confirmed

        monkeypatch.setattr(scene.spending, "confirm", confirm)

        assert (await scene.fetch(preview=False)).attempts == 1
        assert sample(scene.parts.metrics.registry, "batch_images_bought_total") == (confirmed is True)

    async def test_what_was_sold_once_is_bought_though_it_is_refused_then(
        self, scene: Scene, upstream: FakeUpstream
    ) -> None:
        """Given storage that fails, and a second attempt that does not get so far."""

        async def fail(_: web.Request) -> web.Response:
            upstream.hops["a"] = 0
            return web.Response(status=503)

        upstream.images["a"], upstream.hops["a"] = [fail, 404], 1

        await reason(scene.fetch(preview=False))

        assert sample(scene.parts.metrics.registry, "batch_images_bought_total") == 1

    async def test_what_arrived_and_could_not_be_stored_was_bought(
        self, scene: Scene, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Autoenhance has sold it, whatever becomes of it here."""
        upstream.images["a"] = jpeg()

        async def no_room(*_: object, **__: object) -> None:
            raise OutOfSpace("no room")

        monkeypatch.setattr(scene.fetcher._store, "publish", no_room)
        with pytest.raises(OutOfSpace):
            await scene.fetch(preview=False)

        assert await scene.spending.spent() == 1
        assert sample(scene.parts.metrics.registry, "batch_images_bought_total") == 1

    async def test_what_could_not_be_asked_for_costs_nothing(self, upstream: FakeUpstream, images: ImageStore) -> None:
        """Given an API that takes no connection."""
        upstream.url = f"http://127.0.0.1:{free_port()}/v3"
        async with scene_of(upstream, images) as scene:
            assert await reason(scene.fetch(preview=False)) == (Reason.UNREACHABLE, 3)
            assert await scene.spending.spent() == 0

    async def test_what_autoenhance_was_never_asked_for_costs_nothing(
        self, scene: Scene, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Given calls that are paused once the credit is reserved, it is given back."""
        upstream.images["a"] = jpeg()
        spent: list[int | None] = []
        really_reserve = scene.spending.reserve

        async def reserve_and_pause(key: str) -> Reservation | None:
            reservation = await really_reserve(key)
            spent.append(await scene.spending.spent())
            scene.parts.breakers[Circuit.API].advise(60)
            return reservation

        monkeypatch.setattr(scene.spending, "reserve", reserve_and_pause)

        assert await reason(scene.fetch(preview=False)) == (Reason.BREAKER_OPEN, 0)
        assert (upstream.received, [*spent, await scene.spending.spent()]) == ([], [1, 0])


@pytest.mark.parametrize(
    ("answer", "is_kept", "released"),
    [(404, True, ["a.0"]), (jpeg(), True, []), (jpeg(), False, ["a.0"])],
    ids=["failed", "stored", "not stored"],
)
async def test_the_lease_of_a_fetch_that_failed_is_given_back(
    scene: Scene,
    upstream: FakeUpstream,
    monkeypatch: pytest.MonkeyPatch,
    answer: Any,
    is_kept: bool,
    released: list[str],
) -> None:
    """Another instance may try at once; that of an image which is here is held until it is shared."""

    async def fail(*_: object, **__: object) -> None:
        raise OSError("no such device")

    upstream.images["a"] = answer
    if not is_kept:
        monkeypatch.setattr(scene.images, "publish", fail)
    given_back: list[str] = []

    class Leases:
        async def acquire(self, key: str, *, buys: bool) -> Lease:
            return Lease(give_back=lambda _: given_back.append(key))

    parts = scene.parts
    fetcher = ImageFetcher(parts.client, scene.images, scene.slots, parts.metrics, scene.spending, Leases())

    await asyncio.wait([scene.start(fetcher.fetch(ImageRequest("a.0", "a", Rendition()), FetchContext("build")))])
    await fetcher.close()

    assert given_back == released


async def test_the_time_of_an_image_is_that_of_autoenhance(scene: Scene, upstream: FakeUpstream) -> None:
    """Given one that waits for the other instances: what it waited does not count."""
    upstream.images["a"] = jpeg()
    waited = 0.3

    class Leases:
        async def acquire(self, key: str, *, buys: bool) -> Lease:
            await asyncio.sleep(waited)
            return Lease()

    parts = scene.parts
    fetcher = ImageFetcher(parts.client, scene.images, scene.slots, parts.metrics, scene.spending, Leases())
    began = time.monotonic()
    await fetcher.fetch(ImageRequest("a.0", "a", Rendition()), FetchContext("build"))
    whole = time.monotonic() - began
    await fetcher.close()

    (counted,) = (
        sample.value
        for metric in parts.metrics.image_download.collect()
        for sample in metric.samples
        if sample.name.endswith("_sum")
    )
    assert counted <= whole - waited


async def test_the_lease_is_given_back_whatever_becomes_of_the_credit(
    scene: Scene, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a fetch that failed, which is cancelled while it is noted what it cost."""
    upstream.images["a"] = 404
    given_back: list[str] = []
    noting = asyncio.Event()

    class Leases:
        async def acquire(self, key: str, *, buys: bool) -> Lease:
            return Lease(give_back=lambda _: given_back.append(key))

    async def note(_: object) -> None:
        noting.set()
        await asyncio.Event().wait()

    parts = scene.parts
    fetcher = ImageFetcher(parts.client, scene.images, scene.slots, parts.metrics, scene.spending, Leases())
    monkeypatch.setattr(fetcher, "_close_reservation", note)
    monkeypatch.setattr("service.images.fetch.GRACE_SECONDS", 0.0)
    fetch = scene.start(fetcher.fetch(ImageRequest("a.0", "a", Rendition(preview=False)), FetchContext("build")))
    await noting.wait()
    await fetcher.close()
    await asyncio.wait([fetch])

    assert given_back == ["a.0"]


async def test_the_lease_of_an_image_that_is_being_kept_outlives_its_fetch(
    scene: Scene, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop cancels it: whoever shares what was kept all the same gives the lease back, with the image's order."""
    upstream.images["a"] = jpeg()
    given_back: list[str] = []
    keeping, shared = asyncio.Event(), list[Callable[[], None]]()

    class Leases:
        async def acquire(self, key: str, *, buys: bool) -> Lease:
            return Lease(give_back=given_back.append)

    async def keep(*_: object, when_shared: Callable[[], None], **__: object) -> None:
        shared.append(when_shared)
        keeping.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(scene.images, "publish", keep)
    monkeypatch.setattr("service.images.fetch.GRACE_SECONDS", 0.0)
    parts = scene.parts
    fetcher = ImageFetcher(parts.client, scene.images, scene.slots, parts.metrics, scene.spending, Leases())
    image = ImageRequest("a.0", "a", Rendition(), order_id="o")
    fetch = scene.start(fetcher.fetch(image, FetchContext("build")))
    await keeping.wait()
    await fetcher.close()
    await asyncio.wait([fetch])

    assert fetch.cancelled()
    assert given_back == []
    shared[0]()
    assert given_back == ["o"]


class TestPace:
    @pytest.mark.parametrize(
        ("status", "limit", "has_rate"), [(429, 3, True), (503, 3, False), (500, 5, False), (404, 5, False)]
    )
    async def test_what_makes_us_slower(
        self, upstream: FakeUpstream, images: ImageStore, status: int, limit: int, has_rate: bool
    ) -> None:
        """Being told to, or an upstream that is unavailable, by two images; a broken or missing image does not."""
        answer = Reply(status=status, headers={"Retry-After": "100"})
        upstream.images |= {"a": answer, "b": answer}

        async with scene_of(upstream, images, attempts=1) as scene:
            for image_id in ("a", "b"):
                await reason(scene.fetch(image_id))

            registry = scene.parts.metrics.registry
            assert sample(registry, "batch_download_concurrency_limit") == limit
            assert (sample(registry, "batch_download_rate_limit") > 0) is has_rate

    async def test_each_answer_with_an_image_is_told_to_who_paces(
        self, scene: Scene, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Failed ones are not."""
        told: list[int] = []
        monkeypatch.setattr(scene.slots, "succeeded", lambda: told.append(upstream.image_calls))
        upstream.images |= {"a": [500, jpeg()], "b": 404}

        await scene.fetch("a")
        await reason(scene.fetch("b"))

        assert told == [2]

    async def test_a_second_attempt_goes_before_those_that_have_not_begun(
        self, upstream: FakeUpstream, images: ImageStore
    ) -> None:
        """Given one slot, and an image that another one overtakes while it waits for its second attempt."""
        upstream.images |= {"a": [500, jpeg(1)], "b": jpeg(2), "c": jpeg(3)}
        gate, context = upstream.hold("b"), FetchContext("build")
        async with scene_of(upstream, images, limit=1) as scene:
            fetches = [scene.fetch(image_id, context) for image_id in "abc"]
            await upstream.until(lambda: upstream.calls("b") == 1)
            async with asyncio.timeout(TIMEOUT):
                while scene.queued() != [2, 0]:
                    await yield_to_loop()
            gate.set()
            await asyncio.gather(*fetches)

        assert [request.path.split("/")[-2] for request in upstream.received] == ["a", "b", "a", "c"]

    async def test_timeouts_make_us_slower(self, upstream: FakeUpstream, images: ImageStore) -> None:
        """An upstream that cannot keep up says nothing at all."""
        upstream.images |= {"a": jpeg(), "b": jpeg()}
        upstream.hold("a")
        upstream.hold("b")

        async with scene_of(upstream, images, attempts=1, seconds=0.05) as scene:
            outcomes = [await reason(scene.fetch(image_id)) for image_id in ("a", "b")]

            assert sample(scene.parts.metrics.registry, "batch_download_concurrency_limit") == 3
        assert outcomes == [(Reason.TIMEOUT, 1)] * 2

    async def test_a_pause_holds_no_slot(self, upstream: FakeUpstream, images: ImageStore) -> None:
        """Given one slot and an image that is told to wait a second, six others go through meanwhile."""
        upstream.images["a"] = [Reply(status=429, headers={"Retry-After": "1"}), jpeg()]
        upstream.images |= {f"i{number}": jpeg(number) for number in range(6)}

        async with scene_of(upstream, images, limit=1) as scene:
            first = scene.fetch()
            await upstream.until(lambda: upstream.calls("a") == 1)
            for number in range(6):
                await scene.fetch(f"i{number}")
            outcome = await first

        order = [request.path.split("/")[3] for request in upstream.received]
        assert order == ["a", *(f"i{number}" for number in range(6)), "a"]
        assert outcome.attempts == 2

    async def test_after_a_minute_of_nothing_but_429s_the_rest_of_a_build_fails(
        self, scene: Scene, upstream: FakeUpstream
    ) -> None:
        """Of that build: another one tries for itself. An image that came through begins the minute anew."""
        upstream.images |= {"a": Reply(status=429, headers={"Retry-After": "100"}), "b": jpeg()}
        context = FetchContext("build")
        await reason(scene.fetch("a", context))
        assert context.throttled_since is not None
        context.throttled_since -= 60
        await reason(scene.fetch("a", context))

        outcome = await reason(scene.fetch("b", context))
        other = await scene.fetch("b", FetchContext("other"))

        assert (outcome, other.attempts, upstream.calls("b")) == ((Reason.RATE_LIMITED, 0), 1, 1)

    async def test_a_minute_in_which_nothing_was_asked_is_no_minute_of_429s(
        self, scene: Scene, upstream: FakeUpstream
    ) -> None:
        """Given one 429, and a minute in which no image was ready, the next one is fetched."""
        upstream.images |= {"a": Reply(status=429, headers={"Retry-After": "100"}), "b": jpeg()}
        context = FetchContext("build")
        await reason(scene.fetch("a", context))
        assert context.throttled_since is not None
        context.throttled_since -= 60

        fetched = await scene.fetch("b", context)

        assert fetched.attempts == 1

    async def test_any_other_answer_begins_the_minute_anew(self, scene: Scene, upstream: FakeUpstream) -> None:
        """Also a failure: it was no 429."""
        upstream.images |= {"a": Reply(status=429, headers={"Retry-After": "100"}), "b": 404, "c": jpeg()}
        for image_id in ("b", "c"):
            context = FetchContext("build")
            await reason(scene.fetch("a", context))
            await asyncio.gather(scene.fetch(image_id, context), return_exceptions=True)

            assert context.throttled_since is None

    async def test_a_minute_counts_from_the_first_429(self, scene: Scene, upstream: FakeUpstream) -> None:
        """Not from the last."""
        upstream.images |= {"a": Reply(status=429, headers={"Retry-After": "100"})}
        context = FetchContext("build", throttled_since=(since := time.monotonic() - 30))

        await reason(scene.fetch("a", context))

        assert context.throttled_since == since


class TestTime:
    async def test_time_in_the_queue_is_not_the_images(self, upstream: FakeUpstream, images: ImageStore) -> None:
        """Given one that waits for a slot longer than an image may take, it is fetched all the same."""
        upstream.images |= {"held": jpeg(1), "a": jpeg(2)}
        gate = upstream.hold("held")
        async with scene_of(upstream, images, limit=1) as scene:
            held = scene.fetch("held")
            await upstream.until(lambda: upstream.calls("held") == 1)
            scene.parts.client._image_seconds = 1.0
            waiting = scene.fetch()
            await asyncio.sleep(1.1)
            gate.set()

            assert (await waiting).attempts == 1
            await held

    async def test_a_slow_but_steady_body_outlasts_its_time_and_gives_its_slot_back(
        self, upstream: FakeUpstream, images: ImageStore
    ) -> None:
        """Given one slot: another image is fetched while it goes on."""
        data = jpeg(size=10 * (64 << 10))
        pieces = [data[at : at + (64 << 10)] for at in range(0, len(data), 64 << 10)]
        other_is_done = asyncio.Event()

        async def between(number: int) -> None:
            # Nine pieces in three times as long as an image may take; then nothing until the other one is fetched.
            await asyncio.sleep(0.1)
            if number == 8:
                await other_is_done.wait()

        upstream.images |= {"a": trickle(pieces, between), "b": jpeg()}
        async with scene_of(upstream, images, limit=1, seconds=0.3) as scene:
            slow = scene.fetch()
            await upstream.until(lambda: upstream.calls("a") == 1)
            other = await scene.fetch("b")
            in_flight = scene.in_flight()
            other_is_done.set()
            fetched = await slow

            assert (other.attempts, fetched.attempts, in_flight, scene.in_flight()) == (1, 1, 1, 0)
            assert await read(images, fetched.blob) == data

    async def test_a_body_that_is_not_steady_has_its_time_and_no_more(
        self, upstream: FakeUpstream, images: ImageStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Fewer bytes than that are not on their way; it does not open the circuit, since bytes had come."""
        data = jpeg(size=100 * 1_000)
        pieces = [data[at : at + 1_000] for at in range(0, len(data), 1_000)]
        upstream.images["a"] = trickle(pieces, lambda _: asyncio.sleep(0.02))
        async with scene_of(upstream, images, seconds=0.3, failures=1) as scene:
            outcome = await reason(scene.fetch())

            assert not any(breaker.is_open for breaker in scene.parts.breakers.values())
        assert outcome == (Reason.TIMEOUT, 1)

    async def test_a_steady_body_that_stops_is_given_up(
        self, upstream: FakeUpstream, images: ImageStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """So many seconds after its last bytes."""
        monkeypatch.setattr(download_module, "_STEADY_SECONDS", 0.2)
        data = jpeg(size=3 * (64 << 10))
        pieces = [data[: 2 * (64 << 10)], data[2 * (64 << 10) :]]
        upstream.images["a"] = trickle(pieces, lambda _: asyncio.sleep(TIMEOUT))
        async with scene_of(upstream, images, seconds=0.1) as scene:
            assert await reason(scene.fetch()) == (Reason.TIMEOUT, 1)

    async def test_even_a_steady_body_has_an_end(
        self, upstream: FakeUpstream, images: ImageStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Ten times its time; here twice."""
        monkeypatch.setattr(download_module, "_STEADY_FACTOR", 2)
        piece = 64 << 10
        data = jpeg(size=100 * piece)
        pieces = [data[at : at + piece] for at in range(0, len(data), piece)]
        upstream.images["a"] = trickle(pieces, lambda _: asyncio.sleep(0.05))
        async with scene_of(upstream, images, seconds=0.3) as scene:
            assert await reason(scene.fetch()) == (Reason.TIMEOUT, 1)

    async def test_a_slow_disk_is_not_upstreams_timeout(
        self, upstream: FakeUpstream, images: ImageStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Given writes that take longer than an image may, it is stored, no attempt is lost, no circuit hears of it."""
        upstream.images["a"] = jpeg(size=3 * MIB)
        monkeypatch.setattr(download_module, "_STEADY_SECONDS", 0.1)
        monkeypatch.setattr(BlobWriter, "append", append_slowly)
        async with scene_of(upstream, images, seconds=1, failures=1) as scene:
            fetched = await scene.fetch()

            assert not any(breaker.is_open for breaker in scene.parts.breakers.values())
        assert fetched.attempts == 1

    async def test_a_slow_disk_takes_no_time_from_the_next_attempt(
        self, upstream: FakeUpstream, images: ImageStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Given a body that breaks off after writes that took longer than an image may, it is tried again."""
        data = jpeg(size=3 * MIB)
        upstream.images["a"] = [Reply(body=data, cut_after=2 * MIB + 1), data]
        monkeypatch.setattr(BlobWriter, "append", append_slowly)
        async with scene_of(upstream, images, seconds=1) as scene:
            fetched = await scene.fetch()

        assert fetched.attempts == 2
        assert await read(images, fetched.blob) == data


async def test_a_broken_store_is_our_own_error(
    scene: Scene, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logged, and no word against upstream."""
    upstream.images["a"] = jpeg(size=2 * MIB)

    def refuse(self: BlobWriter, chunks: list[bytes]) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(BlobWriter, "append", refuse)

    assert (await reason(scene.fetch()))[0] is Reason.INTERNAL_ERROR
    assert scene.in_flight() == 0


def selling(upstream: FakeUpstream, scene: Scene, opens: Circuit) -> Handler:
    """The API's answer for image `a`: it is to be had from the assets. Meanwhile a circuit opens."""

    async def sell(_: web.Request) -> web.StreamResponse:
        scene.parts.breakers[opens].admit().finish(failure())
        upstream.images["a"] = jpeg()
        return web.Response(status=302, headers={"Location": f"{upstream.assets_url}/assets/a?hop=1"})

    return sell


async def test_a_circuit_that_opens_under_way_is_told_with_the_attempts_made(
    upstream: FakeUpstream, images: ImageStore
) -> None:
    """The image was asked for once; then calls were paused."""
    async with scene_of(upstream, images, failures=1) as scene:
        upstream.images["a"] = selling(upstream, scene, Circuit.ASSETS)
        assert await reason(scene.fetch()) == (Reason.BREAKER_OPEN, 1)


async def test_what_is_sold_is_fetched_though_the_circuit_of_the_seller_opens(
    upstream: FakeUpstream, images: ImageStore
) -> None:
    """Its part is done."""
    async with scene_of(upstream, images, failures=1) as scene:
        upstream.images["a"], upstream.hops["a"] = selling(upstream, scene, Circuit.API), 0
        assert (await scene.fetch()).attempts == 1
        assert scene.parts.breakers[Circuit.API].is_open


class TestTrial:
    """After an outage one image is tried; the others wait for what comes of it."""

    @pytest.fixture
    async def scene(self, upstream: FakeUpstream, images: ImageStore) -> AsyncIterator[Scene]:
        """The circuit of the assets, which any image comes from, has been open for long enough."""
        for image_id in "abcdef":
            upstream.images[image_id], upstream.hops[image_id] = jpeg(), 1
        async with scene_of(upstream, images, limit=3, failures=1, attempts=1) as scene:
            for seconds in (60, 0):
                scene.parts.breakers[Circuit.ASSETS].advise(seconds)
            yield scene

    async def others(self, scene: Scene, upstream: FakeUpstream) -> list[asyncio.Task[Fetched]]:
        """More images than there are slots, begun while the one called "a" is tried."""
        await upstream.until(lambda: len(upstream.requests("a", "assets")) == 1)
        tasks = [scene.fetch(image_id) for image_id in "bcdef"]
        async with asyncio.timeout(TIMEOUT):
            while scene.in_flight() < 3:
                await yield_to_loop()
        await yield_to_loop(100)
        return tasks

    async def test_none_is_missing_once_it_has_succeeded(self, scene: Scene, upstream: FakeUpstream) -> None:
        """Nor is one asked for before: the API sells an image before the assets deliver it."""
        gate = upstream.hold("a")
        tried = scene.fetch("a")
        others = await self.others(scene, upstream)
        asked_meanwhile = upstream.image_calls
        gate.set()

        await asyncio.gather(tried, *others)
        assert (asked_meanwhile, upstream.image_calls) == (1, 6)

    async def test_none_is_missing_while_it_keeps_arriving(self, upstream: FakeUpstream, images: ImageStore) -> None:
        """Given one that takes longer than an image may be waited for: it is not waited for to its end."""
        gate = asyncio.Event()
        whole = jpeg(size=3 * MIB)
        for image_id in "abcdef":
            upstream.images[image_id], upstream.hops[image_id] = jpeg(), 1
        upstream.images["a"] = trickle([whole[:MIB], whole[MIB:]], lambda _: gate.wait())
        async with scene_of(upstream, images, limit=3, failures=1, attempts=1, seconds=5) as scene:
            for seconds in (60, 0):
                scene.parts.breakers[Circuit.ASSETS].advise(seconds)
            tried = scene.fetch("a")
            others = await asyncio.gather(*await self.others(scene, upstream))
            assert [other.attempts for other in others] == [1] * 5
            assert not tried.done()
            gate.set()
            assert (await tried).attempts == 1

    async def test_when_it_fails_nothing_else_is_asked_for(self, scene: Scene, upstream: FakeUpstream) -> None:
        """The circuit is open again."""
        upstream.images["a"] = 503
        gate = upstream.hold("a")
        tried = scene.fetch("a")
        others = await self.others(scene, upstream)
        gate.set()

        assert await reason(tried) == (Reason.UPSTREAM_ERROR, 1)
        assert [await reason(one) for one in others] == [(Reason.BREAKER_OPEN, 0)] * 5
        assert upstream.image_calls == 1

    async def test_what_was_asked_for_at_the_same_moment_waits_where_it_is(
        self, scene: Scene, upstream: FakeUpstream
    ) -> None:
        """The first one at the assets is tried; what was sold with it is not lost."""
        gate = asyncio.Event()

        async def answer(request: web.Request) -> web.StreamResponse:
            if request.path.startswith("/assets"):
                await gate.wait()
                return web.Response(body=jpeg())
            await upstream.until(lambda: upstream.image_calls == 2)
            return web.Response(
                status=302, headers={"Location": f"{upstream.assets_url}/assets/{request.match_info['id']}?hop=1"}
            )

        for image_id in "ab":
            upstream.images[image_id], upstream.hops[image_id] = answer, 0
        tasks = [scene.fetch(image_id) for image_id in "ab"]
        await upstream.until(lambda: any(one.server == "assets" for one in upstream.received))
        await yield_to_loop(100)
        tried = [len(upstream.requests(image_id, "assets")) for image_id in "ab"]
        gate.set()

        await asyncio.gather(*tasks)
        assert sorted(tried) == [0, 1]
        assert upstream.image_calls == 2

    @pytest.mark.parametrize(
        ("circuit", "answers"),
        [(Circuit.API, [503, jpeg()]), (Circuit.ASSETS, jpeg(size=3 * MIB)[:-2])],
        ids=["the assets fail", "its end is missing"],
    )
    async def test_one_that_is_fetched_again_is_not_kept_from_a_slot(
        self, upstream: FakeUpstream, images: ImageStore, circuit: Circuit, answers: Script
    ) -> None:
        """Nobody waits, with a slot, for more than what the circuit's own part comes to."""
        for image_id in "abcdef":
            upstream.images[image_id], upstream.hops[image_id] = jpeg(), 1
        upstream.images["a"] = answers
        async with scene_of(upstream, images, limit=3) as scene:
            for seconds in (60, 0):
                scene.parts.breakers[circuit].advise(seconds)
            gate = upstream.hold("a")
            tried = scene.fetch("a")
            others = await self.others(scene, upstream)
            gate.set()

            assert (await tried).attempts == 2
            await asyncio.gather(*others)


async def test_want_of_room_is_counted(scene: Scene, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the reason why an image is missing."""
    upstream.images["a"] = jpeg()

    async def no_room(*_: object, **__: object) -> None:
        raise OutOfSpace("no room")

    monkeypatch.setattr(scene.images, "publish", no_room)
    with pytest.raises(OutOfSpace):
        await scene.fetch()

    assert sample(scene.parts.metrics.registry, "batch_image_failures_total", reason="store_full") == 1


async def test_what_another_instance_took_may_be_too_large_for_this_one(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is the reason, and no fault."""

    async def too_large(*_: object) -> None:
        raise ImageTooLarge

    monkeypatch.setattr(scene.images, "find_shared", too_large)

    assert await reason(scene.fetch()) == (Reason.TOO_LARGE, 0)


@pytest.mark.parametrize("buys", [True, False])
async def test_a_lease_that_cannot_be_had_is_a_timeout(scene: Scene, upstream: FakeUpstream, buys: bool) -> None:
    """Nothing is asked of Autoenhance: it may be bought elsewhere just now."""
    asked: list[bool] = []

    class Leases:
        async def acquire(self, key: str, *, buys: bool) -> Lease:
            asked.append(buys)
            raise TimeoutError

    upstream.images["a"], parts = jpeg(), scene.parts
    fetcher = ImageFetcher(parts.client, scene.images, scene.slots, parts.metrics, scene.spending, Leases())
    request = ImageRequest("a.0", "a", Rendition(preview=not buys))

    assert await reason(scene.start(fetcher.fetch(request, FetchContext("build")))) == (Reason.TIMEOUT, 0)
    assert (asked, upstream.calls("a")) == ([buys], 0)


@pytest.mark.parametrize(("is_only_one", "is_certain"), [(True, True), (True, False), (False, True)])
async def test_an_image_that_may_have_been_fetched_elsewhere_is_counted(
    scene: Scene, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch, is_only_one: bool, is_certain: bool
) -> None:
    """Whether it is the lease or the shared storage that cannot tell."""

    class Leases:
        async def acquire(self, key: str, *, buys: bool) -> Lease:
            return Lease(is_only_one=is_only_one)

    async def find_shared(*_: object) -> tuple[None, bool]:
        return None, is_certain

    upstream.images["a"], parts = jpeg(), scene.parts
    monkeypatch.setattr(scene.images, "find_shared", find_shared)
    fetcher = ImageFetcher(parts.client, scene.images, scene.slots, parts.metrics, scene.spending, Leases())
    await scene.start(fetcher.fetch(ImageRequest("a.0", "a", Rendition()), FetchContext("build")))

    counted = sample(parts.metrics.registry, "batch_images_refetched_total", why="uncoordinated")
    assert counted == (not (is_only_one and is_certain))


@pytest.mark.parametrize(("shared_in", "found_in"), [(None, "order"), ("another order", "another order")])
async def test_a_lease_is_given_back_with_the_order_where_the_image_is(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, shared_in: str | None, found_in: str
) -> None:
    """So that the next one finds it without a look; where the lease knew it, it was looked for there."""
    looked_in: list[object] = []
    given_back: list[str] = []
    blob = await put(scene.images, "other.0", jpeg())

    class Leases:
        async def acquire(self, key: str, *, buys: bool) -> Lease:
            return Lease(give_back=given_back.append, shared_in=shared_in)

    async def find_shared(_: ImageRequest, order_id: str | None) -> tuple[Blob, bool]:
        looked_in.append(order_id)
        return blob, True

    monkeypatch.setattr(scene.images, "find_shared", find_shared)
    parts = scene.parts
    fetcher = ImageFetcher(parts.client, scene.images, scene.slots, parts.metrics, scene.spending, Leases())
    request = ImageRequest("a.0", "a", Rendition(), order_id="order")

    assert await scene.start(fetcher.fetch(request, FetchContext("build"))) == Fetched(blob, 0)
    assert (looked_in, given_back) == ([shared_in], [found_in])
    assert sample(parts.metrics.registry, "batch_image_download_seconds_count") == 0
