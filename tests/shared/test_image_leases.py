"""Who may fetch an image, in a real Redis: one instance at a time, and what a dead one may have done is told."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from service.cluster.image_leases import RedisImageLeases
from service.cluster.link import Link
from service.cluster.redis_link import RedisLink
from service.telemetry.metrics import Metrics, Shared
from tests.support.client import TIMEOUT
from tests.support.redis_server import RedisServer
from tests.support.transport import yield_to_loop

KEY = "image.0"


def leases_of(link: RedisLink) -> RedisImageLeases:
    return RedisImageLeases(link, Link(Shared.S3, Metrics(), seconds=1, pause=1, failures=()))


async def give_back_in_vain(leases: RedisImageLeases, redis: RedisServer) -> None:
    """A lease that was taken; Redis dies before it is given back."""
    await leases.acquire(KEY, buys=True)
    redis.kill()
    leases.release(KEY)
    await leases.close()


async def have_in_the_end(leases: RedisImageLeases) -> None:
    """The lease, once nobody else has it and the way to Redis is mended."""
    async with asyncio.timeout(3 * TIMEOUT):
        while not await leases.acquire(KEY, buys=True):  # noqa: ASYNC110  # false until then
            await asyncio.sleep(0.05)


@pytest.fixture
async def mine(redis: RedisServer, long_timeouts: None) -> AsyncIterator[RedisLink]:
    """An instance's way to Redis."""
    async with RedisLink.open(redis.url, "mine", Metrics()) as opened:
        yield opened


@pytest.fixture
async def other(redis: RedisServer, long_timeouts: None) -> AsyncIterator[RedisLink]:
    """Another instance's."""
    async with RedisLink.open(redis.url, "other", Metrics()) as opened:
        yield opened


async def test_the_second_waits_until_the_first_has_given_back(mine: RedisLink, other: RedisLink) -> None:
    """And both are sure that nobody else has fetched it meanwhile."""
    first, second = leases_of(mine), leases_of(other)
    assert await first.acquire(KEY, buys=True)
    waiting = asyncio.create_task(second.acquire(KEY, buys=True))
    await asyncio.sleep(0.05)
    assert not waiting.done()

    first.release(KEY)

    async with asyncio.timeout(TIMEOUT):
        assert await waiting


async def test_what_a_dead_holder_may_have_done_is_told(mine: RedisLink, other: RedisLink) -> None:
    """Its lease is taken over, but it is not certain that it has fetched nothing."""
    first, second = leases_of(mine), leases_of(other)
    await first.acquire(KEY, buys=True)
    await mine.leave("mine")

    async with asyncio.timeout(TIMEOUT):
        assert not await second.acquire(KEY, buys=True)


async def test_a_lease_that_is_anothers_by_now_stays_the_others(mine: RedisLink, other: RedisLink) -> None:
    """One that was taken for dead wakes up and gives back what it no longer has."""
    first, second = leases_of(mine), leases_of(other)
    await first.acquire(KEY, buys=True)
    await mine.leave("mine")
    await second.acquire(KEY, buys=True)

    first.release(KEY)
    await first.close()

    assert await mine.call(lambda: mine.redis.keys("*image.0*"))


async def test_what_is_taken_again_before_it_was_given_back_is_kept(mine: RedisLink, other: RedisLink) -> None:
    """A download that ends and begins again within a moment stays the only one: the release is not sent behind it."""
    first, second = leases_of(mine), leases_of(other)
    await first.acquire(KEY, buys=True)

    first.release(KEY)
    assert await first.acquire(KEY, buys=True)
    await first.close()
    waiting = asyncio.create_task(second.acquire(KEY, buys=True))
    await mine.call(lambda: mine.redis.ping())
    await asyncio.sleep(0.05)

    assert not waiting.done()
    first.release(KEY)
    async with asyncio.timeout(TIMEOUT):
        assert await waiting


