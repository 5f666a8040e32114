"""Bytes of an image: what to send, of which size, without holding it in memory."""

import asyncio
import functools
import hashlib
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

BLOCK = 256 * 1024
PERIOD = 1_048_573  # a prime, so that resuming at a wrong but round offset shows
HEADER = 64

MEDIA_TYPES = {
    "jpeg": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
    "avif": "image/avif",
    "jxl": "image/jxl",
}
MAGIC = {
    "jpeg": bytes.fromhex("ffd8ffe000104a46494600"),
    "png": bytes.fromhex("89504e470d0a1a0a0000000d49484452"),
    "webp": b"RIFF\x00\x00\x00\x00WEBPVP8 ",
    "avif": b"\x00\x00\x00\x1cftypavif\x00\x00\x00\x00avifmif1miaf",
    "jxl": bytes.fromhex("ff0a"),
}
PHOTO_STARTS = (b"\xff\xd8\xff", b"\x89PNG", b"RIFF", b"\xff\x0a", b"\x00\x00\x00\x0cJXL ", b"II", b"MM", b"FUJI")


class Body(Protocol):
    """Immutable bytes with a name of their own (`tag`), readable from any position."""

    size: int
    tag: str
    media_type: str

    def blocks(self, start: int, stop: int) -> AsyncIterator[bytes | memoryview]:
        """Yield bytes `start` to `stop` (exclusive) in pieces of at most `BLOCK`."""
        ...


@dataclass(frozen=True)
class Synthetic:
    """An image that exists only as its size."""

    size: int


@dataclass(frozen=True)
class Stored:
    """An image that is a file."""

    path: Path
    size: int


Source = Synthetic | Stored


@functools.cache
def _pool() -> memoryview:
    noise = random.Random("sandbox").randbytes(PERIOD)  # noqa: S311 - content of a picture, no secret
    return memoryview(noise + noise[:BLOCK])


class SyntheticBody:
    """`size` pseudo-random bytes that follow from `seed` alone, opening with the magic of `image_format`."""

    def __init__(self, seed: str, size: int, image_format: str) -> None:
        digest = hashlib.sha256(f"{seed}:{size}".encode()).hexdigest()
        self.size = size
        self.tag = digest[:32]
        self.media_type = MEDIA_TYPES[image_format]
        self._header = (MAGIC[image_format] + digest.encode())[:HEADER]
        self._shift = int(digest[:12], 16) % PERIOD

    async def blocks(self, start: int, stop: int) -> AsyncIterator[bytes | memoryview]:
        """The bytes from `start` to before `stop`, piece by piece."""
        while start < stop:
            piece = self._piece(start, stop)
            start += len(piece)
            yield piece

    def _piece(self, start: int, stop: int) -> bytes | memoryview:
        if start < HEADER:
            return self._header[start : min(stop, HEADER)]
        at = (start + self._shift) % PERIOD
        return _pool()[at : at + min(stop - start, BLOCK)]

    def whole(self) -> bytes:
        """All of it; for small images only."""
        parts: list[bytes] = []
        at = 0
        while at < self.size:
            parts.append(bytes(self._piece(at, self.size)))
            at += len(parts[-1])
        return b"".join(parts)


class BytesBody:
    """Bytes held in memory."""

    def __init__(self, content: bytes, media_type: str) -> None:
        self.size = len(content)
        self.tag = hashlib.sha256(content).hexdigest()[:32]
        self.media_type = media_type
        self._content = memoryview(content)

    async def blocks(self, start: int, stop: int) -> AsyncIterator[bytes | memoryview]:
        """The bytes from `start` to before `stop`, piece by piece."""
        for at in range(start, stop, BLOCK):
            yield self._content[at : min(at + BLOCK, stop)]


class FileBody:
    """A file as it is, read in a thread."""

    def __init__(self, source: Stored, media_type: str) -> None:
        self.size = source.size
        self.tag = hashlib.sha256(f"{source.path.name}:{source.size}".encode()).hexdigest()[:32]
        self.media_type = media_type
        self._path = source.path

    async def blocks(self, start: int, stop: int) -> AsyncIterator[bytes | memoryview]:
        """The bytes from `start` to before `stop`, piece by piece."""
        while start < stop:
            piece = await asyncio.to_thread(_read_at, self._path, start, min(BLOCK, stop - start))
            if not piece:
                return
            start += len(piece)
            yield piece


def _read_at(path: Path, offset: int, size: int) -> bytes:
    """Opens anew for each block: a file held across awaits would stay open when its reader is cancelled."""
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(size)


def looks_like_photo(start: bytes) -> bool:
    """Whether a file opens like one of the formats the service takes (JPEG, PNG, WebP, JXL, HEIC, AVIF, RAW)."""
    return start.startswith(PHOTO_STARTS) or start[4:8] == b"ftyp"


def media_type_of(start: bytes) -> str:
    """The media type that a file's first bytes tell."""
    if start[4:12] in {b"ftypheic", b"ftypheix", b"ftypmif1"}:
        return "image/heic"
    if start[4:12] == b"ftypavif":
        return MEDIA_TYPES["avif"]
    for name, magic in (("jpeg", b"\xff\xd8\xff"), ("png", b"\x89PNG"), ("webp", b"RIFF"), ("jxl", b"\xff\x0a")):
        if start.startswith(magic):
            return MEDIA_TYPES[name]
    return "application/octet-stream"
