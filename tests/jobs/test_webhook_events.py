"""What a webhook of Autoenhance brings about: those who wait look, others are told, a batch may begin."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest

from service.archives.archives import Archives
from service.archives.options import Options
from service.jobs import webhook_events
from service.jobs.jobs import Jobs
from service.jobs.webhook_events import WebhookEvents
from service.orders.orders import Orders
from service.problems import JobsUnavailable, Problem, UpstreamTimeout
from service.upstream.models import ImageRecord, Order
from tests.jobs.conformance.work import ORDER, TIMEOUT
from tests.support.transport import yield_to_loop

DONE = Order(order_id=ORDER, images=(ImageRecord(image_id="a", enhanced=True),))
BUSY = Order(order_id=ORDER, is_merging=True, images=DONE.images)


class Scene:
    """The parts that an event is handed on to, and what they were asked."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.answers: list[Order | Problem] = []
        """What looks at the order come to; then it is done."""
        self.refusals: list[Exception] = []
        """Of jobs."""
        self.state = "one"
        self.keys: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()

    def notify(self, order_id: str) -> None:
        self.seen.append(f"woken {order_id}")

    async def notify_others(self, order_id: str) -> None:
        self.seen.append(f"told {order_id}")

    async def refresh(self, order_id: str) -> Order:
        self.seen.append(f"looked {order_id}")
        await self.gate.wait()
        answer = self.answers.pop(0) if self.answers else DONE
        if isinstance(answer, Problem):
            raise answer
        return answer

    async def preview(self, order_id: str, order: Order, options: Options, describe: Any) -> str:
        assert options == Options()
        return str(describe(SimpleNamespace(key=f"{order_id} {self.state}"), {}))

    async def submit(self, order_id: str, options: Options, *, key: str) -> None:
        if self.refusals:
            raise self.refusals.pop(0)
        assert options == Options()
        self.keys.append(key)
        self.seen.append(f"batch {order_id}")

    @property
    def batches(self) -> int:
        return self.seen.count(f"batch {ORDER}")

    @property
    def looks(self) -> int:
        return self.seen.count(f"looked {ORDER}")


@asynccontextmanager
async def events_of(scene: Scene, *, auto_batch: bool = True) -> AsyncIterator[WebhookEvents]:
    """Hands on to the scene."""
    archives = cast(Archives, SimpleNamespace(previews=scene))
    found = WebhookEvents(cast(Jobs, scene), archives, cast(Orders, scene), scene.notify_others, auto_batch=auto_batch)
    yield found
    await found.close()


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    """Three looks, without a pause between them."""
    monkeypatch.setattr(webhook_events, "_CONFIRM_SECONDS", tuple(0.0 for _ in webhook_events._CONFIRM_SECONDS))
    monkeypatch.setattr(webhook_events, "_ANSWER_SECONDS", TIMEOUT)
    return Scene()


async def test_who_waits_is_woken_here_and_elsewhere_and_a_batch_begins(scene: Scene) -> None:
    """In this order: what is waited for does not wait for the batch."""
    async with events_of(scene) as events:
        await events.received(ORDER, done=True)

    assert scene.seen == [f"woken {ORDER}", f"told {ORDER}", f"looked {ORDER}", f"batch {ORDER}"]


@pytest.mark.parametrize(("done", "auto_batch"), [(False, True), (True, False)])
async def test_otherwise_nothing_is_built(scene: Scene, done: bool, auto_batch: bool) -> None:
    """An order that is not done, or a service that is not to build by itself: who waits is woken all the same."""
    async with events_of(scene, auto_batch=auto_batch) as events:
        await events.received(ORDER, done=done)

    assert scene.seen == [f"woken {ORDER}", f"told {ORDER}"]


@pytest.mark.parametrize("first", [[BUSY], [UpstreamTimeout()], [BUSY, UpstreamTimeout()]])
async def test_the_order_may_say_so_a_little_later(scene: Scene, first: list[Order | Problem]) -> None:
    """It is asked three times, whatever came before."""
    scene.answers = list(first)

    async with events_of(scene) as events:
        await events.received(ORDER, done=True)

    assert (scene.looks, scene.batches) == (len(first) + 1, 1)


