"""An archive's bytes for whoever is no client of ours."""

import asyncio
import os
from collections.abc import AsyncIterator

from service.archives.archive import Archive
from service.archives.layout import BlobSlice
from service.images.store import ImageStore

_PIECE = 256 << 10


async def pieces_of(archive: Archive, store: ImageStore) -> AsyncIterator[bytes]:
    """All bytes of a settled archive, at most 256 KiB at a time. Raises `BlobLost`, or `BlobUnreadable`."""
    async for part in archive.slices(0, None):
        if isinstance(part, bytes):
            yield part
        else:
            async for piece in _image(part, store):
                yield piece


async def _image(part: BlobSlice, store: ImageStore) -> AsyncIterator[bytes]:
    starts = range(part.offset, part.offset + part.count, _PIECE)
    if (data := store.in_memory(part.blob)) is not None:
        for start in starts:
            yield data[start : start + _PIECE]
        return
    opened = await store.open_blob(part.blob)
    if opened is None:
        async for piece in store.read_shared(part.blob, part.offset, part.offset + part.count):
            yield piece
        return
    with opened:
        for start in starts:
            yield await asyncio.to_thread(os.pread, opened.file.fileno(), _PIECE, start)
