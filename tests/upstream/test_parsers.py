"""Whatever upstream sends: a value or an error of ours, never another exception."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from yarl import URL

from service.archives.options import Options
from service.archives.planner import Planner
from service.images.identity import image_variant
from service.problems import Problem
from service.text import is_printable
from service.upstream.answers import (
    UpstreamFailure,
    content_range,
    for_the_log,
    order_problem,
    refusal,
    retry_after,
    strong_etag,
)
from service.upstream.json_stream import InvalidDocument
from service.upstream.models import ImageState, Order, Rendition
from service.upstream.order_document import parse_order
from service.upstream.transport import url_from
from tests.support.samples import ORDER
from tests.support.transport import KEY

# As JSON can hold it, halves of surrogate pairs included.
TEXT = st.text(st.characters(), max_size=40)
SCALARS = st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats() | TEXT
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)
IMAGE_FIELDS = ["image_id", "id", "image_name", "name", "status", "enhanced", "error", "date_added", "metadata"]
IMAGE = st.dictionaries(st.sampled_from(IMAGE_FIELDS) | TEXT, SCALARS | JSON, max_size=8)
ORDER_FIELDS = ["order_id", "name", "status", "is_processing", "is_merging", "is_deleted", "created_at", "images"]
DOCUMENT = st.dictionaries(st.sampled_from(ORDER_FIELDS) | TEXT, SCALARS | JSON, max_size=8)
ORDERS = st.builds(lambda fields, images: fields | {"images": images}, DOCUMENT, st.lists(IMAGE, max_size=6) | JSON)

# A header's value as aiohttp hands it over: bytes that are no text become halves of surrogate pairs.
HEADER = st.binary(max_size=60).map(lambda raw: raw.decode("utf-8", "surrogateescape")) | TEXT
NOW = datetime(2026, 3, 2, tzinfo=UTC)


def parsed(document: object) -> Order | None:
    try:
        return parse_order(document)
    except InvalidDocument:
        return None


@given(ORDERS | JSON)
@example({"images": [{"image_id": "\ud800"}, {"image_id": "\ud801"}]})
@example({"\ud800": 1, "images": [{"\udfff": 2}]})
@example({"images": [{"image_id": "a", "date_added": float("nan")}], "created_at": float("-inf")})
def test_an_order_is_read_or_refused(document: object) -> None:
    """A document of any shape; what is read can be planned, identified and written as UTF-8."""
    order = parsed(document)
    if order is None:
        return

    assert (order.is_final, order.may_grow) != (True, True)
    for image in order.images:
        assert image.state in ImageState
        image_variant(image, Rendition())
    try:
        plan = Planner(100).plan(ORDER, order, {}, Options())
    except Problem:
        return
    plan.model_dump_json().encode()
    assert len({image.image_id for image in plan.images}) == len(plan.images)


@given(st.lists(IMAGE, max_size=6))
def test_no_image_of_a_readable_order_is_lost(images: list[dict[str, Any]]) -> None:
    """Every id that was listed is there once, and every image without one is there too."""
    order = parsed({"images": images})
    if order is None:
        return

    alone = [parse_order({"images": [image]}).images[0].image_id for image in images]
    found = [image.image_id for image in order.images]
    assert sorted(filter(None, found)) == sorted({image_id for image_id in alone if image_id})
    assert found.count(None) == alone.count(None)


@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
@example(b'{"images": [' + b"[" * 100_000)
@example(b'{"images": [{"date_added": ' + b"9" * 5_000 + b"}]}")
@example(b'{"images": [{"image_id": 1e999, "date_added": -1e999}]}')
def test_bytes_become_an_order_or_an_error(body: bytes) -> None:
    """As `read_document` and `parse_order` do it together."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):  # what `read_document` turns into a failure
        return
    parsed(document)


@given(HEADER, st.integers(100, 999))
def test_any_answer_has_a_meaning(value: str, status: int) -> None:
    """Every status with every `Retry-After`: nothing against it, or a failure that has a problem."""
    failure = refusal(status, {"Retry-After": value}, now=NOW)

    if failure is not None:
        assert failure.retry_after is None or 0 <= failure.retry_after <= 86_400
        assert isinstance(order_problem(failure), Problem)
    assert (failure is None) == (status == 200)


@given(
    HEADER
    | st.integers(-10, 10**40).map(str)
    | st.datetimes().map(lambda moment: moment.strftime("%a, %d %b %Y %H:%M:%S GMT"))
)
@example("Fri, 31 Dec 9999 23:59:59 -9999")
@example("Mon, 00 Jan 0000 00:00:00 GMT")
@example("٣")
def test_a_retry_after_is_seconds_or_nothing(value: str) -> None:
    """Never negative, never more than a day."""
    seconds = retry_after(value, now=NOW)

    assert seconds is None or 0 <= seconds <= 86_400


@given(st.integers(0, 4_000_000_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC)))
def test_a_date_says_as_much_as_its_seconds(moment: datetime) -> None:
    """Both forms of `Retry-After` mean the same wait."""
    wanted = min(max(0.0, (moment - NOW).total_seconds()), 86_400)

    assert retry_after(moment.strftime("%a, %d %b %Y %H:%M:%S GMT"), now=NOW) == wanted


@pytest.mark.parametrize("parse", [content_range, strong_etag], ids=lambda parse: parse.__name__)
@given(value=st.none() | HEADER)
def test_any_header_can_be_looked_at(parse: Callable[[str | None], object], value: str | None) -> None:
    """It says something or nothing."""
    parse(value)


@given(st.integers(0, 10**17), st.integers(0, 10**17), st.none() | st.integers(0, 10**17))
def test_a_content_range_is_read_back(first: int, last: int, total: int | None) -> None:
    """Start and total of every range that can be written."""
    written = f"bytes {first}-{last}/{'*' if total is None else total}"

    assert content_range(written) == (first, total)


@given(HEADER)
def test_what_guards_a_resumed_body_is_a_strong_tag(value: str) -> None:
    """Whole, quoted, and not weak."""
    tag = strong_etag(value)

    assert tag is None or (tag == value and tag[0] == tag[-1] == '"' and len(tag) > 1)


@given(st.sampled_from(["https", "http"]), HEADER | st.from_regex(r"(https?|ftp)://[^\s]{0,30}", fullmatch=True))
@example("https", "http://[::1")
@example("https", "//\ud800/")
@example("https", "https://xn--a/")
@example("https", "https://a..b/")
@example("https", "https://" + "a" * 70 + ".example/")
def test_an_address_is_followed_or_refused(scheme: str, location: str) -> None:
    """Where it leads is http(s), has a host and no credentials, and is as safe as where it came from."""
    start = URL(f"{scheme}://api.example/v3/images/a")
    try:
        target = url_from(start, location)
    except UpstreamFailure:
        return

    assert target.scheme in ("http", "https")
    assert not (scheme == "https" and target.scheme == "http")
    assert target.host
    assert target.user is None
    assert target.password is None


@given(TEXT, TEXT, st.integers(0, len(KEY)), st.integers(0, len(KEY)))
def test_no_telling_piece_of_the_key_is_logged(before: str, after: str, start: int, stop: int) -> None:
    """Neither the whole nor a piece of a quarter or more; and what is logged is one line."""
    logged = for_the_log(before + KEY[start:stop] + after, KEY)

    piece = len(KEY) // 4
    assert all(KEY[at : at + piece] not in logged for at in range(len(KEY) - piece + 1))
    assert is_printable(logged)


def test_without_a_key_words_stay_as_they_are() -> None:
    """A service that is not configured yet has nothing to hide."""
    assert for_the_log("sorry", "") == "sorry"
