"""What makes two images the same: the key under which an image is stored."""

import json

import xxhash

from service.upstream.models import ImageRecord, Rendering


def image_key(record: ImageRecord, rendering: Rendering, generation: int) -> str:
    """The key of one rendering of one generation of an image; a reprocessed image gets another one."""
    return digest(record.image_id, record_fingerprint(record), rendering.model_dump(exclude_none=True), generation)


def record_fingerprint(record: ImageRecord) -> str:
    """A digest of what upstream says about an image, without what changes by itself."""
    return record.first_edition_fingerprint


def digest(*parts: object) -> str:
    """A 128-bit digest of JSON-like values, the same in every process."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)
    return xxhash.xxh3_128_hexdigest(text.encode("utf-8", "surrogatepass"))