async def test_an_order_that_never_agrees_is_left_alone(scene: Scene) -> None:
    """The webhook may be forged, or early."""
    scene.answers = [BUSY, BUSY, BUSY]

    async with events_of(scene) as events:
        await events.received(ORDER, done=True)

    assert (scene.looks, scene.batches) == (3, 0)


async def test_a_batch_that_cannot_be_recorded_is_tried_again(scene: Scene) -> None:
    """As the order is looked at again."""
    scene.refusals = [JobsUnavailable()]

    async with events_of(scene) as events:
        await events.received(ORDER, done=True)

    assert (scene.looks, scene.batches) == (2, 1)


async def test_a_fault_of_ours_ends_the_look_and_no_later_one(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    """The sender is answered all the same."""
    scene.refusals = [KeyError("broken")]

    async with events_of(scene) as events:
        await events.received(ORDER, done=True)
        assert (scene.looks, scene.batches) == (1, 0)
        assert "auto batch failed" in caplog.text

        await events.received(ORDER, done=True)
        assert (scene.looks, scene.batches) == (2, 1)


async def test_one_batch_for_each_state_of_the_order(scene: Scene) -> None:
    """The key is that of what would be in the ZIP: the same event twice names the same job, a new state another one."""
    async with events_of(scene) as events:
        await events.received(ORDER, done=True)
        await events.received(ORDER, done=True)
        scene.state = "another"
        await events.received(ORDER, done=True)

    first, again, other = scene.keys
    assert first == again != other


async def test_events_that_come_together_are_confirmed_once(scene: Scene) -> None:
    """And the next one anew."""
    scene.gate.clear()

    async with events_of(scene) as events, asyncio.timeout(TIMEOUT):
        together = [asyncio.create_task(events.received(ORDER, done=True)) for _ in range(3)]
        await yield_to_loop()
        scene.gate.set()
        await asyncio.gather(*together)
        assert (scene.looks, scene.batches) == (1, 1)

        await events.received(ORDER, done=True)
        assert (scene.looks, scene.batches) == (2, 2)


@pytest.mark.parametrize("answers", [[BUSY, BUSY, BUSY], [DONE]])
async def test_an_event_during_a_look_is_looked_at_anew(scene: Scene, answers: list[Order | Problem]) -> None:
    """What was seen then, be it at the last look, may be older than what it tells of."""
    scene.answers = list(answers)
    scene.gate.clear()

    async with events_of(scene) as events, asyncio.timeout(TIMEOUT):
        first = asyncio.create_task(events.received(ORDER, done=True))
        await yield_to_loop()
        while scene.looks < len(answers):
            scene.gate.set()  # for this look alone
            scene.gate.clear()
            await yield_to_loop()
        later = asyncio.create_task(events.received(ORDER, done=True))
        await yield_to_loop()
        scene.gate.set()
        await asyncio.gather(first, later)

    assert scene.looks == len(answers) + 1


async def test_the_sender_does_not_wait_for_the_batch(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is answered soon; the batch begins all the same."""
    monkeypatch.setattr(webhook_events, "_ANSWER_SECONDS", 0.01)
    scene.gate.clear()

    async with events_of(scene) as events, asyncio.timeout(TIMEOUT):
        await events.received(ORDER, done=True)
        assert scene.batches == 0
        scene.gate.set()
        while events._batching.is_running(ORDER):
            await yield_to_loop()

    assert scene.batches == 1


async def test_a_stop_ends_what_is_being_confirmed(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing begins behind it."""
    monkeypatch.setattr(webhook_events, "_ANSWER_SECONDS", 0.01)
    scene.gate.clear()

    async with events_of(scene) as events:
        await events.received(ORDER, done=True)
    scene.gate.set()
    await yield_to_loop()

    assert (scene.batches, events._batching.is_running(ORDER)) == (0, False)
