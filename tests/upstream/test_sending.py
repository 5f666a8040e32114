"""What is sent to Autoenhance and to its storage, over real sockets: documents and files."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

import pytest
from aiohttp import web
from multidict import CIMultiDictProxy
from yarl import URL

from service.reasons import Reason
from service.telemetry.metrics import Circuit
from service.upstream import transport as transport_module
from service.upstream.answers import UpstreamFailure
from tests.support.loopback import serving
from tests.support.transport import KEY, TIMEOUT, VERSION, Parts, open_client

DOCUMENT = {"name": "A house"}


@dataclass
class Received:
    """One request, and the connection that it came over."""

    method: str
    headers: CIMultiDictProxy[str]
    body: bytes
    peer: object


@dataclass
class Server:
    """Answers whatever is sent to it as the test says, and keeps it."""

    url: str = ""
    status: int = 200
    body: bytes = b'{"order_id": "o1"}'
    headers: Mapping[str, str] = field(default_factory=dict)
    received: list[Received] = field(default_factory=list)
    is_silent: bool = False

    async def answer(self, request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        peer = request.transport.get_extra_info("peername")
        self.received.append(Received(request.method, request.headers, await request.read(), peer))
        if self.is_silent:
            await asyncio.Event().wait()
        return web.Response(status=self.status, body=self.body, headers=self.headers)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    async with serving(web.route("*", "/{path:.*}", server.answer)) as url:
        server.url = url
        yield server


@pytest.fixture
async def parts(server: Server) -> AsyncIterator[Parts]:
    """A client of that server."""
    async with open_client(f"{server.url}/v3") as parts:
        yield parts


async def send(parts: Parts, server: Server, way: str, *, seconds: float = TIMEOUT) -> object:
    """A document, or a file in two pieces."""

    async def pieces() -> AsyncIterator[bytes]:
        yield b"one, "
        yield b"two"

    if way == "document":
        return await parts.transport.post("create", URL(f"{server.url}/v3/orders/"), DOCUMENT, seconds=seconds)
    url = URL(f"{server.url}/store?signature=s", encoded=True)
    timeout = asyncio.timeout(seconds)
    await parts.transport.put("upload", url, pieces(), timeout=timeout, headers={"Content-Length": "8"})
    return None


async def refused(parts: Parts, server: Server, way: str, *, seconds: float = TIMEOUT) -> UpstreamFailure:
    with pytest.raises(UpstreamFailure) as raised:
        await send(parts, server, way, seconds=seconds)
    return raised.value


@pytest.mark.parametrize("status", [200, 201])
async def test_a_document_goes_to_the_api_with_the_key(parts: Parts, server: Server, status: int) -> None:
    """The one that it answers with is returned, whatever kind of yes comes with it."""
    server.status = status

    assert await send(parts, server, "document") == {"order_id": "o1"}

    (one,) = server.received
    assert (one.method, one.body) == ("POST", b'{"name": "A house"}')
    wanted = {"x-api-key": KEY, "x-api-version": VERSION, "Content-Type": "application/json", "Accept-Encoding": "gzip"}
    assert wanted.items() <= dict(one.headers).items()


@pytest.mark.parametrize("status", [200, 201, 204])
async def test_a_file_goes_to_storage_without_the_key(parts: Parts, server: Server, status: int) -> None:
    """As it is: the address itself is signed."""
    server.status = status

    await send(parts, server, "file")

    (one,) = server.received
    assert (one.method, one.body, one.headers["Content-Length"]) == ("PUT", b"one, two", "8")
    assert one.headers.keys().isdisjoint({"x-api-key", "x-api-version", "Transfer-Encoding"})
    assert KEY not in str(one)


WAYS = pytest.mark.parametrize("way", ["document", "file"])


@WAYS
async def test_each_goes_over_a_connection_of_its_own(parts: Parts, server: Server, way: str) -> None:
    """Of what went out on a dead one nobody could tell whether it was received."""
    for _ in range(3):
        await send(parts, server, way)

    assert len({one.peer for one in server.received}) == 3


@WAYS
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_refused(parts: Parts, server: Server, way: str, status: int) -> None:
    """It could turn a POST into a GET, and a file would be sent twice."""
    server.status, server.headers = status, {"Location": f"{server.url}/elsewhere"}

    told = await refused(parts, server, way)

    assert (told.reason, told.status, len(server.received)) == (Reason.BAD_REDIRECT, status, 1)


@WAYS
@pytest.mark.parametrize(
    ("status", "reason"), [(429, Reason.RATE_LIMITED), (403, Reason.REFUSED), (503, Reason.UPSTREAM_ERROR)]
)
async def test_a_refusal_is_that_of_whom_it_was_sent_to(
    parts: Parts, server: Server, way: str, status: int, reason: Reason
) -> None:
    """With its words for the log, without the key."""
    server.status, server.body = status, f"not with {KEY}".encode()

    told = await refused(parts, server, way)

    assert (told.reason, told.status) == (reason, status)
    assert told.circuit is (Circuit.API if way == "document" else Circuit.ASSETS)
    assert "not with" in told.detail
    assert KEY not in told.detail


@pytest.mark.parametrize(("way", "limit"), [("document", "all of it"), ("document", "a stall"), ("file", "all of it")])
async def test_an_answer_that_does_not_come_is_a_timeout(
    parts: Parts, server: Server, way: str, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When its time is over, or nothing comes for so long; it is counted as one."""
    server.is_silent = True
    if limit == "a stall":
        monkeypatch.setattr(transport_module, "STALL_SECONDS", 0.05)

    told = await refused(parts, server, way, seconds=TIMEOUT if limit == "a stall" else 0.05)

    operation = "create" if way == "document" else "upload"
    assert (told.reason, told.circuit) == (Reason.TIMEOUT, Circuit.API if way == "document" else Circuit.ASSETS)
    assert parts.sample("batch_upstream_requests_total", operation=operation, status="timeout") == 1


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"order_id": '])
async def test_an_answer_that_is_no_document_is_upstreams_error(parts: Parts, server: Server, body: bytes) -> None:
    """Of storage nothing is read."""
    server.body = body

    assert (await refused(parts, server, "document")).reason is Reason.UPSTREAM_ERROR
    await send(parts, server, "file")
