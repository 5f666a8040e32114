"""The day's credits of several instances are one number."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import nullcontext, suppress

import pytest

from service.cluster import spending
from service.cluster.redis_link import RedisLink
from service.cluster.spending import SharedSpending
from service.images.spending import Reservation, SpendingUnknown
from service.telemetry.metrics import Metrics
from tests.support.client import TIMEOUT, Service, StartService
from tests.support.redis_server import RedisServer
from tests.support.samples import ORDER, jpeg, order
from tests.support.transport import yield_to_loop
from tests.support.upstream import FakeUpstream

IMAGES = {f"i{number}": jpeg(number) for number in range(9)}
TOKEN = "token-of-the-administrator"


@pytest.fixture(autouse=True)
def short_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis is not waited for, where a test is not about that."""
    monkeypatch.setattr(spending, "_WAIT_SECONDS", 0.1)


@pytest.fixture(autouse=True)
def nine_images(upstream: FakeUpstream, long_timeouts: None) -> None:
    upstream.orders[ORDER] = order(IMAGES)
    upstream.images |= IMAGES


async def credits_of(service: Service) -> object:
    """What administrators are told."""
    return (await service.ask("/v1/stats", headers={"X-Admin-Token": TOKEN})).document["credits"]


async def test_instances_together_buy_no_more_than_the_limit(
    upstream: FakeUpstream, start_member: StartService
) -> None:
    """Three of them, asked at the same moment for images that do not overlap."""
    services = [await start_member(max_credits_per_day=4, admin_token=TOKEN) for _ in range(3)]
    subsets = [[("image", f"i{number}") for number in range(first, first + 3)] for first in (0, 3, 6)]

    answers = await asyncio.gather(
        *(
            service.ask(f"/v1/orders/{ORDER}/images", params=[("preview", "false"), *subset])
            for service, subset in zip(services, subsets, strict=True)
        )
    )

    assert {answer.status for answer in answers} <= {200, 503}
    assert upstream.image_calls == 4
    for service in services:
        assert await credits_of(service) == {"spent_today": 4, "limit": 4, "left": 0}


async def test_while_redis_is_away_nothing_is_bought_beyond_what_is_known(
    upstream: FakeUpstream, start_member: StartService, redis: RedisServer
) -> None:
    """It cannot be told what the others have bought. Previews go on."""
    service = await start_member(max_credits_per_day=4, admin_token=TOKEN)
    redis.stop()

    refused, preview = await service.download(preview="false"), await service.download()

    assert (refused.status, refused.problem["code"]) == (503, "credits_unknown")
    assert int(refused.headers["Retry-After"]) <= 60
    assert (preview.status, len(preview.images)) == (200, len(IMAGES))
    assert await credits_of(service) == {"spent_today": None, "limit": 4, "left": None}


async def test_without_a_limit_purchases_go_on_while_redis_is_away(
    upstream: FakeUpstream, start_member: StartService, redis: RedisServer
) -> None:
    """There is nothing to keep to."""
    service = await start_member()
    redis.stop()

    answer = await service.download(preview="false")

    assert (answer.status, len(answer.images)) == (200, len(IMAGES))


@pytest.fixture
async def one_left(redis: RedisServer) -> AsyncIterator[SharedSpending]:
    """Credits of a day that has one."""
    async with RedisLink.open(redis.url, "one", Metrics()) as link:
        yield SharedSpending(link, 1)


async def reserved(credits_today: SharedSpending, key: str) -> Reservation:
    """A credit for an image, which there must be."""
    reservation = await credits_today.reserve(key)
    assert reservation is not None
    return reservation


async def reserved_once_free(credits_today: SharedSpending, key: str) -> None:
    """Wait until there is a credit for an image."""
    async with asyncio.timeout(3 * TIMEOUT):
        while True:
            with suppress(SpendingUnknown):
                if await credits_today.reserve(key) is not None:
                    return
            await asyncio.sleep(0.05)  # made up for by a call that is not ours


async def test_a_refusal_gives_back_only_its_own_credit(one_left: SharedSpending) -> None:
    """Two renditions of an image are downloaded: until the second has its answer, it may be what is bought."""
    refused, bought, again = [await reserved(one_left, "a.0") for _ in range(3)]

    await one_left.release(refused)
    meanwhile = await one_left.reserve("b.0")
    confirmed = [await one_left.confirm(one) for one in (bought, again)]

    assert meanwhile is None
    assert confirmed == [True, False]
    assert await one_left.reserve("b.0") is None
    assert await one_left.spent() == 1


