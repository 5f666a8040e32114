"""Single attempts at an image: what counts as one, over which connection it is made, and what it leaves behind."""

import asyncio
import gzip
from typing import Any

import pytest
from aiohttp import web

from service.reasons import Reason
from service.telemetry.metrics import Circuit
from service.upstream import download as download_module
from service.upstream.answers import UpstreamFailure
from service.upstream.download import Download, TimeLimit
from service.upstream.models import Rendition
from service.upstream.retry import Deadline
from service.upstream.transport import Transport
from tests.support.samples import jpeg
from tests.support.transport import FakeClock, MemoryBody, Parts, download, failure, open_client
from tests.support.upstream import FakeUpstream, Reply


def fetching(parts: Parts, body: MemoryBody | None = None) -> Download:
    return parts.client.image("a", Rendition(), body or MemoryBody())


async def failed(fetched: Download) -> UpstreamFailure:
    """Why the next attempt fails."""
    with pytest.raises(UpstreamFailure) as told:
        await fetched.attempt()
    return told.value


async def test_an_attempt_counts_once_however_often_it_is_sent_on(upstream: FakeUpstream, parts: Parts) -> None:
    """What each image took is in the report."""
    upstream.images["a"], upstream.hops["a"] = [503, jpeg()], 2

    assert await download(parts) == ("jpg", 2)


@pytest.mark.parametrize(
    ("trouble", "is_fresh"), [(failure(Reason.UNREACHABLE), True), (failure(Reason.UPSTREAM_ERROR), False)]
)
async def test_after_a_connection_that_failed_the_next_attempt_has_a_new_one(
    upstream: FakeUpstream, parts: Parts, monkeypatch: pytest.MonkeyPatch, trouble: UpstreamFailure, is_fresh: bool
) -> None:
    """Those that were kept die together; another failure says nothing against them."""
    upstream.images["a"] = jpeg()
    asked: list[bool] = []
    get = Transport.get

    def noted(*arguments: Any, is_fresh: bool, **more: Any) -> Any:
        asked.append(is_fresh)
        if len(asked) == 1:
            raise trouble
        return get(*arguments, is_fresh=is_fresh, **more)

    monkeypatch.setattr(Transport, "get", noted)
    fetched = fetching(parts)
    await failed(fetched)

    assert await fetched.attempt() == "jpg"
    assert asked == [False, is_fresh]


