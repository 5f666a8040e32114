"""The folder of the image store: a file per blob, and those that are still being filled."""

import asyncio
import os
import time
from collections import OrderedDict
from collections.abc import Container
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from mmap import PROT_READ, mmap
from pathlib import Path
from typing import BinaryIO, Self

from service.images.blobs import Blob, BlobLost, BlobUnreadable, BlobWriter, write_all

_UNFINISHED = "incoming"
_NEW, _MODE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640
# Open files of large blobs that were just written, for the readers who follow.
_KEPT_OPEN = 16
# The system writes pages to the disk after about so long, and may drop them from memory then.
_IN_PAGES_SECONDS = 30.0
# Bytes of small blobs that were just written.
_MEMORY_BYTES = 16 << 20


class OpenBlob:
    """A blob's open file, unbuffered; within `with` it stays open. Several readers may share it: they give offsets."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.since = time.monotonic()
        self._users = 0

    def __enter__(self) -> Self:
        self._users += 1
        return self

    def __exit__(self, *error: object) -> None:
        self._users -= 1
        if not self._users:
            self.file.close()


class BlobFiles:
    """Where blobs are. What reads or writes files blocks: it runs on threads."""

    def __init__(self, directory: Path, threads: ThreadPoolExecutor) -> None:
        self.directory = directory
        self._root = str(directory)
        self._unfinished = directory / _UNFINISHED
        self._threads = threads
        self._numbers = count()
        self._open: OrderedDict[str, OpenBlob] = OrderedDict()
        self._in_memory: OrderedDict[str, bytes] = OrderedDict()
        self._memory_bytes = 0

    def path(self, digest: str) -> Path:
        """Where the blob of this digest is, or would be."""
        return self.directory / digest[:2] / digest

    def new_path(self) -> Path:
        """A name of its own for a file until it is complete."""
        return self._unfinished / str(next(self._numbers))

    def prepare(self, known: Container[str]) -> None:
        """Make the folder, and remove what a crash left: unfinished downloads, and files that are not `known`."""
        self._unfinished.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in self._unfinished.iterdir():
            path.unlink()
        for path in self.directory.glob("??/*"):
            if path.name not in known:
                path.unlink()

    def write(self, digest: str, data: bytes) -> tuple[int, int]:
        """Put a small blob into its place; returns its size and modification time (ns). Raises `OSError`.

        Until its row is committed nobody reads it, and a start removes it: it needs no other name meanwhile.
        """
        path = f"{self._root}/{digest[:2]}/{digest}"
        try:
            return _write_new(path, data)
        except FileExistsError:  # what is there may be damaged, and may be read just now
            other = self.new_path()
            stamp = _write_new(str(other), data)
            other.replace(path)
            return stamp
        except FileNotFoundError:
            self._make_folder(digest)
            return _write_new(path, data)

    def move(self, writer: BlobWriter, digest: str) -> tuple[int, int]:
        """Put a finished file into its place; returns its size and modification time (ns). Raises `OSError`.

        It is there already when the work is repeated.
        """
        path = self.path(digest)
        try:
            writer.path.replace(path)
        except FileNotFoundError:
            if not path.exists():
                self._make_folder(digest)
                writer.path.replace(path)
        status = path.stat()
        return status.st_size, status.st_mtime_ns

    def _make_folder(self, digest: str) -> None:
        """It is made with the first blob in it, and again when somebody has removed it."""
        self.path(digest).parent.mkdir(exist_ok=True)

    def probe(self) -> None:
        """Make a file and remove it. Raises `OSError` where that cannot be done."""
        probe = self.new_path()
        probe.touch()
        probe.unlink()

    def in_memory(self, digest: str) -> bytes | None:
        data = self._in_memory.get(digest)
        if data is not None:
            self._in_memory.move_to_end(digest)
        return data

    def keep_in_memory(self, digest: str, data: bytes) -> None:
        """Keep a small blob in memory for a while."""
        if digest in self._in_memory:
            return
        self._in_memory[digest] = data
        self._memory_bytes += len(data)
        while self._memory_bytes > _MEMORY_BYTES:
            self._memory_bytes -= len(self._in_memory.popitem(last=False)[1])

    def keep_open(self, digest: str, file: int) -> None:
        """Keep a descriptor for those who read the blob now."""
        opened = OpenBlob(os.fdopen(file, "rb", buffering=0))
        self._close(self._open.pop(digest, None))
        self._open[digest] = opened.__enter__()
        if len(self._open) > _KEPT_OPEN:
            self._close(self._open.popitem(last=False)[1])

    def mapped(self, blob: Blob) -> mmap | None:
        """The pages of a large blob that was just written: to send them copies nothing but into the socket.

        Not of others: where a page must be read from the disk and cannot be, its reader dies with the whole process.
        """
        opened = self._open.get(blob.digest)
        if opened is None or time.monotonic() - opened.since > _IN_PAGES_SECONDS:
            return None
        try:
            pages = mmap(opened.file.fileno(), 0, prot=PROT_READ)
        except (OSError, ValueError):  # no room for a mapping, or an empty file
            return None
        return pages if len(pages) == blob.size else None

    def forget(self, digest: str) -> None:
        """The blob is deleted: nothing of it stays in memory, nothing holds its room on the disk."""
        self._memory_bytes -= len(self._in_memory.pop(digest, b""))
        self._close(self._open.pop(digest, None))

    def close(self) -> None:
        for digest in list(self._open):
            self.forget(digest)

    async def open(self, blob: Blob) -> OpenBlob:
        """A blob's file for reading, to be entered at once. Raises `BlobLost`, or `BlobUnreadable`."""
        if (opened := self._open.get(blob.digest)) is not None:
            return opened
        opening = asyncio.get_running_loop().run_in_executor(self._threads, self._open_file, blob)
        try:
            return OpenBlob(await asyncio.shield(opening))
        except asyncio.CancelledError:
            opening.add_done_callback(_close_unclaimed)  # the thread goes on, and nobody else would close its file
            raise

    def _open_file(self, blob: Blob) -> BinaryIO:
        try:
            file = self.path(blob.digest).open("rb", buffering=0)
        except FileNotFoundError as error:
            raise BlobLost(blob.digest) from error
        except OSError as error:
            raise BlobUnreadable(error.strerror) from error
        if os.fstat(file.fileno()).st_size != blob.size:
            file.close()
            raise BlobLost(blob.digest)
        return file

    @staticmethod
    def _close(opened: OpenBlob | None) -> None:
        if opened is not None:
            opened.__exit__()


def _write_new(path: str, data: bytes) -> tuple[int, int]:
    """Make a file; returns its size and modification time (ns). Raises `OSError`, and leaves no file then."""
    file = os.open(path, _NEW, _MODE)
    try:
        write_all(file, [data])
        status = os.fstat(file)
    except BaseException:
        os.unlink(path)  # noqa: PTH108  # as text: a path object costs as much as the call
        raise
    finally:
        os.close(file)
    return status.st_size, status.st_mtime_ns


def _close_unclaimed(opening: asyncio.Future[BinaryIO]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()
