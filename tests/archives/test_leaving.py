"""A client that leaves is told from an archive that cannot be sent, wherever it leaves."""

import asyncio
import errno
import os
import select
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import pytest
from aiohttp import ClientSession, web

from service.archives import delivery
from service.archives.archive import Archive, State
from service.archives.delivery import LOG_FIELDS, STARTED, Delivery, DeliveryOptions
from service.archives.layout import Member
from service.archives.readers import Readers
from service.telemetry.metrics import Metrics
from tests.support.archives import ArchiveSystem
from tests.support.images import MIB, put
from tests.support.loopback import serving
from tests.support.plans import MOMENT, archive_of, plan_of
from tests.support.transport import TIMEOUT

Sends: TypeAlias = Callable[..., Awaitable[Any]]

SMALL, LARGE = 300, 3 * MIB


async def archive_with(system: ArchiveSystem, size: int, *, is_complete: bool) -> Archive:
    """An archive of one image of this size."""
    archive = archive_of(plan_of("a"), Readers(1 << 40, 60))
    blob = await put(system.images, "a.0", os.urandom(size))
    archive.append(Member("a.jpg", blob, MOMENT, "a"))
    if is_complete:
        archive.settle(State.COMPLETE, "")
    return archive


class LeavingClient:
    """Asks for the archive, and reads until the service says `leave`: then it resets the connection."""

    def __init__(self, system: ArchiveSystem, archive: Archive) -> None:
        self._system = system
        self._archive = archive
        self._told = asyncio.Event()
        self.transport: asyncio.Transport | None = None
        self.fields: dict[str, Any] = {}

    async def leave(self) -> None:
        """The client is gone, which the service could know and has not seen yet."""
        assert self.transport is not None
        self.transport.pause_reading()
        self._told.set()
        poll = select.poll()
        poll.register(self.transport.get_extra_info("socket").fileno(), 0)
        assert await asyncio.to_thread(poll.poll, TIMEOUT * 1000)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        request[STARTED] = time.monotonic()
        self.transport = request.transport
        try:
            return await Delivery(self._system.images, Metrics()).deliver(request, self._archive, DeliveryOptions())
        finally:
            fields: dict[str, Any] = request[LOG_FIELDS]
            self.fields = fields

    async def run(self) -> None:
        """From the request until the service is done with it."""
        async with serving(web.get("/", self._answer)) as url:
            host, port = url.removeprefix("http://").split(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            reading = asyncio.create_task(reader.read(1 << 30))
            async with asyncio.timeout(TIMEOUT):
                await self._told.wait()
            connection = writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
            await asyncio.gather(reading, return_exceptions=True)
            async with asyncio.timeout(TIMEOUT):
                while not self.fields:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)


PLACES = [
    (SMALL, web.StreamResponse, "prepare", 1),
    (SMALL, web.StreamResponse, "write", 1),
    (LARGE, web.StreamResponse, "prepare", 1),
    (LARGE, web.StreamResponse, "write", 1),
    (LARGE, asyncio.BaseEventLoop, "sendfile", 1),
    (LARGE, asyncio.BaseEventLoop, "sendfile", 2),
    (LARGE, asyncio.BaseEventLoop, "sendfile", 3),
]
"""How large the image is, and at which call of what the client leaves."""


@pytest.mark.parametrize(
    ("size", "owner", "name", "nth", "is_complete"),
    # What is handed over whole with one write was sent, whether it arrives or not.
    [
        (*place, is_complete)
        for place in PLACES
        for is_complete in (True, False)
        if not is_complete or place[2:] != ("write", 1) or place[0] == LARGE
    ],
    ids=str,
)
async def test_a_client_that_leaves_is_told_apart(
    system: ArchiveSystem,
    monkeypatch: pytest.MonkeyPatch,
    size: int,
    owner: type,
    name: str,
    nth: int,
    is_complete: bool,
) -> None:
    """Before the headers, with them, with a small image, and at each piece of a large one; while it is built or not.

    The image is stored and can be read: so nothing was cut.
    """
    monkeypatch.setattr(delivery, "_PIECE", MIB)
    archive = await archive_with(system, size, is_complete=is_complete)
    client = LeavingClient(system, archive)
    calls = 0
    really: Sends = getattr(owner, name)

    async def leaving(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == nth:
            await client.leave()
        return await really(*args, **kwargs)

    monkeypatch.setattr(owner, name, leaving)

    await client.run()

    assert calls >= nth
    assert (client.fields["outcome"], client.fields["status"]) == ("client_left", 499)
    assert size == SMALL or client.fields["bytes"] < archive.length


@pytest.fixture
def without_sendfile(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system from which the kernel cannot send."""

    def refused(*_: object) -> int:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "sendfile", refused)


@asynccontextmanager
async def answering(system: ArchiveSystem, archive: Archive) -> AsyncIterator[str]:
    """The URL of a server that answers every request with an archive."""
    sending = Delivery(system.images, Metrics())

    async def answer(request: web.Request) -> web.StreamResponse:
        request[STARTED] = time.monotonic()
        return await sending.deliver(request, archive, DeliveryOptions())

    async with serving(web.get("/", answer)) as url:
        yield url


@pytest.mark.usefixtures("without_sendfile")
@pytest.mark.parametrize("is_complete", [True, False])
async def test_where_the_kernel_cannot_send_files_every_reader_gets_the_right_bytes(
    system: ArchiveSystem, is_complete: bool
) -> None:
    """Readers of one image at the same time do not disturb each other."""
    archive = await archive_with(system, LARGE, is_complete=is_complete)

    async def read(session: ClientSession, url: str) -> bytes:
        async with session.get(url) as response:
            return await response.content.readexactly(archive.length)

    async with answering(system, archive) as url, ClientSession() as session:
        bodies = await asyncio.gather(*(read(session, url) for _ in range(3)))
        if not is_complete:
            archive.settle(State.COMPLETE, "")

    whole = await system.bytes_of(archive)
    assert [whole.startswith(body) for body in bodies] == [True] * 3


@pytest.mark.usefixtures("without_sendfile")
async def test_where_the_kernel_cannot_send_files_a_part_ends_where_it_was_to_end(system: ArchiveSystem) -> None:
    """Not a byte more, which would be taken for the next answer."""
    archive = await archive_with(system, LARGE, is_complete=True)

    async with answering(system, archive) as url:
        host, port = url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nRange: bytes=100-100099\r\nConnection: close\r\n\r\n")
        async with asyncio.timeout(TIMEOUT):
            received = await reader.read(-1)
        writer.close()

    assert received.partition(b"\r\n\r\n")[2] == (await system.bytes_of(archive))[100:100_100]
