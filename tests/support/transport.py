"""Parts that the tests of upstream/ share: a hand-cranked clock, a body in memory, a client with its parts."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from yarl import URL

from service.reasons import Reason
from service.telemetry.metrics import Circuit, Metrics
from service.upstream.answers import UpstreamFailure
from service.upstream.breaker import Breaker, CircuitOpen
from service.upstream.client import Autoenhance
from service.upstream.download import Download
from service.upstream.models import Rendition
from service.upstream.network import AddressGuard, open_session
from service.upstream.retry import RetryPolicy
from service.upstream.transport import Transport

KEY = "key-of-the-account-91ab"
VERSION = "2025-05-08"
TIMEOUT = 20
"""Seconds after which a test gives up; nothing is expected to take that long."""

# A documentation address is not public for Python, so this is a real one; nothing ever connects to it.
PUBLIC_BASE = URL("https://8.8.8.8/v3")


class FakeClock:
    """A clock that stands still until it is turned. Callable, and also usable in place of the module `time`."""

    def __init__(self, now: float = 1_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    monotonic = __call__

    def advance(self, seconds: float) -> None:
        """Turn it."""
        self.now += seconds


@dataclass
class MemoryBody:
    """A download's bytes in memory; keeps what it was told."""

    content: bytearray = field(default_factory=bytearray)
    expected: list[int] = field(default_factory=list)
    restarts: int = 0

    @property
    def received(self) -> int:
        """Bytes written since the last restart."""
        return len(self.content)

    def try_reserve(self, length: int) -> bool:
        """Never at once: `expect` is to keep the announcement."""
        return False

    async def expect(self, length: int) -> None:
        """Keep the announcement."""
        self.expected.append(length)

    def append(self, chunk: bytes) -> bool:
        """Take a chunk; never asks for a flush."""
        self.content += chunk
        return False

    async def flush(self) -> None:
        """There is nothing to write."""

    async def restart(self) -> None:
        """Forget what was taken."""
        self.restarts += 1
        self.content.clear()


@dataclass
class Parts:
    """A client and what it is made of."""

    client: Autoenhance
    transport: Transport
    breakers: dict[Circuit, Breaker]
    metrics: Metrics

    def sample(self, series: str, **labels: str) -> float:
        """A series' value; 0 when it has none."""
        return sample(self.metrics.registry, series, **labels)


def sample(registry: CollectorRegistry, series: str, **labels: str) -> float:
    """A series' value; 0 when it has none. Collects that series only, for models ask after every step."""
    for metric in registry.restricted_registry([series]).collect():
        for one in metric.samples:
            if one.name == series and one.labels == labels:
                return one.value
    return 0.0


def failure(reason: Reason = Reason.UPSTREAM_ERROR, **fields: Any) -> UpstreamFailure:
    """One failed call; a 500 of the API unless told otherwise."""
    status = 500 if reason is Reason.UPSTREAM_ERROR else None
    return UpstreamFailure(reason, **{"status": status} | fields)


def make_breakers(
    metrics: Metrics, *, failures: int = 1_000, reset: float = 60, clock: Callable[[], float] | None = None
) -> dict[Circuit, Breaker]:
    """A circuit per dependency; they never open unless told."""
    return {
        circuit: Breaker(circuit, failures=failures, reset=reset, metrics=metrics, clock=clock or FakeClock())
        for circuit in Circuit
    }


@asynccontextmanager
async def open_client(
    url: str,
    *,
    guard: AddressGuard | None = None,
    version: str | None = VERSION,
    attempts: int = 3,
    seconds: float = TIMEOUT,
    failures: int = 1_000,
) -> AsyncIterator[Parts]:
    """A client of the API at `url` that does not wait between attempts; `failures` in a row open its circuits."""
    base, metrics = URL(url), Metrics()
    guard = guard or AddressGuard(base)
    breakers = make_breakers(metrics, failures=failures)
    async with open_session(guard) as session, open_session(guard, keep_connections=False) as fresh:
        transport = Transport(session, fresh, guard, metrics, base=base, key=KEY, version=version)
        client = Autoenhance(
            transport,
            metrics,
            base=base,
            breakers=breakers,
            policy=RetryPolicy(attempts, backoff=0, min_pause=0.01),
            image_seconds=seconds,
        )
        yield Parts(client, transport, breakers, metrics)


@asynccontextmanager
async def tcp_server(speech: bytes) -> AsyncIterator[str]:
    """A server that answers a request with these bytes and hangs up; its address."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(speech)
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def download(
    parts: Parts, image_id: str = "a", body: MemoryBody | None = None, **rendition: Any
) -> tuple[str, int]:
    """Fetch an image, as `images/fetch.py` does; its extension, and the attempts it took."""
    fetched = parts.client.image(image_id, Rendition(**rendition), body or MemoryBody())
    return await in_attempts(parts, fetched), fetched.attempts


async def in_attempts(parts: Parts, fetched: Download) -> str:
    """Run a download to its end; its extension."""
    retries = parts.client.retries(fetched.deadline)
    with fetched.operation:
        while True:
            try:
                return await fetched.attempt()
            except UpstreamFailure as failed:
                await retries.pause(failed)


async def missing(parts: Parts, image_id: str = "a", **rendition: Any) -> tuple[Reason, int]:
    """Why an image is missing, and the attempts it took."""
    fetched = None
    try:
        fetched = parts.client.image(image_id, Rendition(**rendition), MemoryBody())
        await in_attempts(parts, fetched)
    except UpstreamFailure as failed:
        return failed.reason, fetched.attempts if fetched else 0
    except CircuitOpen:
        return Reason.BREAKER_OPEN, fetched.attempts if fetched else 0
    pytest.fail("the image was fetched")


async def yield_to_loop(count: int = 10) -> None:
    """Let every task that can go on do so, a few times over."""
    for _ in range(count):
        await asyncio.sleep(0)
