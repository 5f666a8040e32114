"""The bytes of one download: in memory while they are few, else in a file."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ParamSpec, Self, TypeVar

from service.images.blobs import BlobWriter, Content, content_of
from service.images.budget import StoreBudget
from service.upstream import formats

P = ParamSpec("P")
T = TypeVar("T")

SMALL = 1 << 20
"""A body of fewer bytes stays in memory until it is complete, unless it comes in very many chunks; a larger one is
written in pieces of this size."""
# The most buffers one writev takes.
_MAX_CHUNKS = 1024
# Without an announced length, room is asked for by steps of this size.
_GROWTH = 16 << 20


class ImageTooLarge(Exception):
    """The body is larger than one image may be."""


class Body:
    """Takes the bytes of one download. Files are written on `threads`; the room for them comes from `budget`.

    To be used with `async with`: nothing is left of it afterwards, unless `ImageStore.publish` took it.
    """

    def __init__(self, path: Path, budget: StoreBudget, threads: ThreadPoolExecutor, max_bytes: int) -> None:
        self.writer = BlobWriter(path)
        """The file of a body that is not small."""
        self._budget = budget
        self._threads = threads
        self._max_bytes = max_bytes
        self._promised = 0
        self._written = 0
        self._batch: list[bytes] = []
        self._batched = 0
        self._running: asyncio.Future[Any] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        """Remove the file, unless it was moved to its place, and give the room back.

        Carried through once begun, also when the caller is cancelled.
        """
        if self.writer.has_file or (self._running is not None and not self._running.done()):
            await asyncio.shield(self._remove_file())
        else:
            self.release_room()

    @property
    def received(self) -> int:
        """Bytes taken since the last restart."""
        return self.writer.size + self._batched

    @property
    def is_small(self) -> bool:
        return self.writer.size == 0

    def try_reserve(self, length: int) -> bool:
        """Whether there is room for `length` bytes in all; else `expect` asks for it. Raises `ImageTooLarge`."""
        if length > self._max_bytes:
            raise ImageTooLarge(f"{length} bytes")
        if length > self._promised:
            if not self._budget.reserve_now(length - self._promised):
                return False
            self._promised = length
        return True

    async def expect(self, length: int) -> None:
        """Ask for room for `length` bytes in all. Raises `OutOfSpace`, or `ImageTooLarge`."""
        if not self.try_reserve(length):
            await self._budget.reserve(length - self._promised)
            self._promised = length

    def append(self, chunk: bytes) -> bool:
        """Take a chunk; True when `flush` is to be awaited before the next one."""
        self._batch.append(chunk)
        self._batched += len(chunk)
        return self._batched >= SMALL or len(self._batch) >= _MAX_CHUNKS

    async def flush(self) -> None:
        """Write what was taken. Raises `OutOfSpace`, `ImageTooLarge`, or `OSError`."""
        if self.received > self._promised:
            if self.received > self._max_bytes:
                raise ImageTooLarge(f"more than {self._max_bytes} bytes")
            await self.expect(min(self._max_bytes, max(self.received, self._promised + _GROWTH)))
        batch, self._batch, self._batched = self._batch, [], 0
        await self._on_thread(self.writer.append, batch)
        self._note_written()

    async def restart(self) -> None:
        """Forget what was taken."""
        self._batch, self._batched = [], 0
        if not self.is_small:
            await self._on_thread(self.writer.restart)
            self._note_written()

    async def complete(self, extension: str) -> tuple[Content, bool]:
        """The whole body's checksums, and whether it ends where its format says an image ends.

        Raises as `flush`.
        """
        if self.is_small:
            data = self.data()
            await self.expect(len(data))
            return content_of(data), formats.is_whole(data, extension)
        if self._batch:
            await self.flush()
        return self.writer.content(), await self._on_thread(self.writer.is_whole, extension)

    def data(self) -> bytes:
        """The bytes of a small body."""
        if len(self._batch) != 1:
            self._batch = [b"".join(self._batch)]
        return self._batch[0]

    async def file(self) -> Path:
        """Write what is left; returns the file, which is there until the end of the block."""
        if self._batch:
            await self.flush()
        return self.writer.path

    def publishing(self, work: asyncio.Future[Any]) -> None:
        """The store takes it: nothing else is done with the file before this is over."""
        self._running = work

    async def _remove_file(self) -> None:
        try:
            await self._on_thread(self.writer.discard)
        finally:
            self.release_room()

    def release_room(self) -> None:
        """The file has its place in the store, or is gone: nothing is promised to it any more."""
        self._budget.release(self._promised, self._written)
        self._promised = self._written = 0

    def _note_written(self) -> None:
        self._budget.wrote(self.writer.size - self._written)
        self._written = self.writer.size

    async def _on_thread(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """One thing at a time is done with the file, and to its end, also when the caller is cancelled meanwhile."""
        if self._running is not None and not self._running.done():
            await asyncio.wait([self._running])
        running = asyncio.get_running_loop().run_in_executor(self._threads, lambda: work(*args, **kwargs))
        running.add_done_callback(lambda done: done.cancelled() or done.exception())  # seen, whoever has left
        self._running = running
        return await asyncio.shield(running)
