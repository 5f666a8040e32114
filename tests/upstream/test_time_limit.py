"""How long one attempt at an image may take."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from service.upstream import download
from service.upstream.download import TimeLimit
from service.upstream.retry import Deadline
from tests.support.transport import FakeClock

SECONDS = 60.0
STEADY = 64 * 1024
START = 1e9


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """Far ahead of the loop's: nothing expires by itself."""
    clock = FakeClock(START)
    monkeypatch.setattr(download, "time", clock)
    return clock


@asynccontextmanager
async def limited(
    begin_overtime: Callable[[], bool] = lambda: False, *, seconds: float = SECONDS, deadline: Deadline | None = None
) -> AsyncIterator[TimeLimit]:
    limit = TimeLimit(deadline or Deadline(START + seconds), seconds, begin_overtime)
    async with limit.timeout:
        yield limit


def left(limit: TimeLimit, clock: FakeClock) -> float | None:
    """Seconds until it is given up."""
    when = limit.timeout.when()
    return None if when is None else when - clock()


@pytest.mark.parametrize(("seconds", "expected"), [(SECONDS, 30.0), (10.0, 10.0), (300.0, 150.0)])
async def test_silence_is_given_up_before_the_time_is_over(clock: FakeClock, seconds: float, expected: float) -> None:
    """If there is so much time at all. Before the first byte it may be longer, where an image may take long to be made,
    whoever delivers it.
    """
    async with limited(seconds=seconds) as limit:
        assert left(limit, clock) == expected
        clock.advance(1)
        limit.moved()
        assert left(limit, clock) == min(expected, seconds - 1)
        clock.advance(0.5)
        limit.received(1)
        assert left(limit, clock) == pytest.approx(min(30.0, seconds - 1.5), abs=0.5)


async def test_whatever_comes_ends_the_silence(clock: FakeClock) -> None:
    """The timer is moved once a second at most; what trickles in has no more time than the image."""
    async with limited() as limit:
        clock.advance(0.9)
        limit.moved()
        assert left(limit, clock) == pytest.approx(29.1)
        clock.advance(0.1)
        limit.received(1)
        assert left(limit, clock) == pytest.approx(30)
        clock.advance(49)
        limit.received(1)
        assert left(limit, clock) == pytest.approx(10)


async def test_a_body_that_keeps_coming_has_more_time(clock: FakeClock) -> None:
    """Ten seconds from every 64 KiB, however these come; until its time is near nothing is decided."""
    async with limited() as limit:
        clock.advance(49)
        assert not limit.received(STEADY)
        assert left(limit, clock) == pytest.approx(11)
        clock.advance(6)
        assert not limit.received(STEADY - 1)
        assert left(limit, clock) == pytest.approx(5)
        assert limit.received(1)
        assert left(limit, clock) == pytest.approx(10)
        clock.advance(3)
        limit.received(STEADY - 1)
        assert left(limit, clock) == pytest.approx(7)


async def test_beyond_its_time_it_goes_on_only_if_it_may(clock: FakeClock) -> None:
    """Asked once, and not before its time is over."""
    asked: list[float] = []

    def begin() -> bool:
        asked.append(clock() - START)
        return True

    async with limited(begin) as limit:
        clock.advance(SECONDS)
        limit.received(STEADY)
        assert asked == []
        clock.advance(5)
        limit.received(STEADY)
        limit.received(STEADY)
        assert asked == [SECONDS + 5]

    async with limited(deadline=Deadline(START)) as limit:
        with pytest.raises(TimeoutError):
            limit.received(STEADY)


async def test_nothing_takes_longer_than_ten_times_its_time(clock: FakeClock) -> None:
    """However it keeps coming."""
    async with limited(lambda: True) as limit:
        clock.advance(10 * SECONDS - 4)
        limit.received(STEADY)
        assert left(limit, clock) == pytest.approx(4)


async def test_our_own_disk_takes_none_of_upstreams_time(clock: FakeClock) -> None:
    """Neither of the image's, nor of its overtime, nor of what a connection may be silent for."""
    slow_disk = 1_000.0
    deadline = Deadline(START + SECONDS)

    async def write() -> None:
        assert limit.timeout.when() is None
        clock.advance(slow_disk)

    async with limited(lambda: True, deadline=deadline) as limit:
        clock.advance(5)
        await limit.pause(write())

        assert left(limit, clock) == pytest.approx(25)
        assert deadline.at == START + SECONDS + slow_disk
        clock.advance(45)
        limit.received(1)
        assert left(limit, clock) == pytest.approx(10)
        clock.advance(9 * SECONDS + 6)
        limit.received(STEADY)
        assert left(limit, clock) == pytest.approx(4)
