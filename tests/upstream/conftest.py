"""A scripted upstream on loopback, and a client of it."""

from collections.abc import AsyncIterator, Iterator

import pytest
from aioresponses import aioresponses

from service.telemetry.metrics import Metrics
from tests.support.mocked import BASE, mocked_answers
from tests.support.transport import FakeClock, Parts, open_client
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
async def upstream() -> AsyncIterator[FakeUpstream]:
    """The upstream API, with nothing in it."""
    async with FakeUpstream() as fake:
        yield fake


@pytest.fixture
async def parts(upstream: FakeUpstream) -> AsyncIterator[Parts]:
    """A client of the fake, with everything it is made of."""
    async with open_client(upstream.url) as opened:
        yield opened


@pytest.fixture
def answers() -> Iterator[aioresponses]:
    """Answers without a network; a request that has none fails to connect."""
    with mocked_answers() as mocked:
        yield mocked


@pytest.fixture
async def lone(answers: aioresponses) -> AsyncIterator[Parts]:
    """A client that gets its answers from `answers`, one attempt each."""
    async with open_client(BASE, attempts=1) as parts:
        yield parts
