"""Fills an archive: takes what is stored, fetches the rest while somebody wants it, settles it at the end."""

import asyncio
from contextlib import aclosing
from dataclasses import dataclass

from service.archives.archive import Archive, ImageResult, State
from service.archives.catalogue import Catalogue
from service.archives.layout import Member
from service.archives.names import REPORT_NAME, Names
from service.archives.plan import Plan, PlannedImage
from service.archives.readiness import Readiness
from service.archives.report import comment, report_text
from service.archives.restore import present
from service.disk import OutOfSpace
from service.images.blobs import Blob
from service.images.downloads import Downloads, Purse, Stored, Wanted
from service.images.store import ImageStore
from service.problems import ArchiveGone, BreakerOpen, NoImages
from service.reasons import Reason
from service.telemetry.metrics import ImageOutcome, Metrics
from service.upstream.answers import FORMAT_EXTENSIONS
from service.upstream.client import ImageFailed


@dataclass(frozen=True)
class Workshop:
    """What every build needs."""

    downloads: Downloads
    store: ImageStore
    catalogue: Catalogue
    metrics: Metrics


class Builder:
    """Builds one archive. Members are appended in the sequence in which their images arrive."""

    def __init__(self, archive: Archive, plan: Plan, readiness: Readiness, workshop: Workshop) -> None:
        self._archive = archive
        self._rendering = plan.rendering
        self._planned = plan.images
        self._readiness = readiness
        self._downloads = workshop.downloads
        self._store = workshop.store
        self._catalogue = workshop.catalogue
        self._metrics = workshop.metrics
        self._names = Names(
            [(image.image_id, image.name) for image in plan.images], FORMAT_EXTENSIONS[plan.rendering.format]
        )
        self._appending = asyncio.Lock()
        self._keys = {image.image_id: image.key for image in plan.images}
        self._purse = Purse()

    async def build(self) -> None:
        """Fetch every image and settle the archive.

        Raises `Abandoned`, `OutOfSpace`, or the `Problem` that leaves nothing usable; alone or in a group.
        """
        if self._archive.has_report:  # its builder died before the end: what would follow could belie the report
            raise ArchiveGone
        left = await self._take_stored()
        async with asyncio.TaskGroup() as fetches, aclosing(self._readiness.images(left)) as images:
            async for image, reason in images:
                if reason is not None:
                    self._miss(image, reason)
                elif (download := await self._fetch(image)) is not None:
                    fetches.create_task(self._collect(image, download))
                elif not await self._append_stored(image, await self._downloads.stored(image.key)):
                    self._miss(image, Reason.NO_CREDIT)
        await self._settle()

    async def _take_stored(self) -> list[PlannedImage]:
        """Append the images that need no download; returns the others."""
        here = {member.image_id for member in self._archive.members}
        left = [image for image in self._planned if image.image_id not in here]
        stored = await self._store.find([image.key for image in left if self._readiness.is_ready(image)])
        for image in left:
            if await self._append_stored(image, stored.get(image.key)):
                here.add(image.image_id)
        return [image for image in left if image.image_id not in here]

    def _wanted(self, image: PlannedImage) -> Wanted:
        purse = Purse() if image.is_bought else self._purse
        return Wanted(image.key, image.image_id, self._rendering, purse)

    async def _fetch(self, image: PlannedImage) -> asyncio.Task[Stored] | None:
        """Begin, or join, the download of an image as soon as it is wanted; None when there is no credit to begin."""
        wanted = self._wanted(image)
        while not wanted.purse.is_empty:
            await self._archive.demand.wanted(self._archive.length)
            task = self._downloads.running(image.key) or await self._downloads.start(
                wanted, lambda: self._archive.demand.is_open(self._archive.length)
            )
            if task is not None:
                return task
        return self._downloads.running(image.key)

    async def _collect(self, image: PlannedImage, download: asyncio.Task[Stored]) -> None:
        try:
            stored = await asyncio.shield(download)
        except ImageFailed as failed:
            self._wanted(image).note(failed)  # also of a download that another archive began
            self._miss(image, failed.reason, failed.attempts)
            return
        if not await self._append(image, stored.blob, stored.attempts):
            raise OutOfSpace("an image was evicted before its archive had it")
        self._metrics.images.labels(ImageOutcome.DOWNLOADED if stored.attempts else ImageOutcome.STORED).inc()

    async def _append_stored(self, image: PlannedImage, blob: Blob | None) -> bool:
        if blob is None or not await self._append(image, blob):
            return False
        self._metrics.images.labels(ImageOutcome.STORED).inc()
        return True

    async def _append(self, image: PlannedImage, blob: Blob, attempts: int = 0) -> bool:
        async with self._appending:
            name = self._names.of(image.image_id, blob.extension)
            member = Member(name, blob, image.modified, image.image_id)
            if not await self._catalogue.append(self._archive, member, attempts):
                return False
            self._archive.append(member, present(image, member, attempts))
            self._keys[image.image_id] = image.key
            return True

    def _miss(self, image: PlannedImage, reason: Reason, attempts: int = 0) -> None:
        self._metrics.images.labels(ImageOutcome.FAILED).inc()
        self._metrics.image_failures.labels(reason).inc()
        self._archive.miss(ImageResult(image.image_id, image.name, None, 0, None, reason, attempts))

    async def _settle(self) -> None:
        archive = self._archive
        sequence = {image.image_id: index for index, image in enumerate(self._planned)}
        archive.results.sort(key=lambda result: sequence[result.image_id])
        failures = archive.failures
        if not archive.downloaded:
            if all(result.code is Reason.BREAKER_OPEN for result in failures):
                raise BreakerOpen
            raise NoImages([result.failure for result in failures])
        if failures:
            await self._append_report()
        state = State.PARTIAL if failures else State.COMPLETE
        words = comment(archive.order_id, archive.downloaded, archive.total)
        archive.key = self._key()
        await self._catalogue.settle(archive, state, words)
        archive.settle(state, words)

    def _key(self) -> str:
        """Of the order as it is now, if the archive holds just that; else of the order as it was asked for."""
        now = self._readiness.plan
        held = [(image.image_id, image.name, self._keys[image.image_id]) for image in self._planned]
        is_current = held == [(image.image_id, image.name, image.key) for image in now.images]
        return now.key if is_current else self._archive.key

    async def _append_report(self) -> None:
        text = report_text(self._archive.order_id, self._archive.results).encode()
        async with self._store.receive() as incoming:
            await incoming.expect(len(text))
            await incoming.write(text)
            blob = await self._store.publish(incoming, "txt")
        newest = max(image.modified for image in self._planned)
        member = Member(REPORT_NAME, blob, newest, None)
        if not await self._catalogue.append(self._archive, member, 0):
            raise OutOfSpace("the report was evicted before its archive had it")
        self._archive.append(member)
