"""Callers' connections: which of them make room for one another."""

import asyncio
import socket
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from typing import Any, cast
from urllib.parse import urlsplit

import pytest
from aiohttp import web

from service.api import connections
from service.api.connections import Connection
from service.api.timeouts import Timeouts
from tests.support.client import TIMEOUT, StartService
from tests.support.transport import yield_to_loop

DEFAULT = Timeouts()


async def test_between_two_requests_one_may_be_ended_for_another(
    start_service: StartService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that has waited longest for its next request."""
    monkeypatch.setattr(connections, "connections_within", lambda _: 2)
    service = await start_service(trusted_proxies=("127.0.0.0/8",))  # else an address has but a part of them
    address = urlsplit(service.url)

    async with asyncio.timeout(TIMEOUT), AsyncExitStack() as stack:

        async def answered() -> asyncio.StreamReader:
            reader, writer = await asyncio.open_connection(address.hostname, address.port)
            stack.callback(writer.close)
            writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await reader.readline()).split()[1] == b"200"
            return reader

        first, *others = [await answered() for _ in range(3)]
        with suppress(ConnectionResetError):
            await first.read()  # to its end

        assert not any(reader.at_eof() for reader in others)


class Wire(asyncio.Transport):
    """A transport that only says where it leads."""

    def __init__(self, peer: str = "192.0.2.7", connection: socket.socket | None = None) -> None:
        super().__init__({"peername": (peer, 9), "socket": connection})
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True

    def close(self) -> None: ...

    def is_closing(self) -> bool:
        return self.aborted


class Door:
    """An admission that notes what it is told."""

    def __init__(self, *, lets_in: bool = True) -> None:
        self._lets_in = lets_in
        self.told: list[str] = []

    def admit(self, _: object, address: str) -> bool:
        self.told.append(f"came {address}")
        return self._lets_in

    def busy(self, _: object, address: str) -> None:
        self.told.append(f"busy {address}")

    def idle(self, _: object, address: str) -> None:
        self.told.append(f"idle {address}")

    def leave(self, _: object, address: str) -> None:
        self.told.append(f"left {address}")


def made(door: Door, timeouts: Timeouts = DEFAULT) -> tuple[Connection, Wire]:
    """A connection that was just made."""
    wire = Wire()
    connection = Connection(web.Server(no_handler), timeouts, cast(Any, door))
    connection.connection_made(wire)
    return connection, wire


async def no_handler(_: web.BaseRequest) -> web.StreamResponse:
    return web.Response()


@pytest.mark.parametrize("ending", ["lost", "stalled", "evicted"])
async def test_a_connection_leaves_once(ending: str) -> None:
    """However it ends; one that was ended for another has been counted out by then."""
    door = Door()
    connection, wire = made(door)
    assert connection.awaits_first_request
    connection.head_received()
    waits = connection.awaits_first_request
    if ending == "evicted":
        connection.evict()
    for _ in range(2):
        connection.connection_lost(TimeoutError() if ending == "stalled" else None)

    left = [] if ending == "evicted" else ["left 192.0.2.7"]
    assert door.told == ["came 192.0.2.7", "busy 192.0.2.7", *left]
    assert (waits, wire.aborted) == (False, ending == "evicted")


async def test_why_a_connection_ended_is_known() -> None:
    """Whether its caller stopped reading."""
    stalled, _ = made(Door())
    gone, _ = made(Door())

    stalled.connection_lost(TimeoutError())
    gone.connection_lost(ConnectionResetError())

    assert (stalled.is_stalled, gone.is_stalled) == (True, False)


async def test_who_is_not_let_in_is_hung_up_on() -> None:
    """And was never there: nothing of it is counted out."""
    door = Door(lets_in=False)

    connection, wire = made(door)
    connection.connection_lost(None)

    assert (door.told, wire.aborted, connection.awaits_first_request) == (["came 192.0.2.7"], True, False)


@pytest.mark.parametrize("comes", [True, False])
async def test_the_first_head_has_its_time(comes: bool) -> None:
    """Who has sent none by then is hung up on; of who has, the rest is bounded elsewhere."""
    connection, wire = made(Door(), replace(DEFAULT, head=0.01))
    if comes:
        connection.head_received()
    async with asyncio.timeout(TIMEOUT):
        while not wire.aborted and not comes:  # noqa: ASYNC110  # seen from outside
            await asyncio.sleep(0.001)
    await asyncio.sleep(0.02)
    was_ended = wire.aborted
    connection.connection_lost(None)

    assert was_ended is not comes


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="only Linux counts what was acknowledged")
async def test_a_send_timeout_of_a_year_is_as_long_as_the_kernel_takes() -> None:
    """25 days; a number that does not fit would end every connection's set-up half-way."""
    with socket.socket() as connection:
        Connection(web.Server(no_handler), replace(DEFAULT, send=365 * 86400.0), cast(Any, Door())).connection_made(
            Wire(connection=connection)
        )

        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 2**31 - 1


async def test_a_connection_is_idle_once_the_kernel_has_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """An idle one is ended for others, and what it still had to send would be lost with it."""
    requests = b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    loop, door, when_idle = asyncio.get_running_loop(), Door(), []

    async def answer(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=bytes(60_000))

    def connect() -> Connection:
        return Connection(web.Server(answer), DEFAULT, cast(Any, door))

    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as caller:
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        caller.connect(listener.getsockname())
        accepted, _ = listener.accept()
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        transport, _ = await loop.connect_accepted_socket(connect, accepted)
        limits = transport.get_write_buffer_limits()
        monkeypatch.setattr(
            door,
            "idle",
            lambda *_: when_idle.append((transport.get_write_buffer_size(), transport.get_write_buffer_limits())),
        )
        async with asyncio.timeout(TIMEOUT):
            caller.sendall(requests)
            while not transport.get_write_buffer_size():  # noqa: ASYNC110
                await asyncio.sleep(0)
            await yield_to_loop()
            caller.setblocking(False)
            while await loop.sock_recv(caller, 1 << 16):
                pass

    assert when_idle == [(0, limits)] * 2
