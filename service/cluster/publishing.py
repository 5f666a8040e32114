"""Gives the other instances what this one has fetched and settled: soon, and after an outage all that is marked.

What is to be shared is marked in the database when it is stored. So nothing is forgotten, whatever ends in between.
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from service.background import until_done
from service.cluster.images import ClusterImages, Unshared
from service.cluster.link import Unavailable
from service.database import Database
from service.images.blobs import Blob
from service.images.store import ImageStore
from service.signal import wait_at_most
from service.telemetry.logs import get_logger

log = get_logger(__name__)

# Most of them wait for the index, which is written for all of them together.
_AT_ONCE = 32
_RETRY_SECONDS = 1.0
# With nothing to do, it is looked so often whether there is something.
_IDLE_SECONDS = 10.0
STOP_SECONDS = 10.0
"""A stop waits no longer for what is still to be shared: it is shared after the next start."""
_UNSHARED = (
    "SELECT digest, size, crc, extension, is_incomplete, order_id, key"
    " FROM unshared JOIN blobs USING (digest) ORDER BY used"
)


class Publisher:
    """Shares the images of `store`, and what `share_rest` shares, which returns whether nothing is left."""

    def __init__(
        self,
        images: ClusterImages,
        database: Database,
        store: ImageStore,
        share_rest: Callable[[], Awaitable[bool]],
    ) -> None:
        self._images = images
        self._database = database
        self._store = store
        self._share_rest = share_rest
        self._stopping = asyncio.Event()
        self._is_waiting = False
        self._rest = asyncio.create_task(self._share_rest_regularly(), name="sharing")
        self._workers = [asyncio.create_task(self._share_images(), name="sharing images") for _ in range(_AT_ONCE)]
        self._loading = asyncio.create_task(until_done("load what is to be shared", self._load_marked, _RETRY_SECONDS))

    async def close(self) -> None:
        """Share what is left, as far as the time goes."""
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                self._stopping.set()
                await self._images.marked.join()
                self._images.has_work.fire()
                await self._rest
        tasks = [self._loading, self._rest, *self._workers]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _load_marked(self) -> None:
        """What the process before has left."""

        def read(connection: sqlite3.Connection) -> list[tuple[Any, ...]]:
            return connection.execute(_UNSHARED).fetchall()

        for *columns, order_id, key in await self._database.run(read):
            self._images.marked.put_nowait(Unshared(Blob(*columns), order_id, key))

    async def _share_images(self) -> None:
        while True:
            marked = await self._images.marked.get()
            try:
                while not await self._share(marked) and not self._stopping.is_set():
                    await self._pause()
            except Exception:  # of one image: the others do not wait for it
                log.exception("image could not be shared")
                await self._pause()
                if not self._stopping.is_set():  # else it is shared after the next start
                    self._images.marked.put_nowait(marked)
            self._images.marked.task_done()
            if self._is_waiting:  # a list, perhaps for this image
                self._images.has_work.fire()

    async def _pause(self) -> None:
        await wait_at_most(self._stopping, _RETRY_SECONDS)

    async def _share(self, marked: Unshared) -> bool:
        """Whether there is nothing left to be done for this image."""
        blob = marked.blob
        try:
            content = self._store.content(blob)
            if isinstance(content, Path):  # a power cut may have damaged it: then it is removed here
                await self._store.missing([blob])
            await self._images.publish(marked, content)
        except FileNotFoundError:
            log.warning("stored image was lost before it was shared")
        except (Unavailable, OSError):
            return False
        self._database.note("DELETE FROM unshared WHERE digest = ? AND key = ?", (blob.digest, marked.key))
        if marked.when_shared is not None:
            marked.when_shared()
        return True

    async def _share_rest_regularly(self) -> None:
        while True:
            is_last, more = self._stopping.is_set(), self._images.has_work.next()
            is_done, self._is_waiting = False, True
            try:
                is_done = await self._share_rest()
            except Exception:
                log.exception("could not be shared yet")
            self._is_waiting = not is_done
            if is_last:
                return
            await wait_at_most(more, _IDLE_SECONDS if is_done else _RETRY_SECONDS)