async def test_what_is_confirmed_by_a_call_that_was_repeated_is_bought_by_it(
    one_left: SharedSpending, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given an answer of Redis that was lost: the image counts as bought all the same, and nobody gives it back."""
    bought, other = await reserved(one_left, "a.0"), await reserved(one_left, "a.0")
    with monkeypatch.context() as patch:
        call = one_left._redis.call

        async def call_twice(command: Callable[[], Awaitable[object]]) -> object:
            await call(command)
            return await call(command)

        patch.setattr(one_left._redis, "call", call_twice)

        assert await one_left.confirm(bought)

    assert not await one_left.confirm(other)
    await one_left.release(other)
    assert await one_left.spent() == 1


async def test_what_ended_without_an_answer_stays_counted(one_left: SharedSpending) -> None:
    """Whatever a later download of the same image is told."""
    await reserved(one_left, "a.0")

    await one_left.release(await reserved(one_left, "a.0"))

    assert await one_left.reserve("b.0") is None


async def test_once_all_are_refused_nothing_is_counted(one_left: SharedSpending) -> None:
    """Two downloads of an image, both refused."""
    for one in [await reserved(one_left, "a.0") for _ in range(2)]:
        await one_left.release(one)

    assert await one_left.spent() == 0
    assert await one_left.reserve("b.0") is not None


async def test_a_call_that_is_made_twice_counts_once(one_left: SharedSpending) -> None:
    """A call whose answer was late is made again: what it reserved is released as one."""
    reservation = Reservation("a.0", "2027-01-15")
    for _ in range(2):
        await one_left._call(one_left._reserve, reservation, 1, 60, reservation.id)

    await one_left.release(reservation)

    assert await one_left._redis.redis.hlen("batch:credits:2027-01-15") == 0


async def test_what_was_refused_while_redis_was_away_is_given_back_when_it_is_there(
    one_left: SharedSpending, redis: RedisServer
) -> None:
    """The last credit of the day can be spent on another image."""
    reservation = await reserved(one_left, "a.0")
    redis.kill()
    await one_left.release(reservation)
    redis.start()

    await reserved_once_free(one_left, "b.0")


async def test_a_credit_whose_answer_was_late_is_given_back(
    one_left: SharedSpending, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis has counted it, but nothing is bought: it can be spent on another image."""
    await one_left.release(await reserved(one_left, "a.0"))  # Redis knows the script
    monkeypatch.setattr(one_left._redis.link, "_seconds", 0.5)
    redis.freeze()
    with pytest.raises(SpendingUnknown):
        await one_left.reserve("a.0")
    redis.thaw()

    await reserved_once_free(one_left, "b.0")


async def test_a_redis_that_is_started_again_is_waited_for(
    one_left: SharedSpending, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image is not missing for moments; the credit is counted once."""
    monkeypatch.setattr(spending, "_WAIT_SECONDS", 2 * TIMEOUT)
    redis.kill()
    assert await one_left.spent() is None
    reserving = asyncio.create_task(one_left.reserve("a.0"))
    await yield_to_loop()
    redis.start()

    assert await reserving is not None
    assert await one_left.spent() == 1


async def test_a_redis_that_is_away_for_long_is_not_waited_for(
    one_left: SharedSpending, redis: RedisServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each of a hundred images would hold a download for seconds, and be a line in the log."""
    monkeypatch.setattr(one_left._redis.link, "_pause", TIMEOUT)
    caplog.clear()
    redis.kill()
    with pytest.raises(SpendingUnknown):
        await one_left.reserve("a.0")

    reserving = asyncio.create_task(one_left.reserve("a.0"))
    await yield_to_loop()
    is_over = reserving.done()
    with pytest.raises(SpendingUnknown):
        await reserving

    assert is_over
    assert len([line for line in caplog.messages if "nothing is bought" in line]) == 1


async def test_a_credit_whose_caller_has_left_is_given_back(one_left: SharedSpending, redis: RedisServer) -> None:
    """Nobody else could: it was not told which one it is."""
    await one_left.release(await reserved(one_left, "a.0"))  # Redis knows the script
    redis.freeze()
    leaving = asyncio.create_task(one_left.reserve("a.0"))
    await yield_to_loop()
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    redis.thaw()

    assert leaving.cancelled()
    await reserved_once_free(one_left, "b.0")


@pytest.mark.parametrize(
    ("limit", "with_redis", "can_be_told"), [(0, False, False), (1, True, False), (None, True, True)]
)
async def test_what_may_be_bought_with_redis_and_without(
    redis: RedisServer, limit: int | None, with_redis: bool, can_be_told: bool
) -> None:
    """A limit of none at all is one too."""
    async with RedisLink.open(redis.url, "one", Metrics()) as link:
        shared = SharedSpending(link, limit)
        there = await shared.reserve("a.0")
        redis.kill()
        with nullcontext() if can_be_told else pytest.raises(SpendingUnknown):
            assert await shared.reserve("a.0") is not None

    assert (there is not None) == with_redis


async def test_a_credit_is_counted_on_the_day_on_which_it_was_reserved(
    one_left: SharedSpending, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever day its answer comes on."""
    bought, refused = await reserved(one_left, "a.0"), Reservation("b.0", "2026-01-01")
    monkeypatch.setattr("service.cluster.spending.today", lambda: "2026-01-01")
    assert (await reserved(one_left, "b.0")).day == refused.day

    await one_left.confirm(bought)
    await one_left.release(refused)

    assert await one_left.spent() == 1
    assert await one_left.reserve("c.0") is None
    assert await one_left._redis.redis.hget(f"batch:credits:{bought.day}", "a.0") == b"bought " + bought.id.encode()
