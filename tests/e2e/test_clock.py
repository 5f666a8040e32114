"""The wall clock jumps: nothing breaks, and nothing is fetched twice."""

import asyncio
import time
from pathlib import Path

import pytest

from tests.support.client import TIMEOUT, Answer, Service, StartService
from tests.support.samples import ORDER, jpeg, order, photo
from tests.support.upstream import FakeUpstream

PATH = f"/v1/orders/{ORDER}/images"
DAY = 86_400.0


class Clock:
    """`time.time`, so many seconds off."""

    def __init__(self) -> None:
        self.offset = 0.0
        self._right = time.time

    def now(self) -> float:
        """The wrong time."""
        return self._right() + self.offset


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The wall clock of everything in this process."""
    clock = Clock()
    monkeypatch.setattr(time, "time", clock.now)
    return clock


@pytest.fixture(autouse=True)
def two_images(upstream: FakeUpstream) -> None:
    upstream.orders[ORDER] = order(["a", "b"])
    upstream.images |= {"a": jpeg(1), "b": jpeg(2)}


@pytest.mark.parametrize("jump", [DAY, -DAY])
async def test_a_running_build_goes_on(upstream: FakeUpstream, service: Service, clock: Clock, jump: float) -> None:
    """And what it has built is used by the next request."""
    gate = upstream.hold("b")
    async with service.request(PATH) as response, asyncio.timeout(TIMEOUT):
        clock.offset = jump
        gate.set()
        body = await response.read()

    again = await service.download()

    assert set(Answer(200, response.headers, body).members) == {"a.jpg", "b.jpg"}
    assert (again.body, again.headers["ETag"]) == (body, response.headers["ETag"])
    assert (upstream.calls("a"), upstream.calls("b")) == (1, 1)


@pytest.mark.parametrize("jump", [DAY, -DAY])
async def test_a_finished_order_is_delivered_without_a_second_fetch(
    upstream: FakeUpstream, service: Service, clock: Clock, jump: float
) -> None:
    """Forward, the archive is past its time; its images are not."""
    first = await service.download()
    clock.offset = jump

    answer = await service.download()

    assert answer.members == first.members
    assert (upstream.calls("a"), upstream.calls("b")) == (1, 1)


async def test_a_build_that_waits_does_not_wait_longer_than_asked_for(
    upstream: FakeUpstream, start_service: StartService, clock: Clock, tmp_path: Path
) -> None:
    """It began in what is now the future; after a restart its deadline is not a day away."""
    upstream.orders[ORDER] = order(["a", photo("b", status="processing")], status="processing", is_processing=True)
    before = await start_service(data_dir=tmp_path / "kept")
    async with before.request(PATH, params={"wait": "true", "wait_timeout": "5"}) as response:
        archive_id = response.headers["X-Archive-Id"]
        await before.stop()
    clock.offset = -DAY

    after = await start_service(data_dir=tmp_path / "kept")
    async with asyncio.timeout(TIMEOUT):
        answer = await after.ask(f"/v1/archives/{archive_id}")

    assert answer.images == {"a.jpg": jpeg(1)}
