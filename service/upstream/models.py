"""Autoenhance's records, read tolerantly: every field may be absent, null, or named as an older version did."""

import json
import re
import sys
from codecs import getincrementaldecoder
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from enum import StrEnum
from math import isfinite
from typing import Any, Literal

import ijson
import xxhash
from blake3 import blake3
from pydantic import BaseModel, ConfigDict, Field

MAX_DOCUMENT_BYTES = 16 << 20
"""Of an order's document."""
MAX_IMAGES = 10_000
"""Of one order; what it lists beyond is counted, not kept."""

# `json.loads` holds every thread while it runs; up to here that is about 10 ms.
_STREAMED_FROM = 1 << 20

_MAX_NAME = 1_000
_MAX_ID = 255
_MAX_WORD = 100
_MAX_REASON = 200
_MAX_SETTING = 1_000

# A number of seconds beyond this (the year 5138) counts thousandths, one beyond a thousand times as much millionths.
_MAX_SECONDS = 1e11

_DONE = frozenset({"processed", "done", "completed", "complete", "finished", "enhanced"})
_FAILED = frozenset({"error", "failed", "failure"})
_BUSY = frozenset({"processing", "enhancing", "queued", "pending", "in_progress", "merging", "uploading"})

ENHANCEMENT_SETTINGS = frozenset(
    {"ai_version", "enhance", "enhance_type", "preset_id", "finetune_settings", "restage", "upscale", "privacy"}
    | {"lens_correction", "vertical_correction", "perspective_correction", "perspective_correction_mode"}
    | {"sky_replacement", "cloud_type", "window_pull", "window_pull_type", "window_pull_style", "tripod_hide"}
    | {"threesixty", "is_threesixty", "brightness_boost", "contrast_boost", "saturation_level", "clarity_level"}
)
"""The fields of an image that say how it was enhanced, in every version of the API: they decide what it looks like."""


class InvalidOrder(ValueError):
    """What upstream sent cannot be read as an order."""


