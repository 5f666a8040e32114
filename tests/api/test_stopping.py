"""A stop under load: nobody who has connected is cut off before the answer."""

import asyncio
import errno
import socket

import pytest
from aiohttp import web
from yarl import URL

from service.api import accepting
from service.api.accepting import _AT_ONCE
from service.api.connections import Connection
from tests.support.client import TIMEOUT, StartService
from tests.support.samples import ORDER, jpeg, order
from tests.support.transport import yield_to_loop
from tests.support.upstream import FakeUpstream

_PROBE = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
# The second is more than are taken at once.
CROWDS = (1, _AT_ONCE * 2 + 1)


def connect(url: str) -> socket.socket:
    """A connection as the kernel makes it, before the service has taken it in."""
    target = URL(url)
    assert target.host is not None
    return socket.create_connection((target.host, target.port or 80), timeout=10)


def is_listening(url: str) -> bool:
    try:
        connect(url).close()
    except ConnectionRefusedError:
        return False
    return True


def received(connection: socket.socket) -> bytes:
    """All that came until the end of the connection."""
    with connection, connection.makefile("rb") as file:
        return file.read()


@pytest.mark.parametrize("crowd", CROWDS)
async def test_who_waits_in_the_queue_is_answered(start_service: StartService, crowd: int) -> None:
    """Connections that the kernel has made and the service has not seen yet, each with a request."""
    service = await start_service()
    connections = [connect(service.url) for _ in range(crowd)]
    for connection in connections:
        connection.sendall(_PROBE)

    await service.stop()

    assert [received(connection)[:12] for connection in connections] == [b"HTTP/1.1 200"] * crowd


async def test_a_request_that_follows_its_connection_is_answered(
    start_service: StartService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who connected before the stop may send the request after it; a new connection is refused by then."""
    monkeypatch.setattr("service.api.connections._FIRST_REQUEST_SECONDS", TIMEOUT)
    service = await start_service()
    connection = connect(service.url)
    stopping = asyncio.ensure_future(service.stop())
    while is_listening(service.url):  # noqa: ASYNC110
        await asyncio.sleep(0)
    for _ in range(10):  # and has waited a little for it
        await yield_to_loop()

    connection.sendall(_PROBE)
    await stopping

    assert received(connection)[:12] == b"HTTP/1.1 200"


async def test_a_connection_without_a_request_ends(start_service: StartService) -> None:
    """It holds no stop up for long."""
    service = await start_service()
    connection = connect(service.url)

    async with asyncio.timeout(TIMEOUT):
        await service.stop()

    assert received(connection) == b""


async def test_a_request_whose_body_is_still_coming_is_answered(
    start_service: StartService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a stop that waits for what is in progress; the next request of this connection is not."""
    shutdown, waiting = web.Server.shutdown, asyncio.Event()

    async def shut_down(server: web.Server, timeout: float | None = None) -> None:
        waiting.set()
        await shutdown(server, TIMEOUT)

    monkeypatch.setattr(web.Server, "shutdown", shut_down)
    service = await start_service()
    body = f'{{"path": "/v1/orders/{ORDER}/images"}}'.encode()
    head = b"POST /v1/links HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    connection = connect(service.url)
    connection.sendall(head % len(body) + body[:9])
    stopping = asyncio.ensure_future(service.stop())
    await waiting.wait()
    await yield_to_loop()

    connection.sendall(body[9:] + _PROBE)
    await stopping

    answer = received(connection)
    assert answer[:12] == b"HTTP/1.1 201"
    assert answer.count(b"HTTP/1.1 ") == 1


async def test_who_reads_slowly_gets_the_end_of_the_answer(
    start_service: StartService, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given an archive that is written, and waits here for its reader: the process ends with the stop."""
    connection_made, shutdown = Connection.connection_made, web.Server.shutdown
    stop_began = asyncio.Event()
    transports: list[asyncio.Transport] = []
    unsent: list[int] = []

    def connect_with_small_buffer(connection: Connection, transport: asyncio.Transport) -> None:
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        transports.append(transport)
        connection_made(connection, transport)

    async def shut_down(server: web.Server, timeout: float | None = None) -> None:
        stop_began.set()
        await shutdown(server, TIMEOUT)
        unsent.append(transports[0].get_write_buffer_size())

    upstream.orders[ORDER] = order(["a"])
    upstream.images["a"] = jpeg(size=40_000)
    service = await start_service()
    whole = await service.download()
    monkeypatch.setattr(Connection, "connection_made", connect_with_small_buffer)
    monkeypatch.setattr(web.Server, "shutdown", shut_down)
    reader = socket.socket()
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    reader.connect((URL(service.url).host, URL(service.url).port))
    reader.sendall(b"GET /v1/archives/%s HTTP/1.1\r\nHost: x\r\n\r\n" % whole.headers["X-Archive-Id"].encode())
    async with asyncio.timeout(TIMEOUT):
        while not transports or not transports[0].get_write_buffer_size():  # noqa: ASYNC110
            await asyncio.sleep(0)

        stopping = asyncio.ensure_future(service.stop())
        await stop_began.wait()
        await yield_to_loop()
        answer = await asyncio.to_thread(received, reader)
        await stopping

    assert answer.partition(b"\r\n\r\n")[2] == whole.body
    assert unsent == [0]


async def test_a_stop_is_told_to_who_asks_at_once(start_service: StartService) -> None:
    """A probe that waited in the queue hears that the service is not ready any more."""
    service = await start_service()
    connection = connect(service.url)
    connection.sendall(_PROBE.replace(b"/livez", b"/readyz"))

    await service.stop()

    assert received(connection)[:12] == b"HTTP/1.1 503"


async def test_without_descriptors_the_spare_ones_are_given_to_who_waits(
    start_service: StartService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a process that may open no more files when it is told to stop."""
    service = await start_service()
    connection = connect(service.url)
    connection.sendall(_PROBE)
    refusals = [OSError(errno.EMFILE, "no descriptors"), ConnectionAbortedError(), None]
    take = accepting._take

    def refuse(listener: socket.socket) -> list[socket.socket]:
        if (error := refusals.pop(0) if refusals else None) is not None:
            raise error
        return take(listener)

    monkeypatch.setattr(accepting, "_take", refuse)
    await service.stop()

    assert refusals == []
    assert received(connection)[:12] == b"HTTP/1.1 200"
