"""A real service on loopback in front of a scripted upstream."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.client import Service, StartService
from tests.support.services import service_factory
from tests.support.upstream import FakeUpstream


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    """The upstream API, with nothing in it."""
    async with FakeUpstream() as fake:
        yield fake


@pytest.fixture
async def start_service(upstream: FakeUpstream, tmp_path: Path) -> AsyncIterator[StartService]:
    """A factory for services; each has a data directory of its own unless told. All stop with the test."""
    async with service_factory(upstream.url, tmp_path) as start:
        yield start


@pytest.fixture
async def service(start_service: StartService) -> Service:
    """A service with default settings."""
    return await start_service()
