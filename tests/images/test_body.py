"""Downloads on their way into the store take what they take, and leave nothing."""

import asyncio
import gc
import os
import shutil
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, cast

import pytest

from service.database import Database
from service.disk import OutOfSpace
from service.images.blobs import BlobWriter, content_of
from service.images.body import Body, ImageTooLarge
from service.images.budget import StoreBudget
from service.images.files import BlobFiles
from service.images.requests import ImageRequest
from service.images.store import ImageStore
from service.telemetry.metrics import Metrics
from service.upstream.models import Rendition
from tests.support.images import MIB, files, fill, found, left_over, open_store, put, read
from tests.support.samples import jpeg

_DISK = 74 * MIB
"""10 MiB more than is kept free for the database."""


class Usage(NamedTuple):
    """As `shutil.disk_usage` gives it."""

    total: int
    used: int
    free: int


@pytest.fixture
async def images(
    tmp_path: Path, database: Database, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[ImageStore]:
    """A store on a disk of `_DISK` bytes, of which only its images take any."""

    def usage(directory: Path) -> Usage:
        used = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
        return Usage(_DISK, used, _DISK - used)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    async with open_store(tmp_path, database, metrics) as opened:
        yield opened


async def test_what_is_written_of_a_download_is_not_counted_twice(images: ImageStore) -> None:
    """Given one of 6 MiB that is on the disk but not complete, there is room for 4 MiB more, and not for 5."""
    async with images.receive() as first, images.receive() as second:
        await first.expect(6 * MIB)
        await fill(first, bytes(6 * MIB))
        with pytest.raises(OutOfSpace):
            await second.expect(5 * MIB)
        await second.expect(4 * MIB)


async def test_no_more_room_is_asked_for_than_an_image_may_have(
    tmp_path: Path, database: Database, metrics: Metrics
) -> None:
    """Given a body of unknown length in a small store: its next step would be more than all of it."""
    async with open_store(tmp_path, database, metrics, limit=12 * MIB) as small, small.receive() as body:
        await fill(body, bytes(3 * MIB))

        with pytest.raises(ImageTooLarge):
            await fill(body, bytes(MIB))


async def test_a_download_that_begins_again_needs_its_room_again(images: ImageStore) -> None:
    """What was written and forgotten is promised still, and not on the disk any more."""
    async with images.receive() as first, images.receive() as second:
        await first.expect(6 * MIB)
        await fill(first, bytes(6 * MIB))
        await first.restart()
        with pytest.raises(OutOfSpace):
            await second.expect(5 * MIB)


async def test_stored_and_dropped_downloads_promise_nothing(images: ImageStore) -> None:
    """Only what is stored is counted when both are over."""
    await put(images, "kept", bytes(6 * MIB))
    async with images.receive() as dropped:
        await dropped.expect(4 * MIB)

    async with images.receive() as next_one:
        await next_one.expect(4 * MIB)


async def test_what_was_removed_is_counted_although_nobody_waits_for_it(images: ImageStore, metrics: Metrics) -> None:
    """Given a caller cancelled while his images are removed, their room can be had again."""
    blob = await put(images, "kept", bytes(6 * MIB))

    task = asyncio.create_task(images.delete(lambda _: [blob.digest]))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()}, return_exceptions=True)

    assert metrics.registry.get_sample_value("batch_store_bytes") == 0


async def test_a_download_that_cannot_be_recorded_leaves_no_file(
    images: ImageStore, database: Database, tmp_path: Path
) -> None:
    """Given a database without room: what nothing would count is not kept."""
    await database.run(lambda connection: connection.execute("PRAGMA max_page_count = 1"))

    for number in range(50):
        with suppress(OutOfSpace):
            await put(images, f"image {number}", str(number).encode())

    known = await database.run(lambda connection: connection.execute("SELECT count(*) FROM blobs").fetchone()[0])
    assert len(files(tmp_path)) == known < 50


