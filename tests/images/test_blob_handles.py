"""Files that are opened on a thread belong to somebody, whatever happens meanwhile."""

import asyncio
import threading
from pathlib import Path
from typing import BinaryIO

import pytest

from service.database import Database
from service.images import store
from service.images.blobs import Blob
from service.images.files import BlobFiles
from service.images.store import ImageStore
from service.telemetry.metrics import Metrics


async def test_a_reader_that_leaves_while_its_file_is_opened_leaves_it_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a handler cancelled in that moment, the file is closed as soon as it is open."""
    database = await Database.open(tmp_path, [store.SCHEMA])
    images = await ImageStore.open(tmp_path / "images", database, lambda _: 1 << 30, Metrics())
    async with images.receive() as incoming:
        await incoming.write(b"photo")
        blob = await images.publish(incoming, "jpg")
    reached, go_on = threading.Event(), threading.Event()
    opened: list[BinaryIO] = []
    really_open = BlobFiles._open

    def open_slowly(self: BlobFiles, wanted: Blob) -> BinaryIO:
        reached.set()
        go_on.wait()
        opened.append(really_open(self, wanted))
        return opened[0]

    monkeypatch.setattr(BlobFiles, "_open", open_slowly)
    reader = asyncio.create_task(images.open_blob(blob))
    await asyncio.to_thread(reached.wait)

    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    go_on.set()
    await asyncio.get_running_loop().shutdown_default_executor()

    assert [file.closed for file in opened] == [True]
    await database.close()
