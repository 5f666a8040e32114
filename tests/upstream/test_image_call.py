"""The image call as the layers above see it: what is sent, and what answers become."""

import re
from typing import Any

import pytest
from aioresponses import aioresponses

from service.reasons import Reason
from service.upstream.answers import UpstreamFailure
from service.upstream.models import Original, Rendition
from tests.support.mocked import BASE, sent
from tests.support.samples import jpeg, png, webp
from tests.support.transport import (
    KEY,
    VERSION,
    MemoryBody,
    Parts,
    download,
    in_attempts,
    missing,
    open_client,
    tcp_server,
)
from tests.support.upstream import FakeUpstream, Reply, Script

ANY_IMAGE = re.compile(rf"{re.escape(BASE)}/images/.*")


def answer_image(answers: aioresponses) -> None:
    """Answer an image call, whatever it asks for."""
    headers = {"Content-Length": str(len(jpeg()))}
    answers.get(ANY_IMAGE, body=jpeg(), content_type="image/jpeg", headers=headers)


@pytest.mark.parametrize(
    ("rendering", "query"),
    [
        ({}, "format=jpeg&preview=true"),
        ({"preview": False}, "format=jpeg&preview=false"),
        (
            {"format": "webp", "quality": 80, "max_width": 1200, "scale": 0.25},
            "format=webp&preview=true&quality=80&max_width=1200&scale=0.25",
        ),
    ],
    ids=str,
)
async def test_what_is_asked_for(answers: aioresponses, lone: Parts, rendering: dict[str, Any], query: str) -> None:
    """The rendering's options, `preview` always among them."""
    answer_image(answers)

    await download(lone, **rendering)

    url, _ = sent(answers)
    assert url.raw_path == "/v3/images/a/enhanced"
    assert sorted(url.raw_query_string.split("&")) == sorted(query.split("&"))


@pytest.mark.parametrize("dev_mode", [False, True])
async def test_dev_mode_is_a_header(answers: aioresponses, lone: Parts, dev_mode: bool) -> None:
    """Sent only when it is on, beside key and version; never a coded or partial body on the first attempt."""
    answer_image(answers)

    await download(lone, dev_mode=dev_mode)

    wanted = {"x-api-key": KEY, "x-api-version": VERSION, "Accept": "*/*", "Accept-Encoding": "identity"}
    assert sent(answers)[1] == wanted | ({"x-dev-mode": "true"} if dev_mode else {})


@pytest.mark.parametrize(
    ("image_id", "segment"),
    [
        ("a/../b", "a%2F..%2Fb"),
        ("a?preview=false", "a%3Fpreview%3Dfalse"),
        ("..", "-"),
        (".", "-"),
        ("ü ", "%C3%BC%20"),
    ],
)
async def test_ids_cannot_leave_their_place_in_the_path(
    answers: aioresponses, lone: Parts, image_id: str, segment: str
) -> None:
    """Not by slashes, nor by a query, nor by dots."""
    answer_image(answers)

    await download(lone, image_id)

    assert sent(answers)[0].raw_path == f"/v3/images/{segment}/enhanced"


async def test_an_id_that_no_address_can_hold_is_a_failed_image(upstream: FakeUpstream, parts: Parts) -> None:
    """JSON can say what UTF-8 cannot; the image fails, not the program."""
    reason, _ = await missing(parts, "\ud800")

    assert reason in (Reason.REJECTED, Reason.IMAGE_NOT_FOUND)


@pytest.mark.parametrize(
    ("status", "reason", "attempts"),
    [
        (202, Reason.NOT_READY, 1),
        (400, Reason.REJECTED, 1),
        (401, Reason.REFUSED, 1),
        (402, Reason.NO_CREDIT, 1),
        (403, Reason.REFUSED, 1),
        (404, Reason.IMAGE_NOT_FOUND, 1),
        (408, Reason.TIMEOUT, 3),
        (410, Reason.EXPIRED, 1),
        (422, Reason.REJECTED, 1),
        (425, Reason.NOT_READY, 3),
        (500, Reason.UPSTREAM_ERROR, 3),
        (503, Reason.UPSTREAM_ERROR, 3),
    ],
)
async def test_a_refusal_becomes_a_reason(
    upstream: FakeUpstream, parts: Parts, status: int, reason: Reason, attempts: int
) -> None:
    """And is tried again where that can help; the attempts are told."""
    upstream.images["a"] = status

    outcome = await missing(parts)

    assert outcome == (reason, attempts)
    assert upstream.calls("a") == attempts