async def test_what_is_taken_while_it_is_given_back_is_taken_anew(
    mine: RedisLink, other: RedisLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new lease outlives the release that is on its way, however long that takes."""
    first = leases_of(mine)
    sending, arrives = asyncio.Event(), asyncio.Event()
    really_release = first._release

    async def release_late(**arguments: Any) -> None:
        sending.set()
        await arrives.wait()
        await really_release(**arguments)

    monkeypatch.setattr(first, "_release", release_late)
    await first.acquire(KEY, buys=True)
    first.release(KEY)
    async with asyncio.timeout(TIMEOUT):
        await sending.wait()
        taking = asyncio.create_task(first.acquire(KEY, buys=True))
        await mine.call(lambda: mine.redis.ping())
        arrives.set()

        assert await taking
        await first.close()

    assert await mine.call(lambda: mine.redis.keys("*image.0*"))


async def test_what_was_released_while_redis_was_away_is_given_back_when_it_is_there(
    redis: RedisServer, mine: RedisLink, other: RedisLink
) -> None:
    """Its holder lives on: nobody would take the lease over."""
    first, second = leases_of(mine), leases_of(other)
    await give_back_in_vain(first, redis)
    redis.start()
    await have_in_the_end(second)


async def test_what_could_not_be_given_back_is_asked_for_anew(
    redis: RedisServer, mine: RedisLink, other: RedisLink
) -> None:
    """Redis may have done it, and another may have the lease by now; what is late then takes nothing from anybody."""
    first, second = leases_of(mine), leases_of(other)
    await give_back_in_vain(first, redis)
    redis.start()
    async with asyncio.timeout(3 * TIMEOUT):
        while not mine.link.is_up:  # noqa: ASYNC110  # its heartbeat finds out
            await asyncio.sleep(0)

        assert await first.acquire(KEY, buys=True)
    await first._give_back_late()
    await first.close()

    assert await mine.call(lambda: mine.redis.keys("*image.0*"))
    assert not second._held


async def test_what_could_not_be_given_back_stays_in_doubt_while_redis_is_not_asked(
    redis: RedisServer, mine: RedisLink, other: RedisLink
) -> None:
    """It is fetched again before Redis is back: that, too, ends with the lease given back."""
    first, second = leases_of(mine), leases_of(other)
    await give_back_in_vain(first, redis)
    mine.link._retry_at = float("inf")
    assert not await first.acquire(KEY, buys=True)
    mine.link._retry_at = 0.0
    first.release(KEY)
    redis.start()

    await have_in_the_end(second)


async def test_what_is_released_while_lost_leases_are_retaken_is_not_retaken(
    mine: RedisLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody would give it back."""
    first = leases_of(mine)
    for key in (KEY, "image.1"):
        await first.acquire(key, buys=True)
    ask = first._ask

    async def ask_late(key: str) -> tuple[str, str]:
        for one in first._held - {key}:
            first.release(one)
        await first.close()
        return await ask(key)

    monkeypatch.setattr(first, "_ask", ask_late)
    await first._retake()

    assert len(await mine.call(lambda: mine.redis.keys("*image*"))) == len(first._held) == 1


async def test_what_was_perhaps_taken_is_given_back_behind_that(
    mine: RedisLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asked has left; what he asked may still be on its way, on another connection."""
    monkeypatch.setattr("service.cluster.image_leases.LATE_SECONDS", 10 * TIMEOUT)
    first = leases_of(mine)
    first._hold_in_doubt(KEY)
    first.release(KEY)
    await asyncio.sleep(0.05)

    assert first._released == [KEY]


@pytest.mark.parametrize("leaves", [False, True])
async def test_a_lease_that_was_taken_unheard_is_given_back(
    redis: RedisServer, mine: RedisLink, other: RedisLink, monkeypatch: pytest.MonkeyPatch, leaves: bool
) -> None:
    """Redis has noted it, but its answer was late, or nobody waited for it any more. Its holder lives on."""
    first, second = leases_of(mine), leases_of(other)
    await first.acquire("known.0", buys=True)  # Redis knows the script
    monkeypatch.setattr(mine.link, "_seconds", TIMEOUT if leaves else 0.5)
    redis.freeze()
    taking = asyncio.create_task(first.acquire(KEY, buys=True))
    await yield_to_loop()
    if leaves:
        taking.cancel()
    ended = await asyncio.gather(taking, return_exceptions=True)
    redis.thaw()
    if not leaves:
        first.release(KEY)  # as whoever fetched it all the same
    await first.close()

    assert [type(one) for one in ended] == [asyncio.CancelledError if leaves else bool]
    async with asyncio.timeout(3 * TIMEOUT):
        await second.acquire(KEY, buys=True)
        assert KEY in second._held
