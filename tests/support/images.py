"""What tests of the image store share."""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from service.database import Database
from service.images.blobs import Blob
from service.images.body import Body
from service.images.protocols import Evict, SharedImages
from service.images.requests import ImageRequest
from service.images.store import ImageStore
from service.telemetry.metrics import Metrics
from service.upstream.models import Rendition

MIB = 1 << 20


class Evictions:
    """Chooses `digests` when room is needed, and notes how much was."""

    def __init__(self) -> None:
        self.digests: list[str] = []
        self.missing: list[int] = []

    def __call__(self, missing: int, *, limit: int, is_cache: bool) -> Callable[[sqlite3.Connection], list[str]]:
        """All of them, once."""
        self.missing.append(missing)
        chosen, self.digests = self.digests, []
        return lambda _: chosen


@asynccontextmanager
async def open_store(
    directory: Path,
    database: Database,
    metrics: Metrics | None = None,
    evict: Evict | None = None,
    limit: int = 1 << 40,
    max_image_bytes: int = 512 * MIB,
    shared: SharedImages | None = None,
) -> AsyncIterator[ImageStore]:
    """The store of a data directory."""
    opened = await ImageStore.open(
        directory / "images",
        database,
        lambda _: limit,
        metrics or Metrics(),
        evict=evict or Evictions(),
        max_image_bytes=max_image_bytes,
        shared=shared,
    )
    try:
        yield opened
    finally:
        await opened.close()


async def fill(body: Body, data: bytes, piece: int = 64 << 10) -> None:
    """Take `data` as a download does: by pieces, flushed when asked."""
    for start in range(0, len(data), piece):
        if body.append(data[start : start + piece]):
            await body.flush()


async def put(images: ImageStore, key: str, data: bytes, *, image_id: str = "a", is_incomplete: bool = False) -> Blob:
    """Store `data` as an image under `key`."""
    async with images.receive() as body:
        await body.expect(len(data))
        await fill(body, data)
        content, _ = await body.complete("txt")
        image = ImageRequest(key, image_id, Rendition())
        return await images.publish(body, content, "jpg", image, is_incomplete=is_incomplete)


async def found(images: ImageStore, *keys: str) -> dict[str, Blob]:
    """Those that are in the store."""
    return await images.find(keys)


async def read(images: ImageStore, blob: Blob) -> bytes:
    """A stored image's bytes, from its file."""
    opened = await images.open_blob(blob)
    assert opened is not None
    with opened:
        return await asyncio.to_thread(_read, opened.file.fileno(), blob.size)


def _read(file: int, size: int) -> bytes:
    return os.pread(file, size + 1, 0)


def files(directory: Path) -> list[str]:
    """Names of the files of all blobs."""
    return sorted(path.name for path in (directory / "images").glob("??/*"))


def left_over(directory: Path) -> list[str]:
    """Names of the files that are no blob's yet."""
    return [path.name for path in (directory / "images" / "incoming").iterdir()]


async def boot_again(database: Database) -> None:
    """The machine was started anew since the images were checked."""
    await database.run(lambda connection: connection.execute("UPDATE blobs SET boot = 'an earlier one'"))
