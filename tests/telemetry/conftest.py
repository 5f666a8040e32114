"""Services whose telemetry is received by real receivers."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.client import StartService
from tests.support.collector import Collector
from tests.support.sentry import FakeSentry
from tests.support.services import service_factory
from tests.support.upstream import FakeUpstream


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    """The upstream API, with nothing in it."""
    async with FakeUpstream() as fake:
        yield fake


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    """A collector of traces."""
    async with Collector() as running:
        yield running


@pytest.fixture
async def start_service(
    upstream: FakeUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[StartService]:
    """A factory for services; spans leave them at once."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    async with service_factory(upstream.url, tmp_path) as start:
        yield start


@pytest.fixture
async def sentry() -> AsyncIterator[FakeSentry]:
    """A Sentry that has heard of nothing."""
    async with FakeSentry() as running:
        yield running