class ImageState(StrEnum):
    """Where an image stands, whatever words the record used for it."""

    READY = "ready"
    PROCESSING = "processing"
    WAITING = "waiting"
    FAILED = "failed"
    EXPIRED = "expired"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRecord:
    """One image of an order."""

    image_id: str | None = None
    image_name: str | None = None
    status: str | None = None
    status_reason: str | None = None
    """Why it is in this state, for its owner: one line of at most 200 characters."""
    enhanced: bool = False
    error: bool = False
    downloaded: bool = False
    """Bought already: fetching its full size is free."""
    parent_image_id: str | None = None
    """The image that this one was made from, by restaging."""
    date_added: datetime | None = None
    updated_at: str | None = None
    """ISO 8601 in UTC where it is a date, else as given. So is `last_updated_at`."""
    last_updated_at: str | None = None
    version: str | None = None
    settings_json: str = "{}"
    """`settings()` in one canonical form: equal settings are equal texts."""
    first_edition_fingerprint: str = ""
    """The part of an image's key, in a data directory of the first edition, that its record decides."""
    is_readable: bool = True
    """False for an entry of the order's list that is no record at all; nothing is known of that image."""

    @property
    def state(self) -> ImageState:
        """Read from the status word; older records have flags instead, the newest words may be unknown."""
        word = (self.status or "").lower()
        if word == "expired":
            return ImageState.EXPIRED
        if word in _FAILED or self.error or not self.is_readable:
            return ImageState.FAILED
        if word in _DONE or self.enhanced:
            return ImageState.READY
        if word == "waiting":
            return ImageState.WAITING
        return ImageState.PROCESSING if word in _BUSY else ImageState.UNKNOWN

    def settings(self) -> dict[str, Any]:
        """What it was enhanced with: the `ENHANCEMENT_SETTINGS` that have a value, as plain JSON."""
        settings: dict[str, Any] = json.loads(self.settings_json)
        return settings

    def marks(self) -> dict[str, str]:
        """What changes when the image is made anew, as far as its record tells; buying it is no change."""
        marks = {
            "date_added": self.date_added.isoformat() if self.date_added else None,
            "last_updated_at": self.last_updated_at,
            "status_reason": self.status_reason,
            "updated_at": self.updated_at,
            "version": self.version,
        }
        return {name: value for name, value in marks.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An order and its images, each once, in upstream's sequence."""

    order_id: str | None = None
    name: str | None = None
    status: str | None = None
    is_processing: bool = False
    is_merging: bool = False
    is_deleted: bool = False
    created_at: datetime | None = None
    total_images: int | None = None
    """How many images upstream says there are."""
    images: tuple[ImageRecord, ...] = ()
    """The first `MAX_IMAGES`."""
    images_beyond: int = 0
    """Listed, but not kept."""
    duplicates: int = 0
    """Entries that listed an image once more."""

    @property
    def image_count(self) -> int:
        """Images listed, kept or not."""
        return len(self.images) + self.images_beyond

    @property
    def unlisted(self) -> int:
        """Images that upstream counts but does not list. While brackets are merged this means nothing."""
        return max(0, (self.total_images or 0) - self.image_count - self.duplicates)

    @property
    def is_settled(self) -> bool:
        """Nothing will change by itself any more: no image is waited for, none is still to appear."""
        if self.may_grow:
            return False
        return bool(self.images) and all(
            image.state in (ImageState.READY, ImageState.FAILED, ImageState.EXPIRED) for image in self.images
        )

    @property
    def may_grow(self) -> bool:
        """Images are still to appear: brackets are being merged, or processing has not listed them yet."""
        return self.is_merging or (self.is_processing and not self.images)

    @property
    def memory_bytes(self) -> int:
        """About how much memory it takes."""
        return 1_000 + sum(
            _RECORD_BYTES + len(image.image_name or "") + len(image.status_reason or "") for image in self.images
        )


# Measured, with an id, a short name and dates of its own; settings are shared by the images that have the same.
_RECORD_BYTES = 800


def read_order(body: bytes | bytearray) -> Order:
    """Read an order's document as it came over the wire. Raises `InvalidOrder` when it is none.

    At most `MAX_DOCUMENT_BYTES`. Takes up to 0.1 s per MiB: run a long one on a thread, which it leaves to others
    in between.
    """
    if len(body) > MAX_DOCUMENT_BYTES:
        raise InvalidOrder("it is too long")
    if len(body) > _STREAMED_FROM:
        return _stream_order(body)
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidOrder("it is not JSON") from error
    return parse_order(document)


def parse_order(document: object) -> Order:
    """Read an order's document. Raises `InvalidOrder` when it is none.

    An image listed twice counts once. One without an id is kept, and so is an entry that cannot be read, since they
    have to be reported as missing.
    """
    if not isinstance(document, dict):
        raise InvalidOrder("not a JSON object")
    entries = document.get("images")
    if entries is None:
        entries = []
    if not isinstance(entries, list):
        raise InvalidOrder("its images are not a list")
    images = _Images()
    for entry in entries:
        images.add(entry)
    return _order(document, images)


_OPENING = frozenset({"start_map", "start_array"})
_CLOSING = frozenset({"end_map", "end_array"})
# Keys, values and brackets. A document of real records has a tenth of that in its 16 MiB.
_MAX_PARTS = 3_000_000
_MAX_RECORD_PARTS = 10_000
# A text is copied once for each of these that it spans.
_READ_BYTES = 64 << 10


def _stream_order(body: bytes | bytearray) -> Order:
    """Like `parse_order`, with no more than one image's JSON in memory at a time."""
    fields: dict[str, Any] = {}
    images = _Images()
    key, depth, value = "", 0, _Value()
    try:
        _check_encoding(body)
        # `use_float`: ijson's C code goes astray when Python refuses to make a number of what it read. So a whole
        # number beyond 64 bits is nonsense here, which it is not to `json.loads`.
        parts = ijson.basic_parse(_Source(body), buf_size=_READ_BYTES, use_float=True)
        for number, (event, content) in enumerate(parts):
            # How many containers this part lies in: 0 for the order itself, 1 for its fields, 2 for its images.
            depth -= event in _CLOSING
            level = depth
            depth += event in _OPENING
            if number > _MAX_PARTS:
                raise InvalidOrder("it has too many parts")
            if level == 0:
                if event not in ("start_map", "end_map"):
                    raise InvalidOrder("not a JSON object")
            elif level == 1 and event == "map_key":
                key = content
            elif level == 1 and key == "images":
                if event not in ("start_array", "end_array", "null"):
                    raise InvalidOrder("its images are not a list")
                if event != "end_array":
                    images = _Images()
            elif key == "images" or key in _ORDER_FIELDS:
                is_image = key == "images"
                if not (is_image and images.is_full):
                    value.add(event, content)
                if level == (2 if is_image else 1) and event not in _OPENING:
                    found = value.take()
                    if is_image:
                        images.add(found)
                    else:
                        fields[key] = found
    except (ijson.JSONError, UnicodeDecodeError) as error:
        raise InvalidOrder("it is not JSON") from error
    return _order(fields, images)


class _Source:
    """A file of Python's: with each call of `read` other threads may get their turn, which they do not in ijson."""

    def __init__(self, body: bytes | bytearray) -> None:
        self._body = body
        self._position = 3 if body.startswith(b"\xef\xbb\xbf") else 0

    def read(self, size: int) -> bytes:
        start, self._position = self._position, self._position + size
        return bytes(self._body[start : self._position])


def _check_encoding(body: bytes | bytearray) -> None:
    """Raises `UnicodeDecodeError` for what is no UTF-8; ijson does not look closely."""
    decoder = getincrementaldecoder("utf-8")()
    for start in range(0, len(body), _STREAMED_FROM):
        decoder.decode(body[start : start + _STREAMED_FROM])
    decoder.decode(b"", final=True)


class _Value:
    """A JSON value put together from its parts; null when it has more of them than any record has."""

    def __init__(self) -> None:
        self._builder = ijson.ObjectBuilder()
        self._parts = 0

    def add(self, event: str, content: Any) -> None:
        self._parts += 1
        if self._parts <= _MAX_RECORD_PARTS:
            self._builder.event(event, content)

    def take(self) -> object:
        value: object = self._builder.value if 0 < self._parts <= _MAX_RECORD_PARTS else None
        self._builder = ijson.ObjectBuilder()
        self._parts = 0
        return value


class _Images:
    """An order's list of images while it is read."""

    def __init__(self) -> None:
        self.kept: list[ImageRecord] = []
        self.beyond = 0
        self.duplicates = 0
        self._seen: set[str] = set()

    @property
    def is_full(self) -> bool:
        # Of a document that lists one image a million times, each entry would be read like any other.
        return len(self.kept) == MAX_IMAGES or self.duplicates == MAX_IMAGES

    def add(self, entry: object) -> None:
        if self.is_full:
            self.beyond += 1
            return
        record = _image(entry)
        if record.image_id in self._seen:
            self.duplicates += 1
            return
        if record.image_id is not None:
            self._seen.add(record.image_id)
        self.kept.append(record)


_ORDER_FIELDS = frozenset(
    {"order_id", "id", "name", "order_name", "status", "is_processing", "is_merging", "is_deleted", "created_at"}
    | {"total_images"}
)


def _order(fields: Mapping[str, Any], images: _Images) -> Order:
    return Order(
        order_id=_either(fields, "order_id", "id", _identifier),
        name=_either(fields, "name", "order_name", _name),
        status=_word(fields.get("status")),
        is_processing=_flag(fields.get("is_processing")),
        is_merging=_flag(fields.get("is_merging")),
        is_deleted=_flag(fields.get("is_deleted")),
        created_at=_moment(fields.get("created_at")),
        total_images=_count(fields.get("total_images")),
        images=tuple(images.kept),
        images_beyond=images.beyond,
        duplicates=images.duplicates,
    )


def _image(entry: object) -> ImageRecord:
    if not isinstance(entry, dict):
        return ImageRecord(is_readable=False)
    return ImageRecord(
        image_id=_either(entry, "image_id", "id", _identifier),
        image_name=_either(entry, "image_name", "name", _name),
        status=_word(entry.get("status")),
        status_reason=_reason(entry.get("status_reason")),
        enhanced=_flag(entry.get("enhanced")),
        error=_flag(entry.get("error")),
        downloaded=_flag(entry.get("downloaded")),
        parent_image_id=_identifier(entry.get("parent_image_id")),
        date_added=_moment(entry.get("date_added")),
        updated_at=_mark(entry.get("updated_at")),
        last_updated_at=_mark(entry.get("last_updated_at")),
        version=_word(entry.get("version")),
        settings_json=_settings(entry),
        first_edition_fingerprint=_first_edition_fingerprint(entry),
    )


def _either(fields: Mapping[str, Any], name: str, other: str, read: Any) -> str | None:
    """The field under the name in use, or, where that holds nothing, under its other one."""
    found: str | None = read(fields.get(name) if _text(fields.get(name)) is not None else fields.get(other))
    return found


def _text(value: object) -> str | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return str(value).strip() or None


def _clean(text: str | None, limit: int) -> str | None:
    """A text that can be written everywhere: JSON can hold half a surrogate pair, UTF-8 cannot."""
    return None if text is None else text[:limit].encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _name(value: object) -> str | None:
    return _clean(_text(value), _MAX_NAME)


def _word(value: object) -> str | None:
    """A word that many records share, kept once."""
    text = _clean(_text(value), _MAX_WORD)
    return None if text is None else sys.intern(text)


def _reason(value: object) -> str | None:
    """One printable line."""
    text = _clean(_text(value), 10 * _MAX_REASON) or ""
    line = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    return line[:_MAX_REASON].rstrip() or None


def _identifier(value: object) -> str | None:
    """An id as it was given: one that no address can hold is none, since a cleaned one would be another's."""
    text = _text(value)
    return text if text is not None and text == _clean(text, _MAX_ID) else None


def _flag(value: object) -> bool:
    """A flag may come as a boolean, a number, or the words of an error."""
    if isinstance(value, str):
        return value.strip().lower() not in ("", "false", "0", "no", "none", "null")
    return bool(value)


def _count(value: object) -> int | None:
    """A whole number from 0 on, however it is written."""
    text = _text(value)
    found = re.fullmatch(r"(\d{1,15})(\.0+)?", text, re.ASCII) if text else None
    return int(found[1]) if found else None


_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?", re.ASCII)
_UTC = re.compile(r"\s*(utc|gmt|z)$", re.IGNORECASE)


def _moment(value: object) -> datetime | None:
    """An epoch in seconds, milli-, micro- or nanoseconds, an ISO date or one of RFC 2822; without a zone it is UTC.

    Anything else is nothing.
    """
    try:
        if isinstance(value, str):
            text = value.strip()
            if len(text) > _MAX_WORD:
                return None
            if not _NUMBER.fullmatch(text):
                moment = _written_date(text)
                return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
            value = text
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            return None
        seconds = float(value)
        for _ in range(3):
            if abs(seconds) > _MAX_SECONDS:
                seconds /= 1000
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, TypeError, IndexError, OverflowError, OSError):
        return None


