"""Parts of a finished archive (RFC 9110 13 and 14)."""

import re
from collections.abc import Mapping
from itertools import pairwise

import pytest

from tests.support.client import Answer, Service
from tests.support.samples import ORDER, jpeg, order
from tests.support.upstream import FakeUpstream


@pytest.fixture
async def whole(upstream: FakeUpstream, service: Service) -> Answer:
    """The archive of an order of three images, one of which failed."""
    upstream.orders[ORDER] = order(["a", "b", "c"])
    upstream.images |= {"a": jpeg(1), "b": jpeg(2, size=70_000), "c": 404}
    return await service.download()


async def _part(service: Service, whole: Answer, headers: Mapping[str, str], method: str = "GET") -> Answer:
    return await service.ask(f"/v1/archives/{whole.headers['X-Archive-Id']}", method=method, headers=headers)


async def test_an_archive_has_an_address_of_its_own(service: Service, whole: Answer) -> None:
    """The same bytes under the archive's id, with their length, tag, type and final counts."""
    answer = await _part(service, whole, {})

    assert (answer.status, answer.body) == (200, whole.body)
    assert answer.headers["Content-Length"] == str(len(whole.body))
    assert answer.headers["Accept-Ranges"] == "bytes"
    for name in ("ETag", "Content-Type", "X-Archive-Id", "Content-Disposition", "Cache-Control", "X-Total-Images"):
        assert answer.headers[name] == whole.headers[name]
    assert (answer.headers["X-Downloaded"], answer.headers["X-Failed"]) == ("2", "1")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_an_unknown_archive_is_a_404(service: Service, method: str) -> None:
    """An id that names nothing."""
    answer = await service.ask("/v1/archives/8f2f8a8e3b5c4d21", method=method)

    assert answer.status == 404


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-99", 0, 99),
        ("bytes=0-0", 0, 0),
        ("bytes=100-", 100, -1),
        ("bytes=-100", -100, -1),
        ("bytes=-1", -1, -1),
        ("bytes=10-99999999", 10, -1),
        ("bytes=-99999999", 0, -1),
        ("bytes=2000-2200", 2000, 2200),
        ("Bytes=5-6", 5, 6),
    ],
)
async def test_a_range_gets_exactly_its_bytes(
    service: Service, whole: Answer, asked: str, first: int, last: int
) -> None:
    """206 with a `Content-Range` that tells the truth. Negative numbers count from the end."""
    length = len(whole.body)
    first, last = first % length, last % length

    answer = await _part(service, whole, {"Range": asked})

    assert answer.status == 206
    assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{length}"
    assert answer.headers["Content-Length"] == str(last - first + 1)
    assert answer.headers["ETag"] == whole.headers["ETag"]
    assert answer.body == whole.body[first : last + 1]


@pytest.mark.parametrize(
    "asked", ["bytes={length}-", "bytes={length}-{length}", "bytes=999999999999999999-", "bytes=-0"]
)
async def test_a_range_past_the_end_is_a_416(service: Service, whole: Answer, asked: str) -> None:
    """`Content-Range` tells the length that there is."""
    answer = await _part(service, whole, {"Range": asked.format(length=len(whole.body))})

    assert (answer.status, answer.problem["code"]) == (416, "range_not_satisfiable")
    assert answer.headers["Content-Range"] == f"bytes */{len(whole.body)}"


@pytest.mark.parametrize(
    "asked",
    [
        "bytes=0-1,5-6",
        "bytes=0-1, -1",
        "bytes=abc",
        "bytes=5-2",
        "bytes=",
        "bytes=-",
        "items=0-1",
        "0-1",
        "bytes=1-2-3",
    ],
)
async def test_a_range_that_is_not_served_gets_the_whole(service: Service, whole: Answer, asked: str) -> None:
    """Several ranges, and what is no byte range at all, are ignored."""
    answer = await _part(service, whole, {"Range": asked})

    assert (answer.status, answer.body) == (200, whole.body)
    assert "Content-Range" not in answer.headers


