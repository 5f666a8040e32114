"""What a data directory of the first edition needs to be carried on: its blob names and its image keys."""

import json
from collections.abc import Mapping
from typing import Any

import xxhash

from service.upstream.models import ImageRecord, Rendering

# Fields that did not count when an image's key was made.
_VOLATILE = frozenset(
    {"status", "status_reason", "downloaded", "rating", "metadata", "scene", "enhanced", "error"}
    | {"date_added", "created_at", "updated_at", "last_updated_at", "image_name", "name"}
)
_DIGITS = 32


def legacy_digest() -> xxhash.xxh3_128:
    """The hash that named blobs."""
    return xxhash.xxh3_128()


def has_legacy_name(digest: str) -> bool:
    """Whether a blob was named by the first edition."""
    return len(digest) == _DIGITS


def legacy_key(record: ImageRecord, rendition: Rendering, generation: int) -> str:
    """The key under which the first edition stored an image."""
    fields: Mapping[str, Any] = record.model_extra or {}
    fingerprint = _digest({name: value for name, value in fields.items() if name not in _VOLATILE})
    return _digest(record.image_id, fingerprint, rendition.model_dump(exclude_none=True), generation)


def _digest(*parts: object) -> str:
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)
    return xxhash.xxh3_128_hexdigest(text.encode("utf-8", "surrogatepass"))
