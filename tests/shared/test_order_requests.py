"""`Idempotency-Key` of requests that make an order, at several instances."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from service.api.order_requests import Document
from service.cluster.order_requests import SharedOrderRequests
from service.cluster.redis_link import ALIVE_PREFIX, RedisLink
from service.problems import RequestsUnavailable, RequestUnfinished
from service.telemetry.metrics import Metrics
from tests.support.client import TIMEOUT
from tests.support.redis_server import RedisServer

ANSWER = {"order_id": "o", "links": {"overview": "/v1/orders/o"}}

pytestmark = pytest.mark.usefixtures("long_timeouts")


@pytest.fixture
async def instances(redis: RedisServer) -> AsyncIterator[tuple[RedisLink, RedisLink]]:
    """Two that share a Redis."""
    async with (
        RedisLink.open(redis.url, "one", Metrics()) as one,
        RedisLink.open(redis.url, "two", Metrics()) as two,
    ):
        yield one, two


async def begun_once_told(requests: SharedOrderRequests, key: str) -> Document | None:
    """What `begin` comes to, as soon as Redis is back and knows."""
    async with asyncio.timeout(3 * TIMEOUT):
        while True:
            try:
                return await requests.begin(key)
            except (RequestsUnavailable, RequestUnfinished):
                await asyncio.sleep(0.05)


async def test_one_instance_works_on_it_and_all_have_its_answer(instances: tuple[RedisLink, RedisLink]) -> None:
    """The others are told to come back."""
    first, second = map(SharedOrderRequests, instances)

    assert await first.begin("key") is None
    for requests in (first, second):
        with pytest.raises(RequestUnfinished):
            await requests.begin("key")
    await first.finish("key", ANSWER)

    assert [await requests.begin("key") for requests in (first, second)] == [ANSWER, ANSWER]
    assert await second.begin("another") is None


async def test_of_two_at_the_same_moment_one_begins(instances: tuple[RedisLink, RedisLink]) -> None:
    """Whoever was second is refused."""
    parts = [SharedOrderRequests(link) for link in instances * 3]

    begun = await asyncio.gather(*(part.begin("key") for part in parts), return_exceptions=True)

    assert begun.count(None) == 1
    assert sum(isinstance(one, RequestUnfinished) for one in begun) == 5


async def test_what_failed_may_be_begun_anywhere(instances: tuple[RedisLink, RedisLink]) -> None:
    """Its key is free."""
    first, second = map(SharedOrderRequests, instances)
    await first.begin("key")

    await first.release("key")

    assert first._begun == {}
    assert await second.begin("key") is None


async def test_a_call_that_is_made_twice_begins_once(
    instances: tuple[RedisLink, RedisLink], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it finds the second time is what it has noted itself."""
    redis = instances[0].redis
    note = redis.set

    async def note_twice(*values: Any, **more: Any) -> Any:
        await note(*values, **more)
        return await note(*values, **more)

    monkeypatch.setattr(redis, "set", note_twice)

    assert await SharedOrderRequests(instances[0]).begin("key") is None


async def test_what_a_dead_instance_had_begun_is_begun_anew(instances: tuple[RedisLink, RedisLink]) -> None:
    """By one of those who ask."""
    one, two = instances
    first, second, third = SharedOrderRequests(one), SharedOrderRequests(two), SharedOrderRequests(two)
    await first.begin("key")
    await one.leave("one")
    assert await two.is_dead("one")

    begun = await asyncio.gather(second.begin("key"), third.begin("key"), return_exceptions=True)

    assert begun.count(None) == 1
    assert sum(isinstance(each, RequestUnfinished) for each in begun) == 1
    await first.release("key")  # what it takes back is no longer its own
    with pytest.raises(RequestUnfinished):
        await SharedOrderRequests(two).begin("key")


async def test_without_redis_nobody_can_tell(redis: RedisServer, instances: tuple[RedisLink, RedisLink]) -> None:
    """A 503, for an order is not made twice; an answer that was begun before is given all the same."""
    first, second = map(SharedOrderRequests, instances)
    await first.begin("key")
    redis.kill()

    await first.finish("key", ANSWER)
    with pytest.raises(RequestsUnavailable) as refused:
        await second.begin("another")

    assert refused.value.headers["Retry-After"]


def test_the_names_in_redis_are_the_services_own() -> None:
    """As the operating guide says."""
    assert ALIVE_PREFIX.startswith("batch:")


async def test_what_was_finished_is_not_released(instances: tuple[RedisLink, RedisLink]) -> None:
    """A caller who leaves while the answer is being kept takes nothing away."""
    requests = SharedOrderRequests(instances[0])
    await requests.begin("key")
    await requests.finish("key", ANSWER)

    await requests.release("key")

    assert await requests.begin("key") == ANSWER


async def test_an_answer_that_redis_could_not_take_is_kept_when_it_is_back(
    redis: RedisServer, instances: tuple[RedisLink, RedisLink]
) -> None:
    """The order is not made again, nor its key taken for the rest of the day."""
    first, second = map(SharedOrderRequests, instances)
    await first.begin("key")
    redis.kill()
    await first.finish("key", ANSWER)
    redis.start()

    assert await begun_once_told(second, "key") == ANSWER
    assert await first.begin("key") == ANSWER


async def test_what_failed_while_redis_was_away_may_be_begun_when_it_is_back(
    redis: RedisServer, instances: tuple[RedisLink, RedisLink]
) -> None:
    """Its key is free, for one of those who ask."""
    first, second = map(SharedOrderRequests, instances)
    await first.begin("key")
    redis.kill()
    await first.release("key")
    redis.start()

    assert await begun_once_told(second, "key") is None
    with pytest.raises(RequestUnfinished):
        await first.begin("key")


async def test_a_beginning_whose_answer_was_lost_keeps_no_key(
    redis: RedisServer, instances: tuple[RedisLink, RedisLink], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis has noted it, but its caller was refused: nobody works on it."""
    first, second = map(SharedOrderRequests, instances)
    monkeypatch.setattr(instances[0].link, "_seconds", 0.5)
    redis.freeze()
    with pytest.raises(RequestsUnavailable):
        await first.begin("key")
    redis.thaw()

    assert await begun_once_told(second, "key") is None


async def test_who_leaves_while_an_answer_is_being_kept_loses_nothing(
    redis: RedisServer, instances: tuple[RedisLink, RedisLink]
) -> None:
    """The order was made: the answer is kept without its caller."""
    first, second = map(SharedOrderRequests, instances)
    await first.begin("key")
    redis.freeze()
    finishing = asyncio.create_task(first.finish("key", ANSWER))
    await asyncio.sleep(0)
    finishing.cancel()
    await asyncio.gather(finishing, return_exceptions=True)
    await first.release("key")
    redis.thaw()

    assert await begun_once_told(second, "key") == ANSWER


async def test_an_answer_is_kept_though_redis_has_lost_who_worked_on_it(
    redis: RedisServer, instances: tuple[RedisLink, RedisLink]
) -> None:
    """Given an order that was made meanwhile: the next request with its key must not make another."""
    first, second = map(SharedOrderRequests, instances)
    await first.begin("key")
    redis.command("FLUSHALL")

    await first.finish("key", ANSWER)

    assert await second.begin("key") == ANSWER
