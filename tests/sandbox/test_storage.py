"""The storage: lengths, entity tags, ranges, types, and links that expire."""

import pytest
from aiohttp import ClientTimeout

from service.sandbox import ImageSpec

from .conftest import Answer, Caller, StartSandbox

SIZE = 1000


async def get(caller: Caller, headers: dict[str, str] | None = None, **spec: float) -> tuple[Answer, bytes]:
    """Download a fresh image's bytes with some headers; also gives the bytes expected."""
    image_id = caller.control.add_order([ImageSpec(size=SIZE, **spec)]).images[0].image_id  # type: ignore[arg-type]
    link = await caller.link(f"/images/{image_id}/enhanced")
    if headers and headers.get("If-Range") == "its own":
        async with caller.session.get(link) as whole:
            headers = {**headers, "If-Range": whole.headers.get("ETag", "")}
    async with caller.session.get(link, headers=headers) as response:
        answer = Answer(response.status, response.headers, await response.read())
    return answer, caller.control.expected(image_id)


async def test_bytes_come_with_length_and_strong_tag(caller: Caller) -> None:
    """And an offer of ranges."""
    answer, expected = await get(caller)

    assert (answer.status, answer.body) == (200, expected)
    assert answer.headers["Content-Length"] == str(SIZE)
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["ETag"].startswith('"')


@pytest.mark.parametrize(
    ("wanted", "first", "end"),
    [
        ("bytes=0-9", 0, 10),
        ("bytes=990-", 990, 1000),
        ("bytes=-5", 995, 1000),
        ("bytes=60-70", 60, 71),
        ("bytes=999-5000", 999, 1000),
    ],
)
async def test_a_range_is_honoured(caller: Caller, wanted: str, first: int, end: int) -> None:
    """206, the part, and where it lies."""
    answer, expected = await get(caller, {"Range": wanted, "If-Range": "its own"})

    assert (answer.status, answer.body) == (206, expected[first:end])
    assert answer.headers["Content-Range"] == f"bytes {first}-{end - 1}/{SIZE}"


@pytest.mark.parametrize(
    "headers",
    [
        {"Range": "bytes=5-", "If-Range": '"another"'},
        {"Range": "bytes=5-", "If-Range": "Tue, 24 Nov 2026 00:00:00 GMT"},
        {"Range": "bytes=0-1,5-6"},
        {"Range": "bytes=9-5"},
        {"Range": "bytes=-"},
        {"Range": "lines=1-2"},
    ],
)
async def test_a_range_that_does_not_count_gives_all(caller: Caller, headers: dict[str, str]) -> None:
    """Another tag, a date, several ranges or a malformed one: 200, whole."""
    answer, expected = await get(caller, headers)

    assert (answer.status, answer.body) == (200, expected)


async def test_a_range_past_the_end_is_416(caller: Caller) -> None:
    """With the true size."""
    answer, _ = await get(caller, {"Range": "bytes=1000-"})

    assert (answer.status, answer.headers["Content-Range"]) == (416, f"bytes */{SIZE}")


async def test_ranges_can_be_switched_off(start: StartSandbox) -> None:
    """The whole body, and no offer."""
    caller = await start(ranges=False)

    answer, expected = await get(caller, {"Range": "bytes=5-"})

    assert (answer.status, answer.body) == (200, expected)
    assert "Accept-Ranges" not in answer.headers


@pytest.mark.parametrize(("etags", "prefix"), [("weak", 'W/"'), ("none", "")])
async def test_entity_tags_can_be_weak_or_missing(start: StartSandbox, etags: str, prefix: str) -> None:
    """A weak tag never makes a range count."""
    caller = await start(etags=etags)

    answer, _ = await get(caller, {"Range": "bytes=5-", "If-Range": "its own"})

    assert answer.status == 200
    assert answer.headers.get("ETag", "").startswith(prefix)
    assert ("ETag" in answer.headers) == (etags == "weak")


@pytest.mark.parametrize(("kind", "expected"), [("octet-stream", "application/octet-stream"), ("none", None)])
async def test_the_type_can_be_vague_or_missing(start: StartSandbox, kind: str, expected: str | None) -> None:
    """As storages often have it."""
    caller = await start(content_type=kind)

    answer, _ = await get(caller)

    assert answer.headers.get("Content-Type") == expected


async def test_bytes_can_come_without_a_length(start: StartSandbox) -> None:
    """Chunked, complete all the same."""
    caller = await start(content_length=False)

    answer, expected = await get(caller)

    assert answer.headers["Transfer-Encoding"] == "chunked"
    assert "Content-Length" not in answer.headers
    assert answer.body == expected


async def test_a_slow_download_is_complete(start: StartSandbox) -> None:
    """A rate and a latency change when bytes come, not which."""
    caller = await start(download_rate=20_000)

    answer, expected = await get(caller, latency=0.01)
    own_rate, own_expected = await get(caller, rate=100_000.0)

    assert answer.body == expected
    assert own_rate.body == own_expected


async def test_a_link_expires(start: StartSandbox) -> None:
    """403 in XML once its time is over."""
    caller = await start(link_lifetime=30)
    image_id = caller.control.add_order([ImageSpec()]).images[0].image_id
    link = await caller.link(f"/images/{image_id}/enhanced")

    caller.control.advance(60)
    async with caller.session.get(link) as response:
        text = await response.text()

    assert (response.status, response.content_type) == (403, "application/xml")
    assert "expired" in text


async def test_a_forged_link_is_refused(caller: Caller) -> None:
    """Only links the asset server made lead to bytes."""
    image_id = caller.control.add_order([ImageSpec()]).images[0].image_id
    link = await caller.link(f"/images/{image_id}/enhanced")

    async with caller.session.get(link.update_query({"X-Amz-Signature": "0"})) as response:
        text = await response.text()

    assert response.status == 403
    assert "SignatureDoesNotMatch" in text


async def test_the_first_rendering_can_be_slow(start: StartSandbox) -> None:
    """The asset server keeps the first to ask for a rendition waiting, and nobody after."""
    caller = await start(first_render_delay=3600)
    image_id = caller.control.add_order([ImageSpec()]).images[0].image_id
    first = await caller.call("GET", f"/images/{image_id}/enhanced")

    with pytest.raises(TimeoutError):
        async with caller.session.get(first.headers["Location"], timeout=ClientTimeout(total=0.1)):
            pass

    assert (await caller.fetch(f"/images/{image_id}/enhanced")).status == 200
