"""The day's credits of several instances are one number."""

import asyncio

import pytest

from tests.support.client import Service, StartService
from tests.support.redis_server import RedisServer
from tests.support.samples import ORDER, jpeg, order
from tests.support.upstream import FakeUpstream

IMAGES = {f"i{number}": jpeg(number) for number in range(9)}
TOKEN = "token-of-the-administrator"


@pytest.fixture(autouse=True)
def nine_images(upstream: FakeUpstream, patient: None) -> None:
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

    assert (refused.status, refused.problem["code"]) == (503, "credit_limit")
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