def _written_date(text: str) -> datetime:
    try:
        return datetime.fromisoformat(re.sub(r"\s+(?=[+-]\d)", "", _UTC.sub("+00:00", text)))
    except ValueError:
        return parsedate_to_datetime(text)


def _mark(value: object) -> str | None:
    """A date in one form, or whatever text stands in its place."""
    moment = _moment(value)
    return _clean(_text(value), _MAX_WORD) if moment is None else moment.isoformat()


def _settings(entry: Mapping[str, Any]) -> str:
    """The enhancement settings in canonical JSON. What is null is as good as absent."""
    settings = {
        name: _plain(entry[name]) for name in sorted(ENHANCEMENT_SETTINGS & entry.keys()) if entry[name] is not None
    }
    return sys.intern(_canonical(settings))


def _plain(value: object) -> object:
    """A setting's value in one form, whole numbers without a fraction; a very long one by its digest."""
    if isinstance(value, float):
        return int(value) if value.is_integer() else value if isfinite(value) else str(value)
    if isinstance(value, str):
        value = value.strip()
        if len(value) <= _MAX_SETTING:
            return value
    if isinstance(value, int):
        return value
    text = _canonical(value)
    return json.loads(text) if len(text) <= _MAX_SETTING else blake3(text.encode()).hexdigest()


