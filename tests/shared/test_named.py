"""A bare `Range` at an order's address is a part of the only archive that any instance has named there."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.support.client import TIMEOUT, Answer, Service, StartService
from tests.support.s3_proxy import S3Proxy
from tests.support.s3_server import S3Server
from tests.support.samples import ORDER, jpeg, order
from tests.support.upstream import FakeUpstream

REST = {"Range": "bytes=100-"}


@pytest.fixture(autouse=True)
def two_images(upstream: FakeUpstream, long_timeouts: None) -> None:
    """An order of two images."""
    upstream.orders[ORDER] = order(["a", "b"])
    upstream.images |= {"a": jpeg(1), "b": jpeg(2), "c": jpeg(3)}


@pytest.fixture
async def proxy(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[S3Proxy]:
    """What instances take for S3."""
    async with S3Proxy(s3.url) as between:
        monkeypatch.setenv("AWS_ENDPOINT_URL", between.url)
        yield between


async def answered(service: Service, status: int) -> Answer:
    """The answer to a bare range, once it has this status."""
    async with asyncio.timeout(TIMEOUT):
        while (answer := await service.download(headers=REST)).status != status:  # noqa: ASYNC110  # S3 knows of no event
            await asyncio.sleep(0.1)
    return answer


async def test_what_one_instance_has_named_another_one_honours(start_member: StartService, long_timeouts: None) -> None:
    """A download manager may be sent to any of them."""
    first, second = await start_member(), await start_member()
    whole = await first.download()

    rest = await second.download(headers=REST)

    assert whole.headers["Accept-Ranges"] == "bytes"
    assert (rest.status, whole.body[:100] + rest.body) == (206, whole.body)


async def test_what_two_instances_have_named_is_two_archives(
    upstream: FakeUpstream, start_member: StartService
) -> None:
    """The order has changed in between: each of them refuses, also the one that has named only one."""
    first, second = await start_member(order_freshness=0), await start_member(order_freshness=0)
    before = await first.download()
    upstream.orders[ORDER] = order(["a", "b", "c"])

    after = await second.download()
    answers = [await service.download(headers=REST) for service in (first, second)]

    assert (before.headers["Accept-Ranges"], after.headers["Accept-Ranges"]) == ("bytes", "none")
    assert [(answer.status, answer.problem["code"]) for answer in answers] == [(412, "range_unsafe")] * 2


async def test_what_is_named_while_s3_is_away_is_told_when_it_is_back(
    upstream: FakeUpstream, proxy: S3Proxy, start_member: StartService
) -> None:
    """Meanwhile no range is promised, and none is refused for good."""
    first, second = await start_member(order_freshness=0), await start_member(order_freshness=0)
    await second.download()
    proxy.status = 503
    upstream.orders[ORDER] = order(["a", "b", "c"])
    named = await first.download()
    away = await answered(first, 503)
    proxy.status = None

    assert named.headers["Accept-Ranges"] == "none"
    assert int(away.headers["Retry-After"]) > 0
    assert (await answered(second, 412)).problem["code"] == "range_unsafe"
