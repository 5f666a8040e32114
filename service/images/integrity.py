"""Whether stored files are still what they were: by their looks, and where these have changed by their content."""

import asyncio
import sqlite3
import uuid
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from service.database import Database
from service.disk import OutOfSpace
from service.images import blob_index
from service.images.blobs import Blob, is_intact, stamp
from service.images.files import BlobFiles
from service.telemetry.logs import get_logger

log = get_logger(__name__)

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# What a file looks like that cannot be looked at just now.
_UNKNOWN = (-1, -1)


class Integrity:
    """Compares files with what the database says of them. `boot` is that of the machine: see `boot_id`."""

    def __init__(self, files: BlobFiles, database: Database, threads: ThreadPoolExecutor, boot: str) -> None:
        self._files = files
        self._database = database
        self._threads = threads
        self._boot = boot

    async def check(self, wanted: Mapping[str, Blob]) -> tuple[set[str], set[str]]:
        """Digests that are not known, and of those that are the ones whose files are damaged or gone.

        A file that cannot be read just now is not damaged.
        """

        def compare(connection: sqlite3.Connection) -> tuple[set[str], list[str]]:
            rows = blob_index.stamps(connection, wanted)
            return wanted.keys() - {row[0] for row in rows}, self._doubtful(rows)

        unknown, doubtful = await self._database.run(compare)
        return unknown, {digest for digest in doubtful if not await self._is_intact(wanted[digest])}

    def doubtful(self, connection: sqlite3.Connection, digests: Iterable[str]) -> list[str]:
        """Those of `digests` whose files are not known to be right as they are now; within a transaction."""
        return self._doubtful(blob_index.stamps(connection, digests))

    def _doubtful(self, rows: Iterable[tuple[str, int, int, str]]) -> list[str]:
        return [
            digest
            for digest, size, mtime_ns, boot in rows
            if boot != self._boot or self._stamp(digest) not in ((size, mtime_ns), _UNKNOWN)
        ]

    def _stamp(self, digest: str) -> tuple[int, int] | None:
        try:
            return stamp(self._files.path(digest))
        except OSError:
            return _UNKNOWN

    async def _is_intact(self, blob: Blob) -> bool:
        """By its content; if so, what it looks like now is what it is to look like."""
        path = self._files.path(blob.digest)
        try:
            found = await asyncio.get_running_loop().run_in_executor(self._threads, is_intact, path, blob)
        except OSError as error:
            log.warning("stored image cannot be read", reason=error.strerror)
            return True

        def mark(connection: sqlite3.Connection) -> None:
            _, mtime_ns = stamp(path) or (0, 0)
            blob_index.restamp(connection, blob.digest, mtime_ns, self._boot)

        if found:
            with suppress(OutOfSpace):  # it is checked again, that is all
                await self._database.run(mark)
        return found


def machine_boot() -> str | None:
    """Names the machine's present boot; None where it cannot be told."""
    return _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else None


def boot_id() -> str:
    """Names the machine's present boot; where it cannot be told, this process."""
    return machine_boot() or uuid.uuid4().hex
