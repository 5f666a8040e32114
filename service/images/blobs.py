"""Image files on disk, named by their content. Everything here blocks: it runs on threads."""

import os
from dataclasses import dataclass
from pathlib import Path

import xxhash

from service.disk import room_needed

try:
    from isal.isal_zlib import crc32  # ten times as fast as zlib's
except ImportError:  # no wheel for this platform
    from zlib import crc32

_READ = 1 << 20


class BlobLost(Exception):
    """A stored image's file is missing or not what it was."""


@dataclass(frozen=True, slots=True)
class Blob:
    """A stored image: its file is named `digest`."""

    digest: str
    """xxh3, 128 bits, hexadecimal."""
    size: int
    crc: int
    """CRC-32 as ZIP has it."""
    extension: str


class BlobWriter:
    """A file that is being filled; its checksums are counted while the bytes pass."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None
        self._hash = xxhash.xxh3_128()
        self._crc = 0
        self.size = 0

    def append(self, chunks: list[bytes]) -> None:
        """Write `chunks` (at most 1,024, the limit of writev). Raises `OutOfSpace`, or `OSError`."""
        with room_needed():
            if self._file is None:
                self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
            _write_all(self._file, chunks)
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

    def close(self) -> None:
        """Close the file, if it is open."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def discard(self) -> None:
        """Close and remove the file."""
        self.close()
        self.path.unlink(missing_ok=True)

    def blob(self, extension: str) -> Blob:
        """What was written."""
        return Blob(self._hash.hexdigest(), self.size, self._crc, extension)

    def move_to(self, path: Path) -> None:
        """Put the finished file in its place; one of the same content may be there already."""
        self.close()
        path.parent.mkdir(exist_ok=True)
        self.path.replace(path)


def _write_all(file: int, chunks: list[bytes]) -> None:
    written = os.writev(file, chunks)
    total = sum(map(len, chunks))
    while written < total:
        rest = memoryview(b"".join(chunks))[written:]
        written += os.write(file, rest)


def stamp(path: Path) -> tuple[int, int] | None:
    """Size and modification time (ns) of a file; None when it is not there."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def is_intact(path: Path, blob: Blob) -> bool:
    """Read the whole file and compare it with its name."""
    digest = xxhash.xxh3_128()
    try:
        with path.open("rb", buffering=0) as file:
            while chunk := file.read(_READ):
                digest.update(chunk)
    except OSError:
        return False
    return digest.hexdigest() == blob.digest
