"""A range that needs the end of a build which takes longer than a caller can be kept waiting."""

import time
from collections.abc import Awaitable, Callable
from typing import TypeAlias, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

from service.archives.archive import Archive
from service.archives.delivery import STARTED, Delivery, DeliveryOptions
from service.archives.plan import PlannedOrder
from service.archives.readers import Readers
from service.images.store import ImageStore
from service.problems import Problem
from service.telemetry.metrics import Metrics
from tests.support.archives import ArchiveSystem
from tests.support.samples import ORDER, jpeg, order
from tests.support.transport import TIMEOUT
from tests.support.upstream import FakeUpstream

Client: TypeAlias = "TestClient[web.Request, web.Application]"


@pytest.mark.parametrize("asked", ["bytes=10-", "bytes=-10", "bytes=10-19"])
async def test_a_range_that_takes_too_long_is_sent_away_and_the_build_goes_on(
    aiohttp_client: Callable[[web.Application], Awaitable[Client]], asked: str
) -> None:
    """503 with `Retry-After`, never a part of what there is; the end stays wanted for the caller who comes back."""
    archive = Archive("a" * 32, key="k", orders=(PlannedOrder(order_id="o", total=2),), readers=Readers(1, grace=60))
    no_store = cast(ImageStore, None)  # nothing is sent
    delivery = Delivery(no_store, Metrics(), max_wait=0.05)

    async def answer(request: web.Request) -> web.StreamResponse:
        request[STARTED] = time.monotonic()
        try:
            return await delivery.deliver(request, archive, DeliveryOptions())
        except Problem as problem:
            return web.Response(status=problem.status, headers=problem.headers, text=problem.code)

    app = web.Application()
    app.router.add_get("/", answer)
    client = await aiohttp_client(app)

    response = await client.get("/", headers={"Range": asked})

    assert (response.status, await response.text()) == (503, "still_building")
    assert int(response.headers["Retry-After"]) >= 1
    assert archive.readers.want_more(1 << 40)


async def test_a_part_that_is_longer_than_a_build_may_be_ahead_is_built(
    system: ArchiveSystem, upstream: FakeUpstream, aiohttp_client: Callable[[web.Application], Awaitable[Client]]
) -> None:
    """Its last byte is wanted, however far that is from its first."""
    upstream.orders[ORDER] = order("abcdefghijklmnop")
    upstream.images |= {image_id: jpeg(number, 50_000) for number, image_id in enumerate("abcdefghijklmnop")}
    system.archives._window = 100_000
    archive, _ = await system.start()
    delivery = Delivery(system.images, Metrics(), max_wait=TIMEOUT)

    async def answer(request: web.Request) -> web.StreamResponse:
        request[STARTED] = time.monotonic()
        return await delivery.deliver(request, archive, DeliveryOptions())

    app = web.Application()
    app.router.add_get("/", answer)
    client = await aiohttp_client(app)

    response = await client.get("/", headers={"Range": "bytes=0-299999"})

    assert (response.status, len(await response.read())) == (206, 300_000)
    assert not archive.is_settled


@pytest.mark.parametrize(("headers", "status"), [({}, "range_unsafe"), ({"If-Range": ""}, "")])
async def test_where_an_address_has_named_other_archives_a_part_needs_its_tag(
    system: ArchiveSystem,
    upstream: FakeUpstream,
    aiohttp_client: Callable[[web.Application], Awaitable[Client]],
    headers: dict[str, str],
    status: str,
) -> None:
    """Without it, bytes of two archives could be put together; with it, they are certain to be of this one."""
    upstream.orders[ORDER], upstream.images["a"] = order(["a"]), jpeg()
    archive = await system.finished()
    whole = await system.bytes_of(archive)

    async def has_named_others(archive_id: str) -> bool:
        return archive_id != archive.id

    async def answer(request: web.Request) -> web.StreamResponse:
        request[STARTED] = time.monotonic()
        options = DeliveryOptions(note_named=has_named_others)
        try:
            return await Delivery(system.images, Metrics()).deliver(request, archive, options)
        except Problem as problem:
            return web.Response(status=problem.status, text=problem.code)

    app = web.Application()
    app.router.add_get("/", answer)
    client = await aiohttp_client(app)
    tag = dict.fromkeys(headers, f'"{archive.id}"')

    response = await client.get("/", headers={"Range": "bytes=10-19", **tag})

    assert await response.read() == (status.encode() or whole[10:20])
    assert "Accept-Ranges" not in response.headers or response.headers["Accept-Ranges"] == "none"
