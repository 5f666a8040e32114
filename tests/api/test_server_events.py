"""Server-sent events: their frames, the comment in a silence, and how a stream ends."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from aiohttp import ClientResponse, ClientSession, web

from service.api import base_path, server_events
from service.api.server_events import send_events
from service.jobs.events import JobEvent
from tests.support.counted import CountedEvent
from tests.support.loopback import serving
from tests.support.transport import TIMEOUT, yield_to_loop

FIRST = JobEvent("status", 0, {"status": "queued", "links": {"self": "/v1/jobs/1", "download": None}})
LAST = JobEvent("status", 7, {"status": "complete", "links": {"self": "/v1/jobs/1", "download": "/v1/d"}})
RETRY = b"retry: 2000\n\n"


@pytest.fixture(autouse=True)
def below_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """The service is reached below one."""
    monkeypatch.setattr(base_path, "base_path", lambda _: "/batch")


def frame(event: JobEvent) -> bytes:
    links = {name: path and f"/batch{path}" for name, path in event.data["links"].items()}
    document = json.dumps({**event.data, "links": links})
    return f"event: {event.name}\nid: {event.number}\ndata: {document}\n\n".encode()


@dataclass
class Stream:
    """A job's events, as the test has them happen."""

    events: asyncio.Queue[JobEvent | None] = field(default_factory=asyncio.Queue)
    stopping: CountedEvent = field(default_factory=CountedEvent)
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    followed: list[AsyncGenerator[JobEvent, None]] = field(default_factory=list)

    async def happen(self) -> AsyncGenerator[JobEvent, None]:
        try:
            while (event := await self.events.get()) is not None:
                yield event
        finally:
            self.closed.set()


@asynccontextmanager
async def sent(stream: Stream) -> AsyncIterator[ClientResponse]:
    """The answer, as it comes."""

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            stream.followed.append(stream.happen())  # nobody but who sends them closes them
            return await send_events(request, stream.followed[0], stream.stopping)
        finally:
            stream.answered.set()

    async with (
        asyncio.timeout(TIMEOUT),
        serving(web.get("/", handle)) as url,
        ClientSession() as session,
        session.get(url) as response,
    ):
        yield response


async def test_each_event_is_a_frame_with_its_number() -> None:
    """Its links are as this caller must ask for them; no proxy is to hold any of it back."""
    stream = Stream()
    for event in (FIRST, LAST, None):
        stream.events.put_nowait(event)

    async with sent(stream) as response:
        body = await response.read()

    assert body == RETRY + frame(FIRST) + frame(LAST)
    assert response.content_type == "text/event-stream"
    assert response.headers["Cache-Control"] == "no-store, no-transform"
    assert response.headers["X-Accel-Buffering"] == "no"


async def test_a_stream_that_has_ended_waits_for_no_stop() -> None:
    """Else every one of them would stay until the instance stops."""
    stream = Stream()
    stream.events.put_nowait(None)

    async with sent(stream) as response:
        await response.read()
        await stream.answered.wait()
        await yield_to_loop()

    assert stream.stopping.waiting == 0


def test_a_silence_is_shorter_than_proxies_bear() -> None:
    """The common ones end what says nothing for 30 seconds."""
    assert server_events.HEARTBEAT_SECONDS <= 20


async def test_silence_is_broken_by_comments_and_nothing_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxies end what says nothing for long; the event that was waited for comes all the same."""
    monkeypatch.setattr(server_events, "HEARTBEAT_SECONDS", 0.01)
    stream, comment = Stream(), b": still here\n\n"

    async with sent(stream) as response:
        start = await response.content.readexactly(len(RETRY) + 2 * len(comment))
        stream.events.put_nowait(LAST)
        stream.events.put_nowait(None)
        rest = await response.content.read()

    assert start == RETRY + 2 * comment
    assert rest.replace(comment, b"") == frame(LAST)


async def test_a_stop_ends_the_stream_in_order() -> None:
    """The client goes on with another instance; nobody follows the job here any more."""
    stream = Stream()
    stream.events.put_nowait(FIRST)

    async with sent(stream) as response:
        await response.content.readexactly(len(RETRY + frame(FIRST)))
        stream.stopping.set()
        rest = await response.content.read()
        await stream.answered.wait()

    assert (rest, stream.closed.is_set()) == (b"", True)


async def test_a_client_that_leaves_is_followed_no_longer() -> None:
    """Else its archive would be kept going for nobody."""
    stream = Stream()

    async with sent(stream) as response:
        await response.content.readexactly(len(RETRY))
        response.close()
        await stream.answered.wait()

    assert stream.closed.is_set()


async def test_a_connection_that_breaks_over_an_event_is_followed_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is it an error."""
    stream, write = Stream(), web.StreamResponse.write
    stream.events.put_nowait(FIRST)

    async def break_over_events(response: web.StreamResponse, data: bytes) -> None:
        if data.startswith(b"event"):
            raise ConnectionError
        await write(response, data)

    monkeypatch.setattr(web.StreamResponse, "write", break_over_events)
    async with sent(stream) as response:
        body = await response.read()
        await stream.answered.wait()

    assert (body, stream.closed.is_set()) == (RETRY, True)
