"""In the whole fleet an image is fetched once, and equal requests are one archive."""

import asyncio
import re

import pytest

from service.cluster.image_leases import RedisImageLeases
from service.cluster.link import Link
from service.cluster.redis_link import RedisLink
from service.telemetry.metrics import Metrics, Shared
from tests.support.client import TIMEOUT, Service, StartService
from tests.support.redis_server import RedisServer
from tests.support.samples import ORDER, jpeg, order
from tests.support.upstream import FakeUpstream

IMAGES = {f"i{number}": jpeg(number, 20_000) for number in range(6)}
ORDERS = [f"0b9f7c1e-4a57-4d6e-9d51-2f3c8a7be{number:03}" for number in range(6)]


@pytest.fixture(autouse=True)
def six_images(upstream: FakeUpstream, long_timeouts: None) -> None:
    """Several orders of the same six images."""
    for order_id in {ORDER, *ORDERS}:
        upstream.orders[order_id] = order(IMAGES, order_id=order_id)
    upstream.images |= IMAGES


async def refetched(service: Service) -> float:
    """Images that may have been fetched twice, by this instance's account."""
    text = (await service.ask("/metrics")).body.decode()
    found = re.search(r'batch_images_refetched_total\{why="uncoordinated"\} (\S+)', text)
    assert found
    return float(found[1])


async def test_equal_requests_at_three_instances_are_one_archive(
    upstream: FakeUpstream, start_member: StartService
) -> None:
    """Asked at the same moment: the same id and bytes, and each image bought once."""
    services = [await start_member() for _ in range(3)]

    answers = await asyncio.gather(*(service.download(preview="false") for service in services * 2))

    assert {answer.status for answer in answers} == {200}
    assert len({answer.headers["X-Archive-Id"] for answer in answers}) == 1
    assert len({answer.body for answer in answers}) == 1
    assert [upstream.calls(image) for image in IMAGES] == [1] * len(IMAGES)
    assert [await refetched(service) for service in services] == [0, 0, 0]


async def test_orders_and_subsets_that_overlap_buy_each_image_once(
    upstream: FakeUpstream, start_member: StartService
) -> None:
    """Different archives at three instances at the same moment, of the same six images."""
    services = [await start_member() for _ in range(3)]
    subsets = [[("image", name) for name in list(IMAGES)[start:]] for start in range(4)]

    async def download(service: Service, number: int) -> None:
        query = [("preview", "false"), *subsets[number % len(subsets)]]
        answer = await service.ask(f"/v1/orders/{ORDERS[number]}/images", params=query)
        assert answer.status == 200
        assert set(answer.images) == {f"{name}.jpg" for _, name in query[1:]}

    await asyncio.gather(*(download(service, number) for number in range(len(ORDERS)) for service in services))

    assert [upstream.calls(image) for image in IMAGES] == [1] * len(IMAGES)


async def test_without_redis_each_goes_on_alone_and_counts_it(
    upstream: FakeUpstream, redis: RedisServer, start_member: StartService
) -> None:
    """What another instance may have fetched at the same time is counted."""
    first, second = await start_member(), await start_member()
    redis.kill()

    answers = await asyncio.gather(first.download(), second.download())

    assert [answer.images for answer in answers] == [{f"{name}.jpg": body for name, body in IMAGES.items()}] * 2
    assert await refetched(first) + await refetched(second) == upstream.image_calls


async def open_leases(redis: RedisLink, *, s3_is_up: bool = True) -> RedisImageLeases:
    s3 = Link(Shared.S3, Metrics(), seconds=1, pause=1, failures=())
    s3.is_up = s3_is_up
    return RedisImageLeases(redis, s3)


async def test_who_does_not_get_the_lease_has_it_once_it_is_given_back(redis: RedisServer) -> None:
    """And not before."""
    async with RedisLink.open(redis.url, "a", Metrics()) as a, RedisLink.open(redis.url, "b", Metrics()) as b:
        first, second = await open_leases(a), await open_leases(b)
        lease = await first.acquire("k", buys=True)
        assert lease.is_only_one
        waiting = asyncio.create_task(second.acquire("k", buys=True))
        done, _ = await asyncio.wait([waiting], timeout=0.5)
        assert not done

        lease.release()

        async with asyncio.timeout(TIMEOUT):
            assert (await waiting).is_only_one


