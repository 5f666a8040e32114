"""Small bodies that begin as real images do, and the documents that Autoenhance sends about them."""

import random
from collections.abc import Iterable
from typing import Any

ORDER = "0b9f7c1e-4a57-4d6e-9d51-2f3c8a7be001"
OTHER_ORDER = "0b9f7c1e-4a57-4d6e-9d51-2f3c8a7be002"

Document = dict[str, Any]


def _body(signature: bytes, seed: int, size: int) -> bytes:
    return signature + random.Random(seed).randbytes(size - len(signature))


def jpeg(seed: int = 1, size: int = 2_000) -> bytes:
    """`size` bytes with a JPEG's signature; equal seeds give equal bytes."""
    return _body(b"\xff\xd8\xff\xe0", seed, size)


def png(seed: int = 1, size: int = 2_000) -> bytes:
    """`size` bytes with a PNG's signature."""
    return _body(b"\x89PNG\r\n\x1a\n", seed, size)


def webp(seed: int = 1, size: int = 2_000) -> bytes:
    """`size` bytes with a WebP's signature."""
    return _body(b"RIFF" + (size - 8).to_bytes(4, "little") + b"WEBP", seed, size)


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
