"""Slow but steady images arrive, and neither they nor an order that always fails close the service for others."""

import asyncio
import json
from typing import Any

import pytest
from aiohttp import web

from tests.support.client import TIMEOUT, StartService
from tests.support.orders import fill
from tests.support.samples import ORDER, OTHER_ORDER, jpeg, order, photo
from tests.support.upstream import FakeUpstream, Handler, Script

KIB = 1024
BREAKER = 5
"""Failures in a row that open it, as by default."""


def dripping(body: bytes, *, piece: int, pause: float, until: asyncio.Event | None = None) -> Handler:
    """An image in pieces, with a pause after each; with `until`, in ever smaller ones up to that event."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "image/jpeg", "Content-Length": str(len(body))})
        await response.prepare(request)
        for start in range(0, len(body), piece):
            if until is not None and until.is_set():
                await response.write(body[start:])
                break
            await response.write(body[start : start + piece])
            await asyncio.sleep(pause)
        return response

    return answer


async def test_a_slow_but_steady_image_arrives(upstream: FakeUpstream, start_service: StartService) -> None:
    """It takes longer than `IMAGE_TIMEOUT`, in one piece and with one request."""
    service = await start_service(image_timeout=1, upstream_attempts=3)
    body = jpeg(1, size=700 * KIB)
    upstream.orders[ORDER] = order(["slow"])
    upstream.images["slow"] = dripping(body, piece=70 * KIB, pause=0.25)

    answer = await service.download()

    assert answer.members == {"slow.jpg": body}
    assert upstream.calls("slow") == 1


async def test_five_of_them_keep_nobody_else_waiting(upstream: FakeUpstream, start_service: StartService) -> None:
    """With all slots taken by slow images, another order is delivered while they arrive; then they are there too."""
    service = await start_service(image_timeout=1, breaker_failures=BREAKER)
    others_are_in = asyncio.Event()

    def slowly(number: int) -> Script:
        return dripping(jpeg(number, 6_000 * KIB), piece=70 * KIB, pause=0.1, until=others_are_in)

    slow = fill(upstream, 5, prefix="s", script=slowly)
    quick = fill(upstream, 8, order_id=OTHER_ORDER, prefix="q", script=lambda number: jpeg(100 + number))
    waiting = asyncio.create_task(service.download())
    await upstream.until(lambda: upstream.in_flight == 5)

    async with asyncio.timeout(TIMEOUT):
        answer = await service.download(OTHER_ORDER)
    were_on_their_way = not waiting.done()
    others_are_in.set()
    rest = await waiting

    assert answer.members == quick
    assert were_on_their_way
    assert rest.members == {name: jpeg(number, 6_000 * KIB) for number, name in enumerate(slow)}


def _json(text: str) -> Handler:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(text=text, content_type="application/json")

    return answer


FAILING: dict[str, Script] = {
    "500": 500,
    "503": 503,
    "a web page": "<!doctype html><title>Sign in</title>",
    "half a document": _json('{"images": [{"image_id": "a"'),
    "no object": _json('["a"]'),
    "no list": _json('{"images": {"a": 1}}'),
    "nulls": _json(json.dumps(order([]) | {"images": [None, None], "total_images": 2})),
    "text among images": _json(json.dumps(order([]) | {"images": ["a", 5, [], None]})),
}


@pytest.mark.parametrize("way", ["download", "overview", "head", "job"])
@pytest.mark.parametrize("script", FAILING.values(), ids=FAILING)
async def test_one_order_that_always_fails_is_its_own_trouble(
    upstream: FakeUpstream, start_service: StartService, script: Script, way: str
) -> None:
    """Asked for eight times, it closes no way to another order."""
    service = await start_service(breaker_failures=BREAKER, upstream_attempts=1)
    upstream.orders[ORDER] = script
    upstream.orders[OTHER_ORDER] = order(["b"], order_id=OTHER_ORDER)
    upstream.images["b"] = jpeg(2)
    ask: dict[str, tuple[str, str]] = {
        "download": ("GET", f"/v1/orders/{ORDER}/images"),
        "overview": ("GET", f"/v1/orders/{ORDER}"),
        "head": ("HEAD", f"/v1/orders/{ORDER}/images"),
        "job": ("POST", f"/v1/orders/{ORDER}/jobs"),
    }
    method, path = ask[way]

    for _ in range(8):
        await service.ask(path, method=method)
    if way == "job":
        await upstream.until(lambda: upstream.calls(ORDER) > 0)
    answer = await service.download(OTHER_ORDER)

    assert (answer.status, answer.members) == (200, {"b.jpg": jpeg(2)})


async def test_different_orders_that_fail_do_open_it(upstream: FakeUpstream, start_service: StartService) -> None:
    """The circuit is still there: five orders, one failure each."""
    service = await start_service(breaker_failures=BREAKER, upstream_attempts=1)
    upstream.orders[OTHER_ORDER] = order(["b"])
    ids = [f"{ORDER[:-1]}{number}" for number in range(2, 2 + BREAKER)]
    upstream.orders |= dict.fromkeys(ids, 500)

    statuses = [(await service.ask(f"/v1/orders/{order_id}")).status for order_id in [*ids, ORDER]]

    assert statuses == [502] * BREAKER + [503]


@pytest.mark.parametrize("odd", [None, "a text", 5, [], [{}], True], ids=repr)
async def test_what_is_no_record_is_a_failed_image(
    upstream: FakeUpstream, start_service: StartService, odd: object
) -> None:
    """The others are delivered; overview, report and `strict` tell of it."""
    service = await start_service()
    images: list[Any] = [photo("a"), odd, photo("b")]
    upstream.orders[ORDER] = order([]) | {"images": images, "total_images": 3}
    upstream.images |= {"a": jpeg(1), "b": jpeg(2)}

    overview = await service.ask(f"/v1/orders/{ORDER}")
    answer = await service.download()
    strict = await service.download(on_failure="strict")

    assert (overview.status, overview.document["total"], overview.document["failed"]) == (200, 3, 1)
    assert answer.images == {"a.jpg": jpeg(1), "b.jpg": jpeg(2)}
    assert "image id: unidentified-2" in answer.report
    assert (strict.status, len(strict.problem["failures"])) == (422, 1)
