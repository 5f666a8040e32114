"""What makes two images the same: the key under which an image is stored."""

import json

from blake3 import blake3

from service.upstream.models import ImageRecord, Rendition

_BYTES = 16


def image_variant(record: ImageRecord, rendition: Rendition) -> str:
    """Of an image in one rendition, with the settings it was enhanced with. Nothing unknown counts: counters and signed
    addresses change at every look."""
    if rendition.is_original:  # whatever it was enhanced with
        return digest(record.image_id, "original", rendition.preview, rendition.dev_mode)
    return digest(record.image_id, record.settings_json, rendition.model_dump(exclude_none=True))


def image_key(variant: str, generation: int) -> str:
    """Of one generation of a variant: an image made anew gets another key."""
    return f"{variant}.{generation}"


def split_key(key: str) -> tuple[str, int]:
    variant, _, generation = key.partition(".")
    return variant, int(generation or 0)


def key_digest(key: str) -> bytes:
    """A key in the fewest bytes (8) by which keys are told apart."""
    return blake3(key.encode()).digest(length=8)


def digest(*parts: object) -> str:
    """A 128-bit digest of JSON-like values, the same in every process."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)
    return blake3(text.encode("utf-8", "surrogatepass")).hexdigest(length=_BYTES)
