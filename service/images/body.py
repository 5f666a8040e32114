"""A download on its way into the store."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import ParamSpec

from service.images.blobs import Blob, BlobWriter
from service.images.space import Space

P = ParamSpec("P")

# One hop to a thread per so many bytes; a hop per network chunk would cost several times the CPU.
_BATCH_BYTES = 1 << 20
# The most buffers one writev takes.
_BATCH_CHUNKS = 1024
# Without an announced length, room is asked for by steps of this size.
_STEP = 16 << 20


class Incoming:
    """The bytes of one download: batched in memory up to 1 MiB, then written on a thread."""

    def __init__(self, writer: BlobWriter, space: Space) -> None:
        self._writer = writer
        self._space = space
        self._promised = 0
        self._written = 0
        self._batch: list[bytes] = []
        self._batched = 0
        self._writing: asyncio.Future[None] | None = None

    @property
    def received(self) -> int:
        """Bytes taken since the last restart."""
        return self._writer.size + self._batched

    async def expect(self, length: int) -> None:
        """Ask for room for `length` bytes in all. Raises `OutOfSpace`."""
        if length > self._promised:
            await self._space.reserve(length - self._promised)
            self._promised = length

    async def write(self, chunk: bytes) -> None:
        """Take a chunk. Raises `OutOfSpace`."""
        self._batch.append(chunk)
        self._batched += len(chunk)
        if self._batched >= _BATCH_BYTES or len(self._batch) >= _BATCH_CHUNKS:
            await self._flush()

    async def restart(self) -> None:
        """Forget what was taken."""
        self._batch, self._batched = [], 0
        await self._on_thread(self._writer.restart)
        self._note_written()

    async def finish(self, extension: str) -> tuple[BlobWriter, Blob]:
        """Write what is left; the writer then holds the whole file."""
        if self._batch:
            await self._flush()
        return self._writer, self._writer.blob(extension)

    async def file(self) -> Path:
        """Write what is left; returns the file, which is there until `discard`."""
        if self._batch:
            await self._flush()
        return self._writer.path

    async def discard(self) -> None:
        """Remove the file, unless it was moved to its place, and give the room back."""
        try:
            await self._on_thread(self._writer.discard)
        finally:
            self.give_room_back()

    def give_room_back(self) -> None:
        """The file has its place in the store, or is gone: nothing is promised to it any more."""
        self._space.release(self._promised, self._written)
        self._promised = self._written = 0

    async def carry_through(self, work: Awaitable[None]) -> None:
        """Do one thing with the file at a time, to its end, also when the caller is cancelled meanwhile."""
        before = self._writing

        async def in_turn() -> None:
            if before is not None:
                await asyncio.wait([before])
            await work

        self._writing = asyncio.ensure_future(in_turn())
        await asyncio.shield(self._writing)

    async def _flush(self) -> None:
        if self.received > self._promised:
            await self.expect(max(self.received, self._promised + _STEP))
        batch, self._batch, self._batched = self._batch, [], 0
        await self._on_thread(self._writer.append, batch)
        self._note_written()

    def _note_written(self) -> None:
        self._space.wrote(self._writer.size - self._written)
        self._written = self._writer.size

    async def _on_thread(self, work: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        await self.carry_through(asyncio.to_thread(work, *args, **kwargs))