async def test_the_lease_of_an_instance_that_left_is_taken_over_and_told(redis: RedisServer) -> None:
    """It may have bought the image without sharing it: False."""
    async with RedisLink.open(redis.url, "b", Metrics()) as b:
        async with RedisLink.open(redis.url, "a", Metrics()) as a:
            assert (await (await open_leases(a)).acquire("k", buys=True)).is_only_one

        async with asyncio.timeout(TIMEOUT):
            assert not (await (await open_leases(b)).acquire("k", buys=True)).is_only_one


async def test_an_instance_that_was_silent_for_its_lease_is_taken_over(redis: RedisServer) -> None:
    """But nobody is taken for dead by one that was itself without Redis just now."""
    async with RedisLink.open(redis.url, "b", Metrics()) as b:
        await b.redis.set("batch:image:k", "dead 0")
        leases = await open_leases(b)
        b.link.up_since += 3600
        waiting = asyncio.create_task(leases.acquire("k", buys=True))
        done, _ = await asyncio.wait([waiting], timeout=0.5)
        assert not done

        b.link.up_since -= 7200
        b.messages.fire("k")

        async with asyncio.timeout(TIMEOUT):
            assert not (await waiting).is_only_one


async def test_a_lease_that_another_has_by_now_is_not_given_back_by_its_former_holder(redis: RedisServer) -> None:
    """A holder that was taken for dead."""
    async with RedisLink.open(redis.url, "a", Metrics()) as a:
        leases = await open_leases(a)
        lease = await leases.acquire("k", buys=True)
        await a.redis.set("batch:image:k", "another 0")

        lease.release()
        await leases.close()

        assert await a.redis.get("batch:image:k") == b"another 0"


@pytest.mark.parametrize("buys", [False, True])
async def test_what_its_holder_cannot_share_is_waited_for_only_if_it_costs(redis: RedisServer, *, buys: bool) -> None:
    """With S3 away, a preview is fetched at once; an image that is bought is not bought twice."""
    async with RedisLink.open(redis.url, "a", Metrics()) as a, RedisLink.open(redis.url, "b", Metrics()) as b:
        await (await open_leases(a)).acquire("k", buys=buys)
        waiting = asyncio.create_task((await open_leases(b, s3_is_up=False)).acquire("k", buys=buys))

        done, _ = await asyncio.wait([waiting], timeout=1)

        assert bool(done) is not buys
        waiting.cancel()


async def test_what_is_waited_for_in_vain_is_not_bought_twice(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its holder lives and has it, but S3 does not come back: the caller is told."""
    monkeypatch.setattr("service.cluster.image_leases._WAIT_SECONDS", 0.0)
    monkeypatch.setattr("service.cluster.image_leases.BEAT_SECONDS", 0.05)
    async with RedisLink.open(redis.url, "a", Metrics()) as a, RedisLink.open(redis.url, "b", Metrics()) as b:
        await (await open_leases(a)).acquire("k", buys=True)

        with pytest.raises(TimeoutError):
            await (await open_leases(b, s3_is_up=False)).acquire("k", buys=True)


@pytest.mark.parametrize(
    ("setting", "warning"),
    [(("maxmemory-policy", "allkeys-lru"), "evicts"), (("appendonly", "no"), "does not keep"), (None, None)],
)
async def test_a_redis_that_may_lose_jobs_is_warned_of(
    redis: RedisServer, caplog: pytest.LogCaptureFixture, setting: tuple[str, str] | None, warning: str | None
) -> None:
    """In words that say what to set; of one that is right nothing is said."""
    if setting is not None:
        redis.command("CONFIG", "SET", *setting)
    async with RedisLink.open(redis.url, "a", Metrics()) as a:
        await a.warn()

    warnings = [str(record.msg) for record in caplog.records if record.levelname == "WARNING"]
    assert (warning is None) is (warnings == [])
    assert warning is None or warning in warnings[0]
