"""Sending a body as agreed, or as badly as a fault wants it."""

import asyncio
import socket
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from aiohttp import web

from .content import BLOCK, Body
from .context import CONTEXT, ENTRY
from .faults import Fault, FaultKind

CUTS = frozenset({FaultKind.RESET, FaultKind.TRUNCATED, FaultKind.CHUNKED_CUT, FaultKind.STALL})
TICK = 0.05
FLUSH_TRIES, FLUSH_PAUSE = 2000, 0.001


class SendRate(NamedTuple):
    """Pieces of `size` bytes, `pause` seconds apart."""

    size: int
    pause: float


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """A part of a body, and the head it goes out under."""

    body: Body
    part: range
    status: int = 200
    headers: Mapping[str, str]
    chunked: bool = False
    rate: float | None = None
    fault: Fault | None = None

    def goal(self) -> int:
        """How many bytes will be sent."""
        size = len(self.part)
        if self.fault is None or self.fault.kind not in CUTS:
            return size
        return size // 2 if self.fault.after_bytes is None else min(self.fault.after_bytes, size)

    def pace(self) -> SendRate:
        if self.fault is not None and self.fault.kind is FaultKind.DRIP:
            return SendRate(self.fault.chunk_bytes, self.fault.interval)
        if self.rate is not None:
            return SendRate(max(1, min(BLOCK, int(self.rate * TICK))), TICK)
        return SendRate(BLOCK, 0)


async def deliver(request: web.Request, delivery: Delivery) -> web.StreamResponse:
    """Send a delivery. A client that leaves early ends it without an error."""
    log, entry = request.app[CONTEXT].log, request[ENTRY]
    response = web.StreamResponse(status=delivery.status, headers=delivery.headers)
    fault = delivery.fault
    if delivery.chunked or (fault is not None and fault.kind is FaultKind.CHUNKED_CUT):
        if request.version >= (1, 1):
            response.enable_chunked_encoding()
    else:
        response.content_length = len(delivery.part)
    cut = fault if fault is not None and fault.kind in CUTS else None
    entry.status = delivery.status
    try:
        await response.prepare(request)
        await _write(request, response, delivery, lands=cut is None)
    except ConnectionError:
        return response
    if cut is None:
        log.landed(entry)
        entry.complete = True
    else:
        await _break_off(request, cut)
    return response


async def _write(request: web.Request, response: web.StreamResponse, delivery: Delivery, *, lands: bool) -> None:
    log, entry = request.app[CONTEXT].log, request[ENTRY]
    goal, pace = delivery.goal(), delivery.pace()
    start = delivery.part.start
    async for block in delivery.body.blocks(start, start + goal):
        for piece in _pieces(block, pace.size):
            if lands and entry.sent + len(piece) >= goal:
                log.landed(entry)
            await response.write(piece)
            entry.sent += len(piece)
            if entry.operation == "storage":
                log.counters.bytes_sent += len(piece)
            if pace.pause and entry.sent < goal:
                await asyncio.sleep(pace.pause)


def _pieces(block: bytes | memoryview, size: int) -> Iterator[bytes | memoryview]:
    for at in range(0, len(block), size):
        yield block[at : at + size]


async def _break_off(request: web.Request, fault: Fault) -> None:
    context = request.app[CONTEXT]
    if fault.kind is FaultKind.STALL:
        await context.closing.wait()
    await _flush(request)
    context.log.landed(request[ENTRY])
    if fault.kind is FaultKind.RESET:
        reset(request)
    elif request.transport is not None:
        request.transport.close()


async def _flush(request: web.Request) -> None:
    """Wait until the kernel has what was written, as far as the client takes it: a reset drops the rest."""
    transport = request.transport
    for _ in range(FLUSH_TRIES):
        if transport is None or transport.is_closing() or not transport.get_write_buffer_size():
            return
        await asyncio.sleep(FLUSH_PAUSE)


def reset(request: web.Request) -> None:
    """Cut the connection so that the client sees a reset."""
    transport = request.transport
    if transport is None:
        return
    sock = transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
