"""A proxy on whose first connection the response ends too early."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from enum import Enum, auto

_END = b"0\r\n\r\n"
"""The last chunk of a response whose length was not known when it began."""
_PIECE = 1 << 16


class Cut(Enum):
    """Where the first response ends."""

    HALFWAY = auto()
    AT_THE_END = auto()  # all bytes of the body came, but not the word that these were all


class CuttingProxy:
    """Passes bytes on. `cuts` counts the responses that it ended, `connections` all that came."""

    def __init__(self, port: int, cut: Cut) -> None:
        self.cuts = 0
        self.connections = 0
        self._port = port
        self._cut = cut

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.connections += 1
        is_first = self.connections == 1
        upstream, requests = await asyncio.open_connection("127.0.0.1", self._port)
        sending = asyncio.create_task(_pass_on(reader, requests))
        with suppress(ConnectionError):
            await (self._pass_some(upstream, writer) if is_first else _pass_on(upstream, writer))
        sending.cancel()
        for each in (writer, requests):
            each.close()

    async def _pass_some(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held, passed = b"", 0
        while piece := await reader.read(_PIECE):
            held += piece
            if self._cut is Cut.AT_THE_END and held.endswith(_END):
                break
            writer.write(held[: -len(_END)])
            await writer.drain()
            passed, held = passed + len(held) - len(_END), held[-len(_END) :]
            if self._cut is Cut.HALFWAY and passed > 2 * _PIECE:
                break
        else:
            return
        writer.write(held[: -len(_END)])
        self.cuts += 1


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while piece := await reader.read(_PIECE):
            writer.write(piece)
            await writer.drain()


@asynccontextmanager
async def cutting(port: int, cut: Cut) -> AsyncIterator[tuple[CuttingProxy, str]]:
    """A proxy in front of a port, and its URL."""
    proxy = CuttingProxy(port, cut)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    try:
        yield proxy, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
