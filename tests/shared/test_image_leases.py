"""Who may fetch an image, in a real Redis: one instance at a time, and what a dead one may have done is told."""

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

import pytest

from service.cluster.image_leases import RedisImageLeases
from service.cluster.link import Link, Unavailable
from service.cluster.redis_link import RedisLink
from service.images.protocols import Lease
from service.telemetry.metrics import Metrics, Shared
from tests.support.client import TIMEOUT
from tests.support.redis_server import RedisServer
from tests.support.transport import FakeClock, yield_to_loop

T = TypeVar("T")

KEY = "image.0"


def leases_of(link: RedisLink) -> RedisImageLeases:
    return RedisImageLeases(link, Link(Shared.S3, Metrics(), seconds=1, pause=1, failures=()))


async def is_taken(link: RedisLink) -> bool:
    """Whether Redis knows of a lease of the image."""
    found: bytes | None = await link.call(lambda: link.redis.get(f"batch:image:{KEY}"))
    return found is not None and not found.startswith(b" ")


async def until_free(link: RedisLink) -> None:
    """Wait until there is none."""
    async with asyncio.timeout(3 * TIMEOUT):
        while await is_taken(link):  # noqa: ASYNC110  # seen from outside
            await asyncio.sleep(0.01)


def count_calls(link: RedisLink, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The calls that are made from now on."""
    calls: list[object] = []
    call = link.call

    async def note(command: Callable[[], Awaitable[T]]) -> T:
        calls.append(command)
        return await call(command)

    monkeypatch.setattr(link, "call", note)
    return calls


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
    lease = await first.acquire(KEY, buys=True)
    waiting = asyncio.create_task(second.acquire(KEY, buys=True))
    await asyncio.sleep(0.05)
    assert not waiting.done()

    lease.release()

    async with asyncio.timeout(TIMEOUT):
        assert (await waiting).is_only_one
    assert lease.is_only_one


async def test_those_who_ask_at_the_same_moment_ask_together(
    mine: RedisLink, other: RedisLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One call for all; each is told of its own image, and who leaves keeps no lease."""
    first, second = leases_of(mine), leases_of(other)
    (await second.acquire("image.1", buys=True)).release("an order")
    await second.close()
    calls = count_calls(mine, monkeypatch)

    asking = [asyncio.create_task(first.acquire(key, buys=True)) for key in (KEY, "image.1", "image.2")]
    await asyncio.sleep(0)
    asking[0].cancel()
    _, told, new = await asyncio.gather(*asking, return_exceptions=True)
    calls_made = len(calls)

    assert isinstance(told, Lease)
    assert isinstance(new, Lease)
    assert (told.shared_in, new.shared_in) == ("an order", "")
    assert calls_made == 1
    await until_free(other)


async def test_who_leaves_while_redis_is_away_leaves_nothing_behind(
    mine: RedisLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No failure that nobody has seen, which would be reported."""
    leases, go_on = leases_of(mine), asyncio.Event()
    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))

    async def refuse(_: object) -> None:
        await go_on.wait()
        raise Unavailable("gone")

    monkeypatch.setattr(mine, "call", refuse)
    asking = asyncio.create_task(leases.acquire(KEY, buys=True))
    await yield_to_loop()
    asking.cancel()
    await asyncio.wait([asking])
    go_on.set()
    await leases.close()
    del asking
    gc.collect()

    assert reported == []


async def test_the_end_waits_for_what_was_asked(
    mine: RedisLink, other: RedisLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answer may be a lease that nobody waits for any more: it is given back before the instance leaves."""
    leases, go_on, call = leases_of(mine), asyncio.Event(), mine.call

    async def call_late(command: Callable[[], Awaitable[T]]) -> T:
        await go_on.wait()
        return await call(command)

    monkeypatch.setattr(mine, "call", call_late)
    asking = asyncio.create_task(leases.acquire(KEY, buys=True))
    await yield_to_loop()
    asking.cancel()
    closing = asyncio.create_task(leases.close())
    await yield_to_loop()
    has_waited = not closing.done()
    go_on.set()
    await closing

    assert has_waited
    await until_free(other)


async def test_whoever_has_the_lease_next_is_told_in_which_index_the_image_is(
    mine: RedisLink, other: RedisLink
) -> None:
    """Also behind one that has found it there, and behind one that has not looked."""
    first, second = leases_of(mine), leases_of(other)
    new = await first.acquire(KEY, buys=True)
    new.release("an order")
    told = []
    for _ in range(2):
        async with asyncio.timeout(TIMEOUT):
            lease = await second.acquire(KEY, buys=True)
        told.append((lease.is_only_one, lease.shared_in))
        lease.release()
        await second.close()

    assert new.shared_in == ""
    assert told == [(True, "an order")] * 2


async def test_where_an_image_is_cannot_be_told_behind_a_dead_holder_or_a_loss(
    redis: RedisServer, mine: RedisLink, other: RedisLink
) -> None:
    """The dead one may have shared it; of what Redis has lost nobody knows, before it is noticed and after that."""
    first, second = leases_of(mine), leases_of(other)
    await first.acquire(KEY, buys=True)
    await mine.leave("mine")
    told = [await second.acquire(KEY, buys=True)]
    redis.command("FLUSHALL")
    told.append(await second.acquire("image.1", buys=True))
    await other.beat()
    told.append(await second.acquire("image.2", buys=True))

    assert [lease.shared_in for lease in told] == [None] * 3


@pytest.mark.parametrize("has_noticed", [False, True])
async def test_after_a_loss_nobody_takes_what_another_is_fetching(
    redis: RedisServer, mine: RedisLink, other: RedisLink, monkeypatch: pytest.MonkeyPatch, *, has_noticed: bool
) -> None:
    """Its holder says so again with its next heartbeat, which comes after the one of who asks, or before. It may come
    late: one that falls into the pause of the holder's link is left out."""
    clock = FakeClock()
    monkeypatch.setattr("service.cluster.image_leases.time", clock)
    first, second = leases_of(mine), leases_of(other)
    lease = await first.acquire(KEY, buys=True)
    redis.command("FLUSHALL")
    if has_noticed:
        await other.beat()
        clock.advance(3.5)
    waiting = asyncio.create_task(second.acquire(KEY, buys=True))
    too_early, _ = await asyncio.wait([waiting], timeout=0.2)

    await mine.beat()
    holder = await mine.redis.get(f"batch:image:{KEY}")
    lease.release()

    async with asyncio.timeout(TIMEOUT):
        await waiting
    assert not too_early
    assert holder.startswith(b"mine")


async def test_a_lease_that_is_taken_while_a_loss_is_noticed_may_be_anothers(
    redis: RedisServer, mine: RedisLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its holder has not said so again yet."""
    leases = leases_of(mine)
    ask = leases._ask
    await mine.beat()  # none is under way
    redis.command("FLUSHALL")

    async def ask_late(key: str, number: int) -> list[str]:
        await mine.beat()
        return await ask(key, number)

    monkeypatch.setattr(leases, "_ask", ask_late)

    assert not (await leases.acquire(KEY, buys=True)).is_only_one


async def test_what_was_fetched_without_a_lease_is_told_when_it_is_shared(mine: RedisLink, other: RedisLink) -> None:
    """But not over the lease that another one has by now."""
    first, second = leases_of(mine), leases_of(other)
    mine.link.is_up, mine.link._retry_at = False, float("inf")
    alone = [await first.acquire(key, buys=True) for key in (KEY, "image.1")]
    mine.link._retry_at = 0.0
    await second.acquire("image.1", buys=True)

    for lease in alone:
        lease.release("an order")
    await first.close()

    assert (await second.acquire(KEY, buys=True)).shared_in == "an order"
    assert await mine.redis.get("batch:image:image.1") == b"other 0"


async def test_what_a_dead_holder_may_have_done_is_told(mine: RedisLink, other: RedisLink) -> None:
    """Its lease is taken over, but it is not certain that it has fetched nothing."""
    first, second = leases_of(mine), leases_of(other)
    await first.acquire(KEY, buys=True)
    await mine.leave("mine")

    async with asyncio.timeout(TIMEOUT):
        assert not (await second.acquire(KEY, buys=True)).is_only_one


@pytest.mark.parametrize("was_away", [False, True])
async def test_a_silent_holder_is_dead_unless_redis_was_away(
    redis: RedisServer, mine: RedisLink, other: RedisLink, was_away: bool
) -> None:
    """After that it may be as late in coming back."""
    await leases_of(mine).acquire(KEY, buys=True)
    redis.command("DEL", "batch:alive:mine")
    other.link.up_since = time.monotonic() - (0 if was_away else 3_600)

    holder, *_ = await leases_of(other)._ask(KEY, 7)

    assert holder == ("mine" if was_away else "other")


async def test_what_its_holder_cannot_share_is_waited_for_anew_with_each_outage(
    mine: RedisLink, other: RedisLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a storage that is away twice, each time for less than is waited, and a third time for good."""
    clock, storage = FakeClock(), Link(Shared.S3, Metrics(), seconds=1, pause=1, failures=())
    monkeypatch.setattr("service.cluster.image_leases.time", clock)
    monkeypatch.setattr("service.cluster.image_leases.BEAT_SECONDS", 0.001)
    await leases_of(mine).acquire(KEY, buys=True)
    calls = count_calls(other, monkeypatch)

    async def looks() -> None:
        """Two: the first was judged when the second is made."""
        made = len(calls)
        async with asyncio.timeout(TIMEOUT):
            while len(calls) < made + 2 and not waiting.done():  # noqa: ASYNC110  # seen from outside
                await asyncio.sleep(0.001)

    waiting = asyncio.create_task(RedisImageLeases(other, storage).acquire(KEY, buys=True))
    for is_up in (False, True, False):
        storage.is_up = is_up
        await looks()
        clock.advance(40)
        await looks()
        assert not waiting.done()
    clock.advance(21)
    await looks()

    with pytest.raises(TimeoutError):
        await waiting


@pytest.mark.parametrize("buys", [False, True])
async def test_who_waits_is_told_that_the_holder_cannot_share(
    mine: RedisLink, other: RedisLink, monkeypatch: pytest.MonkeyPatch, *, buys: bool
) -> None:
    """S3 is away for the holder alone: a preview is fetched again, and what is bought is not waited for without end."""
    clock, storage = FakeClock(), Link(Shared.S3, Metrics(), seconds=1, pause=1, failures=())
    monkeypatch.setattr("service.cluster.image_leases.time", clock)
    monkeypatch.setattr("service.cluster.image_leases.BEAT_SECONDS", 0.001)
    await RedisImageLeases(mine, storage).acquire(KEY, buys=buys)
    storage.is_up = False
    await mine.beat()
    calls = count_calls(other, monkeypatch)

    async with asyncio.timeout(TIMEOUT):
        waiting = asyncio.create_task(leases_of(other).acquire(KEY, buys=buys))
        while not waiting.done():
            made = len(calls)
            while len(calls) == made and not waiting.done():  # noqa: ASYNC110  # seen from outside
                await asyncio.sleep(0.001)
            clock.advance(25)

    if buys:
        with pytest.raises(TimeoutError):
            waiting.result()
    else:
        assert not waiting.result().is_only_one


async def test_a_holder_that_can_share_again_says_so(mine: RedisLink, other: RedisLink) -> None:
    """At its next heartbeat: others wait for it as before."""
    storage = Link(Shared.S3, Metrics(), seconds=1, pause=1, failures=())
    await RedisImageLeases(mine, storage).acquire(KEY, buys=True)
    told = []

    for is_up in (True, False, True):
        storage.is_up = is_up
        await mine.beat()
        told.append((await leases_of(other)._ask(KEY, 7))[-1])

    assert told == ["0", "1", "0"]


@pytest.mark.parametrize("lives", [True, False])
async def test_a_lease_of_version_1_is_understood(mine: RedisLink, other: RedisLink, lives: bool) -> None:
    """It has no number. It is waited for while its holder lives, and taken over when that is gone."""
    await other.call(lambda: other.redis.set(f"batch:image:{KEY}", "other"))
    if not lives:
        await other.leave("other")
    taking = asyncio.create_task(leases_of(mine).acquire(KEY, buys=True))
    if lives:
        await asyncio.sleep(0.05)
        assert not taking.done()
        await other.call(lambda: other.redis.delete(f"batch:image:{KEY}"))
        await other.publish(KEY)

    async with asyncio.timeout(TIMEOUT):
        assert (await taking).is_only_one is lives
    assert mine.link.is_up


async def test_a_lease_that_is_anothers_by_now_stays_the_others(mine: RedisLink, other: RedisLink) -> None:
    """One that was taken for dead wakes up and gives back what it no longer has."""
    first, second = leases_of(mine), leases_of(other)
    lease = await first.acquire(KEY, buys=True)
    await mine.leave("mine")
    await second.acquire(KEY, buys=True)

    lease.release()
    await first.close()

    assert await is_taken(mine)


async def test_what_is_taken_again_is_kept_when_the_lease_before_is_given_back(mine: RedisLink) -> None:
    """A blob was lost before it was shared, and is fetched again: who was to share the first gives back that alone."""
    leases = leases_of(mine)
    before = await leases.acquire(KEY, buys=True)
    again = await leases.acquire(KEY, buys=True)
    assert again.is_only_one

    before.release()
    await leases.close()

    assert await is_taken(mine)
    again.release()
    await leases.close()
    assert not await is_taken(mine)


async def test_what_is_taken_while_the_lease_before_is_given_back_is_kept(
    mine: RedisLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However late that arrives."""
    leases = leases_of(mine)
    arrives, send = asyncio.Event(), leases._send

    async def send_late(released: list[tuple[str, int, str]]) -> None:
        await arrives.wait()
        await send(released)

    monkeypatch.setattr(leases, "_send", send_late)
    (await leases.acquire(KEY, buys=True)).release()
    await leases.acquire(KEY, buys=True)
    arrives.set()
    await leases.close()

    assert await is_taken(mine)


async def test_what_was_released_while_redis_was_away_is_given_back_when_it_is_there(
    redis: RedisServer, mine: RedisLink, other: RedisLink
) -> None:
    """Its holder lives on: nobody would take the lease over."""
    first, second = leases_of(mine), leases_of(other)
    lease = await first.acquire(KEY, buys=True)
    redis.kill()
    lease.release()
    await first.close()
    redis.start()

    async with asyncio.timeout(3 * TIMEOUT):
        while not (await second.acquire(KEY, buys=True)).is_only_one:  # noqa: ASYNC110  # false until then
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("is_the_second", [False, True])
async def test_a_lease_that_redis_has_lost_is_taken_again(
    redis: RedisServer, mine: RedisLink, is_the_second: bool
) -> None:
    """Others wait for it as before. It may be the second of this instance: the first was given back meanwhile."""
    leases = leases_of(mine)
    before = await leases.acquire(KEY, buys=True) if is_the_second else None
    await leases.acquire(KEY, buys=True)
    if before is not None:
        before.release()
        await leases.close()
    redis.command("FLUSHALL")

    await mine.beat()

    assert await is_taken(mine)


async def test_what_is_released_while_lost_leases_are_retaken_is_not_kept(
    mine: RedisLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it was asked for again, or behind that: nobody else would give it back."""
    leases = leases_of(mine)
    lease, ask = await leases.acquire(KEY, buys=True), leases._ask

    async def ask_late(key: str, number: int) -> list[str]:
        lease.release()
        await leases.close()
        return await ask(key, number)

    monkeypatch.setattr(leases, "_ask", ask_late)
    await leases._retake()

    await until_free(mine)


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
    (ended,) = await asyncio.gather(taking, return_exceptions=True)
    redis.thaw()
    if isinstance(ended, Lease):
        assert not ended.is_only_one
        ended.release()  # as whoever fetched it all the same

    assert isinstance(ended, asyncio.CancelledError) is leaves
    async with asyncio.timeout(3 * TIMEOUT):
        while not (await second.acquire(KEY, buys=True)).is_only_one:  # noqa: ASYNC110  # its way may be mended first
            await asyncio.sleep(0.05)