_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


def _canonical(value: object) -> str:
    """JSON that is equal for equal values; what is nested beyond all reason is all the same."""
    try:
        return _encode(value)
    except RecursionError:
        return "{}"


# What the first edition left out of an image's identity; all else, known or not, was part of it.
_FIRST_EDITION_VOLATILE = frozenset(
    {"status", "status_reason", "downloaded", "rating", "metadata", "scene", "enhanced", "error"}
    | {"date_added", "created_at", "updated_at", "last_updated_at", "image_name", "name"}
)


def _first_edition_fingerprint(entry: Mapping[str, Any]) -> str:
    is_named = _text(entry.get("image_id")) is not None
    own = {"image_id" if is_named else "id"}
    absent = {name for name in ("image_id", "id", "order_id", "order_name") if _text(entry.get(name)) is None}
    left_out = _FIRST_EDITION_VOLATILE | own | absent
    fields = {name: value for name, value in entry.items() if name not in left_out}
    return xxhash.xxh3_128_hexdigest(_canonical([fields]).encode())


class Rendition(BaseModel):
    """How upstream shall render an image; part of the image's identity here.

    `preview=False` buys the full size with a credit, unless `dev_mode`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["jpeg", "png", "webp", "avif", "jxl"] = Field("jpeg", description="The format of the images.")
    quality: int | None = Field(None, ge=1, le=90, description="Of the compression. Left out: Autoenhance's own.")
    preview: bool = Field(
        default=True,
        description="`true`: smaller images, free. `false`: full size, a credit for each image not bought before.",
    )
    dev_mode: bool = Field(default=False, description="Watermarked images for tests; never spends credits.")
    max_width: int | None = Field(None, ge=1, description="In pixels. Left out: unchanged.")
    scale: float | None = Field(None, ge=0, le=1, description="Of width and height. Left out: unchanged.")

    @property
    def buys(self) -> bool:
        """Whether fetching spends a credit."""
        return not self.preview and not self.dev_mode

    def query(self) -> dict[str, str]:
        """The query of the download call. `preview` is always explicit: left out, it means either, by account."""
        query = {"format": self.format, "preview": "true" if self.preview else "false"}
        if self.quality is not None:
            query["quality"] = str(self.quality)
        if self.max_width is not None:
            query["max_width"] = str(self.max_width)
        if self.scale is not None:
            # Every digit, and never an exponent.
            query["scale"] = f"{Decimal(repr(self.scale)).normalize():f}"
        return query
