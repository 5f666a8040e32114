"""How much the image store may take: what is on the disk, what is promised to downloads, and what the disk has left."""

import asyncio
import math
import shutil
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from service.disk import OutOfSpace
from service.telemetry.metrics import Metrics

# Kept free for SQLite, which must be able to commit when images have filled the rest.
_DATABASE_RESERVE = 64 << 20
# With at least so much room to spare, the disk is asked only so often (seconds): asking costs a hop to a thread.
_AMPLE = 1 << 30
_FRESH_SECONDS = 1.0


class StoreBudget:
    """Bytes on disk and bytes promised to running downloads, against a limit and against the disk itself.

    `make_room` frees at least so many bytes, if it can.
    """

    def __init__(
        self,
        directory: Path,
        limit: int,
        used: int,
        metrics: Metrics,
        threads: ThreadPoolExecutor,
        make_room: Callable[[int], Awaitable[None]],
    ) -> None:
        self.limit = limit
        self._directory = directory
        self._used = used
        self._threads = threads
        self._make_room = make_room
        self._promised = 0
        self._written = 0
        self._free = 0
        self._asked = -_FRESH_SECONDS
        self._reserving = asyncio.Lock()
        self._gauge = metrics.store_bytes
        self._gauge.set(used)
        metrics.store_limit.set(limit)

    def reserve_now(self, size: int) -> bool:
        """Promise `size` bytes to a download if there is plenty; else `reserve` has to look."""
        is_ample = self._is_ample(size)
        if is_ample:
            self._promised += size
        return is_ample

    async def reserve(self, size: int) -> None:
        """Promise `size` bytes to a download. Raises `OutOfSpace` when they cannot be had."""
        if self.reserve_now(size):
            return
        async with self._reserving:  # else one is promised the room that another one had made
            missing, before = await self._missing(size), math.inf
            # What would not fit if everything went costs nobody else their images. Once may not be enough: others write
            # meanwhile, whether promised or not.
            while 0 < missing <= self._used and missing < before:
                await self._make_room(missing)
                missing, before = await self._missing(size), missing
            if missing > 0:
                raise OutOfSpace(f"{missing} bytes are missing")
            self._promised += size

    def wrote(self, size: int) -> None:
        """So many of the promised bytes are on the disk (or no longer, if negative)."""
        self._written += size

    def release(self, promised: int, written: int) -> None:
        """The promised bytes were stored, or are not needed; `written` of them were on the disk."""
        self._promised -= promised
        self._written -= written

    def add(self, size: int) -> None:
        """Files grew by `size` bytes (or shrank, if negative)."""
        self._used += size
        self._gauge.set(self._used)

    def _is_ample(self, size: int) -> bool:
        wanted = self._promised + size
        return (
            not self._reserving.locked()
            and time.monotonic() - self._asked < _FRESH_SECONDS
            and self._used + wanted <= self.limit
            and wanted + _DATABASE_RESERVE + _AMPLE <= self._free
        )

    async def _missing(self, size: int) -> int:
        loop = asyncio.get_running_loop()
        usage = await loop.run_in_executor(self._threads, shutil.disk_usage, self._directory)
        self._free, self._asked = usage.free, time.monotonic()
        wanted = self._promised + size
        return max(self._used + wanted - self.limit, wanted - self._written + _DATABASE_RESERVE - self._free)
