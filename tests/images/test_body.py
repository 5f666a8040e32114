"""Downloads on their way into the store take what they take, and leave nothing."""

import asyncio
import shutil
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from service.database import Database
from service.disk import OutOfSpace
from service.images import store
from service.images.blobs import BlobWriter
from service.images.store import ImageStore
from service.telemetry.metrics import Metrics

_MIB = 1 << 20
_DISK = 74 * _MIB
"""10 MiB more than is kept free for the database."""


class Usage(NamedTuple):
    """As `shutil.disk_usage` gives it."""

    total: int
    used: int
    free: int


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    """With the tables of images."""
    database = await Database.open(tmp_path, [store.SCHEMA])
    yield database
    await database.close()


@pytest.fixture
def metrics() -> Metrics:
    """What the store counts."""
    return Metrics()


@pytest.fixture
async def images(tmp_path: Path, database: Database, metrics: Metrics, monkeypatch: pytest.MonkeyPatch) -> ImageStore:
    """A store on a disk of `_DISK` bytes, of which only its images take any."""

    def usage(directory: Path) -> Usage:
        used = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
        return Usage(_DISK, used, _DISK - used)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    return await ImageStore.open(tmp_path / "images", database, lambda _: 1 << 40, metrics)


async def test_what_is_written_of_a_download_is_not_counted_twice(images: ImageStore) -> None:
    """Given one of 6 MiB that is on the disk but not complete, there is room for 4 MiB more, and not for 5."""
    async with images.receive() as first, images.receive() as second:
        await first.expect(6 * _MIB)
        await first.write(bytes(6 * _MIB))
        with pytest.raises(OutOfSpace):
            await second.expect(5 * _MIB)
        await second.expect(4 * _MIB)


async def test_a_download_that_begins_again_needs_its_room_again(images: ImageStore) -> None:
    """What was written and forgotten is promised still, and not on the disk any more."""
    async with images.receive() as first, images.receive() as second:
        await first.expect(6 * _MIB)
        await first.write(bytes(6 * _MIB))
        await first.restart()
        with pytest.raises(OutOfSpace):
            await second.expect(5 * _MIB)


async def test_stored_and_dropped_downloads_promise_nothing(images: ImageStore) -> None:
    """Only what is stored is counted when both are over."""
    async with images.receive() as kept:
        await kept.expect(6 * _MIB)
        await kept.write(bytes(6 * _MIB))
        await images.publish(kept, "jpg")
    async with images.receive() as dropped:
        await dropped.expect(4 * _MIB)

    async with images.receive() as next_one:
        await next_one.expect(4 * _MIB)


async def test_what_was_removed_is_counted_although_nobody_waits_for_it(images: ImageStore, metrics: Metrics) -> None:
    """Given a caller cancelled while his images are removed, their room can be had again."""
    async with images.receive() as kept:
        await kept.expect(6 * _MIB)
        await kept.write(bytes(6 * _MIB))
        blob = await images.publish(kept, "jpg")

    task = asyncio.create_task(images.delete(lambda _: [blob.digest]))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait(asyncio.all_tasks() - {asyncio.current_task()}, timeout=10)

    assert metrics.registry.get_sample_value("batch_store_bytes") == 0


async def test_a_download_that_cannot_be_recorded_leaves_no_file(
    images: ImageStore, database: Database, tmp_path: Path
) -> None:
    """Given a database without room: what nothing would count is not kept."""
    await database.run(lambda connection: connection.execute("PRAGMA max_page_count = 1"))

    for number in range(200):
        with suppress(OutOfSpace):
            async with images.receive() as incoming:
                await incoming.expect(10)
                await incoming.write(str(number).encode())
                await images.publish(incoming, "jpg", f"image {number}")

    files = [path for path in (tmp_path / "images").glob("??/*") if path.is_file()]
    known = await database.run(lambda connection: connection.execute("SELECT count(*) FROM blobs").fetchone()[0])
    assert len(files) == known < 200


async def test_a_whole_download_is_kept_although_nobody_waits_for_it(
    images: ImageStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a caller cancelled while his image, which may have been paid for, is put in its place."""
    moving, go_on = threading.Event(), threading.Event()
    really_move = BlobWriter.move_to

    def move_slowly(self: BlobWriter, path: Path) -> None:
        moving.set()
        go_on.wait(10)
        really_move(self, path)

    monkeypatch.setattr(BlobWriter, "move_to", move_slowly)

    async def download() -> None:
        async with images.receive() as incoming:
            await incoming.expect(10)
            await incoming.write(b"0123456789")
            await images.publish(incoming, "jpg", "bought")

    task = asyncio.create_task(download())
    await asyncio.to_thread(moving.wait, 10)
    task.cancel()
    await asyncio.wait([task], timeout=0.2)  # it must not be over before the file is in its place
    go_on.set()
    await asyncio.wait(asyncio.all_tasks() - {asyncio.current_task()}, timeout=10)

    assert task.cancelled()
    assert (await images.find(["bought"])).keys() == {"bought"}
    assert list((tmp_path / "images" / "incoming").iterdir()) == []


async def test_a_download_cancelled_twice_leaves_no_file(
    images: ImageStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a thread that still writes when its caller is cancelled, and again while he waits for it."""
    writing, go_on = threading.Event(), threading.Event()
    really_append = BlobWriter.append

    def append_slowly(self: BlobWriter, chunks: list[bytes]) -> None:
        really_append(self, chunks)
        writing.set()
        go_on.wait(10)

    monkeypatch.setattr(BlobWriter, "append", append_slowly)

    async def download() -> None:
        async with images.receive() as incoming:
            await incoming.expect(_MIB)
            await incoming.write(bytes(_MIB))

    task = asyncio.create_task(download())
    await asyncio.to_thread(writing.wait, 10)
    for _ in range(2):
        task.cancel()
        for _ in range(5):
            await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task

    await asyncio.wait(asyncio.all_tasks() - {asyncio.current_task()}, timeout=10)

    assert list((tmp_path / "images" / "incoming").iterdir()) == []
