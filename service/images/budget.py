"""How much the image store may take, and who makes room when it is full."""

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

from service.disk import OutOfSpace
from service.telemetry.metrics import Metrics

# Kept free for SQLite, which must be able to commit when images have filled the rest.
_DATABASE_RESERVE = 64 << 20


class Space:
    """Bytes on disk and bytes promised to running downloads, against a limit and against the disk itself."""

    def __init__(self, directory: Path, limit: int, used: int, metrics: Metrics) -> None:
        self._directory = directory
        self._limit = limit
        self._promised = 0
        self._reserving = asyncio.Lock()
        self._written = 0
        self._used = used
        self._gauge = metrics.store_bytes
        self._gauge.set(used)
        metrics.store_limit.set(limit)
        self.make_room: Callable[[int], Awaitable[None]] | None = None
        """Frees at least so many bytes if it can; set by whoever knows which images are needed."""

    async def reserve(self, size: int) -> None:
        """Promise `size` bytes to a download. Raises `OutOfSpace` when they cannot be had."""
        async with self._reserving:  # else one is promised the room that another one had made
            missing = await self._missing(size)
            # What would not fit if everything went costs nobody else their images.
            if 0 < missing <= self._used and self.make_room is not None:
                await self.make_room(missing)
                missing = await self._missing(size)
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

    async def _missing(self, size: int) -> int:
        free = (await asyncio.to_thread(shutil.disk_usage, self._directory)).free
        wanted = self._promised + size
        return max(self._used + wanted - self._limit, wanted - self._written + _DATABASE_RESERVE - free)
