"""An instance's way to Redis: what is done once Redis has lost its data, and what is done late."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from service.cluster.link import Unavailable
from service.cluster.redis_link import LATE_SECONDS, LEASE_SECONDS, RedisLink
from service.telemetry.metrics import Metrics, Shared
from tests.support.client import TIMEOUT
from tests.support.redis_server import RedisServer
from tests.support.transport import yield_to_loop

pytestmark = pytest.mark.usefixtures("long_timeouts")


async def test_what_redis_lost_is_mended_until_that_has_succeeded(redis: RedisServer) -> None:
    """Redis goes away again while it is told: at the next heartbeats it is told all."""
    told: list[int] = []

    async def tell() -> None:
        told.append(len(told))
        if len(told) < 3:
            raise Unavailable(Shared.REDIS)

    async with RedisLink.open(redis.url, "mine", Metrics()) as link:
        link.on_lost.append(tell)
        redis.command("FLUSHALL")
        while len(told) < 3:
            await link.beat()
        in_all = len(told)
        for _ in range(2):
            await link.beat()

    assert len(told) == in_all


@asynccontextmanager
async def lost(redis: RedisServer) -> AsyncIterator[tuple[RedisLink, list[str]]]:
    """An instance whose Redis has lost its data since its last heartbeat, and what it is told of that."""
    told: list[str] = []

    async def tell() -> None:
        told.append("told")

    async with RedisLink.open(redis.url, "mine", Metrics()) as link:
        link.on_lost.append(tell)
        redis.command("FLUSHALL")
        yield link, told


async def test_what_redis_lost_is_mended_though_its_first_answer_is_lost_too(redis: RedisServer) -> None:
    """Redis has noted that the instance is there: the next answer is that of one that knows it."""
    async with lost(redis) as (link, told):
        really_set = link.redis.set

        async def set_unheard(*values: Any, **more: Any) -> None:
            link.redis.set = really_set
            await really_set(*values, **more)
            raise ConnectionError

        link.redis.set = set_unheard
        await link.beat()
        link.link._retry_at = 0.0
        for _ in range(2):
            await link.beat()

    assert told == ["told"]


async def test_what_redis_lost_is_mended_though_the_client_has_sent_twice(redis: RedisServer) -> None:
    """Over a connection that broke in between: the second finds what the first has set."""
    async with lost(redis) as (link, told):
        really_set = link.redis.set

        async def set_twice(*values: Any, **more: Any) -> Any:
            await really_set(*values, **more)
            return await really_set(*values, **more)

        link.redis.set = set_twice
        await link.beat()

    assert told == ["told"]


async def test_connections_that_were_closed_while_they_were_idle_are_no_outage(redis: RedisServer) -> None:
    """By a Redis that has a `timeout`, a restart, or a balancer: whoever takes one next is answered."""
    async with asyncio.timeout(TIMEOUT), RedisLink.open(redis.url, "mine", Metrics()) as link:

        async def ask_together() -> list[Any]:
            return list(await asyncio.gather(*(link.call(link.redis.ping) for _ in range(5))))

        await ask_together()
        redis.command("CLIENT", "KILL", "TYPE", "normal")
        answers = await ask_together()

        assert answers == [True] * 5
        assert link.link.is_up


async def test_who_waits_hears_what_another_instance_publishes(redis: RedisServer) -> None:
    """Several topics in one message, each by itself; all of them after a connection that may have missed some."""
    heard: asyncio.Queue[str] = asyncio.Queue()
    async with asyncio.timeout(TIMEOUT), RedisLink.open(redis.url, "mine", Metrics()) as mine:
        mine.listeners.append(heard.put_nowait)
        with mine.messages.waiting("a") as a, mine.messages.waiting("b") as b, mine.messages.waiting("c") as c:
            signals = a.next(), b.next(), c.next()
            assert await heard.get() == ""
            at_first = [signal.is_set() for signal in signals]

            signals = a.next(), b.next(), c.next()
            async with RedisLink.open(redis.url, "other", Metrics()) as other:
                await other.publish("a\nb")
                topics = [await heard.get() for _ in range(2)]
                woken = [signal.is_set() for signal in signals]

    assert at_first == [True, True, True]
    assert (topics, woken) == (["a", "b"], [True, True, False])


async def test_who_listens_is_told_that_it_may_have_missed_something(redis: RedisServer) -> None:
    """Its connection was closed, and opened again by the client."""
    heard: asyncio.Queue[str] = asyncio.Queue()
    async with asyncio.timeout(TIMEOUT), RedisLink.open(redis.url, "mine", Metrics()) as mine:
        mine.listeners.append(heard.put_nowait)
        assert await heard.get() == ""
        redis.command("CLIENT", "KILL", "TYPE", "pubsub")

        assert await heard.get() == ""


async def test_who_waits_for_another_instance_hears_that_it_has_left(redis: RedisServer) -> None:
    """What it held is anybody's from then on."""
    heard: asyncio.Queue[str] = asyncio.Queue()
    async with asyncio.timeout(TIMEOUT), RedisLink.open(redis.url, "mine", Metrics()) as mine:
        mine.listeners.append(heard.put_nowait)
        assert await heard.get() == ""
        async with RedisLink.open(redis.url, "other", Metrics()):
            pass
        await mine.publish("later")

        assert [await heard.get() for _ in range(2)] == ["", "later"]


