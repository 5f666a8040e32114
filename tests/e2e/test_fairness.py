"""Callers take turns, however much one of them wants."""

import asyncio

import pytest
from aiohttp import web

from tests.api.conftest import FIRST, SECOND
from tests.support.client import Service, StartService
from tests.support.samples import ORDER, jpeg, order
from tests.support.upstream import FakeUpstream

JOBS, IMAGES, SLOTS = 18, 10, 5
ORDERS = [f"0b9f7c1e-4a57-4d6e-9d51-2f3c8a7be{number:03}" for number in range(100, 100 + JOBS)]


def hold_all(upstream: FakeUpstream) -> asyncio.Semaphore:
    """The images of all orders, each answered once this is released for it."""
    answers = asyncio.Semaphore(0)

    async def answer(_: web.Request) -> web.Response:
        await answers.acquire()
        return web.Response(body=jpeg(), content_type="image/jpeg")

    for order_id in ORDERS:
        names = [f"{order_id}-{number}" for number in range(IMAGES)]
        upstream.orders[order_id] = order(names, order_id=order_id)
        upstream.images |= dict.fromkeys(names, answer)
    return answers


async def start_jobs(upstream: FakeUpstream, start_service: StartService) -> Service:
    """A service at which one caller has started a job for each order, and which has begun."""
    service = await start_service(service_api_key=f"{FIRST},{SECOND}", download_concurrency=SLOTS)
    for order_id in ORDERS:
        accepted = await service.ask(f"/v1/orders/{order_id}/jobs", method="POST", headers={"X-API-Key": FIRST})
        assert accepted.status == 202
    await upstream.until(lambda: upstream.image_calls == SLOTS)
    return service


async def test_eighteen_jobs_of_one_caller_keep_no_image_of_another_waiting(
    upstream: FakeUpstream, start_service: StartService
) -> None:
    """Given 180 images that one wants: a few of them are answered, then the one of the other is asked for."""
    answers = hold_all(upstream)
    upstream.orders[ORDER], upstream.images["one"] = order(["one"]), jpeg(2)
    service = await start_jobs(upstream, start_service)

    downloading = asyncio.create_task(service.download(headers={"X-API-Key": SECOND}))
    await upstream.until(lambda: upstream.calls(ORDER) == 1)
    for _ in range(10):  # each waits for the loop and for the storage thread: the image of the other is in line by then
        await service.ask(f"/v1/orders/{ORDER}", headers={"X-API-Key": SECOND})
    answered = 0
    while not upstream.calls("one"):
        asked = upstream.image_calls
        answers.release()
        answered += 1
        await upstream.until(lambda: upstream.image_calls > asked)  # noqa: B023  # awaited at once
    other = await downloading
    for _ in range(JOBS * IMAGES):
        answers.release()

    assert other.images == {"one.jpg": jpeg(2)}
    assert answered <= 2 * SLOTS


@pytest.mark.parametrize("query", ["", "?names={seq}"], ids=["the same archive", "another archive"])
async def test_who_wants_an_order_of_these_jobs_takes_turns_of_its_own(
    upstream: FakeUpstream, start_service: StartService, query: str
) -> None:
    """Given 180 images that one wants, and another who wants the last ten of them: these do not come last."""
    answers = hold_all(upstream)
    service = await start_jobs(upstream, start_service)

    wanted = ORDERS[-1]
    downloading = asyncio.create_task(service.ask(f"/v1/orders/{wanted}/images{query}", headers={"X-API-Key": SECOND}))
    await upstream.until(lambda: upstream.calls(wanted) >= 1)
    answered = 0
    while not downloading.done():
        answers.release()
        answered += 1
        await service.ask(f"/v1/orders/{wanted}", headers={"X-API-Key": SECOND})  # the next ones are in line by then
    for _ in range(JOBS * IMAGES):
        answers.release()

    assert (await downloading).status == 200
    assert answered <= JOBS * IMAGES / 2
