"""A TCP proxy that troubles the way back: late, in drips, cut, reset at once, or silent."""

import asyncio
import fcntl
import socket
import struct
import termios
from collections import deque
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

_RESET = struct.pack("ii", 1, 0)
_BLOCK = 64 * 1024
_FLUSH_TRIES, _FLUSH_PAUSE = 2000, 0.001


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """What happens to one connection; the default is nothing."""

    latency: float = 0.0
    """Seconds before the first byte of the answer."""
    drip: float | None = None
    """Bytes per second of the answer."""
    cut_after: int | None = None
    """Reset once the client has got so many bytes (0: at once)."""
    black_hole: bool = False
    """Take the request, never answer."""


class FaultProxy:
    """Listens on a port of its own and speaks to `target`, an http address that may be changed meanwhile.

    Each connection meets the next of `troubles`; when there are none left, all is well.
    """

    def __init__(self, target: str = "") -> None:
        self.target = target
        self.troubles: deque[Trouble] = deque()
        self.url = ""
        self.cuts = 0
        self._server: asyncio.Server | None = None
        self._running: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._server.wait_closed()

    def hang_up(self) -> None:
        """Reset every connection there is; new ones are taken as before."""
        for task in self._running:
            task.cancel()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        try:
            await self._serve(reader, writer, self.troubles.popleft() if self.troubles else Trouble())
        except (OSError, EOFError, asyncio.CancelledError):  # asyncio reports a cancelled handler as an error
            _reset(writer)
        finally:
            self._running.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, trouble: Trouble) -> None:
        if trouble.cut_after == 0:
            self._cut(writer)
            return
        address = urlsplit(self.target)
        answers, requests = await asyncio.open_connection(address.hostname, address.port)
        asking = asyncio.create_task(_ask(reader, requests))
        answering = asyncio.create_task(self._answer(answers, writer, trouble))
        try:
            # Whoever hangs up first, the other side is hung up on too.
            await asyncio.wait((asking, answering), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (asking, answering):
                task.cancel()
            await asyncio.gather(asking, answering, return_exceptions=True)
            requests.transport.abort()
        if answering.done() and not answering.cancelled() and answering.exception() is not None:
            _reset(writer)

    async def _answer(self, answers: asyncio.StreamReader, writer: asyncio.StreamWriter, trouble: Trouble) -> None:
        if trouble.black_hole:
            await asyncio.Event().wait()
        block = await answers.read(_BLOCK)
        await asyncio.sleep(trouble.latency)
        left = trouble.cut_after
        while block:
            piece = block if left is None else block[:left]
            await _send(writer, piece, trouble.drip)
            if left is not None:
                left -= len(piece)
                if left == 0:
                    await _flush(writer)
                    self._cut(writer)
                    return
            block = await answers.read(_BLOCK)

    def _cut(self, writer: asyncio.StreamWriter) -> None:
        self.cuts += 1
        _reset(writer)


async def _ask(reader: asyncio.StreamReader, requests: asyncio.StreamWriter) -> None:
    while block := await reader.read(_BLOCK):
        requests.write(block)
        await requests.drain()


async def _send(writer: asyncio.StreamWriter, block: bytes, rate: float | None) -> None:
    size = len(block) if rate is None else max(1, int(rate / 20))
    for at in range(0, len(block), size):
        writer.write(block[at : at + size])
        await writer.drain()
        if rate is not None:
            await asyncio.sleep(size / rate)


async def _flush(writer: asyncio.StreamWriter) -> None:
    """Wait until the client has what was written, as far as it takes it: a reset drops the rest."""
    connection = writer.get_extra_info("socket")
    for _ in range(_FLUSH_TRIES):
        queued = struct.unpack("i", fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, b"\0\0\0\0"))[0]
        if not queued and not writer.transport.get_write_buffer_size():
            return
        await asyncio.sleep(_FLUSH_PAUSE)


def _reset(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    if not writer.transport.is_closing():
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        writer.transport.abort()
