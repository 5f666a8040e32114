"""The job engines under test, each by an address that another process can open too."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from pathlib import Path

from service.cluster.jobs import SharedJobs
from service.database import Database
from service.jobs import table
from service.jobs.embedded import EmbeddedJobs
from service.jobs.engine import JobEngine

LEASE = timedelta(seconds=2)

Opener = Callable[[str], AbstractAsyncContextManager[JobEngine]]


@asynccontextmanager
async def open_embedded(place: str) -> AsyncIterator[JobEngine]:
    """`place` is a data directory."""
    database = await Database.open(Path(place), [table.SCHEMA])
    try:
        yield await EmbeddedJobs.open(database)
    finally:
        await database.close()


def open_shared(place: str) -> AbstractAsyncContextManager[JobEngine]:
    """`place` is the address of a Redis."""
    return SharedJobs.open(place, LEASE)


OPENERS: dict[str, Opener] = {"embedded": open_embedded, "shared": open_shared}


def open_engine(address: str) -> AbstractAsyncContextManager[JobEngine]:
    """Open the engine at `kind:place`; what was kept there is there again."""
    kind, _, place = address.partition(":")
    return OPENERS[kind](place)
