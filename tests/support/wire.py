"""A connection to the service, byte by byte."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

from tests.support.client import TIMEOUT, Service

_HEAD = re.compile(rb"HTTP/[01]\.[019] (\d{3}) [^\r]*\r\n(.*?)\r\n\r\n", re.DOTALL)


class Wire:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        """Send bytes as they are; whether anybody still listens is for the answer to tell."""
        with suppress(ConnectionError):
            self._writer.write(data)
            await self._writer.drain()

    async def drip(self, data: bytes, seconds: float) -> bytes:
        """Send byte by byte, with pauses, until all is sent or the service hangs up; what it said meanwhile."""
        sending = asyncio.create_task(self._drip(data, seconds))
        received = await self.end()
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        return received

    async def _drip(self, data: bytes, seconds: float) -> None:
        for place in range(len(data)):
            await self.send(data[place : place + 1])
            await asyncio.sleep(seconds)

    async def answer(self) -> tuple[int, bytes, bytes]:
        """Status, head and body of one answer that has a length."""
        async with asyncio.timeout(TIMEOUT):
            head = await self._reader.readuntil(b"\r\n\r\n")
            found = _HEAD.fullmatch(head)
            assert found is not None, head
            length = re.search(rb"content-length: (\d+)", head.lower())
            assert length is not None, head
            return int(found[1]), found[2], await self._reader.readexactly(int(length[1]))

    async def end(self) -> bytes:
        """Everything until the service hangs up, be it by a reset. Raises `TimeoutError` when it does not."""
        received = b""
        async with asyncio.timeout(TIMEOUT):
            with suppress(ConnectionError):
                while data := await self._reader.read(1 << 16):
                    received += data
        return received


@asynccontextmanager
async def wire(service: Service) -> AsyncIterator[Wire]:
    """Connect."""
    address = urlsplit(service.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        yield Wire(reader, writer)
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


def heads(received: bytes) -> list[int]:
    """The statuses of the answers in what was received."""
    return [int(status) for status in re.findall(rb"HTTP/[01]\.[019] (\d{3}) ", received)]
