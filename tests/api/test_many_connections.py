"""More connections than there are files for: callers are served, and the log stays short."""

import asyncio
import os
import resource
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from aiohttp import ClientSession

from service.api.admission import Admission, connections_within
from tests.support.process import ServiceProcess

FILES, MANY = 1024, 1100
_ESTABLISHED = 1  # of the kernel's states of a connection
REQUEST = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(autouse=True)
def files() -> Iterator[None]:
    """Room for the other ends of the connections in this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 8192)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class ServiceOfFewFiles(ServiceProcess):
    """It cannot raise its limit either."""

    below = ("prlimit", f"--nofile={FILES}:{FILES}")


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[ServiceProcess]:
    """A service that may open few files."""
    async with ServiceOfFewFiles(tmp_path) as process:
        yield process


async def _connect(service: ServiceProcess, source: str = "127.0.0.1") -> socket.socket:
    address = urlsplit(service.url)
    connection = socket.socket()
    connection.setblocking(False)
    connection.bind((source, 0))
    await asyncio.get_running_loop().sock_connect(connection, (address.hostname, address.port))
    return connection


@pytest.mark.parametrize(
    ("sent", "sources"),
    [(b"", 1), (b"GET /livez", 20), (REQUEST, 20)],
    ids=["nothing from one address", "half a head from twenty", "a request from twenty"],
)
async def test_idle_connections_keep_nobody_out(service: ServiceProcess, sent: bytes, sources: int) -> None:
    """A probe is answered while they are open, and again on the connection that it keeps; one line tells of them."""
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(ClientSession())
        for number in range(MANY):
            connection = stack.enter_context(await _connect(service, f"127.0.1.{number % sources + 1}"))
            with suppress(ConnectionError):
                await loop.sock_sendall(connection, sent)
        async with asyncio.timeout(10):
            statuses = [(await session.get(f"{service.url}/livez")).status for _ in range(3)]
        open_files = service.open_files.total()

    assert statuses == [200, 200, 200]
    assert open_files < FILES - 100
    assert sum("too many connections" in line for line in service.log) == 1
    assert not [line for line in service.log if "Traceback" in line or '"error"' in line]
    assert len(service.log) < 20


async def test_the_soft_limit_is_raised(tmp_path: Path) -> None:
    """To the hard one: a shell's 1,024 are no bound."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    process = ServiceProcess(tmp_path)
    process.below = ("prlimit", "--nofile=512:")
    async with process:
        raised, _ = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)

    assert raised == min(hard, 65_536)


class Fake:
    """A connection."""

    evicted = False

    def evict(self) -> None:
        """Note it."""
        self.evicted = True


def test_the_connection_that_was_idle_longest_makes_room() -> None:
    """One that is being answered never does."""
    admission, connections = Admission(8), [Fake() for _ in range(8)]
    for number, connection in enumerate(connections):
        assert admission.admit(connection, f"192.0.2.{number}")
    admission.busy(connections[0], "192.0.2.0")
    admission.busy(connections[1], "192.0.2.1")
    admission.idle(connections[1], "192.0.2.1")

    assert [admission.admit(Fake(), f"198.51.100.{number}") for number in range(3)] == [True] * 3

    assert [number for number, connection in enumerate(connections) if connection.evicted] == [2, 3, 4]
    assert admission.total == 8


def test_an_address_has_a_quarter() -> None:
    """And makes room among its own; of IPv6 a network counts as one, a trusted proxy is no caller."""
    from ipaddress import ip_network

    admission = Admission(16, [ip_network("10.0.0.0/8")])
    others = [Fake() for _ in range(4)]
    for number, connection in enumerate(others):
        assert admission.admit(connection, f"2001:db8::{number}")
    admission.busy(others[0], "2001:db8::0")

    assert admission.admit(Fake(), "2001:db8::ffff")
    assert all(admission.admit(Fake(), "10.1.2.3") for _ in range(10))

    assert [connection.evicted for connection in others] == [False, True, False, False]


def test_without_idle_ones_a_new_one_is_refused() -> None:
    """Whoever is being served is served to the end; then there is room again."""
    admission, served = Admission(4), [Fake() for _ in range(4)]
    for number, connection in enumerate(served):
        admission.admit(connection, f"192.0.2.{number}")
        admission.busy(connection, f"192.0.2.{number}")

    refused = admission.admit(Fake(), "192.0.2.9")
    admission.leave(served[0], "192.0.2.0")

    assert not refused
    assert admission.admit(Fake(), "192.0.2.9")


@pytest.mark.parametrize(("files", "connections"), [(1024, 448), (65_536, 16_384), (64, 16)])
def test_each_connection_may_open_an_image(files: int, connections: int) -> None:
    """And enough is left for the rest."""
    assert connections_within(files) == connections


async def test_without_files_a_probe_is_answered(service: ServiceProcess) -> None:
    """On a new connection each time, beside idle ones and ones that a request is begun on; one line tells of it."""
    loop, soft_hard = asyncio.get_running_loop(), (FILES, FILES)
    async with AsyncExitStack() as stack:
        connections = [stack.enter_context(await _connect(service)) for _ in range(40)]
        for connection in connections[:20]:
            await loop.sock_sendall(connection, b"GET /livez")
        async with ClientSession() as session, session.get(f"{service.url}/livez") as response:
            assert response.status == 200
        open_files = await asyncio.to_thread(
            lambda: {int(path.name) for path in Path(f"/proc/{service.pid}/fd").iterdir()}
        )
        lowest = next(number for number in range(FILES) if number not in open_files)
        resource.prlimit(service.pid, resource.RLIMIT_NOFILE, (lowest, FILES))
        try:
            async with asyncio.timeout(10):
                statuses = [await _status(service) for _ in range(200)]
        finally:
            resource.prlimit(service.pid, resource.RLIMIT_NOFILE, soft_hard)

    assert statuses == [b"HTTP/1.1 200 OK"] * 200
    assert sum("cannot be accepted" in line for line in service.log) <= 1
    assert len(service.log) < 20


async def _status(service: ServiceProcess) -> bytes:
    """Of a probe on a connection of its own."""
    address = urlsplit(service.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(REQUEST)
    line = await reader.readline()
    writer.close()
    return line.strip()


async def test_a_burst_finds_room(service: ServiceProcess) -> None:
    """Hundreds come while the service is busy with something else: the kernel takes all, none has to knock again."""
    address = urlsplit(service.url)
    os.kill(service.pid, signal.SIGSTOP)
    try:
        with ExitStack() as stack:
            knocking = [stack.enter_context(socket.socket()) for _ in range(900)]
            for connection in knocking:
                connection.setblocking(False)
                connection.connect_ex((address.hostname, address.port))
            states = [connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] for connection in knocking]
            os.kill(service.pid, signal.SIGCONT)
            async with asyncio.timeout(10):
                status = await _status(service)
    finally:
        os.kill(service.pid, signal.SIGCONT)

    assert set(states) == {_ESTABLISHED}
    assert status == b"HTTP/1.1 200 OK"