async def test_an_image_arrives_whole(upstream: FakeUpstream, parts: Parts) -> None:
    """Its bytes, its announced length, its extension, and the attempts it took."""
    upstream.images["a"] = [503, png(size=300_000)]
    body = MemoryBody()

    extension, attempts = await download(parts, body=body)

    assert (extension, attempts) == ("png", 2)
    assert (bytes(body.content), body.expected) == (png(size=300_000), [300_000])


@pytest.mark.parametrize("chunked", [False, True])
async def test_an_image_may_be_shorter_than_what_is_read_to_know_it(
    upstream: FakeUpstream, parts: Parts, chunked: bool
) -> None:
    """A picture of one pixel takes fewer bytes than the longest signature."""
    pixel = b"\xff\x0a" + bytes(20)
    upstream.images["a"] = Reply(body=pixel, chunked=chunked)
    body = MemoryBody()

    assert await download(parts, body=body) == ("jxl", 1)
    assert bytes(body.content) == pixel


async def test_the_bytes_name_the_extension(upstream: FakeUpstream, parts: Parts) -> None:
    """Not what was asked for, nor what the type says."""
    upstream.images["a"] = Reply(body=webp(), content_type="image/jpeg")

    extension, _ = await download(parts, format="jpeg")

    assert extension == "webp"


async def test_a_body_whose_end_cannot_be_told_from_a_break_is_none() -> None:
    """Neither a length nor chunks: everything may be there, and nobody could know."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nConnection: close\r\n\r\n"

    async with tcp_server(head + jpeg()) as url, open_client(url) as parts:
        assert await missing(parts) == (Reason.TRUNCATED, 3)


async def test_a_429_is_a_pause_and_no_attempt(upstream: FakeUpstream) -> None:
    """Given six of them, an image that has one attempt is fetched; of the retry budget nothing is spent."""
    upstream.images["a"] = [429] * 6 + [jpeg()]

    async with open_client(upstream.url, attempts=1) as parts:
        for _ in range(20):
            parts.client._budget.spend()
        extension, calls = await download(parts)

    assert (extension, calls) == ("jpg", 7)
    assert parts.sample("batch_upstream_retries_total", reason="rate_limited") == 6


async def test_a_pause_beyond_the_images_time_fails_it_now(upstream: FakeUpstream) -> None:
    """It is not waited for."""
    upstream.images["a"] = [Reply(status=429, headers={"Retry-After": "100"}), jpeg()]

    async with open_client(upstream.url, seconds=99) as parts:
        assert await missing(parts) == (Reason.RATE_LIMITED, 1)


async def test_a_body_that_says_it_is_something_else_is_an_image_all_the_same(
    upstream: FakeUpstream, parts: Parts
) -> None:
    """The declared type decides nothing."""
    upstream.images["a"] = Reply(body=jpeg(), content_type="text/html")

    assert await download(parts) == ("jpg", 1)


@pytest.mark.parametrize(
    "script", [Reply(body=b"\0" * 99, content_type="image/jpeg"), b"GIF89a" + b"\0" * 50, b"", "<html>"]
)
async def test_what_is_no_image_is_not_asked_for_again(upstream: FakeUpstream, parts: Parts, script: Script) -> None:
    """Another attempt would bring the same; nothing of it is kept."""
    upstream.images["a"] = script
    body = MemoryBody()

    with pytest.raises(UpstreamFailure) as raised:
        await download(parts, body=body)

    assert (raised.value.reason, upstream.calls("a")) == (Reason.NOT_AN_IMAGE, 1)
    assert body.content == b""


async def test_a_body_that_cannot_be_written_is_not_upstreams_failure(upstream: FakeUpstream, parts: Parts) -> None:
    """The error passes through, once."""
    upstream.images["a"] = jpeg()

    class Full(MemoryBody):
        def append(self, chunk: bytes) -> bool:
            raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        await download(parts, body=Full())

    assert upstream.calls("a") == 1


@pytest.mark.parametrize(
    ("rendition", "extension"), [(Original(), "tif"), (Rendition(), None)], ids=["original", "enhanced"]
)
async def test_only_an_original_may_be_what_cameras_write(
    upstream: FakeUpstream, parts: Parts, rendition: Rendition, extension: str | None
) -> None:
    """Autoenhance does not give it as an enhanced image."""
    raw = Reply(body=b"II\x2a\x00" + b"raw" * 100)
    upstream.images["a"], upstream.originals["a"] = raw, raw
    fetched = parts.client.image("a", rendition, MemoryBody())

    if extension is not None:
        assert await in_attempts(parts, fetched) == extension
        return
    with pytest.raises(UpstreamFailure) as failed:
        await in_attempts(parts, fetched)
    assert failed.value.reason is Reason.NOT_AN_IMAGE
