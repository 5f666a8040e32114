"""Bytes of an image: what to send, of which size, without holding it in memory."""

import asyncio
import functools
import hashlib
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

BLOCK = 256 * 1024
PERIOD = 1_048_573  # a prime, so that resuming at a wrong but round offset shows

MEDIA_TYPES = {
    "jpeg": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
    "avif": "image/avif",
    "jxl": "image/jxl",
}
JXL_PICTURE = bytes.fromhex("ff0acb40240800010084004b386998ca83f74a48980050226e0c5a0f17080100809a8709eec1b5f9d0c78007")
"""A sky over a meadow, 64 x 48 pixels: it stands for every photo in JPEG XL, for which Pillow has no encoder."""

_JPEG_START = bytes.fromhex("ffd8ffda0008010100003f00")  # start of image, start of scan
_JPEG_END = bytes.fromhex("ffd9")
_PNG_START = bytes.fromhex("89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b55")
_PNG_END = bytes.fromhex("0000000049454e44ae426082")
_AVIF_START = b"\x00\x00\x00\x1cftypavif\x00\x00\x00\x00avifmif1miaf\x00\x00\x00\x0cmeta\x00\x00\x00\x00"
_MAX_LENGTH = 0xFFFF_FFFF
PHOTO_STARTS = (b"\xff\xd8\xff", b"\x89PNG", b"RIFF", b"\xff\x0a", b"\x00\x00\x00\x0cJXL ", b"II", b"MM", b"FUJI")


class Body(Protocol):
    """Immutable bytes with a name of their own (`tag`), readable from any position."""

    size: int
    tag: str
    media_type: str

    def blocks(self, start: int, stop: int) -> AsyncIterator[bytes | memoryview]:
        """Yield bytes `start` to `stop` (exclusive) in pieces of at most `BLOCK`."""


@dataclass(frozen=True)
class Synthetic:
    """An image that exists only as its size."""

    size: int


@dataclass(frozen=True)
class ImageFile:
    """An image that is a file."""

    path: Path
    size: int
    format: str = "jpeg"
    """Of its content; `jpeg` for what is none of the formats that can be asked for."""


Source = Synthetic | ImageFile


@functools.cache
def _pool() -> memoryview:
    noise = random.Random("sandbox").randbytes(PERIOD)  # noqa: S311 - content of a picture, no secret
    noise = noise.replace(b"\xff", b"\x7f")  # in a JPEG's scan an FF would begin a marker
    return memoryview(noise + noise[:BLOCK])


def _frame(image_format: str, size: int) -> tuple[bytes, bytes]:
    """How an image of `size` bytes begins and ends, so that its format's end is where it belongs."""
    match image_format:
        case "jpeg":
            return _JPEG_START, _JPEG_END
        case "png":
            data = size - len(_PNG_START) - len(_PNG_END) - 12  # an IDAT chunk's own length, name and checksum
            return _PNG_START + _length(data, "big") + b"IDAT", bytes(4) + _PNG_END
        case "webp":
            return b"RIFF" + _length(size - 8, "little") + b"WEBPVP8 " + _length(size - 20, "little"), b""
        case "avif":
            return _AVIF_START + _length(size - len(_AVIF_START), "big") + b"mdat", b""
        case _:
            return JXL_PICTURE[:2], b""


def _length(number: int, order: Literal["big", "little"]) -> bytes:
    """Four bytes; images whose length does not fit into them are only pretended."""
    return min(max(number, 0), _MAX_LENGTH).to_bytes(4, order)


class SyntheticBody:
    """`size` pseudo-random bytes that follow from `seed` alone, in the frame of an `image_format`.

    No decoder shows them, but whoever looks for the format's start and end finds both.
    """

    def __init__(self, seed: str, size: int, image_format: str) -> None:
        digest = hashlib.sha256(f"{seed}:{size}".encode()).hexdigest()
        self.size = size
        self.tag = digest[:32]
        self.media_type = MEDIA_TYPES[image_format]
        start, self._end = _frame(image_format, size)
        self._start = (start + digest.encode())[: max(0, size - len(self._end))]
        self._shift = int(digest[:12], 16) % PERIOD

    async def blocks(self, start: int, stop: int) -> AsyncIterator[bytes | memoryview]:
        """The bytes from `start` to before `stop`, piece by piece."""
        while start < stop:
            piece = self._piece(start, stop)
            start += len(piece)
            yield piece

    def _piece(self, start: int, stop: int) -> bytes | memoryview:
        """Some bytes from `start` on, at least one and none from `stop` on."""
        if start < len(self._start):
            return self._start[start : min(stop, len(self._start))]
        end = self.size - len(self._end)
        if start >= end:
            return self._end[start - end : stop - end]
        at = (start + self._shift) % PERIOD
        return _pool()[at : at + min(min(stop, end) - start, BLOCK)]

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


class CutBody:
    """The first `size` bytes of another body, as if there were no more."""

    def __init__(self, whole: Body, size: int) -> None:
        self.size = min(size, whole.size)
        self.tag = f"{whole.tag}-{self.size}"
        self.media_type = whole.media_type
        self.blocks = whole.blocks


class FileBody:
    """A file as it is, read in a thread."""

    def __init__(self, source: ImageFile, media_type: str) -> None:
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


def format_of(start: bytes) -> str | None:
    """Which of the formats of `MEDIA_TYPES` a file's first bytes tell; None for any other."""
    if start[4:12] == b"ftypavif":
        return "avif"
    for name, magic in (("jpeg", b"\xff\xd8\xff"), ("png", b"\x89PNG"), ("webp", b"RIFF"), ("jxl", b"\xff\x0a")):
        if start.startswith(magic):
            return name
    return None


def media_type_of(start: bytes) -> str:
    """The media type that a file's first bytes tell."""
    if start[4:12] in {b"ftypheic", b"ftypheix", b"ftypmif1"}:
        return "image/heic"
    image_format = format_of(start)
    return MEDIA_TYPES[image_format] if image_format else "application/octet-stream"
