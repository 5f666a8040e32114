"""What is kept is given to whoever shares it."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from service.database import Database
from service.images.blobs import Blob
from service.images.files import BlobFiles
from service.images.protocols import SharedImages
from service.images.requests import ImageRequest
from tests.support.images import open_store, put


class Unshared:
    """Notes which images it is to share."""

    has_legacy = False

    def __init__(self) -> None:
        self.keys: list[str] = []

    def mark(self, *_: object) -> None:
        """As `SharedImages`."""

    def stored(self, _blob: Blob, image: ImageRequest, _when_shared: Callable[[], None] | None) -> None:
        """As `SharedImages`."""
        self.keys.append(image.key)


async def test_what_is_kept_although_nobody_waits_for_it_is_shared(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its download was cancelled by a stop: others wait for it, and lists that name it."""
    writing, go_on, write = threading.Event(), threading.Event(), BlobFiles.write

    def write_slowly(self: BlobFiles, digest: str, data: bytes) -> tuple[int, int]:
        writing.set()
        go_on.wait(10)
        return write(self, digest, data)

    monkeypatch.setattr(BlobFiles, "write", write_slowly)
    unshared = Unshared()
    async with open_store(tmp_path, database, shared=cast(SharedImages, unshared)) as images:
        task = asyncio.create_task(put(images, "bought", b"bytes"))
        await asyncio.to_thread(writing.wait, 10)
        task.cancel()
        await asyncio.sleep(0)
        go_on.set()
        await asyncio.gather(task, return_exceptions=True)
        await database.run(lambda _: None)

    assert task.cancelled()
    assert unshared.keys == ["bought"]
