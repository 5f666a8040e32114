"""Fetching an image into the store: one download per image in the process, whoever asks for it."""

import sqlite3
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus

from service.disk import OutOfSpace
from service.images.blobs import Blob, Content
from service.images.body import ImageTooLarge
from service.images.protocols import ImageLeases, Lease
from service.images.requests import FetchContext, Fetched, ImageFailed, ImageRequest
from service.images.spending import Reservation, Spending, SpendingUnknown
from service.images.store import ImageStore
from service.reasons import Reason
from service.single_flight import SingleFlight
from service.telemetry.logs import get_logger
from service.telemetry.metrics import Metrics, Refetch
from service.telemetry.traces import span
from service.upstream.answers import UpstreamFailure
from service.upstream.breaker import CircuitOpen
from service.upstream.client import Autoenhance
from service.upstream.concurrency import DownloadSlots, NotWanted, Slot
from service.upstream.download import Download

log = get_logger(__name__)

_OVERLOADED = frozenset({Reason.RATE_LIMITED, Reason.TIMEOUT})
GRACE_SECONDS = 30.0
"""What is being bought when the service stops may take so long."""


@dataclass(slots=True)
class _Progress:
    """How far one fetch has come."""

    behind: bool
    """Its slot is one of the few behind all others."""
    wanted_by: list[FetchContext]
    """Whose turns it may take; the first of them began it."""
    slot: Slot | None = None
    download: Download | None = None
    reservation: Reservation | None = None
    """Of the credit that is counted for it."""
    lease: Lease = field(default_factory=Lease)
    """No other instance may fetch the image now."""
    is_only_one: bool = True
    """It is certain that none does, or has."""
    waited: float = 0.0
    """Seconds for its turn, here and among the instances."""

    @property
    def has_begun(self) -> bool:
        """Whether upstream was asked: it is finished then, also when nobody waits any more."""
        return self.download is not None and self.download.attempts > 0

    def join(self, context: FetchContext) -> None:
        """It may take the turns of these too; who wants no thumbnail does not wait behind all others."""
        if self.behind and not context.behind:
            self.behind = False
            if self.slot is not None:
                self.slot.bring_forward()
        if self.behind is context.behind:
            self.wanted_by.append(context)
            self.take_turns_of(context)

    def take_turns_of(self, context: FetchContext) -> None:
        """Let the slot be had by them."""
        if self.slot is not None:
            for caller in context.callers:
                self.slot.add_party(caller, context.build)


