"""The image store: content-addressed files, and an index from image keys to them."""

import asyncio
import json
import sqlite3
import time
import uuid
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO, Self

from service.database import Database, data_dir_needed
from service.disk import OutOfSpace
from service.images.blobs import Blob, BlobLost, is_intact, stamp
from service.images.files import BlobFiles
from service.images.incoming import Incoming
from service.images.shared import SharedImages
from service.images.space import Space
from service.single_flight import SingleFlight
from service.telemetry.logs import get_logger
from service.telemetry.metrics import Metrics

log = get_logger(__name__)

SCHEMA = """
CREATE TABLE IF NOT EXISTS blobs (
    digest TEXT PRIMARY KEY, size INTEGER NOT NULL, crc INTEGER NOT NULL, extension TEXT NOT NULL,
    -- What the file looked like when its content was last known to be right, and in which boot of the machine:
    -- a file that changed since, or may have lost its last pages to a power cut, is read and checked again.
    mtime_ns INTEGER NOT NULL, boot TEXT NOT NULL, used REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS images (
    key TEXT PRIMARY KEY, digest TEXT NOT NULL REFERENCES blobs ON DELETE CASCADE
);
CREATE INDEX IF NOT EXISTS images_by_digest ON images (digest);
"""

# Less than the patience of a probe.
_USABLE_SECONDS = 2.0
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class ImageStore:
    """Finished images under their content's hash, found by image key. What is in it is complete and checked."""

    def __init__(
        self, files: BlobFiles, database: Database, space: Space, boot: str, shared: SharedImages | None = None
    ) -> None:
        self._files = files
        self._database = database
        self._boot = boot
        self._shared = shared
        self._pulls: SingleFlight[None] = SingleFlight()
        self.space = space

    @property
    def is_cache(self) -> bool:
        """Whether what is here is also in a storage that others share, so that it may be removed at any time."""
        return self._shared is not None

    @classmethod
    async def open(
        cls,
        directory: Path,
        database: Database,
        limit: Callable[[int], int],
        metrics: Metrics,
        shared: SharedImages | None = None,
    ) -> Self:
        """Open the store and sweep what a crash left. `limit` gives its budget from what it holds already (bytes).

        With `shared`, everything published is shared, and what others published is found and read there.
        Raises `DataDirUnusable`.
        """
        files = BlobFiles(directory)

        def prepare(connection: sqlite3.Connection) -> tuple[int, int, str]:
            files.sweep({row[0] for row in connection.execute("SELECT digest FROM blobs")})
            used = connection.execute("SELECT coalesce(sum(size), 0) FROM blobs").fetchone()[0]
            return used, limit(used), _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else uuid.uuid4().hex

        with data_dir_needed():
            used, budget, boot = await database.run(prepare)
        return cls(files, database, Space(directory, budget, used, metrics), boot, shared)

    async def close(self) -> None:
        """Cancel what is being brought from the shared storage and wait for it."""
        await self._pulls.close()

    @asynccontextmanager
    async def receive(self) -> AsyncIterator[Incoming]:
        """A place for one download's bytes; gone at the end of the block unless `publish` took it."""
        incoming = Incoming(self._files.new(), self.space)
        try:
            yield incoming
        finally:
            await incoming.discard()

    async def publish(self, incoming: Incoming, extension: str, key: str | None = None) -> Blob:
        """Keep a complete download, and let `key` name it from now on."""
        blob = await self._keep(incoming, extension, key)
        if self._shared is not None:
            await self._shared.share(blob, self._files.path(blob.digest), key)
        return blob

    async def fetch_shared(self, key: str) -> Blob | None:
        """The image that another instance fetched under `key`, brought here. Raises `OutOfSpace`."""
        blob = None if self._shared is None else await self._shared.find(key)
        if blob is None:
            return None
        try:
            await self._pull(blob, key)
        except BlobLost:
            return None
        return blob

    async def _keep(self, incoming: Incoming, extension: str, key: str | None) -> Blob:
        writer, blob = await incoming.finish(extension)
        path = self._files.path(blob.digest)

        def keep(connection: sqlite3.Connection) -> int:
            writer.move_to(path)
            size, mtime_ns = stamp(path) or (0, 0)
            known = connection.execute("SELECT 1 FROM blobs WHERE digest = ?", (blob.digest,)).fetchone()
            connection.execute(
                "INSERT INTO blobs (digest, size, crc, extension, mtime_ns, boot, used)"
                " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (digest)"
                " DO UPDATE SET mtime_ns = excluded.mtime_ns, boot = excluded.boot, used = excluded.used",
                (blob.digest, size, blob.crc, blob.extension, mtime_ns, self._boot, time.time()),
            )
            if key is not None:
                connection.execute("INSERT OR REPLACE INTO images VALUES (?, ?)", (key, blob.digest))
            return 0 if known else size

        async def settle() -> None:
            try:
                grown = await self._database.run(keep)
            except BaseException:
                await self._database.run(lambda connection: self._drop_unknown(connection, blob))
                raise
            incoming.give_room_back()
            self.space.add(grown)

        await incoming.carry_through(settle())
        return blob

    def _drop_unknown(self, connection: sqlite3.Connection, blob: Blob) -> None:
        if connection.execute("SELECT 1 FROM blobs WHERE digest = ?", (blob.digest,)).fetchone() is None:
            self._files.path(blob.digest).unlink(missing_ok=True)

    async def find(self, keys: Collection[str]) -> dict[str, Blob]:
        """The images that are here, by key. Files that were changed or lost are noticed here, and forgotten."""

        def look_up(connection: sqlite3.Connection) -> dict[str, Blob]:
            rows = connection.execute(
                "SELECT key, digest, size, crc, extension FROM images JOIN blobs USING (digest)"
                " WHERE key IN (SELECT value FROM json_each(?))",
                [json.dumps(list(keys))],
            )
            return {key: Blob(*columns) for key, *columns in rows}

        found = await self._database.run(look_up)
        lost = await self.missing(found.values())
        return {key: blob for key, blob in found.items() if blob.digest not in lost}

    async def missing(self, blobs: Iterable[Blob]) -> set[str]:
        """Digests of those among `blobs` that are not here, or not intact any more; their files are removed."""
        wanted = {blob.digest: blob for blob in blobs}
        if not wanted:  # as before every download; a transaction costs a hop to another thread
            return set()

        def compare(connection: sqlite3.Connection) -> tuple[set[str], list[Blob]]:
            rows = connection.execute(
                "SELECT digest, size, mtime_ns, boot FROM blobs WHERE digest IN (SELECT value FROM json_each(?))",
                [json.dumps(list(wanted))],
            ).fetchall()
            doubtful = [
                wanted[digest]
                for digest, size, mtime_ns, boot in rows
                if boot != self._boot or stamp(self._files.path(digest)) != (size, mtime_ns)
            ]
            return wanted.keys() - {row[0] for row in rows}, doubtful

        lost, doubtful = await self._database.run(compare)
        self._database.note(
            "UPDATE blobs SET used = ? WHERE digest IN (SELECT value FROM json_each(?))",
            (time.time(), json.dumps(list(wanted))),
        )
        for blob in doubtful:
            if not await self._recheck(blob):
                lost.add(blob.digest)
        return lost - await self._shared.present(lost) if self._shared is not None and lost else lost

    async def _recheck(self, blob: Blob) -> bool:
        path = self._files.path(blob.digest)
        if not await asyncio.to_thread(is_intact, path, blob):
            await self.delete(lambda _: [blob.digest])
            return False

        def mark(connection: sqlite3.Connection) -> None:
            _, mtime_ns = stamp(path) or (0, 0)
            connection.execute(
                "UPDATE blobs SET mtime_ns = ?, boot = ? WHERE digest = ?", (mtime_ns, self._boot, blob.digest)
            )

        await self._database.run(mark)
        return True

    async def delete(self, choose: Callable[[sqlite3.Connection], Iterable[str]]) -> int:
        """Forget the blobs that `choose` names and remove their files; returns the bytes that came free.

        Choosing and removing are one transaction: nobody can begin to use a blob between the two. What came free is
        counted also when the caller is cancelled meanwhile.
        """

        def remove(connection: sqlite3.Connection) -> int:
            freed = 0
            for digest in list(choose(connection)):
                row = connection.execute("DELETE FROM blobs WHERE digest = ? RETURNING size", (digest,)).fetchone()
                self._files.path(digest).unlink(missing_ok=True)
                freed += row[0] if row else 0
            return freed

        async def settle() -> int:
            freed = await self._database.run(remove)
            self.space.add(-freed)
            return freed

        return await asyncio.shield(settle())

    async def is_usable(self) -> bool:
        """Whether files can be made here, and the database answers in time."""

        def try_both(connection: sqlite3.Connection) -> None:
            connection.execute("SELECT 1 FROM blobs LIMIT 1").fetchone()
            self._files.probe()

        try:
            async with asyncio.timeout(_USABLE_SECONDS):
                await self._database.run(try_both)
        except (OutOfSpace, OSError, sqlite3.Error, TimeoutError) as error:
            log.warning("the store cannot be used", reason=type(error).__name__)
            return False
        return True

    async def open_blob(self, blob: Blob, *, whole: bool = True) -> BinaryIO | None:
        """The image's file, to be closed by the caller. Raises `BlobLost`.

        None when it is better read by `read_shared`: it is not here, and there is no room for it, or not the `whole`
        of it is wanted.
        """
        try:
            return await self._files.open(blob)
        except BlobLost:
            if self._shared is None:
                raise
        if not whole:
            return None
        try:
            await self._pull(blob, None)
            return await self._files.open(blob)
        except (OutOfSpace, BlobLost):
            return None

    def read_shared(self, blob: Blob, start: int, stop: int) -> AsyncIterator[bytes]:
        """Bytes `start` to before `stop` of an image, from the shared storage. Raises `BlobLost`."""
        if self._shared is None:
            raise BlobLost(blob.digest)
        return self._shared.read(blob, start, stop)

    async def _pull(self, blob: Blob, key: str | None) -> None:
        """Bring a shared image here; who wants the same at the same time shares the transfer.

        Raises `BlobLost`, or `OutOfSpace`.
        """
        await self._pulls.join(blob.digest, lambda: self._transfer(blob, key), "pull")

    async def _transfer(self, blob: Blob, key: str | None) -> None:
        async with self.receive() as incoming:
            await incoming.expect(blob.size)
            async for piece in self.read_shared(blob, 0, blob.size):
                await incoming.write(piece)
            kept = await self._keep(incoming, blob.extension, key)
        if kept.digest != blob.digest:
            raise BlobLost(blob.digest)