async def test_an_instance_that_is_started_again_has_left_as_what_it_was(redis: RedisServer) -> None:
    """Others need not wait for the end of its lease; nor once it has stopped in order."""
    async with RedisLink.open(redis.url, "other", Metrics()) as other:
        async with RedisLink.open(redis.url, "before", Metrics()):
            pass
        assert await other.is_dead("before")
        redis.command("DEL", "batch:alive:before")

        async with RedisLink.open(redis.url, "mine", Metrics(), before="before"):
            assert [await other.is_dead(name) for name in ("before", "mine")] == [True, False]


async def test_what_waits_for_redis_is_done_after_each_heartbeat_that_it_answers(redis: RedisServer) -> None:
    """And after what it has lost is mended."""
    done: list[str] = []

    async def mend() -> None:
        done.append("mended")

    async def go_on() -> None:
        done.append("gone on")

    async with RedisLink.open(redis.url, "mine", Metrics()) as link:
        link.on_lost.append(mend)
        link.on_beat.append(go_on)
        redis.command("FLUSHALL")
        await link.beat()
        link.link.is_up, link.link._retry_at = False, time.monotonic() + TIMEOUT
        await link.beat()

    assert done[:2] == ["mended", "gone on"]
    assert done.count("mended") == 1


async def test_a_late_call_comes_behind_what_was_sent_before(redis: RedisServer) -> None:
    """What it undoes was given up, and may still be on its way on another connection."""
    made = asyncio.Event()

    async def make() -> None:
        made.set()

    async with RedisLink.open(redis.url, "mine", Metrics()) as link:
        began = time.monotonic()
        link.call_later(make)
        async with asyncio.timeout(TIMEOUT):
            await made.wait()

    assert time.monotonic() - began > LATE_SECONDS / 2


async def test_what_is_late_is_done_before_the_instance_leaves(redis: RedisServer) -> None:
    """Its requests are cancelled a moment before: what they had reserved is not counted all day."""
    made: list[int] = []

    async with RedisLink.open(redis.url, "mine", Metrics()) as link:
        for number in range(3):

            async def make(number: int = number) -> None:
                made.append(number)

            link.call_later(make)

    assert made == [0, 1, 2]


async def test_a_heartbeat_is_heard_for_as_long_as_its_lease(redis: RedisServer) -> None:
    """Who died does not stay alive; nor is who left remembered for ever."""
    async with RedisLink.open(redis.url, "other", Metrics()) as other:
        async with RedisLink.open(redis.url, "mine", Metrics()):
            alive = await other.redis.pttl("batch:alive:mine")
        left = await other.redis.pttl("batch:alive:mine")

    assert 0 < alive <= LEASE_SECONDS * 1000
    assert 0 < left <= LEASE_SECONDS * 1000


async def test_a_late_call_that_fails_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """As soon as Redis answers; the others wait with it."""
    monkeypatch.setattr("service.cluster.redis_link.LATE_SECONDS", 0.0)
    link, made = RedisLink(None, "mine", Metrics()), list[str]()

    async def make() -> None:
        made.append("made")
        if len(made) == 1:
            raise Unavailable(Shared.REDIS)

    link.call_later(make)
    await link.make_late_calls()
    first = list(made)
    await link.make_late_calls()

    assert (first, made) == (["made"], ["made", "made"])


async def test_late_calls_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after some were made: none are looked for again and again."""
    monkeypatch.setattr("service.cluster.redis_link.LATE_SECONDS", 0.0)
    link, made = RedisLink(None, "mine", Metrics()), []

    async def make() -> None:
        made.append("made")

    link.call_later(make)
    await link.make_late_calls()
    waiting = asyncio.create_task(link.make_late_calls())
    await yield_to_loop()
    assert not waiting.done()
    link.call_later(make)
    await waiting

    assert made == ["made", "made"]


class Hanging:
    """A call whose first answer never comes."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.made = 0

    async def __call__(self) -> None:
        self.made += 1
        if self.made == 1:
            self.begun.set()
            await asyncio.Event().wait()


async def test_what_is_late_is_done_again_when_the_instance_leaves_meanwhile(redis: RedisServer) -> None:
    """Whether Redis has done it cannot be told."""
    make = Hanging()

    async with asyncio.timeout(TIMEOUT), RedisLink.open(redis.url, "mine", Metrics()) as link:
        link.call_later(make)
        await make.begun.wait()

    assert make.made == 2


async def test_what_must_be_done_is_done_though_who_wanted_it_has_left(redis: RedisServer) -> None:
    """Whether Redis did it cannot be told: it is done again."""
    make = Hanging()

    async with asyncio.timeout(TIMEOUT), RedisLink.open(redis.url, "mine", Metrics()) as link:
        caller = asyncio.create_task(link.call_surely(make))
        await make.begun.wait()
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller

    assert make.made == 2


@pytest.mark.parametrize(
    ("state", "up_for", "dead"),
    [(b"alive", 60.0, False), (b"left", 0.0, True), (None, 9.0, True), (None, 7.0, False), (b"left", 9.0, True)],
)
async def test_who_is_taken_for_dead(state: bytes | None, up_for: float, dead: bool) -> None:
    """Who left, and who is silent: but nobody before it had the time to come back to a Redis that was away."""
    asked: list[str] = []

    async def get(name: str) -> bytes | None:
        asked.append(name)
        return state

    link = RedisLink(SimpleNamespace(get=get), "mine", Metrics())
    link.link.up_since = time.monotonic() - up_for

    assert await link.is_dead("other") is dead
    assert asked == ["batch:alive:other"]