async def test_a_whole_download_is_kept_although_nobody_waits_for_it(
    images: ImageStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a caller cancelled while his image, which may have been paid for, is put in its place."""
    moving, go_on = threading.Event(), threading.Event()
    really_move = BlobFiles.move

    def move_slowly(self: BlobFiles, writer: BlobWriter, digest: str) -> tuple[int, int]:
        moving.set()
        go_on.wait(10)
        return really_move(self, writer, digest)

    monkeypatch.setattr(BlobFiles, "move", move_slowly)

    task = asyncio.create_task(put(images, "bought", bytes(2 * MIB)))
    await asyncio.to_thread(moving.wait, 10)
    task.cancel()
    await asyncio.wait([task], timeout=0.2)  # it must not be over before the file is in its place
    go_on.set()
    await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()}, return_exceptions=True)

    assert task.cancelled()
    assert (await found(images, "bought")).keys() == {"bought"}
    assert left_over(tmp_path) == []


@pytest.mark.parametrize("fails", [False, True])
async def test_a_download_cancelled_twice_leaves_nothing(
    images: ImageStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    """No file, and no error that is reported as forgotten.

    Given a thread that still writes, well or not, when its caller is cancelled, and again while he waits for it.
    """
    writing, go_on = threading.Event(), threading.Event()
    really_append = BlobWriter.append

    def append_slowly(self: BlobWriter, chunks: list[bytes]) -> None:
        really_append(self, chunks)
        writing.set()
        go_on.wait(10)
        if fails:
            raise OSError("no such device")

    monkeypatch.setattr(BlobWriter, "append", append_slowly)
    forgotten: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: forgotten.append(context["message"]))

    async def download() -> None:
        async with images.receive() as body:
            await body.expect(2 * MIB)
            await fill(body, bytes(2 * MIB))

    task = asyncio.create_task(download())
    await asyncio.to_thread(writing.wait, 10)
    for _ in range(2):
        task.cancel()
        for _ in range(5):
            await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task

    await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()}, return_exceptions=True)

    gc.collect()
    assert forgotten == []
    assert left_over(tmp_path) == []


@pytest.mark.parametrize("size", [1_000, 3 * MIB], ids=["small", "large"])
async def test_a_large_body_that_broke_off_and_starts_anew_holds_the_new_bytes(
    images: ImageStore, tmp_path: Path, size: int
) -> None:
    """Whether they are again more than fit in memory or not; of the first ones nothing is left."""
    old, new = jpeg(1, size=2 * MIB), jpeg(2, size=size)

    async with images.receive() as body:
        await body.expect(3 * MIB)
        await fill(body, old)
        await body.restart()
        before = body.received
        await fill(body, new)
        content, is_whole = await body.complete("jpg")
        blob = await images.publish(body, content, "jpg", ImageRequest("key", "a", Rendition()))

    assert (before, content, is_whole) == (0, content_of(new), True)
    assert await read(images, blob) == new
    assert left_over(tmp_path) == []


async def test_a_large_body_that_starts_anew_and_fails_leaves_no_file(images: ImageStore, tmp_path: Path) -> None:
    """Nor an open descriptor."""
    async with images.receive() as body:
        await body.expect(2 * MIB)
        await fill(body, bytes(2 * MIB))
        await body.restart()
        writer = body.writer

    assert left_over(tmp_path) == []
    assert writer._file is None


async def test_a_small_body_touches_no_file_before_it_is_complete(images: ImageStore, tmp_path: Path) -> None:
    """Whatever its chunks."""
    async with images.receive() as body:
        await fill(body, bytes(MIB - 1), piece=1 << 12)
        content, _ = await body.complete("txt")

        assert (body.received, body.is_small, left_over(tmp_path)) == (MIB - 1, True, [])
        assert content == content_of(bytes(MIB - 1))


async def test_bytes_that_were_not_written_yet_are_counted(images: ImageStore) -> None:
    """A resumed download goes on behind them."""
    async with images.receive() as body:
        await body.expect(MIB + 100)
        await fill(body, bytes(MIB + 100), piece=MIB)

        assert body.received == MIB + 100


async def take(body: Body, data: bytes) -> None:
    """A whole download whose length nobody announced."""
    await fill(body, data)
    await body.complete("txt")


@pytest.mark.parametrize("announced", [True, False])
async def test_an_image_may_be_so_large_and_no_larger(tmp_path: Path, database: Database, announced: bool) -> None:
    """Whether its length was announced or not; one byte less is fine."""
    async with open_store(tmp_path, database, max_image_bytes=3 * MIB) as images:
        await put(images, "fits", bytes(3 * MIB))
        async with images.receive() as body:
            with pytest.raises(ImageTooLarge):
                await (body.expect(3 * MIB + 1) if announced else take(body, bytes(3 * MIB + 1)))

    assert left_over(tmp_path) == []


async def test_an_image_may_take_a_quarter_of_the_store(tmp_path: Path, database: Database) -> None:
    """Else one would drive out all others."""
    async with open_store(tmp_path, database, limit=8 * MIB) as images:
        await put(images, "fits", bytes(2 * MIB))
        with pytest.raises(ImageTooLarge):
            await put(images, "too large", bytes(2 * MIB + 1))


async def test_in_a_tiny_store_an_image_may_take_a_mebibyte(tmp_path: Path, database: Database) -> None:
    """It is sooner full than useless."""
    async with open_store(tmp_path, database, limit=2 * MIB) as images:
        await put(images, "fits", bytes(MIB))
        with pytest.raises(ImageTooLarge):
            await put(images, "too large", bytes(MIB + 1))


async def test_without_an_announced_length_room_is_asked_for_by_steps(images: ImageStore) -> None:
    """A body that nobody announced cannot fill the disk beyond its limit."""
    async with images.receive() as body:
        with pytest.raises(OutOfSpace):
            await fill(body, bytes(20 * MIB))

        assert body.received < 12 * MIB


@pytest.mark.parametrize("size", [10, MIB + 10])
async def test_a_body_that_starts_anew_holds_the_new_bytes_alone(images: ImageStore, size: int) -> None:
    """Whether or not those before had reached the disk, and some were still in memory."""
    old, new = b"o" * size, b"n" * (size - 1)
    async with images.receive() as body:
        await body.expect(size + 4)
        await fill(body, old)
        body.append(b"more")
        await body.restart()
        assert body.received == 0
        await fill(body, new)
        content, _ = await body.complete("txt")

    assert content == content_of(new)


async def test_room_is_given_back_once(images: ImageStore) -> None:
    """A body that was stored gives nothing back at the end of its block: what others were promised stays theirs."""
    async with images.receive() as other:
        await other.expect(6 * MIB)
        async with images.receive() as body:
            await body.expect(3 * MIB)
            await fill(body, bytes(3 * MIB))
            content, _ = await body.complete("txt")
            await images.publish(body, content, "jpg", ImageRequest("a.0", "a", Rendition()))
            body.release_room()

        async with images.receive() as third:
            with pytest.raises(OutOfSpace):
                await third.expect(2 * MIB)


class Room:
    """A budget without limits: what is promised, and what of it is on the disk."""

    def __init__(self) -> None:
        self.promised = 0
        self.written = 0
        self.is_ample = True

    def reserve_now(self, size: int) -> bool:
        """At once, if there is plenty."""
        self.promised += size if self.is_ample else 0
        return self.is_ample

    async def reserve(self, size: int) -> None:
        """After a look."""
        self.promised += size

    def wrote(self, size: int) -> None:
        """More is on the disk."""
        self.written += size

    def release(self, promised: int, written: int) -> None:
        """So much is given back."""
        self.promised -= promised
        self.written -= written


@pytest.fixture
def room() -> Room:
    """Of which nothing is promised."""
    return Room()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    """One thread: what it is given it does in sequence."""
    with ThreadPoolExecutor(1) as pool:
        yield pool


@pytest.fixture
def body(tmp_path: Path, room: Room, threads: ThreadPoolExecutor) -> Body:
    """Of at most 4 MiB."""
    return Body(tmp_path / "body", cast(StoreBudget, room), threads, 4 * MIB)


@pytest.mark.parametrize("is_ample", [True, False])
async def test_room_is_promised_once_however_often_it_is_asked_for(body: Body, room: Room, is_ample: bool) -> None:
    """And never less than before; all of it is given back."""
    room.is_ample = is_ample
    promised = []
    async with body:
        for length in (10, 10, 4, 12):
            await body.expect(length)
            promised.append(room.promised)

    assert (promised, room.promised) == ([10, 10, 10, 12], 0)


async def test_a_small_body_that_nobody_announced_needs_room_too(body: Body, room: Room) -> None:
    """Before it is stored."""
    async with body:
        body.append(b"photo")
        await body.complete("txt")
        promised = room.promised

    assert (promised, room.promised) == (5, 0)


async def test_a_body_that_nobody_announced_may_be_as_large_as_an_image(body: Body, room: Room) -> None:
    """To the byte."""
    async with body:
        await fill(body, bytes(4 * MIB))
        await body.complete("txt")
        assert (room.promised, room.written) == (4 * MIB, 4 * MIB)
        with pytest.raises(ImageTooLarge):
            await fill(body, bytes(MIB))

    assert (room.promised, room.written) == (0, 0)


async def test_a_body_is_written_by_pieces_of_a_mebibyte_or_a_thousand_chunks(body: Body, tmp_path: Path) -> None:
    """No more chunks than the system takes with one call."""
    async with body:
        is_due = [body.append(b"x") for _ in range(1024)]
        await body.flush()
        full, nearly = body.append(bytes(MIB)), None
        await body.flush()
        nearly = body.append(bytes(MIB - 1))
        path = await body.file()

        assert is_due == [False] * 1023 + [True]
        assert (full, nearly, path.read_bytes()) == (True, False, b"x" * 1024 + bytes(2 * MIB - 1))


async def test_a_body_whose_first_piece_is_still_being_written_leaves_no_file(
    body: Body, threads: ThreadPoolExecutor, tmp_path: Path, room: Room
) -> None:
    """Given a caller who leaves before there is a file: what was begun is done to its end, and then removed."""
    go_on = threading.Event()
    held = asyncio.get_running_loop().run_in_executor(threads, go_on.wait)

    async def download() -> None:
        async with body:
            body.append(bytes(MIB))
            await body.flush()

    downloading = asyncio.create_task(download())
    await asyncio.sleep(0)
    downloading.cancel()
    await asyncio.sleep(0)
    go_on.set()
    with suppress(asyncio.CancelledError):
        await downloading
    await held

    left = await asyncio.to_thread(os.listdir, tmp_path)
    assert (left, room.promised, room.written) == ([], 0, 0)


async def test_what_was_begun_with_a_file_is_done_though_its_caller_left(
    body: Body, threads: ThreadPoolExecutor
) -> None:
    """Else nobody would know what is in it."""
    go_on = threading.Event()
    held = asyncio.get_running_loop().run_in_executor(threads, go_on.wait)
    async with body:
        body.append(bytes(MIB))
        flushing = asyncio.create_task(body.flush())
        await asyncio.sleep(0)
        flushing.cancel()
        await asyncio.sleep(0)
        go_on.set()
        await held
        await asyncio.get_running_loop().run_in_executor(threads, lambda: None)  # behind what had begun
        content, _ = await body.complete("txt")

        assert (flushing.cancelled(), body.writer.size, content.size) == (True, MIB, MIB)


async def test_room_is_given_back_though_the_file_cannot_be_removed(
    body: Body, room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next start removes it."""

    def fail(_: BlobWriter) -> None:
        raise PermissionError

    await fill(body, bytes(2 * MIB))
    monkeypatch.setattr(BlobWriter, "discard", fail)
    with pytest.raises(PermissionError):
        await body.__aexit__(None, None, None)

    assert (room.promised, room.written) == (0, 0)
