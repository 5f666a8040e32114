"""What a data directory of version 0 needs to be carried on: its blob names and its image keys."""

import json
from typing import Annotated

import xxhash
from pydantic import PlainSerializer, ValidatorFunctionWrapHandler, WrapValidator

from service.upstream.models import ImageRecord, Rendition

legacy_digest = xxhash.xxh3_128
_DIGITS = 32


def has_legacy_name(digest: str) -> bool:
    return len(digest) == _DIGITS


class KeyWithLegacy(str):
    """An image's key that knows the one under which version 0 stored the image."""

    __slots__ = ("legacy",)
    legacy: str

    def __new__(cls, key: str, legacy: str) -> "KeyWithLegacy":
        """Equal to `key`."""
        made = super().__new__(cls, key)
        made.legacy = legacy
        return made


def legacy_key(record: ImageRecord, rendition: Rendition, generation: int) -> str:
    """The key under which version 0 stored an image."""
    parts = (record.image_id, record.legacy_fingerprint, rendition.model_dump(exclude_none=True), generation)
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return xxhash.xxh3_128_hexdigest(text.encode("utf-8", "surrogatepass"))


def _read(value: object, handler: ValidatorFunctionWrapHandler) -> str:
    if isinstance(value, KeyWithLegacy):
        return value
    key, _, legacy = handler(value).partition("|")
    return KeyWithLegacy(key, legacy) if legacy else key


def _write(key: str) -> str:
    return f"{key}|{key.legacy}" if isinstance(key, KeyWithLegacy) else key


StoredKey = Annotated[str, WrapValidator(_read), PlainSerializer(_write)]
"""An image's key in a document, with the one of version 0 if it knows it."""
