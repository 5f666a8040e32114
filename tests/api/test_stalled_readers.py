"""A caller who stops reading does not hold a download for ever; one who reads slowly is served."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest
import structlog

from service.api.timeouts import Timeouts
from tests.support.client import TIMEOUT, Service, StartService
from tests.support.jobs import submit
from tests.support.samples import ORDER, jpeg, order
from tests.support.upstream import FakeUpstream

SEND = 0.4
PATH = f"/v1/orders/{ORDER}/images"
LARGE = 8 << 20
"""More than the buffers between service and caller hold."""


class Caller:
    """A caller with a small receive buffer, so that the kernel cannot read on for it."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._loop = asyncio.get_running_loop()

    async def ask(self, path: str) -> None:
        """Send a request; whether its answer is read is another matter."""
        request = f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        await self._loop.sock_sendall(self._connection, request.encode())

    async def read(self, limit: int) -> bytes:
        """Some bytes, or none at the end. Raises `ConnectionResetError` when the service broke off."""
        async with asyncio.timeout(TIMEOUT):
            return await self._loop.sock_recv(self._connection, limit)

    async def read_all(self) -> bytes:
        """Everything to the end."""
        received = b""
        while block := await self.read(1 << 16):
            received += block
        return received


@asynccontextmanager
async def connected(service: Service) -> AsyncIterator[Caller]:
    """Connect."""
    address = urlsplit(service.url)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, (address.hostname, address.port))
        yield Caller(connection)


@pytest.fixture
async def service(upstream: FakeUpstream, start_service: StartService) -> Service:
    """A service that soon gives up on who stops reading."""
    return await start(upstream, start_service, send=SEND)


async def start(upstream: FakeUpstream, start_service: StartService, *, send: float) -> Service:
    """Start a service with four large images, which runs ahead of a reader by one of them at most."""
    upstream.orders[ORDER] = order([f"i{number}" for number in range(4)])
    upstream.images |= {f"i{number}": jpeg(number, LARGE) for number in range(4)}
    return await start_service(
        timeouts=Timeouts(send=send), read_ahead_bytes=1 << 20, download_concurrency=1, resume_grace=0
    )


async def metric(service: Service, series: str) -> float:
    """The value of a series; 0 while there is none."""
    text = (await service.ask("/metrics")).body.decode()
    found = re.search(rf"^{re.escape(series)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


async def until(service: Service, series: str, holds: Callable[[float], bool]) -> None:
    """Wait for a value of a series."""
    async with asyncio.timeout(TIMEOUT):
        while not holds(await metric(service, series)):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_a_download_that_nobody_reads_is_cut_and_no_longer_wanted(
    upstream: FakeUpstream, service: Service
) -> None:
    """Chunked, while it is built: reset, counted, and what it had not come to is never fetched."""
    async with connected(service) as caller:
        await caller.ask(PATH)
        await until(service, "batch_client_disconnects_total", lambda left: left == 1)
        with pytest.raises(ConnectionResetError):
            await caller.read_all()

    await until(service, 'batch_archives_total{outcome="cancelled"}', lambda ended: ended == 1)
    assert upstream.image_calls < 4


@pytest.mark.parametrize("taken", [0, LARGE])
async def test_a_stored_archive_that_nobody_reads_is_cut(service: Service, taken: int) -> None:
    """With its length and by `sendfile`, be it at the start or midway."""
    whole = await service.download()
    with structlog.testing.capture_logs() as logged:
        async with connected(service) as caller:
            await caller.ask(f"/v1/archives/{whole.headers['X-Archive-Id']}")
            received = 0
            while received < taken:
                received += len(await caller.read(1 << 16))
            await until(service, "batch_client_disconnects_total", lambda left: left == 1)
            with pytest.raises(ConnectionResetError):
                await caller.read_all()

    assert [line["outcome"] for line in logged if "/archives/" in line.get("path", "")] == ["stalled"]


async def test_events_that_nobody_reads_are_cut(
    upstream: FakeUpstream, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job goes on; only its silent follower is let go."""
    monkeypatch.setattr("service.api.server_events.HEARTBEAT_SECONDS", 0.0001)
    gate = upstream.hold("i0")
    job = await submit(service)
    async with connected(service) as caller:
        await caller.ask(f"/v1/jobs/{job['job_id']}/events")
        followed = 'batch_http_requests_total{method="GET",route="/v1/jobs/{job_id}/events",status="499"}'
        await until(service, followed, lambda left: left == 1)
        with pytest.raises(ConnectionResetError):
            await caller.read_all()
    gate.set()

    await until(service, 'batch_jobs_total{outcome="complete"}', lambda ended: ended == 1)


async def test_a_slow_reader_is_served(upstream: FakeUpstream, start_service: StartService) -> None:
    """Little at a time, for longer than the limit: nothing is cut, and every byte is right."""
    send = 2.0  # a busy machine may keep this reader from reading, too
    service = await start(upstream, start_service, send=send)
    whole = await service.download()
    async with connected(service) as caller:
        await caller.ask(f"/v1/archives/{whole.headers['X-Archive-Id']}")
        received = b""
        for _ in range(150):
            received += await caller.read(4096)
            await asyncio.sleep(send / 100)
        left = await metric(service, "batch_client_disconnects_total")

    assert left == 0
    assert whole.body.startswith(received.partition(b"\r\n\r\n")[2])


async def test_a_reader_who_has_nothing_to_read_is_kept(upstream: FakeUpstream, service: Service) -> None:
    """A build that upstream keeps waiting is no fault of its reader."""
    upstream.images |= {"i0": jpeg(), "i1": jpeg(2)}
    gate = upstream.hold("i1")
    async with connected(service) as caller:
        await caller.ask(f"{PATH}?image=i0&image=i1")
        received = await caller.read(1000)
        await asyncio.sleep(SEND * 3)
        gate.set()
        received += await caller.read_all()

    assert received.endswith(b"0\r\n\r\n")
