"""A store with its database, and time that is turned by hand."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from service.database import Database
from service.images import blob_index, spending
from service.images.store import ImageStore
from service.orders import generations
from service.telemetry.metrics import Metrics
from tests.support.images import Evictions, open_store
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
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    """With the tables of images."""
    database = await Database.open(tmp_path, [blob_index.SCHEMA, spending.SCHEMA, generations.SCHEMA])
    yield database
    await database.close()


@pytest.fixture
def evictions() -> Evictions:
    """What is asked to go when room is needed."""
    return Evictions()


@pytest.fixture
async def images(
    tmp_path: Path, database: Database, metrics: Metrics, evictions: Evictions
) -> AsyncIterator[ImageStore]:
    """An empty store without a limit."""
    async with open_store(tmp_path, database, metrics, evictions) as opened:
        yield opened


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    """The upstream API, with nothing in it."""
    async with FakeUpstream() as fake:
        yield fake
