"""The job backends under test, each by an address that another process can open too."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from pathlib import Path

from service.database import Database
from service.jobs import records
from service.jobs.backend import JobBackend
from service.jobs.embedded import EmbeddedJobs
from service.jobs.shared import SharedJobs

LEASE = timedelta(seconds=2)
TTL = 3600.0
"""Seconds for which an ended job is kept."""

Opener = Callable[[str], AbstractAsyncContextManager[JobBackend]]


@asynccontextmanager
async def open_embedded(place: str) -> AsyncIterator[JobBackend]:
    """`place` is a data directory."""
    database = await Database.open(Path(place), [records.SCHEMA])
    try:
        yield await EmbeddedJobs.open(database, TTL)
    finally:
        await database.close()


def open_shared(place: str) -> AbstractAsyncContextManager[JobBackend]:
    """`place` is the address of a Redis."""
    return SharedJobs.open(place, TTL, LEASE)


OPENERS: dict[str, Opener] = {"embedded": open_embedded, "shared": open_shared}


def open_engine(address: str) -> AbstractAsyncContextManager[JobBackend]:
    """Open the backend at `kind:place`; what was kept there is there again."""
    kind, _, place = address.partition(":")
    return OPENERS[kind](place)
