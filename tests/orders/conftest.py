"""Time that is turned by hand, and a database with the tables of images."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from service.database import Database
from service.images import blob_index
from service.orders import generations
from tests.support.transport import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    """A clock to be turned by hand."""
    return FakeClock()


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    """With the tables of images and generations."""
    database = await Database.open(tmp_path, [blob_index.SCHEMA, generations.SCHEMA])
    yield database
    await database.close()
