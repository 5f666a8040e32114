"""What makes two images the same: the key under which an image is stored."""

import json
from collections.abc import Mapping
from typing import Any

import xxhash

from service.upstream.models import ImageRecord, Rendering

# Fields that change by themselves, or that do not change the picture.
_VOLATILE = frozenset(
    {"status", "status_reason", "downloaded", "rating", "metadata", "scene", "enhanced", "error"}
    | {"date_added", "created_at", "updated_at", "last_updated_at", "image_name", "name"}
)


def image_key(record: ImageRecord, rendering: Rendering, generation: int) -> str:
    """The key of one rendering of one generation of an image; a reprocessed image gets another one."""
    return digest(record.image_id, record_fingerprint(record), rendering.model_dump(exclude_none=True), generation)


def record_fingerprint(record: ImageRecord) -> str:
    """A digest of what upstream says about an image, without what changes by itself."""
    fields: Mapping[str, Any] = record.model_extra or {}
    return digest({name: value for name, value in fields.items() if name not in _VOLATILE})


def digest(*parts: object) -> str:
    """A 128-bit digest of JSON-like values, the same in every process."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)
    return xxhash.xxh3_128_hexdigest(text.encode("utf-8", "surrogatepass"))
