"""Blobs: stored bytes under the name of their content. What opens, reads or writes files blocks: it runs on threads."""

import mmap
import os
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

from service.disk import room_needed
from service.images.legacy import has_legacy_name, legacy_digest
from service.upstream import formats

try:
    from isal.isal_zlib import crc32  # ten times as fast as zlib's
except ImportError:  # no wheel for this platform
    from zlib import crc32

_READ = 1 << 20


class BlobLost(Exception):
    """A stored image's file is missing or not what it was."""


class BlobAway(BlobLost):
    """It is in the storage that instances share, which does not answer at the moment."""


class BlobWrong(BlobLost):
    """Under its name, the storage that instances share has something else."""


class BlobUnreadable(Exception):
    """A stored image's file cannot be opened just now: no descriptors, an I/O error. It is not damaged."""


@dataclass(frozen=True, slots=True)
class Blob:
    """Stored bytes, of an image or a text: their file is named `digest`."""

    digest: str
    """BLAKE3, 256 bits, hexadecimal; of blobs from version 0 xxh3, 128 bits."""
    size: int
    crc: int
    """CRC-32 as ZIP has it."""
    extension: str
    is_incomplete: bool = False
    """It ends before its format says it should, and upstream has no more of it."""


@dataclass(frozen=True, slots=True)
class Content:
    """What some bytes are, whatever they are called."""

    digest: str
    size: int
    crc: int


def content_of(data: bytes) -> Content:
    return Content(blake3(data).hexdigest(), len(data), crc32(data))


class BlobWriter:
    """A file that is being filled; its checksums are counted while the bytes pass."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self._file: int | None = None
        self._hash = blake3()
        self._crc = 0

    @property
    def has_file(self) -> bool:
        return self._file is not None

    def append(self, chunks: list[bytes]) -> None:
        """Write `chunks` (at most 1,024, the limit of writev). Raises `OutOfSpace`, or `OSError`."""
        with room_needed():
            if self._file is None:
                self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
            write_all(self._file, chunks)
        for chunk in chunks:
            self._hash.update(chunk)
            self._crc = crc32(chunk, self._crc)
            self.size += len(chunk)

    def restart(self) -> None:
        """Forget what was written."""
        if self._file is not None:
            os.ftruncate(self._file, 0)
            os.lseek(self._file, 0, os.SEEK_SET)
        self._hash.reset()
        self._crc = self.size = 0

    def content(self) -> Content:
        return Content(self._hash.hexdigest(), self.size, self._crc)

    def is_whole(self, extension: str) -> bool:
        """Whether what was written ends where the image's format says it ends."""
        if self._file is None:
            return False
        with mmap.mmap(self._file, self.size, prot=mmap.PROT_READ) as data:
            return formats.is_whole(data, extension)

    def take_file(self) -> int | None:
        """The open descriptor, which is the caller's from now on."""
        file, self._file = self._file, None
        return file

    def discard(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
        self.path.unlink(missing_ok=True)


def write_all(file: int, chunks: list[bytes]) -> None:
    """Write the chunks, however few bytes the system takes at once."""
    written = os.writev(file, chunks)
    total = sum(map(len, chunks))
    while written < total:
        rest = memoryview(b"".join(chunks))[written:]
        written += os.write(file, rest)


def stamp(path: Path) -> tuple[int, int] | None:
    """Size and modification time (ns) of a file; None when it is not there. Raises `OSError` when it cannot be told."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_size, status.st_mtime_ns


def is_intact(path: Path, blob: Blob) -> bool:
    """Read the whole file and compare it with its name. Raises `OSError` when it cannot be read just now."""
    digest = legacy_digest() if has_legacy_name(blob.digest) else blake3()
    try:
        with path.open("rb", buffering=0) as file:
            while chunk := file.read(_READ):
                digest.update(chunk)
    except FileNotFoundError:
        return False
    return digest.hexdigest() == blob.digest
