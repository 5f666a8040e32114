"""What tests need of the loopback network: ports, and small servers."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from http import HTTPStatus
from random import SystemRandom
from typing import Self

from aiohttp import ClientError, ClientSession, web

_TIMEOUT = 20.0
_READY_SECONDS = 60.0
# Below the range from which the kernel serves "any port" and outgoing connections (Linux: 32768 and up), so that no
# other test, in this process or in one beside it, gets one of these by chance; above what browsers refuse to call.
_PORTS = range(10_100, 32_768)
_random = SystemRandom()
_given: set[int] = set()


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on, nor will until the test has somebody do so."""
    while True:
        port = _random.choice(_PORTS)
        if port in _given:
            continue
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            _given.add(port)
            return port


@asynccontextmanager
async def serving(*routes: web.RouteDef, largest_body: int = 64 << 20) -> AsyncIterator[str]:
    """Answer these routes on a port of 127.0.0.1 for the length of the block; gives the address, without a path.

    Handlers whose caller hangs up are cancelled. `largest_body` is in bytes; 0 is no limit.
    """
    app = web.Application(client_max_size=largest_body)
    app.add_routes(routes)
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


class Watched:
    """Something that happens to a server, for tests to wait for."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    def changed(self) -> None:
        """Conditions that tests wait for may hold now."""
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition on what was seen here. Raises `TimeoutError` after 20 s."""
        async with asyncio.timeout(_TIMEOUT):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


class LoopbackServer(Watched):
    """A server that keeps what it is sent. Use with `async with`; subclasses name its `routes`."""

    def __init__(self) -> None:
        super().__init__()
        self.url = ""
        self.gate: asyncio.Event | None = None
        """While it is there and not set, requests are taken and never answered."""
        self._stack = AsyncExitStack()

    def routes(self) -> list[web.RouteDef]:
        """What it answers."""
        raise NotImplementedError

    async def pass_gate(self) -> None:
        """Wait as long as the gate is closed."""
        if self.gate is not None:
            await self.gate.wait()

    async def __aenter__(self) -> Self:
        self.url = await self._stack.enter_async_context(serving(*self.routes()))
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.gate is not None:
            self.gate.set()
        await self._stack.aclose()


async def until_ready(session: ClientSession, url: str) -> None:
    """Wait until an address answers 200."""
    async with asyncio.timeout(_READY_SECONDS):
        while True:
            try:
                async with session.get(url) as response:
                    if response.status == HTTPStatus.OK:
                        return
            except ClientError:
                pass
            await asyncio.sleep(0.1)
