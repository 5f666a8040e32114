"""An order's document as it comes over the wire, read tolerantly: any field may be named as an older version did."""

import json
import sys
from collections.abc import Iterable, Mapping
from math import isfinite
from typing import Any

import ijson
import xxhash
from blake3 import blake3

from service.upstream.fields import (
    as_count,
    as_flag,
    as_identifier,
    as_mark,
    as_moment,
    as_name,
    as_reason,
    as_text,
    as_word,
)
from service.upstream.json_stream import InvalidDocument, parts
from service.upstream.models import ENHANCEMENT_SETTINGS, MAX_IMAGES, ImageRecord, Order, OrdersPage

MAX_DOCUMENT_BYTES = 16 << 20
"""Of an order's document."""
# `json.loads` holds every thread while it runs; up to here that is about 10 ms.
_STREAMED_FROM = 1 << 20

_MAX_SETTING = 1_000


def read_order(body: bytes | bytearray) -> Order:
    """Read an order's document as it came over the wire. Raises `InvalidDocument` when it is none.

    At most `MAX_DOCUMENT_BYTES`. Takes up to 0.1 s per MiB: run a long one on a thread, which it leaves to others
    in between.
    """
    if len(body) > MAX_DOCUMENT_BYTES:
        raise InvalidDocument("it is too long")
    if len(body) > _STREAMED_FROM:
        return _stream_order(body)
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidDocument("it is not JSON") from error
    return parse_order(document)


def parse_order(document: object) -> Order:
    """Read an order's document. Raises `InvalidDocument` when it is none.

    An image listed twice counts once. One without an id is kept, and so is an entry that cannot be read, since they
    have to be reported as missing.
    """
    if not isinstance(document, dict):
        raise InvalidDocument("not a JSON object")
    _check_known(document)
    entries = document.get("images")
    if entries is None:
        entries = []
    if not isinstance(entries, list):
        raise InvalidDocument("its images are not a list")
    images = _Images()
    for entry in entries:
        images.add(entry)
    return _order(document, images)


def read_orders(body: bytes | bytearray) -> OrdersPage:
    """Read a page of the list of orders; a long one takes time, as for `read_order`. Raises `InvalidDocument`."""
    orders: list[Order] = []
    fields: dict[str, Any] = {}
    next_offset: str | None = None
    is_list = False
    for prefix, event, content in parts(body, ijson.parse):
        if prefix == "orders" and event == "start_array":
            is_list = True
        elif prefix == "orders.item" and event == "end_map":
            orders.append(_order(fields, _Images()))
            fields = {}
        elif prefix == "pagination.next_offset" and event in ("string", "number"):
            next_offset = as_text(int(content) if isinstance(content, float) and content.is_integer() else content)
        elif event in ("string", "number", "boolean") and prefix.startswith("orders.item."):
            name = prefix.removeprefix("orders.item.")
            if name in _ORDER_FIELDS:
                fields[name] = content
    if not is_list:
        raise InvalidDocument("it has no list of orders")
    return OrdersPage(tuple(orders), next_offset)


_OPENING = frozenset({"start_map", "start_array"})
_CLOSING = frozenset({"end_map", "end_array"})
_MAX_RECORD_PARTS = 10_000
_MAX_DEPTH = 10_000  # to read millions of brackets to their end takes seconds


def _stream_order(body: bytes | bytearray) -> Order:
    """Like `parse_order`, with no more than one image's JSON in memory at a time."""
    fields: dict[str, Any] = {}
    images = _Images()
    key, depth, value = "", 0, _Value()
    keys: set[str] = set()
    for event, content in parts(body, ijson.basic_parse):
        # How many containers this part lies in: 0 for the order itself, 1 for its fields, 2 for its images.
        depth -= event in _CLOSING
        level = depth
        depth += event in _OPENING
        if depth > _MAX_DEPTH:
            raise InvalidDocument("it is nested too deeply")
        if level == 0:
            if event not in ("start_map", "end_map"):
                raise InvalidDocument("not a JSON object")
        elif level == 1 and event == "map_key":
            key = content
            keys.add(key if key in _ORDER_KEYS else "")
        elif level == 1 and key == "images":
            if event not in ("start_array", "end_array", "null"):
                raise InvalidDocument("its images are not a list")
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
    _check_known(keys)
    return _order(fields, images)


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
_ORDER_KEYS = _ORDER_FIELDS | {"images"}


def _check_known(keys: Iterable[str]) -> None:
    """Raises `InvalidDocument` where nothing is an order's, as in an error that came with a 200."""
    found = set(keys)
    if found and not found & _ORDER_KEYS:
        raise InvalidDocument("it is no order")


def _order(fields: Mapping[str, Any], images: _Images) -> Order:
    return Order(
        order_id=_either(fields, "order_id", "id", as_identifier),
        name=_either(fields, "name", "order_name", as_name),
        status=as_word(fields.get("status")),
        is_processing=as_flag(fields.get("is_processing")),
        is_merging=as_flag(fields.get("is_merging")),
        is_deleted=as_flag(fields.get("is_deleted")),
        created_at=as_moment(fields.get("created_at")),
        total_images=as_count(fields.get("total_images")),
        images=tuple(images.kept),
        images_beyond=images.beyond,
        duplicates=images.duplicates,
    )


def _image(entry: object) -> ImageRecord:
    if not isinstance(entry, dict):
        return ImageRecord(is_readable=False)
    return ImageRecord(
        image_id=_either(entry, "image_id", "id", as_identifier),
        image_name=_either(entry, "image_name", "name", as_name),
        status=as_word(entry.get("status")),
        status_reason=as_reason(entry.get("status_reason")),
        enhanced=as_flag(entry.get("enhanced")),
        error=as_flag(entry.get("error")),
        downloaded=as_flag(entry.get("downloaded")),
        parent_image_id=as_identifier(entry.get("parent_image_id")),
        date_added=as_moment(entry.get("date_added")),
        updated_at=as_mark(entry.get("updated_at")),
        last_updated_at=as_mark(entry.get("last_updated_at")),
        version=as_word(entry.get("version")),
        settings_json=_settings(entry),
        legacy_fingerprint=_legacy_fingerprint(entry),
    )


def _either(fields: Mapping[str, Any], name: str, other: str, read: Any) -> str | None:
    """The field under the name in use, or, where that holds nothing, under its other one."""
    value = fields.get(name)
    found: str | None = read(value if as_text(value) is not None else fields.get(other))
    return found


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


# What version 0 left out of an image's identity; all else, known or not, was part of it.
_LEGACY_VOLATILE = frozenset(
    {"status", "status_reason", "downloaded", "rating", "metadata", "scene", "enhanced", "error"}
    | {"date_added", "created_at", "updated_at", "last_updated_at", "image_name", "name"}
)


def _legacy_fingerprint(entry: Mapping[str, Any]) -> str:
    is_named = as_text(entry.get("image_id")) is not None
    own = {"image_id" if is_named else "id"}
    absent = {name for name in ("image_id", "id", "order_id", "order_name") if as_text(entry.get(name)) is None}
    left_out = _LEGACY_VOLATILE | own | absent
    fields = {name: value for name, value in entry.items() if name not in left_out}
    return xxhash.xxh3_128_hexdigest(_canonical([fields]).encode())
