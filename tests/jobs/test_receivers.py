"""How receivers of callbacks and deliveries are called."""

from socket import AddressFamily
from unittest.mock import AsyncMock

import pytest
from aiohttp import ServerDisconnectedError, web
from aiohttp.abc import ResolveResult
from yarl import URL

from service.jobs.receivers import open_receiver_session
from service.upstream.network import Resolver
from tests.support.loopback import serving
from tests.support.transport import tcp_server


async def test_each_call_is_one_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name is looked up anew, on a connection of its own, without what the receiver said before."""
    looked_up: list[str] = []
    closed = AsyncMock(wraps=Resolver.close)
    heard: list[tuple[str | None, str | None]] = []
    peers: set[object] = set()

    async def hear(asked: web.Request) -> web.Response:
        assert asked.transport is not None
        peers.add(asked.transport.get_extra_info("peername"))
        heard.append((asked.headers.get("User-Agent"), asked.headers.get("Cookie")))
        return web.Response(headers={"Set-Cookie": "known=yes"})

    resolve = Resolver.resolve

    async def look_up(self: Resolver, host: str, port: int = 0, **family: AddressFamily) -> list[ResolveResult]:
        looked_up.append(host)
        return await resolve(self, "127.0.0.1", port, **family)

    monkeypatch.setattr(Resolver, "resolve", look_up)
    monkeypatch.setattr(Resolver, "close", lambda self: closed(self))
    async with serving(web.post("/", hear)) as url:
        address = URL(url).with_host("receiver.example")
        async with open_receiver_session(allow_private=True, trace_configs=[]) as session:
            for _ in range(2):
                async with session.post(address) as answer:
                    assert answer.status == 200

    assert looked_up == ["receiver.example"] * 2
    assert heard == [("autoenhance-batch", None)] * 2
    assert len(peers) == 2
    closed.assert_awaited()


async def test_who_sends_interim_responses_without_end_is_hung_up_on() -> None:
    """To read them until the time is over would keep the whole service busy."""
    async with (
        tcp_server(b"HTTP/1.1 100 Continue\r\n\r\n" * 5_000 + b"HTTP/1.1 200 OK\r\n\r\n") as url,
        open_receiver_session(allow_private=True, trace_configs=[]) as session,
    ):
        with pytest.raises(ServerDisconnectedError):
            await session.post(url)
