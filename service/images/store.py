"""The image store: content-addressed files, and an index from image keys to them."""

import asyncio
import sqlite3
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from mmap import mmap
from pathlib import Path
from typing import Self

from service.data_dir import data_dir_needed
from service.database import Database
from service.disk import OutOfSpace, room_needed
from service.images import blob_index
from service.images.blobs import Blob, BlobLost, BlobWrong, Content, content_of
from service.images.body import SMALL, Body, ImageTooLarge
from service.images.budget import StoreBudget
from service.images.files import BlobFiles, OpenBlob
from service.images.integrity import Integrity, boot_id
from service.images.legacy import has_legacy_name
from service.images.protocols import Evict, SharedImages
from service.images.requests import ImageRequest
from service.single_flight import SingleFlight
from service.telemetry.logs import get_logger
from service.telemetry.metrics import Metrics, Refetch

log = get_logger(__name__)

_THREADS = 4
_PUBLISHED = 10_000
_WRONG = 10_000
# Less than a probe waits.
_USABLE_SECONDS = 2.0
# One image may take a quarter of the store.
_LARGEST_SHARE = 4


class ImageStore:
    """Finished images under their content's hash, found by image key. What is in it is complete and checked."""

    def __init__(
        self,
        files: BlobFiles,
        database: Database,
        threads: ThreadPoolExecutor,
        metrics: Metrics,
        *,
        used: int,
        limit: int,
        boot: str,
        max_image_bytes: int,
        evict: Evict,
        has_legacy: bool,
        shared: SharedImages | None,
    ) -> None:
        self._files = files
        self._database = database
        self._threads = threads
        self._budget = StoreBudget(files.directory, limit, used, metrics, threads, self._make_room)
        self._evictions = metrics.store_evictions
        self._refetched = metrics.images_refetched
        self._boot = boot
        self._integrity = Integrity(files, database, threads, boot)
        self._max_image_bytes = min(max_image_bytes, max(SMALL, limit // _LARGEST_SHARE))
        self._evict = evict
        self._shared = shared
        self._pulls: SingleFlight[None] = SingleFlight()
        # What was published of late, by key: looking in the database would cost every fetch a hop to its thread.
        self._published: OrderedDict[str, Blob] = OrderedDict()
        self._forgotten_at = time.monotonic()
        # Under whose names other bytes were found in the shared storage.
        self._wrong: dict[str, None] = {}
        self.has_legacy = has_legacy or (shared is not None and shared.has_legacy)
        """Whether images of version 0 are here, to be found by the keys they had."""

    @classmethod
    async def open(
        cls,
        directory: Path,
        database: Database,
        limit: Callable[[int], int],
        metrics: Metrics,
        *,
        evict: Evict,
        max_image_bytes: int,
        shared: SharedImages | None = None,
    ) -> Self:
        """Open the store and sweep what a crash left. `limit` gives its budget from what it holds already (bytes).

        `evict` says what goes when room is needed. With `shared`, everything published is shared, and what others
        published is found and read there. Raises `DataDirUnusable`.
        """
        threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="blobs")
        files = BlobFiles(directory, threads)

        def prepare(connection: sqlite3.Connection) -> tuple[int, int, str, bool]:
            sizes = blob_index.sizes(connection)
            files.prepare(sizes.keys())
            used = sum(sizes.values())
            return used, limit(used), boot_id(), blob_index.has_legacy(connection)

        with data_dir_needed():
            used, bytes_limit, boot, has_legacy = await database.run(prepare)
        return cls(
            files,
            database,
            threads,
            metrics,
            used=used,
            limit=bytes_limit,
            boot=boot,
            max_image_bytes=max_image_bytes,
            evict=evict,
            has_legacy=has_legacy,
            shared=shared,
        )

    async def close(self) -> None:
        """Cancel what is being brought from the shared storage and wait for it."""
        await self._pulls.close()
        self._files.close()
        self._threads.shutdown(wait=False)

    def receive(self, max_bytes: int | None = None) -> Body:
        """A place for one body of at most `max_bytes`, else of as many as one image may have; gone at the end of its
        block unless `publish` took it."""
        return Body(self._files.new_path(), self._budget, self._threads, max_bytes or self._max_image_bytes)

    async def publish(
        self,
        body: Body,
        content: Content,
        extension: str,
        image: ImageRequest | None = None,
        *,
        is_incomplete: bool = False,
        when_shared: Callable[[], None] | None = None,
    ) -> Blob:
        """Keep a complete body, which is found as `image` from now on; `when_shared` is called once others find it.

        Carried through once begun, also when the caller is cancelled. Raises `OutOfSpace`, or `OSError`.
        """
        blob = Blob(content.digest, content.size, content.crc, extension, is_incomplete)
        await self._keep(body, blob, image, when_shared)
        return blob

    async def add(self, data: bytes, extension: str) -> Blob:
        """Keep bytes of our own making. Raises `OutOfSpace`, or `OSError`."""
        async with self.receive(len(data)) as body:
            body.append(data)
            await body.expect(len(data))
            return await self.publish(body, content_of(data), extension)

    async def _keep(
        self,
        body: Body,
        blob: Blob,
        image: ImageRequest | None,
        when_shared: Callable[[], None] | None = None,
        *,
        is_shared: bool = False,
    ) -> None:
        """File first, then rows; a file whose rows could not be committed goes again.

        Carried through once begun, also when the caller is cancelled.
        """
        data = body.data() if body.is_small else None

        def keep(connection: sqlite3.Connection) -> int:
            with room_needed():
                if data is None:
                    stamp = self._files.move(body.writer, blob.digest)
                else:
                    stamp = self._files.write(blob.digest, data)
            is_new = blob_index.insert(connection, blob, image, stamp, self._boot)
            if self._shared is not None and not is_shared:
                self._shared.mark(connection, blob, image)
            return stamp[0] if is_new else 0

        def kept(grown: asyncio.Future[int]) -> None:
            if grown.exception() is not None:
                return
            body.release_room()
            self._budget.add(grown.result())
            self._wrong.pop(blob.digest, None)
            if self._shared is not None and not is_shared:
                self._shared.stored(blob, image, when_shared)
            if image is not None:
                self._published[image.key] = blob
                if len(self._published) > _PUBLISHED:
                    self._published.popitem(last=False)
                    self._forgotten_at = time.monotonic()
            if data is not None:
                self._files.keep_in_memory(blob.digest, data)
            elif (file := body.writer.take_file()) is not None:
                self._files.keep_open(blob.digest, file)

        keeping = self._database.give(keep, gather=True)
        keeping.add_done_callback(kept)
        body.publishing(keeping)
        try:
            await asyncio.shield(keeping)
        except Exception:
            await self._database.give(lambda connection: self._drop_unknown(connection, blob), alone=True)
            raise

    def _drop_unknown(self, connection: sqlite3.Connection, blob: Blob) -> None:
        if not blob_index.is_known(connection, blob.digest):
            self._files.path(blob.digest).unlink(missing_ok=True)

    async def find(self, keys: Collection[str]) -> dict[str, Blob]:
        """The images that are here, by key.

        Files that were changed or lost are noticed here, and forgotten.
        """
        if not keys:
            return {}
        found = await self._database.run(lambda connection: blob_index.find(connection, keys))
        lost = await self.missing(found.values())
        return {key: blob for key, blob in found.items() if blob.digest not in lost}

    async def find_published(self, key: str, since: float) -> Blob | None:
        """The image if it was published after `since` (of `time.monotonic`), when its caller last looked."""
        blob = self._published.get(key)
        if blob is None and since <= self._forgotten_at:
            blob = (await self.find([key])).get(key)
        return blob

    async def find_shared(self, image: ImageRequest, shared_in: str | None = None) -> tuple[Blob | None, bool]:
        """The image that another instance fetched, brought here; whether that there is none is certain.

        `shared_in` is as that of a `Lease`. Raises `OutOfSpace`.
        """
        if self._shared is None:
            return None, True
        blob, is_certain = await self._shared.find(image, shared_in)
        if blob is None:
            return None, is_certain
        try:
            await self._pull(blob, image)
        except BlobLost:
            if is_lost := not await self._shared.present({blob.digest} - self._wrong.keys()):
                self._refetched.labels(Refetch.LOST).inc()
            return None, is_lost
        return blob, True

    async def missing(self, blobs: Iterable[Blob]) -> set[str]:
        """Digests of those among `blobs` that are not here, or not intact any more; their files are removed.

        A file that cannot be read just now is not missing.
        """
        wanted = {blob.digest: blob for blob in blobs}
        if not wanted:
            return set()

        unknown, damaged = await self._integrity.check(wanted)
        self._database.note(*blob_index.used(wanted))
        if damaged:  # but not what somebody has stored again meanwhile
            await self.delete(lambda connection: self._integrity.doubtful(connection, damaged))
        lost = unknown | damaged
        if self._shared is not None and lost:
            lost -= await self._shared.present(lost - self._wrong.keys())
        return lost

    async def delete(self, choose: Callable[[sqlite3.Connection], Iterable[str]]) -> tuple[int, int]:
        """Forget the blobs that `choose` names and remove their files; returns how many, and the bytes that came free.

        Choosing and removing are one transaction: nobody can begin to use a blob between the two. What came free is
        counted also when the caller is cancelled meanwhile.
        """

        def remove(connection: sqlite3.Connection) -> tuple[list[str], int]:
            freed = 0
            chosen = list(choose(connection))
            for digest in chosen:
                freed += blob_index.remove(connection, digest)
                self._files.path(digest).unlink(missing_ok=True)
            return chosen, freed

        async def forget() -> tuple[int, int]:
            chosen, freed = await removing
            for digest in chosen:
                self._files.forget(digest)
            gone = set(chosen)
            for key in [key for key, blob in self._published.items() if blob.digest in gone]:
                del self._published[key]
            self._budget.add(-freed)
            return len(chosen), freed

        # Given before anything is awaited: who is found to be in use now is so when this is done.
        removing = self._database.give(remove, alone=True)
        return await asyncio.shield(forget())

    async def _make_room(self, missing: int) -> None:
        """Free at least `missing` bytes, or none if that cannot be done."""
        choose = self._evict(missing, limit=self._budget.limit, is_cache=self._shared is not None)
        evicted, freed = await self.delete(choose)
        if evicted:
            self._evictions.inc(evicted)
            log.info("store evicted images", images=evicted, freed_bytes=freed, missing_bytes=missing)
        else:
            log.info("store has nothing left to evict", missing_bytes=missing)

    async def is_usable(self) -> bool:
        """Whether files can be made here, and the database answers in time."""

        def try_both(connection: sqlite3.Connection) -> None:
            blob_index.is_known(connection, "")
            self._files.probe()

        try:
            async with asyncio.timeout(_USABLE_SECONDS):
                await self._database.run(try_both)
        except (OutOfSpace, OSError, sqlite3.Error, TimeoutError) as error:
            log.warning("the store cannot be used", reason=type(error).__name__)
            return False
        return True

    def in_memory(self, blob: Blob) -> bytes | None:
        """The bytes of a small image that was written just now."""
        return self._files.in_memory(blob.digest)

    def content(self, blob: Blob) -> bytes | mmap | Path:
        """The bytes of an image that was written just now; of others its file."""
        return self._files.in_memory(blob.digest) or self._files.mapped(blob) or self._files.path(blob.digest)

    async def open_blob(self, blob: Blob, *, whole: bool = True) -> OpenBlob | None:
        """The image's file, to be entered at once. Raises `BlobLost`, or `BlobUnreadable`.

        None when it is better read by `read_shared`: it is not here, and there is no room for it, or not the `whole`
        of it is wanted. What was found wrong there is not read before it was checked again.
        """
        try:
            return await self._files.open(blob)
        except BlobLost:
            if self._shared is None:
                raise
        if not whole and blob.digest not in self._wrong:
            return None
        try:
            await self._pull(blob, None)
            return await self._files.open(blob)
        except (OutOfSpace, ImageTooLarge, BlobLost) as error:
            if blob.digest in self._wrong:
                raise BlobLost(blob.digest) from error
            return None

    async def read_shared(self, blob: Blob, start: int, stop: int) -> AsyncIterator[bytes]:
        """Bytes `start` to before `stop` of an image, from the shared storage. Raises `BlobLost`."""
        if self._shared is None:
            raise BlobLost(blob.digest)
        try:
            async for piece in self._shared.read(blob, start, stop):
                yield piece
        except BlobWrong:
            self._note_wrong(blob)
            raise

    async def _pull(self, blob: Blob, image: ImageRequest | None) -> None:
        """Bring a shared image here; who wants the same at the same time shares the transfer.

        Raises `BlobLost`, or `OutOfSpace`.
        """
        await self._pulls.join(blob.digest, lambda: self._transfer(blob, image), "pull")

    async def _transfer(self, blob: Blob, image: ImageRequest | None) -> None:
        async with self.receive() as body:
            await body.expect(blob.size)
            async for piece in self.read_shared(blob, 0, blob.size):
                if body.append(piece):
                    await body.flush()
            content, _ = await body.complete(blob.extension)
            is_the_same = (
                (content.size, content.crc) == (blob.size, blob.crc)
                if has_legacy_name(blob.digest)
                else content.digest == blob.digest
            )
            if not is_the_same:
                self._note_wrong(blob)
                raise BlobLost(blob.digest)
            await self._keep(body, blob, image, is_shared=True)

    def _note_wrong(self, blob: Blob) -> None:
        """It is missing from now on, until it is stored here again."""
        log.warning("shared image is not what its name says", digest=blob.digest)
        self._wrong[blob.digest] = None
        if len(self._wrong) > _WRONG:
            del self._wrong[next(iter(self._wrong))]
