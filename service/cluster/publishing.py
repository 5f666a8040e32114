"""Gives the other instances what this one has fetched and settled: soon, and after an outage all that is marked.

What is to be shared is marked in the database when it is stored. So nothing is forgotten, whatever ends in between.
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from service.cluster.images import ClusterImages
from service.cluster.link import Unavailable
from service.database import Database
from service.images.blobs import Blob
from service.images.leases import ImageLeases
from service.telemetry.logs import get_logger

log = get_logger(__name__)

_AT_ONCE = 8
_RETRY_SECONDS = 1.0
# A stop waits no longer for what is still to be shared: it is shared after the next start.
_STOP_SECONDS = 10.0
_UNSHARED = (
    "SELECT digest, size, crc, extension, is_cut, key FROM unshared JOIN blobs USING (digest) ORDER BY used LIMIT 500"
)


class Publisher:
    """Shares images, each at `path` of its digest, then the lists that name them: `lists` returns whether it could."""

    def __init__(
        self,
        images: ClusterImages,
        leases: ImageLeases,
        database: Database,
        path: Callable[[str], Path],
        lists: Callable[[], Awaitable[bool]],
    ) -> None:
        self._images = images
        self._leases = leases
        self._database = database
        self._path = path
        self._share_lists = lists
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._is_stopping = False
        self._task = asyncio.create_task(self._share_regularly(), name="sharing")

    async def close(self) -> None:
        """Share what is left, as far as the time goes."""
        self._is_stopping = True
        self._images.wake()
        await asyncio.wait([self._task], timeout=_STOP_SECONDS)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _share_regularly(self) -> None:
        while True:
            more = self._images.has_work.next()
            is_done = False
            try:
                is_done = await self._share_images() and await self._share_lists()
            except (OSError, sqlite3.Error) as error:
                log.warning("not shared yet", error=type(error).__name__)
            if self._is_stopping:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(None if is_done else _RETRY_SECONDS):
                    await more.wait()

    async def _share_images(self) -> bool:
        """Share all that is marked, also what comes meanwhile; False when the storage did not take one."""
        busy: dict[tuple[str, str], asyncio.Task[bool]] = {}
        try:
            while True:
                more = self._images.has_work.next()
                for *columns, key in await self._database.run(_read_marked):
                    blob = Blob(*columns)
                    if (blob.digest, key) not in busy:
                        busy[blob.digest, key] = asyncio.create_task(self._share(blob, key), name=f"share {key}")
                if not busy:
                    return True
                waiting = asyncio.create_task(more.wait())
                await asyncio.wait([waiting, *busy.values()], return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
                ended = {name: task for name, task in busy.items() if task.done()}
                if not all(task.result() for task in ended.values()):
                    await asyncio.gather(*busy.values())  # one of them may be the one that finds the storage back
                    return False
                for name in ended:
                    del busy[name]
        finally:
            for task in busy.values():
                task.cancel()
            await asyncio.gather(*busy.values(), return_exceptions=True)

    async def _share(self, blob: Blob, key: str) -> bool:
        async with self._slots:
            path = self._path(blob.digest)
            try:
                if await asyncio.to_thread(path.exists):
                    await self._images.publish(blob, path, key or None)
                else:
                    log.warning("stored image was lost before it was shared")
            except Unavailable:
                return False

            def unmark(connection: sqlite3.Connection) -> None:
                connection.execute("DELETE FROM unshared WHERE digest = ? AND key = ?", (blob.digest, key))

            await self._database.run(unmark)
            self._leases.release(key)
            return True


def _read_marked(connection: sqlite3.Connection) -> list[tuple[Any, ...]]:
    return connection.execute(_UNSHARED).fetchall()
