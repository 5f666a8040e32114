"""What sharing costs: requests to S3, and commands to Redis."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.support.client import TIMEOUT, StartService
from tests.support.redis_server import RedisServer
from tests.support.s3_proxy import S3Proxy
from tests.support.s3_server import S3Server
from tests.support.samples import ORDER, jpeg, order
from tests.support.upstream import FakeUpstream

IMAGES = {f"i{number}": jpeg(number, 20_000) for number in range(10)}
# Of an order, whatever its images: its observations read and written, the name of its archive, its list.
_PER_ORDER = 4
_START_SECONDS, _IDLE_SECONDS = 5.0, 20.0


@pytest.fixture
async def proxy(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[S3Proxy]:
    """What instances take for S3."""
    async with S3Proxy(s3.url) as between:
        monkeypatch.setenv("AWS_ENDPOINT_URL", between.url)
        yield between


async def test_requests_to_s3(
    upstream: FakeUpstream, proxy: S3Proxy, start_member: StartService, long_timeouts: None
) -> None:
    """One for a new image, and two that it shares with others; for a repeat elsewhere one, and one for each image."""
    upstream.orders[ORDER] = order(IMAGES)
    upstream.images |= IMAGES
    first, second = await start_member(), await start_member()
    proxy.requests.clear()

    built = await first.download()
    async with asyncio.timeout(TIMEOUT):
        while not any(request.startswith("PUT") and "/archives/" in request for request in proxy.requests):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    new = list(proxy.requests)
    proxy.requests.clear()
    again = await second.download()

    assert again.body == built.body
    of_images = [request for request in new if "/blobs/" in request or "/index/" in request]
    assert sum("/blobs/" in request for request in new) == len(IMAGES)
    assert len(IMAGES) + 2 <= len(of_images) <= 3 * len(IMAGES)
    assert len(new) == len(of_images) + _PER_ORDER
    assert len(proxy.requests) == 1 + len(IMAGES)


async def test_commands_of_an_idle_instance(redis: RedisServer, start_member: StartService) -> None:
    """At most five a second, docket's own included, once it has started."""
    await start_member()
    await asyncio.sleep(_START_SECONDS)
    before = commands(redis)
    await asyncio.sleep(_IDLE_SECONDS)
    after = commands(redis)

    assert 0 < after - before <= 5 * _IDLE_SECONDS


def commands(redis: RedisServer) -> int:
    """How many commands Redis has had."""
    (line,) = [
        line for line in redis.command("INFO", "stats").decode().splitlines() if line.startswith("total_commands")
    ]
    return int(line.partition(":")[2])
