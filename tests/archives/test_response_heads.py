"""What conditions on an entity tag come to."""

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from service.archives.archive import Archive, ImageResult, State
from service.archives.plan import PlannedOrder
from service.archives.ranges import ByteRange
from service.archives.readers import Readers
from service.archives.response_heads import (
    has_already,
    headers,
    is_not_modified,
    not_modified,
    part_of,
    wanted_range,
    whole,
)
from service.problems import OrderNotFound, PreconditionFailed
from service.reasons import Reason

FAILED = PlannedOrder.failed("n", "No Lane", OrderNotFound())
GOOD = PlannedOrder(order_id="o", name="12 Harbour Lane", total=3)


def archive(*orders: PlannedOrder, is_settled: bool = True) -> Archive:
    """With one image that is there, one that is missing, and one that is not told of."""
    made = Archive("a" * 32, key="k", orders=orders or (GOOD,), readers=Readers(1, 60))
    made.results = [ImageResult("a", "a.jpg", "a.jpg"), ImageResult("b", "b.jpg", code=Reason.TIMEOUT)]
    if is_settled:
        made.settle(State.PARTIAL, "")
    return made


def asked(**headers: str) -> web.Request:
    """A request with these headers."""
    return make_mocked_request("GET", "/", {name.replace("_", "-"): value for name, value in headers.items()})


@pytest.mark.parametrize(
    ("given", "fits"), [('"a"', True), ('"b", "a"', True), ("*", True), ('W/"a"', False), ('"b"', False)]
)
def test_if_match_asks_for_just_these_bytes(given: str, fits: bool) -> None:
    """A weak tag names no bytes (RFC 9110 13.1.1)."""
    if fits:
        assert not has_already(asked(If_Match=given), "a", "")
    else:
        with pytest.raises(PreconditionFailed):
            has_already(asked(If_Match=given), "a", "")


@pytest.mark.parametrize(
    ("given", "exists", "is_there"),
    [('"a"', True, True), ('W/"a"', True, True), ("*", True, True), ("*", False, False), ('"b"', True, False)],
)
def test_if_none_match_is_about_what_is_there(given: str, exists: bool, is_there: bool) -> None:
    """A star means whatever there is: not what has just begun."""
    assert has_already(asked(If_None_Match=given), "a", "", exists=exists) is is_there


def test_every_answer_says_of_an_archive_what_it_is() -> None:
    """To be kept by its caller alone, unchanged and unbuffered on the way; counts are final once it is settled."""
    settled, growing = headers(archive()), headers(archive(is_settled=False))

    assert settled == {
        "Content-Type": "application/zip",
        "Content-Disposition": "attachment; filename=\"12 Harbour Lane.zip\"; filename*=UTF-8''12%20Harbour%20Lane.zip",
        "ETag": f'"{"a" * 32}"',
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-transform",
        "Link": f'</v1/archives/{"a" * 32}/report>; rel="describedby"',
        "X-Accel-Buffering": "no",
        "X-Archive-Id": "a" * 32,
        "X-Total-Images": "3",
        "X-Downloaded": "1",
        "X-Failed": "1",
    }
    assert growing == {name: value for name, value in settled.items() if name not in ("X-Downloaded", "X-Failed")}


def test_an_archive_is_named_by_an_order_that_is_in_it() -> None:
    """With how many there are besides."""
    assert 'filename="12 Harbour Lane and 1 more.zip"' in headers(archive(FAILED, GOOD))["Content-Disposition"]
    assert 'filename="No Lane.zip"' in headers(archive(FAILED))["Content-Disposition"]


def test_what_is_not_certain_is_said() -> None:
    """That its URL may name others, and that it may not be the newest; to who has it too."""
    given = headers(archive(), stale=True, ranges=False)

    assert (given["Accept-Ranges"], given["X-Archive-Stale"]) == ("none", "true")
    assert not_modified(archive(), stale=True).headers["X-Archive-Stale"] == "true"
    assert not_modified(archive()).headers.items() >= headers(archive()).items()


def test_the_length_is_told_where_it_is_known() -> None:
    """Else the body is chunked."""
    settled, growing = archive(), archive(is_settled=False)

    response, start, stop = whole(settled)
    chunked, _, to_the_end = whole(growing)

    assert (response.content_length, start, stop) == (settled.length, 0, settled.length)
    assert (chunked.chunked, chunked.content_length, to_the_end) == (True, None, None)


@pytest.mark.parametrize("is_settled", [True, False])
def test_a_part_says_which_it_is(is_settled: bool) -> None:
    """And of how much, once that is known."""
    made = archive(is_settled=False)
    made._layout.close("a comment")
    made.state = State.COMPLETE if is_settled else State.BUILDING

    response, start, stop = part_of(made, ByteRange(3, 9))

    total = made.length if is_settled else "*"
    assert (response.status, response.content_length, start, stop) == (206, 7, 3, 10)
    assert response.headers["Content-Range"] == f"bytes 3-9/{total}"


@pytest.mark.parametrize(
    ("method", "if_range", "wanted"),
    [
        ("GET", None, ByteRange(1, 2)),
        ("GET", '"tag"', ByteRange(1, 2)),
        ("GET", "tag", None),
        ("GET", 'W/"tag"', None),
        ("GET", '"other"', None),
        ("HEAD", None, None),
    ],
)
def test_a_range_is_of_what_the_caller_means(method: str, if_range: str | None, wanted: ByteRange | None) -> None:
    """A tag that is not just this one asks for the whole (RFC 9110 13.1.5)."""
    given = {"Range": "bytes=1-2"} | ({} if if_range is None else {"If-Range": if_range})

    assert wanted_range(make_mocked_request(method, "/", given), "tag") == wanted


def test_an_archive_that_has_just_begun_is_not_what_a_star_means() -> None:
    """It may fail yet."""
    assert is_not_modified(asked(If_None_Match="*"), archive())
    assert not is_not_modified(asked(If_None_Match="*"), archive(is_settled=False))
