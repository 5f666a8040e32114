"""A database with all tables, and everything that builds archives on top of it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from service.archives import archive_index
from service.archives.registry import Registry
from service.database import Database
from service.images import blob_index, spending
from service.orders import generations
from service.telemetry.metrics import Metrics
from tests.support.archives import ArchiveSystem, open_archives
from tests.support.transport import FakeClock
from tests.support.upstream import FakeUpstream


@pytest.fixture
def clock() -> FakeClock:
    """A clock to be turned by hand."""
    return FakeClock()


@pytest.fixture
def metrics() -> Metrics:
    """Series of this test alone."""
    return Metrics()


@pytest.fixture
def registry() -> Registry:
    """With nothing in memory."""
    return Registry()


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    """With the tables of images, generations and archives."""
    database = await Database.open(
        tmp_path, [blob_index.SCHEMA, spending.SCHEMA, generations.SCHEMA, archive_index.SCHEMA]
    )
    yield database
    await database.close()


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    """The upstream API, with nothing in it."""
    async with FakeUpstream() as fake:
        yield fake


@pytest.fixture
async def system(upstream: FakeUpstream, tmp_path: Path) -> AsyncIterator[ArchiveSystem]:
    """Everything that builds archives, on an empty data directory."""
    async with open_archives(upstream, tmp_path / "data") as opened:
        yield opened
