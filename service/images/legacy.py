"""What a data directory of version 0 needs to be carried on: its blob names and its image keys."""

import json

import xxhash

from service.upstream.models import ImageRecord, Rendition

_DIGITS = 32


def legacy_digest() -> xxhash.xxh3_128:
    """The hash that named blobs."""
    return xxhash.xxh3_128()


def has_legacy_name(digest: str) -> bool:
    """Whether a blob was named by version 0."""
    return len(digest) == _DIGITS


def legacy_key(record: ImageRecord, rendition: Rendition, generation: int) -> str:
    """The key under which version 0 stored an image."""
    parts = (record.image_id, record.legacy_fingerprint, rendition.model_dump(exclude_none=True), generation)
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return xxhash.xxh3_128_hexdigest(text.encode("utf-8", "surrogatepass"))
