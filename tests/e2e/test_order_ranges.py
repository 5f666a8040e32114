"""Ranges on the order's own address, and on an archive that is still being built."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientResponse

from tests.support.client import TIMEOUT, Service, StartService
from tests.support.samples import ORDER, jpeg, order
from tests.support.upstream import FakeUpstream

PATH = f"/v1/orders/{ORDER}/images"


@pytest.fixture(autouse=True)
def two_images(upstream: FakeUpstream) -> None:
    upstream.orders[ORDER] = order(["a", "b"])
    upstream.images |= {"a": jpeg(1), "b": jpeg(2)}


async def test_a_bare_range_is_a_part_of_the_only_archive_that_the_url_has_named(
    upstream: FakeUpstream, service: Service
) -> None:
    """As download managers send it; nothing is asked of Autoenhance for it."""
    whole = await service.download()
    asked = upstream.calls(ORDER)

    answer = await service.download(headers={"Range": "bytes=1234-"})

    assert (answer.status, whole.body[:1234] + answer.body) == (206, whole.body)
    assert whole.headers["Accept-Ranges"] == "bytes"
    assert upstream.calls(ORDER) == asked


@pytest.mark.parametrize("asked", ["bytes=10-", "bytes=10-19", "bytes=-10"])
async def test_a_bare_range_of_nothing_known_is_refused(upstream: FakeUpstream, service: Service, asked: str) -> None:
    """A download manager would join it with whatever it has: 412, and nothing is fetched for it."""
    answer = await service.download(headers={"Range": asked})

    assert (answer.status, answer.problem["code"]) == (412, "range_unsafe")
    assert upstream.image_calls == 0


async def test_a_bare_range_is_refused_once_the_url_has_named_two_archives(
    upstream: FakeUpstream, start_service: StartService
) -> None:
    """The order has changed: `wget -c` would join the two and call it done. `If-Range` gets the rest of either."""
    service = await start_service(order_freshness=0)
    first = await service.download()
    upstream.orders[ORDER] = order(["a", "b", "c"])
    upstream.images["c"] = jpeg(3)
    second = await service.download()

    bare = await service.download(headers={"Range": "bytes=100-"})
    rest = await service.download(headers={"Range": "bytes=100-", "If-Range": first.headers["ETag"]})

    assert (bare.status, bare.problem["code"]) == (412, "range_unsafe")
    assert second.headers["Accept-Ranges"] == "none"
    assert first.body[:100] + rest.body == first.body


async def test_a_broken_download_goes_on_at_the_orders_address(service: Service) -> None:
    """As browsers do: the same address, `Range` and the tag of what they have."""
    whole = await service.download()

    rest = await service.download(headers={"Range": "bytes=1234-", "If-Range": whole.headers["ETag"]})

    assert rest.status == 206
    assert rest.headers["Content-Range"] == f"bytes 1234-{len(whole.body) - 1}/{len(whole.body)}"
    assert whole.body[:1234] + rest.body == whole.body


@pytest.mark.parametrize("if_range", ['"another"', "Fri, 31 Dec 2100 23:59:59 GMT"])
async def test_what_does_not_match_gets_the_whole(service: Service, if_range: str) -> None:
    """Nobody joins parts of two archives."""
    whole = await service.download()

    answer = await service.download(headers={"Range": "bytes=1234-", "If-Range": if_range})

    assert (answer.status, answer.body) == (200, whole.body)


async def test_a_finished_order_is_not_sent_again_to_who_has_it(service: Service) -> None:
    """`If-None-Match` with the current tag gets a 304."""
    whole = await service.download()

    answer = await service.download(headers={"If-None-Match": whole.headers["ETag"]})

    assert (answer.status, answer.body) == (304, b"")


@pytest.fixture
async def building(upstream: FakeUpstream, service: Service) -> AsyncIterator[ClientResponse]:
    """A download that has begun; image `b` is held."""
    upstream.hold("b")
    async with service.request(PATH) as response:
        yield response


async def test_known_bytes_of_a_running_build_are_served(service: Service, building: ClientResponse) -> None:
    """A closed range goes out while the end is unknown, and says that it is."""
    answer = await service.ask(_archive(building), headers={"Range": "bytes=0-9"})

    assert answer.status == 206
    assert answer.headers["Content-Range"] == "bytes 0-9/*"
    assert answer.body.startswith(b"PK\x03\x04")
    assert len(answer.body) == 10


@pytest.mark.parametrize("asked", ["bytes=10-", "bytes=-10"])
async def test_a_range_to_the_end_waits_for_the_end(
    upstream: FakeUpstream, service: Service, building: ClientResponse, asked: str
) -> None:
    """Never a shorter 206 that looks whole: it comes when the end is known."""
    part = asyncio.create_task(service.ask(_archive(building), headers={"Range": asked}))
    upstream.hold("b").set()
    async with asyncio.timeout(TIMEOUT):
        whole = await building.read()

    answer = await part
    start = 10 if asked == "bytes=10-" else len(whole) - 10
    assert answer.status == 206
    assert answer.headers["Content-Range"] == f"bytes {start}-{len(whole) - 1}/{len(whole)}"
    assert answer.body == whole[start:]


async def test_a_running_build_is_resumed_by_its_tag(
    upstream: FakeUpstream, service: Service, building: ClientResponse
) -> None:
    """A reader who was cut off halfway through a build gets the rest of the same archive."""
    headers = {"Range": "bytes=100-", "If-Range": building.headers["ETag"]}
    rest = asyncio.create_task(service.download(headers=headers))
    upstream.hold("b").set()
    async with asyncio.timeout(TIMEOUT):
        whole = await building.read()

    answer = await rest
    assert answer.status == 206
    assert whole[:100] + answer.body == whole
    assert upstream.image_calls == 2


def _archive(response: ClientResponse) -> str:
    return f"/v1/archives/{response.headers['X-Archive-Id']}"