@pytest.mark.parametrize("has_kept_one", [True, False])
async def test_a_connection_that_closes_without_an_answer_is_one_request(
    upstream: FakeUpstream, parts: Parts, has_kept_one: bool
) -> None:
    """Whether a request is sent again is decided by retries alone: it may buy an image."""

    async def hang_up(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    upstream.images |= {"a": hang_up, "b": jpeg()}
    if has_kept_one:
        await parts.client.image("b", Rendition(), MemoryBody()).attempt()

    assert (await failed(fetching(parts))).reason is Reason.UNREACHABLE
    assert len(upstream.requests("a")) == 1


async def test_a_new_connection_is_asked_for_once(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given one that failed, and then an answer: connections are kept again."""
    asked: list[bool] = []

    def fail(*_: Any, is_fresh: bool, **__: Any) -> Any:
        asked.append(is_fresh)
        raise failure(Reason.UPSTREAM_ERROR if is_fresh else Reason.UNREACHABLE)

    monkeypatch.setattr(Transport, "get", fail)
    fetched = fetching(parts)
    for _ in range(4):
        await failed(fetched)

    assert asked == [False, True, False, True]


async def test_of_a_rest_that_did_not_come_nothing_had_begun(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Although there are bytes of the attempt before: no answer in time speaks against Autoenhance."""

    def fail(*_: Any, **__: Any) -> Any:
        raise failure(Reason.TIMEOUT)

    monkeypatch.setattr(Transport, "get", fail)
    told = await failed(fetching(parts, MemoryBody(bytearray(jpeg()[:700]))))

    assert (told.has_begun, told.breaks_circuit) == (False, True)


async def test_what_is_to_be_fetched_again_is_fetched_whole(upstream: FakeUpstream, parts: Parts) -> None:
    """Although the whole of it was taken under a tag that would guard a rest."""
    upstream.images["a"] = Reply(body=jpeg(), etag='"v1"')
    body = MemoryBody()
    fetched = fetching(parts, body)
    await fetched.attempt()

    fetched.again()
    await fetched.attempt()

    assert [one.headers.get("Range") for one in upstream.requests("a")] == [None, None]
    assert (bytes(body.content), body.restarts) == (jpeg(), 1)


@pytest.mark.parametrize(("sent", "has_begun"), [(700, True), (0, False)])
async def test_a_body_that_had_begun_is_told_from_no_answer(upstream: FakeUpstream, sent: int, has_begun: bool) -> None:
    """That one was too slow says nothing against Autoenhance; that none came does."""

    async def stall(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(len(jpeg()))})
        if sent:
            await response.prepare(request)
            await response.write(jpeg()[:sent])
        await asyncio.Event().wait()
        return response

    upstream.images["a"] = stall
    async with open_client(upstream.url, seconds=0.3) as parts:
        told = await failed(fetching(parts))

    assert (told.reason, told.has_begun, told.breaks_circuit) == (Reason.TIMEOUT, has_begun, not has_begun)


async def test_each_hop_begins_the_silence_anew(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two servers that take their time are no stall."""
    clock = FakeClock(1e9)
    monkeypatch.setattr(download_module, "time", clock)
    fetched = fetching(parts)
    fetched._limit = limit = TimeLimit(Deadline(clock() + 60), 60, lambda: False)
    async with limit.timeout:
        clock.advance(20)
        await fetched._admit(Circuit.ASSETS)

        assert limit.timeout.when() == clock() + 30


async def test_a_coded_body_is_whole_though_its_length_is_another(upstream: FakeUpstream, parts: Parts) -> None:
    """That of what was sent, not of the image."""
    upstream.images["a"] = Reply(
        body=gzip.compress(jpeg()), headers={"Content-Encoding": "gzip"}, content_type="image/jpeg"
    )
    body = MemoryBody()

    assert await download(parts, body=body) == ("jpg", 1)
    assert (bytes(body.content), body.expected) == (jpeg(), [])


async def test_a_coded_rest_is_refused(upstream: FakeUpstream, parts: Parts) -> None:
    """Its place is one among coded bytes."""
    head = {"Content-Range": f"bytes 700-{len(jpeg()) - 1}/{len(jpeg())}", "ETag": '"v1"', "Content-Encoding": "gzip"}
    coded = Reply(body=gzip.compress(jpeg()[700:]), status=206, headers=head)
    upstream.images["a"] = [Reply(body=jpeg(), etag='"v1"', cut_after=700), coded, Reply(body=jpeg(2))]
    body = MemoryBody()

    assert await download(parts, body=body) == ("jpg", 3)
    assert bytes(body.content) == jpeg(2)


class Full(MemoryBody):
    """A body that asks to be written after each chunk, and for whose length there is room or is not."""

    def __init__(self, *, has_room: bool) -> None:
        super().__init__()
        self.has_room = has_room
        self.reserved: list[int] = []
        self.is_flushed = True

    def try_reserve(self, length: int) -> bool:
        self.reserved.append(length)
        return self.has_room

    def append(self, chunk: bytes) -> bool:
        assert self.is_flushed
        super().append(chunk)
        self.is_flushed = False
        return True

    async def flush(self) -> None:
        self.is_flushed = True


@pytest.mark.parametrize("has_room", [True, False])
async def test_room_is_waited_for_only_where_there_is_none(
    upstream: FakeUpstream, parts: Parts, has_room: bool
) -> None:
    """And what was taken is written when the body asks for it."""
    content = jpeg(size=1_000_000)
    upstream.images["a"] = Reply(body=content)
    body = Full(has_room=has_room)

    await download(parts, body=body)

    assert (body.reserved, body.expected) == ([len(content)], [] if has_room else [len(content)])
    assert (bytes(body.content), body.is_flushed) == (content, True)