class ImageFetcher:
    """Fetches images; what has begun is finished, also when nobody waits any more: it may have been paid for."""

    def __init__(
        self,
        upstream: Autoenhance,
        store: ImageStore,
        slots: DownloadSlots,
        metrics: Metrics,
        spending: Spending,
        leases: ImageLeases | None = None,
    ) -> None:
        self._spending = spending
        self._leases = leases
        self._upstream = upstream
        self._store = store
        self._slots = slots
        self._metrics = metrics
        self._flights: SingleFlight[Fetched] = SingleFlight()
        self._under_way: dict[str, _Progress] = {}
        self._is_closing = False

    @property
    def concurrency(self) -> int:
        return self._slots.limit

    async def fetch(self, image: ImageRequest, context: FetchContext) -> Fetched:
        """The image, once it is in the store: from a download of its own, or from one that runs already.

        Raises `ImageFailed`, `OutOfSpace`, or `NotWanted` when its turn came and `context` did not want it any more.
        """
        while True:
            if (reason := context.refusal(image)) is not None:
                if (stored := await self._find_only(image, context)) is not None:
                    return Fetched(stored, 0)
                if not self._flights.is_running(image.key):
                    raise ImageFailed(reason)
            progress = _Progress(context.behind, [context])
            if self._flights.is_running(image.key):
                self._under_way[image.key].join(context)
            else:
                self._under_way[image.key] = progress
            try:
                return await self._flights.join(
                    image.key,
                    partial(self._find_or_download, image, context, progress),
                    "fetch",
                    may_stop=partial(self._may_stop, image, progress),
                )
            except NotWanted:
                if not context.is_wanted():
                    raise  # else it is another build, whose download this one had joined, that does not want it
            except ImageFailed as failed:
                if failed.reason is Reason.NO_CREDIT and image.buys:
                    context.out_of_credit = True  # also of a download that another build began
                raise
            finally:
                if not self._flights.is_running(image.key):  # it may have been cancelled before it began
                    self._under_way.pop(image.key, None)

    def join(self, context: FetchContext, caller: str) -> None:
        """One more caller wants what `context` is of: its downloads take the turns of that one too."""
        if caller in context.callers:
            return
        context.joined.append(caller)
        for progress in self._under_way.values():
            if any(wanted is context for wanted in progress.wanted_by):
                progress.take_turns_of(context)

    async def close(self) -> None:
        """Finish what is being bought, as far as the grace goes; cancel the rest and wait for it.

        What is free can be had again: nobody waits for an Autoenhance that may never send it.
        """
        self._is_closing = True
        await self._flights.close(GRACE_SECONDS)

    def _may_stop(self, image: ImageRequest, progress: _Progress) -> bool:
        """Whether a download that nobody waits for any more is cancelled."""
        return not progress.has_begun or (self._is_closing and not image.buys)

    async def _find_only(self, image: ImageRequest, context: FetchContext) -> Blob | None:
        stored = await self._store.find_published(image.key, context.looked_at.get(image.key, 0.0))
        if stored is None:
            stored, _ = await self._store.find_shared(image)
        return stored

    async def _find_or_download(self, image: ImageRequest, context: FetchContext, progress: _Progress) -> Fetched:
        """The image from here, from another instance, or from Autoenhance; once per image at a time."""
        with span("image", {"image.id": image.image_id}) as current:
            started = time.monotonic()
            try:
                stored = await self._find(image, context, progress)
                fetched = Fetched(stored, 0) if stored is not None else await self._download(image, context, progress)
            except BaseException as error:
                try:
                    await self._close_reservation(progress)
                finally:  # also when it is cancelled once more
                    progress.lease.release()
                if isinstance(error, OutOfSpace):
                    self._metrics.image_failures.labels(Reason.STORE_FULL).inc()
                if not isinstance(error, Exception) or isinstance(error, ImageFailed | NotWanted | OutOfSpace):
                    raise
                if isinstance(error, ImageTooLarge):  # what another instance took may be more than this one does
                    raise ImageFailed(Reason.TOO_LARGE) from error
                # One image never ends the others of its archive.
                log.exception("image could not be stored", image_id=image.image_id)
                raise ImageFailed(Reason.INTERNAL_ERROR) from error
            finally:
                if self._under_way.get(image.key) is progress:  # else it was cancelled, and the next one is under way
                    del self._under_way[image.key]
            current.set_attributes({"image.bytes": fetched.blob.size, "image.attempts": fetched.attempts})
            if fetched.attempts:
                self._metrics.image_download.observe(time.monotonic() - started - progress.waited)
                self._metrics.image_size.observe(fetched.blob.size)
            return fetched

    async def _find(self, image: ImageRequest, context: FetchContext, progress: _Progress) -> Blob | None:
        """The image if somebody has stored it meanwhile; else nobody but this instance is to fetch it."""
        if (stored := await self._store.find_published(image.key, context.looked_at.get(image.key, 0.0))) is not None:
            return stored
        if self._leases is not None:
            began = time.monotonic()
            try:
                progress.lease = await self._leases.acquire(image.key, buys=image.buys)
            except TimeoutError:
                raise ImageFailed(Reason.TIMEOUT) from None
            progress.waited += time.monotonic() - began
        lease = progress.lease
        shared, is_certain = await self._store.find_shared(image, lease.shared_in)
        progress.is_only_one = lease.is_only_one and is_certain
        if shared is not None:
            lease.release(lease.shared_in or image.order_id)
        return shared

    async def _download(self, image: ImageRequest, context: FetchContext, progress: _Progress) -> Fetched:
        """Download, check and publish: attempts in a slot each; the waits between them hold none.

        A body without the end that its format has is fetched once more; the same again is what upstream has.
        """
        first: Content | None = None
        async with self._store.receive() as body:
            try:
                progress.download = download = self._upstream.image(image.image_id, image.rendition, body)
                retries = self._upstream.retries(download.deadline)
                with download.operation:
                    while True:
                        progress.slot = slot = self._slots.slot(
                            context.caller,
                            context.build,
                            # What has begun is finished.
                            lambda: download.attempts > 0 or (context.is_wanted() and context.refusal(image) is None),
                            ahead=download.attempts > 0,
                            behind=progress.behind,
                        )
                        for one in progress.wanted_by:
                            progress.take_turns_of(one)
                        try:
                            async with slot:
                                download.deadline.extend(slot.waited)
                                progress.waited += slot.waited
                                began = time.monotonic()
                                await self._reserve(image, progress)
                                download.deadline.extend(time.monotonic() - began)
                                with span("attempt", {"attempt": download.attempts + 1}):
                                    extension = await download.attempt(slot.begin_overtime)
                        except UpstreamFailure as failure:
                            self._note_failure(image, context, failure)
                            await retries.pause(failure)
                            continue
                        context.note(image, None)
                        self._slots.succeeded()
                        content, is_whole = await body.complete(extension)
                        if is_whole or content == first:
                            break
                        _check_first(first, download)
                        first = content
                        self._metrics.images_refetched.labels(Refetch.INCOMPLETE).inc()
                        download.again()
                        retries = self._upstream.retries(download.deadline)
            except (CircuitOpen, ImageTooLarge, UpstreamFailure) as error:
                attempts = progress.download.attempts if progress.download else 0
                raise _failed(image, error, attempts) from error
            context.storing += content.size
            lease, progress.lease = progress.lease, Lease()  # it is given back by whoever shares the image
            shared = partial(lease.release, image.order_id)
            try:
                blob = await self._store.publish(
                    body, content, extension, image, is_incomplete=not is_whole, when_shared=shared
                )
            except Exception:
                progress.lease = lease
                raise
            finally:
                context.storing -= content.size
            await self._close_reservation(progress)
            if not progress.is_only_one:
                self._metrics.images_refetched.labels(Refetch.UNCOORDINATED).inc()
            return Fetched(blob, download.attempts)

    async def _reserve(self, image: ImageRequest, progress: _Progress) -> None:
        """Count the credit that an image takes, before it is asked for. Raises `ImageFailed` when there is none."""
        if not image.buys or progress.reservation is not None:
            return
        try:
            progress.reservation = await self._spending.reserve(image.purchase)
        except SpendingUnknown:
            raise ImageFailed(Reason.CREDITS_UNKNOWN) from None
        if progress.reservation is None:
            raise ImageFailed(Reason.CREDIT_LIMIT)

    async def _close_reservation(self, progress: _Progress) -> None:
        """The credit is spent, or not; where that cannot be told it stays counted."""
        reservation, progress.reservation = progress.reservation, None
        if reservation is None or progress.download is None:
            return
        with suppress(OutOfSpace, sqlite3.Error):  # it stays counted then
            if progress.download.is_sold:
                if await self._spending.confirm(reservation):
                    self._metrics.images_bought.inc()
            elif not progress.download.may_be_sold:
                await self._spending.release(reservation)

    def _note_failure(self, image: ImageRequest, context: FetchContext, failure: UpstreamFailure) -> None:
        context.note(image, failure)
        if failure.status == HTTPStatus.SERVICE_UNAVAILABLE or failure.reason in _OVERLOADED:
            self._slots.refused(image.image_id, throttled=failure.is_throttled)


def _check_first(before: Content | None, download: Download) -> None:
    """Raises `UpstreamFailure` when a body without its end is not the first one."""
    if before is not None:
        raise UpstreamFailure(Reason.TRUNCATED, "no end, twice, and not the same bytes", circuit=download.reached)


def _failed(image: ImageRequest, error: Exception, attempts: int) -> ImageFailed:
    """Why the image is missing; told to the log too, unless calls are paused."""
    match error:
        case UpstreamFailure():
            reason = error.reason
        case ImageTooLarge():
            reason = Reason.TOO_LARGE
        case _:
            return ImageFailed(Reason.BREAKER_OPEN, attempts)
    log.warning("image failed", image_id=image.image_id, reason=reason, attempts=attempts, detail=str(error))
    return ImageFailed(reason, attempts)
