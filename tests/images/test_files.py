"""The store's folder: descriptors belong to somebody, and what is in memory is bounded."""

import asyncio
import errno
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from mmap import mmap
from pathlib import Path
from typing import BinaryIO

import pytest

from service.images import files as files_module
from service.images.blobs import Blob, BlobLost, BlobUnreadable
from service.images.files import BlobFiles
from service.images.store import ImageStore
from tests.support.images import MIB, put, read
from tests.support.transport import yield_to_loop


async def test_a_reader_that_leaves_while_its_file_is_opened_leaves_it_closed(
    images: ImageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a handler cancelled in that moment, the file is closed as soon as it is open."""
    blob = await put(images, "k", b"photo")
    reached, go_on = threading.Event(), threading.Event()
    opened: list[BinaryIO] = []
    really_open = BlobFiles._open_file

    def open_slowly(self: BlobFiles, wanted: Blob) -> BinaryIO:
        reached.set()
        go_on.wait()
        opened.append(really_open(self, wanted))
        return opened[0]

    monkeypatch.setattr(BlobFiles, "_open_file", open_slowly)
    reader = asyncio.create_task(images.open_blob(blob))
    await asyncio.to_thread(reached.wait)

    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    go_on.set()
    await asyncio.to_thread(images._threads.shutdown)
    await yield_to_loop()

    assert [file.closed for file in opened] == [True]


async def test_a_file_is_closed_when_its_last_reader_leaves(images: ImageStore) -> None:
    """Two may share it."""
    blob = await put(images, "k", b"photo")

    opened = await images.open_blob(blob)
    assert opened is not None
    with opened:
        with opened:
            pass
        assert not opened.file.closed
    assert opened.file.closed


async def test_a_large_image_is_read_from_the_descriptor_it_was_written_to(images: ImageStore, tmp_path: Path) -> None:
    """Who follows needs no new one; reading does not close it, deleting does."""
    blob = await put(images, "k", bytes(2 * MIB))
    first, second = await images.open_blob(blob), await images.open_blob(blob)
    assert first is not None
    assert first is second
    with first:
        pass
    before = first.file.closed

    await images.delete(lambda _: [blob.digest])

    assert (before, first.file.closed) == (False, True)


async def test_who_reads_while_it_is_deleted_reads_to_the_end(images: ImageStore) -> None:
    """The file stays open for him."""
    blob = await put(images, "k", b"photo" * MIB)
    opened = await images.open_blob(blob)
    assert opened is not None

    with opened:
        await images.delete(lambda _: [blob.digest])
        assert not opened.file.closed
        assert os.pread(opened.file.fileno(), 5, 5) == b"photo"
    assert opened.file.closed


async def test_so_many_descriptors_are_kept_and_no_more(images: ImageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that was written longest ago is closed first."""
    monkeypatch.setattr(files_module, "_KEPT_OPEN", 2)
    blobs = [await put(images, f"k{number}", bytes([number]) * (MIB + 1)) for number in range(3)]

    kept = images._files._open

    assert list(kept) == [blobs[1].digest, blobs[2].digest]
    assert await read(images, blobs[0]) == bytes(MIB + 1)


async def test_small_images_are_in_memory_within_a_bound(images: ImageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that was read longest ago goes first."""
    monkeypatch.setattr(files_module, "_MEMORY_BYTES", 250)
    first = await put(images, "k1", b"1" * 100)
    second = await put(images, "k2", b"2" * 100)
    assert images.in_memory(first) == b"1" * 100

    third = await put(images, "k3", b"3" * 100)

    assert [images.in_memory(blob) for blob in (first, second, third)] == [b"1" * 100, None, b"3" * 100]
    assert await read(images, second) == b"2" * 100


async def test_a_larger_image_in_memory_takes_the_place_of_several(
    images: ImageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many as it needs."""
    monkeypatch.setattr(files_module, "_MEMORY_BYTES", 250)
    small = [await put(images, f"k{number}", bytes([number]) * 100) for number in (1, 2)]

    large = await put(images, "k3", b"3" * 240)

    assert [images.in_memory(blob) for blob in (*small, large)] == [None, None, b"3" * 240]


async def test_equal_images_take_their_memory_once(images: ImageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many keys name them."""
    monkeypatch.setattr(files_module, "_MEMORY_BYTES", 250)
    first = await put(images, "k1", b"1" * 100)
    await put(images, "k2", b"1" * 100)
    second = await put(images, "k3", b"2" * 100)

    assert [images.in_memory(blob) for blob in (first, second)] == [b"1" * 100, b"2" * 100]


async def test_what_is_deleted_is_not_in_memory(images: ImageStore) -> None:
    """Nor does it take any of the bound."""
    blob = await put(images, "k", b"photo")

    await images.delete(lambda _: [blob.digest])

    assert images.in_memory(blob) is None
    assert images._files._memory_bytes == 0


@pytest.mark.parametrize("found", [None, b"phot", b"photos"])
async def test_a_file_that_is_gone_or_of_another_length_is_lost(images: ImageStore, found: bytes | None) -> None:
    """And is told so."""
    blob = await put(images, "k", b"photo")
    path = images._files.path(blob.digest)
    path.unlink()
    if found is not None:
        path.write_bytes(found)

    with pytest.raises(BlobLost):
        await images.open_blob(blob)


async def test_a_file_that_cannot_be_opened_is_not_lost(images: ImageStore) -> None:
    """A loop of links stands in for a system out of descriptors."""
    blob = await put(images, "k", b"photo")
    path = images._files.path(blob.digest)
    path.unlink()
    path.symlink_to(path)

    with pytest.raises(BlobUnreadable):
        await images.open_blob(blob)


async def test_a_file_that_is_kept_open_again_is_not_held_twice(tmp_path: Path) -> None:
    """The descriptor from before is closed, unless a reader has it."""
    kept = BlobFiles(tmp_path, ThreadPoolExecutor(1))
    path = tmp_path / "blob"
    path.write_bytes(b"photo")
    before, again, last = (os.open(path, os.O_RDONLY) for _ in range(3))

    kept.keep_open("d", before)
    kept.keep_open("d", again)
    read = await kept.open(Blob("d", 5, 1, "jpg"))
    with read:
        kept.keep_open("d", last)
        assert os.pread(again, 5, 0) == b"photo"

    for closed in (before, again):
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(closed)
    kept.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(last)


async def test_what_was_just_written_is_sent_elsewhere_without_being_read(images: ImageStore) -> None:
    """Given a small image and a large one, neither needs its file; the large one's pages outlive its deletion."""
    small, large = os.urandom(2_000), os.urandom(2 * MIB + 17)
    blobs = [await put(images, key, data) for key, data in (("k", small), ("l", large))]
    contents = [images.content(blob) for blob in blobs]

    await images.delete(lambda _: [blob.digest for blob in blobs])

    assert contents[0] == small
    assert isinstance(contents[1], mmap)
    assert contents[1][:] == large
    assert isinstance(images.content(blobs[1]), Path)


async def test_what_was_written_a_while_ago_is_sent_elsewhere_from_its_file(images: ImageStore) -> None:
    """Its pages may have to be read from a disk that cannot, which would end the process."""
    first = await put(images, "k", b"first" * MIB)
    for number in range(16):
        await put(images, f"k{number}", number.to_bytes() * 2 * MIB)

    content = images.content(first)

    assert isinstance(content, Path)
    assert content.read_bytes() == b"first" * MIB


@pytest.mark.parametrize("trouble", ["later", "emptied", "shortened", "no room"])
async def test_pages_that_may_not_be_there_are_not_sent_elsewhere(
    images: ImageStore, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    """The file is, whose errors can be told."""
    blob = await put(images, "k", b"photo" * MIB)
    if trouble == "later":
        later = time.monotonic() + 31
        monkeypatch.setattr("service.images.files.time.monotonic", lambda: later)
    elif trouble in ("emptied", "shortened"):
        os.truncate(images._files.path(blob.digest), 0 if trouble == "emptied" else MIB)
    else:

        def no_room(*_: object, **__: object) -> None:
            raise OSError(errno.ENOMEM, "no room")

        monkeypatch.setattr(files_module, "mmap", no_room)

    assert isinstance(images.content(blob), Path)


@pytest.mark.parametrize("size", [7, 2 * MIB])
async def test_a_folder_that_was_removed_is_made_again(images: ImageStore, size: int) -> None:
    """Somebody tidied up empty ones."""
    blob = await put(images, "k", b"x" * size)
    await images.delete(lambda _: [blob.digest])
    images._files.path(blob.digest).parent.rmdir()

    again = await put(images, "k", b"x" * size)

    assert await read(images, again) == b"x" * size


@pytest.mark.parametrize("before", [[], [b"photo"]], ids=["new", "written again"])
def test_a_write_that_failed_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: list[bytes]
) -> None:
    """Else half of an image lay there until the next start."""
    kept = BlobFiles(tmp_path, ThreadPoolExecutor(1))
    kept.prepare(set())
    for data in before:
        kept.write("d" * 64, data)

    def write_half(file: int, chunks: list[bytes]) -> None:
        os.write(file, chunks[0][:2])
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(files_module, "write_all", write_half)

    with pytest.raises(OSError, match="no space"):
        kept.write("d" * 64, b"photo")

    assert [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()] == before


def test_a_small_image_that_is_written_again_mends_a_damaged_file(tmp_path: Path) -> None:
    """What is there need not be what was written."""
    kept = BlobFiles(tmp_path, ThreadPoolExecutor(1))
    kept.prepare(set())
    path = kept.path("d" * 64)
    kept.write("d" * 64, b"photo")
    path.write_bytes(b"phot")

    stamp = kept.write("d" * 64, b"photo")

    status = path.stat()
    assert path.read_bytes() == b"photo"
    assert stamp == (5, status.st_mtime_ns)
    assert status.st_mode & 0o777 == 0o640
