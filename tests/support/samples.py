"""Small bodies that begin and end as real images do, and the documents that Autoenhance sends about them."""

import random
import zlib
from collections.abc import Iterable
from typing import Any

ORDER = "0b9f7c1e-4a57-4d6e-9d51-2f3c8a7be001"
OTHER_ORDER = "0b9f7c1e-4a57-4d6e-9d51-2f3c8a7be002"

Document = dict[str, Any]


_PERIOD = 1_048_573
"""A prime: bytes that went to another place at a round distance show."""


def _noise(seed: int, size: int) -> bytes:
    """Random bytes without 0xFF, which would be read as a marker; after the first MiB they repeat."""
    noise = random.Random(seed).randbytes(min(size, _PERIOD)).replace(b"\xff", b"\xfe")
    return (noise * (size // _PERIOD + 1))[:size]


def jpeg(seed: int = 1, size: int = 2_000) -> bytes:
    """`size` bytes from a JPEG's start to its end; equal seeds give equal bytes."""
    scan = b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00"
    head = b"\xff\xd8" + (b"" if size < 40 else b"\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00") + scan
    return head + _noise(seed, size - len(head) - 2) + b"\xff\xd9"


def png(seed: int = 1, size: int = 2_000) -> bytes:
    """`size` bytes from a PNG's signature to its last chunk."""
    header = _chunk(b"IHDR", bytes(13))
    end = _chunk(b"IEND", b"")
    signature = b"\x89PNG\r\n\x1a\n"
    content = _noise(seed, size - len(signature) - len(header) - len(end) - 12)
    return signature + header + _chunk(b"IDAT", content) + end


def _chunk(kind: bytes, content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")


def webp(seed: int = 1, size: int = 2_000) -> bytes:
    """`size` bytes (an even number) with a WebP's signature and one chunk to its end."""
    content = _noise(seed, size - 20)
    head = b"RIFF" + (size - 8).to_bytes(4, "little") + b"WEBPVP8 " + len(content).to_bytes(4, "little")
    return head + content


def photo(image_id: str, image_name: str | None = None, **fields: Any) -> Document:
    """The record of a finished image, called `<id>.jpg` unless told."""
    name = f"{image_id}.jpg" if image_name is None else image_name
    return {"image_id": image_id, "image_name": name, "status": "processed", "date_added": 1_772_442_904} | fields


def order(images: Iterable[str | Document], **fields: Any) -> Document:
    """The document of a finished order. An image is an id or a whole record."""
    records = [photo(image) if isinstance(image, str) else image for image in images]
    return {
        "order_id": ORDER,
        "name": "12 Harbour Lane",
        "status": "processed",
        "is_processing": False,
        "is_merging": False,
        "is_deleted": False,
        "total_images": len(records),
        "created_at": "2026-03-02T09:15:04.120931",
        "images": records,
    } | fields
