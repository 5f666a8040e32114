"""Webhooks: who is told what, how often, in which order."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from service.sandbox import ImageSpec
from tests.support.loopback import serving

from .conftest import StartSandbox, eventually


class Receiver:
    """A webhook receiver: the bodies and `Authentication` headers it got, in order."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[Any] = asyncio.Queue()
        self.secrets: list[str | None] = []
        self.url = ""

    async def receive(self, request: web.Request) -> web.Response:
        self.secrets.append(request.headers.get("Authentication"))
        self.events.put_nowait(await request.json())
        return web.Response()

    async def next(self, number: int) -> list[Any]:
        async with asyncio.timeout(5):
            return [await self.events.get() for _ in range(number)]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    async with serving(web.post("/hook", receiver.receive)) as url:
        receiver.url = f"{url}/hook"
        yield receiver


async def finish_three(start: StartSandbox, receiver: Receiver, **config: Any) -> list[str]:
    """An order of three images (the second fails) that are finished one after the other."""
    caller = await start(webhook_url=receiver.url, webhook_secret="s3cret", **config)
    specs = [ImageSpec(delay=60), ImageSpec(delay=70, status="error"), ImageSpec(delay=80)]
    order = caller.control.add_order(specs)
    for _ in range(3):
        caller.control.advance(30)
    return [image.image_id for image in order.images]


async def test_every_image_is_announced_once_it_is_done(start: StartSandbox, receiver: Receiver) -> None:
    """With the secret as it is; the last event says that the order is done."""
    ids = await finish_three(start, receiver)

    events = await receiver.next(3)

    assert [event["image_id"] for event in events] == ids
    assert {event["event"] for event in events} == {"image_processed"}
    assert [event["error"] for event in events] == [False, True, False]
    assert [event["order_is_processing"] for event in events] == [True, True, False]
    assert receiver.secrets == ["s3cret"] * 3


async def test_events_can_come_twice(start: StartSandbox, receiver: Receiver) -> None:
    """With one duplicate each."""
    first, second, third = await finish_three(start, receiver, webhook_duplicates=1)

    events = await receiver.next(6)

    assert [event["image_id"] for event in events] == [first, first, second, second, third, third]


async def test_events_can_come_in_another_order(start: StartSandbox, receiver: Receiver) -> None:
    """The last first."""
    ids = await finish_three(start, receiver, webhook_reversed=True)

    events = await receiver.next(3)

    assert [event["image_id"] for event in events] == ids[::-1]
    assert events[0]["order_is_processing"] is False


async def test_events_can_be_lost(start: StartSandbox, receiver: Receiver) -> None:
    """Every second one never arrives."""
    first, _, third = await finish_three(start, receiver, webhook_lose_every=2)

    events = await receiver.next(2)

    assert [event["image_id"] for event in events] == [first, third]
    assert receiver.events.empty()


async def test_setting_the_address_is_announced(start: StartSandbox, receiver: Receiver) -> None:
    """`webhook_updated`, at once."""
    caller = await start()

    caller.control.configure(webhook_url=receiver.url, webhook_secret="new")

    assert await receiver.next(1) == [{"event": "webhook_updated"}]
    assert receiver.secrets == ["new"]


async def test_registration_is_announced_if_configured(start: StartSandbox, receiver: Receiver) -> None:
    """The newer event, with image and order."""
    caller = await start(webhook_url=receiver.url, webhook_registered=True)

    image = await caller.json("POST", "/images/", json={"image_name": "a.jpg"})

    (event,) = await receiver.next(1)
    assert event == {"event": "image_registered", "image_id": image["image_id"], "order_id": image["order_id"]}


async def test_an_upload_is_announced_by_itself(start: StartSandbox, receiver: Receiver) -> None:
    """Without anybody pushing the clock."""
    caller = await start(webhook_url=receiver.url, image_delay=0.05)
    image = await caller.json("POST", "/images/", json={"image_name": "a.jpg"})

    await caller.put(image["upload_url"], b"\xff\xd8\xff")

    (event,) = await receiver.next(1)
    assert (event["image_id"], event["error"]) == (image["image_id"], False)


async def test_a_dead_receiver_harms_nothing(start: StartSandbox) -> None:
    """The event is gone, the sandbox goes on."""
    caller = await start(webhook_url="http://127.0.0.1:9/", image_delay=0)
    image_id = caller.control.add_order([ImageSpec(delay=1)]).images[0].image_id

    caller.control.advance(2)
    await eventually(lambda: caller.control.counters.webhooks)

    assert (await caller.json("GET", f"/images/{image_id}"))["status"] == "processed"
