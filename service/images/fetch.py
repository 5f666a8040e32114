"""Fetching an image into the store: one download per image in the process, whoever asks for it."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus

from service.disk import OutOfSpace
from service.images.blobs import Blob, Content
from service.images.body import ImageTooLarge
from service.images.leases import ImageLeases, NoLeases
from service.images.store import ImageStore
from service.reasons import Reason
from service.telemetry.logs import get_logger
from service.telemetry.metrics import Metrics, Refetch
from service.telemetry.traces import span
from service.upstream.answers import UpstreamFailure
from service.upstream.breaker import CircuitOpen
from service.upstream.client import Autoenhance
from service.upstream.concurrency import DownloadSlots, NotWanted
from service.upstream.download import Download
from service.upstream.models import Rendition

log = get_logger(__name__)

_OVERLOADED = frozenset({Reason.RATE_LIMITED, Reason.TIMEOUT})
# After so many seconds of nothing but 429s, the rest of a build is given up.
_THROTTLED_SECONDS = 60.0
# What is being fetched when the service stops is finished within this time: it may have been paid for.
_GRACE_SECONDS = 30.0


class ImageFailed(Exception):
    """An image could not be fetched, for good."""

    def __init__(self, reason: Reason, attempts: int = 0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.attempts = attempts


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """One image in one rendition."""

    key: str
    image_id: str
    rendition: Rendition
    is_bought: bool = False
    """Fetching it costs nothing, whatever the rendition."""

    @property
    def buys(self) -> bool:
        """Whether fetching it spends a credit."""
        return self.rendition.buys and not self.is_bought


@dataclass(slots=True)
class FetchContext:
    """What the fetches of one build share: whose turn they take, whether they are wanted, and what ended them."""

    build: str
    caller: str = ""
    is_wanted: Callable[[], bool] = lambda: True
    out_of_credit: bool = False
    looked_at: float = 0.0
    """When the build last looked for its images in the store (of `time.monotonic`)."""
    throttled_since: float | None = None
    """Since when Autoenhance has answered nothing but 429 (of `time.monotonic`)."""
    throttled_seconds: float = 0.0
    """How long after that it last did so."""

    def refusal(self, image: ImageRequest) -> Reason | None:
        """Why no further image is fetched for this build."""
        if self.out_of_credit and image.buys:
            return Reason.NO_CREDIT
        if self.throttled_since is not None and self.throttled_seconds > _THROTTLED_SECONDS:
            return Reason.RATE_LIMITED
        return None

    def note(self, image: ImageRequest, failure: UpstreamFailure | None) -> None:
        """Remember what one attempt says about those that are still to be fetched."""
        if failure is None or not failure.is_throttled:
            self.throttled_since = None
        else:
            now = time.monotonic()
            self.throttled_since = now if self.throttled_since is None else self.throttled_since
            self.throttled_seconds = now - self.throttled_since
        if failure is not None and failure.reason is Reason.NO_CREDIT and image.buys:
            self.out_of_credit = True


@dataclass(frozen=True, slots=True)
class Fetched:
    """An image that is in the store."""

    blob: Blob
    attempts: int
    """0 when it was there already."""


@dataclass(eq=False, slots=True)
class _Flight:
    """One download, and who waits for it."""

    task: "asyncio.Task[Fetched]" = field(init=False)
    download: Download | None = None
    waiting: int = 0

    @property
    def has_begun(self) -> bool:
        """Whether upstream was asked: it is finished then, also when nobody waits any more."""
        return self.download is not None and self.download.attempts > 0


class ImageFetcher:
    """Fetches images; what has begun is finished, also when nobody waits any more: it may have been paid for."""

    def __init__(
        self,
        upstream: Autoenhance,
        store: ImageStore,
        slots: DownloadSlots,
        metrics: Metrics,
        leases: ImageLeases | None = None,
    ) -> None:
        self._leases = leases or NoLeases()
        self._upstream = upstream
        self._store = store
        self._slots = slots
        self._metrics = metrics
        self._flights: dict[str, _Flight] = {}

    @property
    def concurrency(self) -> int:
        """How many downloads may run at once."""
        return self._slots.limit

    async def fetch(self, image: ImageRequest, context: FetchContext) -> Fetched:
        """The image, once it is in the store: from a download of its own, or from one that runs already.

        Raises `ImageFailed`, `OutOfSpace`, or `NotWanted` when its turn came and `context` did not want it any more.
        """
        flight = self._flights.get(image.key)
        if flight is None and (reason := context.refusal(image)) is not None:
            stored = await self._store.find_published(image.key, context.looked_at)
            if stored is None:
                stored, _ = await self._store.find_shared(image.image_id, image.key)
            if stored is not None:
                return Fetched(stored, 0)
            flight = self._flights.get(image.key)
            if flight is None:
                raise ImageFailed(reason)
        flight = flight or self._start_flight(image, context)
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task)
        except ImageFailed as failed:
            if failed.reason is Reason.NO_CREDIT and image.buys:
                context.out_of_credit = True  # also of a download that another build began
            raise
        finally:
            flight.waiting -= 1
            if not flight.waiting and not flight.has_begun:
                flight.task.cancel()
                self._end(image.key, flight)  # nobody may join it from here on

    async def close(self) -> None:
        """Finish what has begun, as far as the grace goes; cancel the rest and wait for it."""
        flights = list(self._flights.values())
        for flight in flights:
            if not flight.has_begun:
                flight.task.cancel()  # first, else it would begin as soon as a slot comes free
        if begun := [flight.task for flight in flights if flight.has_begun]:
            await asyncio.wait(begun, timeout=_GRACE_SECONDS)
        for flight in flights:
            flight.task.cancel()
        await asyncio.gather(*(flight.task for flight in flights), return_exceptions=True)

    def _start_flight(self, image: ImageRequest, context: FetchContext) -> _Flight:
        flight = _Flight()
        flight.task = asyncio.create_task(self._run_flight(image, context, flight), name=f"fetch {image.image_id}")
        self._flights[image.key] = flight

        def ended(task: asyncio.Task[Fetched]) -> None:
            self._end(image.key, flight)
            if not task.cancelled():
                task.exception()  # seen, so that a failure nobody waited for is not reported as forgotten

        flight.task.add_done_callback(ended)
        return flight

    def _end(self, key: str, flight: _Flight) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]

    async def _run_flight(self, image: ImageRequest, context: FetchContext, flight: _Flight) -> Fetched:
        with span("image", {"image.id": image.image_id}) as current:
            started = time.monotonic()
            try:
                stored = await self._store.find_published(image.key, context.looked_at)
                fetched = (
                    Fetched(stored, 0) if stored is not None else await self._share_or_download(image, context, flight)
                )
            except OutOfSpace:
                self._metrics.image_failures.labels(Reason.STORE_FULL).inc()
                raise
            except (ImageFailed, NotWanted):
                raise
            except Exception as error:  # one image never ends the others of its archive
                log.exception("image could not be stored", image_id=image.image_id)
                raise ImageFailed(Reason.INTERNAL_ERROR) from error
            current.set_attributes({"image.bytes": fetched.blob.size, "image.attempts": fetched.attempts})
            if fetched.attempts:
                self._metrics.image_download.observe(time.monotonic() - started)
                self._metrics.image_size.observe(fetched.blob.size)
            return fetched

    async def _share_or_download(self, image: ImageRequest, context: FetchContext, flight: _Flight) -> Fetched:
        """The image as another instance shared it, else downloaded here: its lease is held until it is shared."""
        try:
            is_only_one = await self._leases.acquire(image.key, buys=image.buys)
        except TimeoutError:
            raise ImageFailed(Reason.TIMEOUT) from None
        try:
            shared, is_certain = await self._store.find_shared(image.image_id, image.key)
            if shared is None:
                fetched = await self._download(image, context, flight)
                if not (is_only_one and is_certain):
                    self._metrics.images_refetched.labels(Refetch.UNCOORDINATED).inc()
                return fetched
        except ImageTooLarge as error:
            self._leases.release(image.key)
            raise ImageFailed(Reason.TOO_LARGE) from error
        except BaseException:
            self._leases.release(image.key)
            raise
        self._leases.release(image.key)
        return Fetched(shared, 0)

    async def _download(self, image: ImageRequest, context: FetchContext, flight: _Flight) -> Fetched:
        """Download and publish.

        A body without the end that its format has is fetched once more; the same again is what upstream has.
        """
        first: Content | None = None
        is_whole = False
        async with self._store.receive() as body:
            try:
                flight.download = download = self._upstream.image(image.image_id, image.rendition, body)
                with download.operation:
                    while True:
                        attempt = partial(self._attempt, image, context, download)
                        extension = await self._upstream.retry(attempt, download.deadline)
                        content, is_whole = await body.complete(extension)
                        if is_whole or content == first:
                            break
                        _check_first(first, download)
                        first = content
                        self._metrics.images_refetched.labels(Refetch.INCOMPLETE).inc()
                        await body.restart()
                        download.again()
            except (CircuitOpen, ImageTooLarge, UpstreamFailure) as error:
                reason = _reason(error)
                attempts = flight.download.attempts if flight.download else 0
                if reason is not Reason.BREAKER_OPEN:
                    log.warning(
                        "image failed", image_id=image.image_id, reason=reason, attempts=attempts, detail=str(error)
                    )
                raise ImageFailed(reason, attempts) from error
            named = (image.image_id, image.key)
            blob = await self._store.publish(body, content, extension, named, is_cut=not is_whole)
            if image.buys:
                self._metrics.images_bought.inc()
            return Fetched(blob, download.attempts)

    async def _attempt(self, image: ImageRequest, context: FetchContext, download: Download) -> str:
        """One attempt, in a slot; the waits between attempts hold none."""
        is_first = download.attempts == 0

        def is_wanted() -> bool:
            return not is_first or (context.is_wanted() and context.refusal(image) is None)

        slot = self._slots.slot(context.caller, context.build, is_wanted, ahead=not is_first)
        async with slot:
            download.deadline.extend(slot.waited)
            try:
                with span("attempt", {"attempt": download.attempts + 1}):
                    extension = await download.attempt(slot.begin_overtime)
            except UpstreamFailure as failure:
                context.note(image, failure)
                if failure.status == HTTPStatus.SERVICE_UNAVAILABLE or failure.reason in _OVERLOADED:
                    self._slots.refused(image.image_id, throttled=failure.is_throttled)
                raise
            context.note(image, None)
            self._slots.succeeded()
            return extension


def _check_first(before: Content | None, download: Download) -> None:
    """Raises `UpstreamFailure` when a body without its end is not the first one."""
    if before is not None:
        raise UpstreamFailure(Reason.TRUNCATED, "no end, twice, and not the same bytes", circuit=download.reached)


def _reason(error: Exception) -> Reason:
    match error:
        case UpstreamFailure():
            return error.reason
        case ImageTooLarge():
            return Reason.TOO_LARGE
        case _:
            return Reason.BREAKER_OPEN
