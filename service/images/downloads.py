"""Downloads into the store: one per image key in the process, whoever asks for it."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from service.disk import OutOfSpace
from service.images.blobs import Blob
from service.images.incoming import Incoming
from service.images.store import ImageStore
from service.reasons import Reason
from service.single_flight import SingleFlight
from service.telemetry.logs import get_logger
from service.telemetry.metrics import Metrics
from service.telemetry.traces import span
from service.upstream.client import Autoenhance, ImageFailed
from service.upstream.concurrency import DownloadSlots, Slot
from service.upstream.models import Rendering

log = get_logger(__name__)


@dataclass(slots=True)
class Purse:
    """What one archive buys with: once upstream said that there is no credit, it buys nothing more."""

    is_empty: bool = False


@dataclass(frozen=True, slots=True)
class Wanted:
    """One image in one rendering."""

    key: str
    image_id: str
    rendering: Rendering
    purse: Purse = field(default_factory=Purse)

    def note(self, failed: ImageFailed) -> None:
        """Remember what its failure says about those that are still to be fetched."""
        if failed.reason is Reason.NO_CREDIT and self.rendering.buys:
            self.purse.is_empty = True


@dataclass(frozen=True, slots=True)
class Stored:
    """A download that ended well."""

    blob: Blob
    attempts: int
    """0 when another download had brought the image meanwhile."""


class Downloads:
    """Starts downloads and lets others join them. What has begun is finished, also when nobody waits any more:
    it may have been paid for."""

    def __init__(self, upstream: Autoenhance, store: ImageStore, slots: DownloadSlots, metrics: Metrics) -> None:
        self._upstream = upstream
        self._store = store
        self._slots = slots
        self._metrics = metrics
        self._flights: SingleFlight[Stored] = SingleFlight()

    async def stored(self, key: str) -> Blob | None:
        """This image, if it is here or in the shared storage."""
        here = await self._store.find([key])
        return here.get(key) or await self._store.fetch_shared(key)

    def running(self, key: str) -> asyncio.Task[Stored] | None:
        """The download of this image, if one is under way. Await it shielded."""
        return self._flights.running(key)

    async def start(self, wanted: Wanted, still_wanted: Callable[[], bool]) -> asyncio.Task[Stored] | None:
        """Wait for a slot, then begin; or join the download that somebody else began meanwhile. Await it shielded.

        None when nobody wants the image any more by then, or it cannot be paid for. The task raises `ImageFailed`, or
        `OutOfSpace`.
        """
        # While upstream is given a rest no call is made, so none has to wait for its turn.
        slot = self._slots.unheld() if self._upstream.is_resting else await self._slots.acquire()
        task = self._flights.running(wanted.key)
        if task is not None or wanted.purse.is_empty or not still_wanted():
            slot.release()
            return task
        return self._flights.start(wanted.key, self._run(wanted, slot), "download")

    async def close(self) -> None:
        """Cancel what is under way and wait for it."""
        await self._flights.close()

    async def _run(self, wanted: Wanted, slot: Slot) -> Stored:
        with span("image", {"image.id": wanted.image_id}) as current:
            stored = await self._bring(wanted, slot)
            current.set_attributes({"image.bytes": stored.blob.size, "image.attempts": stored.attempts})
            return stored

    async def _bring(self, wanted: Wanted, slot: Slot) -> Stored:
        started = time.monotonic()
        try:
            if (blob := await self.stored(wanted.key)) is not None:
                return Stored(blob, 0)
            async with self._store.receive() as incoming:
                extension, attempts = await self._download(wanted, incoming, slot)
                blob = await self._store.publish(incoming, extension, wanted.key)
        except OutOfSpace:
            self._metrics.image_failures.labels(Reason.STORE_FULL).inc()
            raise
        except OSError as error:
            log.exception("image could not be stored", image_id=wanted.image_id)
            raise ImageFailed(Reason.INTERNAL_ERROR) from error
        finally:
            slot.release()
        self._metrics.image_download.observe(time.monotonic() - started)
        self._metrics.image_size.observe(blob.size)
        return Stored(blob, attempts)

    async def _download(self, wanted: Wanted, incoming: Incoming, slot: Slot) -> tuple[str, int]:
        try:
            return await self._upstream.download(wanted.image_id, wanted.rendering, incoming, slot)
        except ImageFailed as failed:
            wanted.note(failed)  # here and now: whoever is next in line for the slot must know it
            raise