@pytest.mark.parametrize(
    ("if_range", "status"),
    [
        ("{tag}", 206),
        ("W/{tag}", 200),
        ('"another"', 200),
        ("Wed, 21 Oct 2026 07:28:00 GMT", 200),
        ("Fri, 31 Dec 2100 23:59:59 GMT", 200),
        ("*", 200),
    ],
)
async def test_if_range_guards_a_part(service: Service, whole: Answer, if_range: str, status: int) -> None:
    """Only this archive's strong tag matches; else the whole comes, so that nothing is joined wrongly."""
    tag = if_range.format(tag=whole.headers["ETag"])

    answer = await _part(service, whole, {"Range": "bytes=10-19", "If-Range": tag})

    assert answer.status == status
    assert answer.body == (whole.body[10:20] if status == 206 else whole.body)


@pytest.mark.parametrize("tag", ["{tag}", "W/{tag}", "*", '"other", {tag}'])
async def test_who_has_the_archive_gets_a_304(service: Service, whole: Answer, tag: str) -> None:
    """`If-None-Match` compares weakly; the answer has the tag and no body."""
    answer = await _part(service, whole, {"If-None-Match": tag.format(tag=whole.headers["ETag"])})

    assert (answer.status, answer.body) == (304, b"")
    assert answer.headers["ETag"] == whole.headers["ETag"]


async def test_another_tag_gets_the_archive(service: Service, whole: Answer) -> None:
    """A tag that does not match changes nothing."""
    answer = await _part(service, whole, {"If-None-Match": '"another"'})

    assert (answer.status, answer.body) == (200, whole.body)


async def test_if_none_match_goes_before_range(service: Service, whole: Answer) -> None:
    """RFC 9110 13.2.2: who has it all needs no part."""
    answer = await _part(service, whole, {"If-None-Match": whole.headers["ETag"], "Range": "bytes=0-9"})

    assert answer.status == 304


async def test_head_of_an_archive_has_its_length_and_no_body(service: Service, whole: Answer) -> None:
    """HEAD is GET without the body, and knows no ranges (RFC 9110 14.2)."""
    answer = await _part(service, whole, {"Range": "bytes=0-9"}, method="HEAD")

    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["Content-Length"] == str(len(whole.body))


@pytest.mark.parametrize("position", range(0, 72_000, 4_999))
async def test_two_parts_make_the_whole(service: Service, whole: Answer, position: int) -> None:
    """Wherever a download broke off, the rest completes it."""
    first = await _part(service, whole, {"Range": f"bytes=0-{position}"})
    rest = await _part(service, whole, {"Range": f"bytes={position + 1}-", "If-Range": whole.headers["ETag"]})

    assert (first.status, rest.status) == (206, 206)
    assert first.body + rest.body == whole.body


async def test_cuts_at_every_seam_of_the_zip_join(service: Service, whole: Answer) -> None:
    """Around each signature, where headers meet images and the directory, no byte is lost or doubled."""
    seams = [match.start() for match in re.finditer(rb"PK(\x01\x02|\x03\x04|\x05\x06)", whole.body)]
    cuts = sorted({0, len(whole.body)} | {at + step for at in seams for step in (-1, 0, 1) if at + step > 0})

    parts = [await _part(service, whole, {"Range": f"bytes={start}-{stop - 1}"}) for start, stop in pairwise(cuts)]

    assert len(seams) == 7
    assert b"".join(part.body for part in parts) == whole.body


async def test_head_says_304_too(service: Service, whole: Answer) -> None:
    """A caller who holds the bytes is told so (RFC 9110 13.1.2)."""
    answer = await _part(service, whole, {"If-None-Match": whole.headers["ETag"]}, "HEAD")

    assert (answer.status, answer.headers["ETag"]) == (304, whole.headers["ETag"])
