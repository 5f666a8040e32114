"""A range that needs the end of a build which takes longer than a caller can be kept waiting."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from typing import Any, TypeAlias, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, make_mocked_request
from opentelemetry.trace import INVALID_SPAN

from service.archives import delivery as delivery_module
from service.archives.archive import Archive
from service.archives.delivery import STARTED, Delivery, DeliveryOptions, cut_on_error, is_held
from service.archives.readers import Readers
from service.archives.transmission import ClientLeft
from service.images.blobs import BlobLost
from service.images.store import ImageStore
from service.problems import PreconditionFailed, Problem, StillBuilding
from service.telemetry.metrics import Metrics
from tests.archives.house import House
from tests.fakes.samples import ORDER, jpeg, order
from tests.fakes.upstream import FakeUpstream
from tests.upstream.helpers import PATIENCE, sample

Client: TypeAlias = "TestClient[web.Request, web.Application]"


@pytest.mark.parametrize("asked", ["bytes=10-", "bytes=-10", "bytes=10-19"])
async def test_a_range_that_takes_too_long_is_sent_away_and_the_build_goes_on(
    aiohttp_client: Callable[[web.Application], Awaitable[Client]], asked: str
) -> None:
    """503 with `Retry-After`, never a part of what there is; the end stays wanted for the caller who comes back."""
    archive = Archive("a" * 32, key="k", order_id="o", order_name=None, total=2, readers=Readers(1, grace=60))
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
    house: House, upstream: FakeUpstream, aiohttp_client: Callable[[web.Application], Awaitable[Client]]
) -> None:
    """Its last byte is wanted, however far that is from its first."""
    upstream.orders[ORDER] = order("abcdefghijklmnop")
    upstream.images |= {image_id: jpeg(number, 50_000) for number, image_id in enumerate("abcdefghijklmnop")}
    house.archives._window = 100_000
    archive, _ = await house.start()
    delivery = Delivery(house.images, Metrics(), max_wait=PATIENCE)

    async def answer(request: web.Request) -> web.StreamResponse:
        request[STARTED] = time.monotonic()
        return await delivery.deliver(request, archive, DeliveryOptions())

    app = web.Application()
    app.router.add_get("/", answer)
    client = await aiohttp_client(app)

    response = await client.get("/", headers={"Range": "bytes=0-299999"})

    assert (response.status, len(await response.read())) == (206, 300_000)
    assert not archive.is_settled


def asked(**headers: str) -> web.Request:
    """A request with these headers."""
    return make_mocked_request("GET", "/", {name.replace("_", "-"): value for name, value in headers.items()})


@pytest.mark.parametrize(
    ("given", "fits"), [('"a"', True), ('"b", "a"', True), ("*", True), ('W/"a"', False), ('"b"', False)]
)
def test_if_match_asks_for_just_these_bytes(given: str, fits: bool) -> None:
    """A weak tag names no bytes (RFC 9110 13.1.1)."""
    if fits:
        assert not is_held(asked(If_Match=given), "a", "")
    else:
        with pytest.raises(PreconditionFailed):
            is_held(asked(If_Match=given), "a", "")


@pytest.mark.parametrize(
    ("given", "exists", "is_there"),
    [('"a"', True, True), ('W/"a"', True, True), ("*", True, True), ("*", False, False), ('"b"', True, False)],
)
def test_if_none_match_is_about_what_is_there(given: str, exists: bool, is_there: bool) -> None:
    """A star means whatever there is: not what has just begun."""
    assert is_held(asked(If_None_Match=given), "a", "", exists=exists) is is_there


@pytest.mark.parametrize(
    ("error", "outcome", "left"),
    [
        (ClientLeft(), "client_left", 1),
        (ConnectionResetError(), "client_left", 1),
        (BlobLost("d"), "cut", 0),
        (StillBuilding(), "cut", 0),
        (RuntimeError("a fault"), "cut", 0),
        (asyncio.CancelledError(), "cut", 0),
    ],
)
def test_whatever_ends_a_body_midway_the_connection_is_cut(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, outcome: str, left: int
) -> None:
    """A clean end would look like a whole archive. The log tells who ended it; a fault of ours goes on."""
    request, metrics, cuts, fields = asked(), Metrics(), list[web.Request](), dict[str, Any]()
    monkeypatch.setattr(delivery_module, "cut", cuts.append)
    cast(Any, request.transport).is_closing.return_value = False
    is_fault = isinstance(error, RuntimeError | asyncio.CancelledError)

    passed_on = pytest.raises(type(error)) if is_fault else nullcontext()
    with passed_on, cut_on_error(request, metrics, fields, INVALID_SPAN):
        raise error

    assert cuts == [request]
    assert (fields["outcome"], sample(metrics.registry, "batch_client_disconnects_total")) == (outcome, left)


def test_what_was_sent_to_its_end_is_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection goes on to the next request."""
    cuts, fields = list[web.Request](), dict[str, Any]()
    monkeypatch.setattr(delivery_module, "cut", cuts.append)

    with cut_on_error(asked(), Metrics(), fields, INVALID_SPAN):
        pass

    assert (cuts, fields["outcome"]) == ([], "sent")
