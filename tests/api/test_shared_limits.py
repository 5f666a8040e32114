"""Callers counted in a real Redis."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, aclosing
from pathlib import Path

import pytest
from limits import parse
from redis.asyncio import Redis

from service.api.limits import LimitState
from service.api.shared_limits import SharedWindow
from tests.support.redis_server import RedisServer
from tests.support.transport import FakeClock

LIMIT = parse("3/minute")


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of its own."""
    with RedisServer(tmp_path) as server:
        yield server


@pytest.fixture
async def open_window(redis: RedisServer) -> AsyncIterator[Callable[[], SharedWindow]]:
    """Opens what an instance counts with."""
    async with AsyncExitStack() as stack:

        def start() -> SharedWindow:
            window = SharedWindow(redis.url)
            stack.push_async_callback(window.close)
            return window

        yield start


async def test_instances_count_together(open_window: Callable[[], SharedWindow]) -> None:
    """What one let in leaves less for the other, and both say the same of it."""
    first, second = open_window(), open_window()

    hits = [await window.hit("caller", LIMIT) for window in (first, second, first, second)]
    tested = await second.test("caller", LIMIT)

    assert [(hit.allowed, hit.remaining) for hit in hits] == [(True, 2), (True, 1), (True, 0), (False, 0)]
    assert (tested.allowed, tested.remaining) == (False, 0)
    assert all(0 < state.seconds <= 60 for state in (*hits, tested))


async def test_a_connection_that_was_closed_while_it_was_idle_is_opened_again(
    redis: RedisServer, open_window: Callable[[], SharedWindow]
) -> None:
    """The caller is counted by all instances together, as before."""
    first, second = open_window(), open_window()
    await first.hit("caller", LIMIT)

    redis.command("CLIENT", "KILL", "TYPE", "normal")
    await first.hit("caller", LIMIT)

    assert (await second.hit("caller", LIMIT)).remaining == 0


async def test_callers_are_counted_apart(open_window: Callable[[], SharedWindow]) -> None:
    """By their keys; a test counts nothing."""
    window = open_window()
    for _ in range(4):
        await window.test("another", LIMIT)
        await window.hit("caller", LIMIT)

    assert (await window.hit("another", LIMIT)).remaining == 2


async def test_after_its_window_a_hit_is_forgotten(open_window: Callable[[], SharedWindow]) -> None:
    """When the state said so."""
    window, limit = open_window(), parse("1/second")
    await window.hit("caller", limit)
    refused = await window.hit("caller", limit)

    await asyncio.sleep(refused.seconds + 0.01)

    assert not refused.allowed
    assert (await window.hit("caller", limit)).allowed


async def test_a_clock_of_redis_that_was_put_back_locks_nobody_out(
    redis: RedisServer, open_window: Callable[[], SharedWindow]
) -> None:
    """Hits from its future are dropped."""
    window = open_window()
    await window.hit("caller", LIMIT)
    async with aclosing(Redis.from_url(redis.url)) as client:
        (key,) = await client.keys()
        await client.delete(key)
        await client.lpush(key, *[int((time.time() + 7200) * 1000)] * LIMIT.amount)

    hits = [await window.hit("caller", LIMIT) for _ in range(4)]

    assert [hit.allowed for hit in hits] == [True, True, True, False]
    assert hits[-1].seconds <= 60


async def test_without_redis_each_counts_alone(redis: RedisServer, open_window: Callable[[], SharedWindow]) -> None:
    """Also when it hangs: not every caller waits for it."""
    window = open_window()
    redis.freeze()

    try:
        async with asyncio.timeout(10):
            hits = [(await window.hit("caller", LIMIT)).allowed for _ in range(4)]
    finally:
        redis.thaw()

    assert hits == [True, True, True, False]


async def test_after_two_failures_in_a_row_it_is_left_alone_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """After one it is asked again at once: a connection may have been broken by a restart."""
    clock, asked, answers = FakeClock(), 0, iter([None, [1, 4, 2_500], None, None, [0, 0, 1_000]])
    monkeypatch.setattr("service.api.shared_limits.time", clock)
    window, limit = SharedWindow("redis://127.0.0.1:9"), parse("5/minute")

    async def run(**_: object) -> list[int]:
        nonlocal asked
        asked += 1
        if (answer := next(answers)) is None:
            raise ConnectionError
        return answer

    monkeypatch.setattr(window, "_run", run)
    states = [await window.hit("me", limit) for _ in range(6)]
    before = asked
    clock.advance(1)
    states.append(await window.hit("me", limit))
    await window.close()

    assert (before, asked) == (4, 5)
    assert states[1] == LimitState(allowed=True, remaining=4, seconds=2.5)
    assert [state.remaining for state in states] == [4, 4, 3, 2, 1, 0, 0]
    assert states[-1] == LimitState(allowed=False, remaining=0, seconds=1.0)
