"""Several orders in one ZIP, `since` and deliveries, where instances share."""

import asyncio

import pytest
from aiohttp import web

from tests.support import jobs
from tests.support.client import TIMEOUT, Answer, Service, StartService
from tests.support.loopback import serving
from tests.support.samples import ORDER, OTHER_ORDER, jpeg, order, photo
from tests.support.upstream import FakeUpstream

IMAGES = {name: jpeg(number) for number, name in enumerate("abcd", 1)}


@pytest.fixture(autouse=True)
def two_orders(upstream: FakeUpstream, long_timeouts: None) -> None:
    upstream.orders |= {ORDER: order(["a", "b"]), OTHER_ORDER: order(["c"], order_id=OTHER_ORDER, name="Mill Road")}
    upstream.images |= IMAGES


async def post(service: Service, **body: object) -> jobs.Document:
    """A job of both orders, as first answered."""
    document = {"order_ids": [ORDER, OTHER_ORDER], **body}
    async with service.session.post(f"{service.url}/v1/jobs", json=document) as response:
        answer = Answer(response.status, response.headers, await response.read())
    assert answer.status == 202, answer.body
    return answer.document


async def test_any_instance_builds_and_serves_it(upstream: FakeUpstream, start_member: StartService) -> None:
    """One archive for equal jobs at two instances; found by each of its orders, and read at a third."""
    first, second, third = [await start_member() for _ in range(3)]

    told = await asyncio.gather(post(first), post(second))
    ended = [await jobs.ended(third, job) for job in told]

    assert {job["status"] for job in ended} == {"complete"}
    assert len({job["archive_id"] for job in ended}) == 1
    answers = [await service.ask(ended[0]["links"]["download"]) for service in (first, second, third)]
    assert len({answer.body for answer in answers}) == 1
    assert answers[0].members == {
        "12 Harbour Lane/a.jpg": IMAGES["a"],
        "12 Harbour Lane/b.jpg": IMAGES["b"],
        "Mill Road/c.jpg": IMAGES["c"],
    }
    assert [upstream.calls(image) for image in "abc"] == [1, 1, 1]


async def test_another_instance_goes_on_with_it(upstream: FakeUpstream, start_member: StartService) -> None:
    """When the one that had begun it has stopped in the middle."""
    gate = upstream.hold("c")
    first, second = await start_member(), await start_member()
    job = await post(first)
    async with jobs.events(second, job) as stream:
        async for event in stream:
            if event.job["downloaded"] == 2:
                break
    asyncio.get_running_loop().call_later(0.1, gate.set)
    await first.stop()

    ended = await jobs.ended(second, job)

    assert (ended["status"], ended["downloaded"], ended["failed"]) == ("complete", 3, 0)
    assert len((await second.ask(ended["links"]["download"])).members) == 3
    assert [upstream.calls(image) for image in "ab"] == [1, 1]


async def test_since_knows_what_any_instance_has_built(upstream: FakeUpstream, start_member: StartService) -> None:
    """An archive of another one; also one of several orders, which holds each of them."""
    first, second = [await start_member(order_freshness=0) for _ in range(2)]
    alone = (await first.download()).headers["X-Archive-Id"]
    several = (await jobs.ended(first, await post(first)))["archive_id"]
    upstream.orders[ORDER] = order([photo("a"), photo("b"), photo("d")])

    for archive_id in (alone, several):
        later = await second.download(since=archive_id)
        assert later.members == {"d.jpg": IMAGES["d"]}
    unknown = await second.download(since="0" * 32)

    assert (unknown.status, unknown.problem["parameter"]) == (400, "since")


async def test_the_zip_is_delivered_into_a_storage(start_member: StartService) -> None:
    """By whichever instance runs the job, once; then its receiver is told."""
    put: list[bytes] = []

    async def take(request: web.Request) -> web.Response:
        put.append(await request.read())
        return web.Response()

    async with serving(web.put("/all.zip", take)) as storage, jobs.Receiver() as receiver:
        settings = {"callback_allow_private": True, "callback_secret": "whsec_YSBzZWNyZXQgb2YgdGhpcnR5LXR3byBieXRlcy4="}
        first, second = [await start_member(**settings) for _ in range(2)]
        job = await post(first, deliver_to=f"{storage}/all.zip", callback_url=f"{receiver.url}/done")
        ended = await jobs.ended(second, job)
        async with asyncio.timeout(TIMEOUT):
            await receiver.until(lambda: bool(receiver.received))

        assert put == [(await second.ask(ended["links"]["download"])).body]
        assert receiver.received[0].message["data"]["delivery"]["status"] == "delivered"
        assert (await jobs.status(second, job))["delivery"]["status"] == "delivered"
