"""Calls to what is shared: bounded, and after a failure not made for a while."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from typing import Any

import pytest

from service.cluster.link import Link, Unavailable, bounded
from service.telemetry.metrics import Metrics, Shared
from tests.support.transport import FakeClock, yield_to_loop


class Remote:
    """What is asked: it answers, fails, or hangs."""

    def __init__(self) -> None:
        self.calls = 0
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def ask(self) -> str:
        self.calls += 1
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return "answer"


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def link(metrics: Metrics) -> Link:
    """To Redis."""
    return Link(Shared.REDIS, metrics, seconds=0.2, pause=0.5, failures=(RuntimeError,))


async def test_after_a_failure_it_is_not_asked_for_the_pause(link: Link, metrics: Metrics) -> None:
    """Then one call tries while others fail, and once it has succeeded all are made again."""
    remote = Remote()
    remote.error = RuntimeError()
    with pytest.raises(Unavailable) as failed:
        await link.call(remote.ask)
    remote.error = None
    with pytest.raises(Unavailable) as refused:
        await link.call(remote.ask)
    assert (failed.value.was_asked, refused.value.was_asked) == (True, False)
    assert (remote.calls, link.is_up, metrics.values(metrics.shared_up)) == (1, False, {"redis": 0})

    await asyncio.sleep(0.5)
    remote.gate.clear()
    asyncio.get_running_loop().call_later(0.05, remote.gate.set)
    answers = await asyncio.gather(*(link.call(remote.ask) for _ in range(3)), return_exceptions=True)

    assert [answer == "answer" for answer in answers] == [True, False, False]
    assert await link.call(remote.ask) == "answer"
    assert (link.is_up, metrics.values(metrics.shared_up)) == (True, {"redis": 1})


async def test_after_a_trial_that_failed_there_is_another_one(link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    """As often as it takes, one a pause."""
    clock = FakeClock()
    monkeypatch.setattr("service.cluster.link.time", clock)
    remote = Remote()
    remote.error = RuntimeError()
    for _ in range(3):
        for _ in range(2):
            with pytest.raises(Unavailable):
                await link.call(remote.ask)
        clock.advance(0.6)
    remote.error = None

    assert await link.call(remote.ask) == "answer"
    assert (remote.calls, link.is_up) == (4, True)


async def test_a_call_from_before_the_failure_makes_room_for_no_second_trial(
    link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given one that ends while another one tries: it says nothing of that."""
    clock = FakeClock()
    monkeypatch.setattr("service.cluster.link.time", clock)
    early, broken, trial = Remote(), Remote(), Remote()
    early.error = broken.error = RuntimeError()
    for remote in (early, trial):
        remote.gate.clear()
    calls = [asyncio.create_task(link.call(early.ask))]
    await yield_to_loop()
    with pytest.raises(Unavailable):
        await link.call(broken.ask)
    clock.advance(0.6)
    calls.append(asyncio.create_task(link.call(trial.ask)))
    await yield_to_loop()

    early.gate.set()
    await asyncio.wait(calls[:1])
    clock.advance(0.6)
    with pytest.raises(Unavailable) as refused:
        await link.call(trial.ask)
    trial.gate.set()

    assert not refused.value.was_asked
    assert await calls[1] == "answer"
    with pytest.raises(Unavailable):
        await calls[0]


async def test_a_call_that_hangs_is_bounded(link: Link, metrics: Metrics) -> None:
    """It counts as a failure, also after calls that were answered."""
    remote = Remote()
    await link.call(remote.ask)
    remote.gate.clear()

    with pytest.raises(Unavailable):
        await link.call(remote.ask)
    assert (link.is_up, metrics.values(metrics.shared_up)) == (False, {"redis": 0})


async def test_what_was_not_asked_is_told_as_such_wherever_it_was_wanted(link: Link) -> None:
    """Also in the middle of another failure."""
    link.is_up, link._retry_at = False, float("inf")
    try:
        int("")
    except ValueError:
        with pytest.raises(Unavailable) as refused:
            await link.call(Remote().ask)
        assert not refused.value.was_asked


async def test_one_that_hangs_while_others_are_answered_is_made_again(link: Link) -> None:
    """It was unlucky; nothing is wrong with what was asked."""
    unlucky, lucky = Remote(), Remote()
    unlucky.gate.clear()
    calling = asyncio.create_task(link.call(unlucky.ask))
    await asyncio.sleep(0.05)
    await link.call(lucky.ask)
    while unlucky.calls < 2:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    unlucky.gate.set()

    assert await calling == "answer"
    assert link.is_up


async def test_time_in_which_the_loop_stood_still_is_not_the_others(link: Link) -> None:
    """What had no chance to be read gets one."""
    remote = Remote()
    remote.gate.clear()
    calling = asyncio.create_task(link.call(remote.ask))
    await asyncio.sleep(0)
    time.sleep(0.4)  # noqa: ASYNC251
    asyncio.get_running_loop().call_later(0.05, remote.gate.set)

    assert await calling == "answer"


@pytest.mark.parametrize("error", [None, ValueError(), FileNotFoundError()], ids=repr)
async def test_what_is_no_failure_passes(
    link: Link, metrics: Metrics, monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    """It is an answer, as much as the one that was hoped for: calls succeed again from then on."""
    clock = FakeClock()
    monkeypatch.setattr("service.cluster.link.time", clock)
    remote = Remote()
    remote.error = RuntimeError()
    with pytest.raises(Unavailable):
        await link.call(remote.ask)
    clock.advance(0.6)
    remote.error = error

    for _ in range(2):
        with pytest.raises(type(error)) if error else nullcontext():
            await link.call(remote.ask)
        clock.advance(9)
    assert (link.is_up, link.up_since, metrics.values(metrics.shared_up)) == (True, 1_000.6, {"redis": 1})


async def test_what_fails_again_and_again_is_not_steady_in_between(link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a storage that is too slow for some calls; it is once it has answered for a while."""
    clock = FakeClock()
    monkeypatch.setattr("service.cluster.link.time", clock)
    remote, steady = Remote(), [link.is_steady]

    for error in (RuntimeError(), None, RuntimeError(), None):
        remote.error = error
        with pytest.raises(Unavailable) if error else nullcontext():
            await link.call(remote.ask)
        steady.append(link.is_steady)
        clock.advance(3)
    clock.advance(3)

    assert steady == [True, False, False, False, False]
    assert link.is_steady


async def test_a_call_may_have_a_time_of_its_own(link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of its tries."""
    times: list[float] = []

    @asynccontextmanager
    async def bounded(seconds: float) -> AsyncIterator[None]:
        times.append(seconds)
        yield

    monkeypatch.setattr("service.cluster.link.bounded", bounded)

    await link.call(Remote().ask)
    await link.call(Remote().ask, 15)

    assert times == [0.2, 15]


async def test_a_call_is_not_made_again_where_nobody_was_answered(link: Link) -> None:
    """It is the other side then, not this call, that is unlucky."""
    remote = Remote()
    await link.call(remote.ask)
    remote.gate.clear()

    with pytest.raises(Unavailable):
        await link.call(remote.ask)

    assert remote.calls == 2


@pytest.mark.parametrize(("rounds", "is_given_up"), [(3, False), (50, True)])
async def test_a_loop_that_stands_still_again_and_again_is_not_waited_for_for_ever(
    monkeypatch: pytest.MonkeyPatch, rounds: int, is_given_up: bool
) -> None:
    """Given one that is always late: the time begins anew so often, and nothing of it is left in the end."""
    monkeypatch.setattr("service.cluster.link._LATE_SECONDS", -1.0)
    loop, timers = asyncio.get_running_loop(), list[asyncio.TimerHandle]()
    call_at = loop.call_at

    def note(*values: Any) -> asyncio.TimerHandle:
        timers.append(call_at(*values))
        return timers[-1]

    monkeypatch.setattr(loop, "call_at", note)
    with pytest.raises(TimeoutError) if is_given_up else nullcontext():
        async with bounded(0.001):
            while len(timers) < rounds:  # noqa: ASYNC110  # no timer of this loop's own
                await asyncio.sleep(0)

    assert len(timers) == (6 if is_given_up else rounds)
    assert timers[-1].cancelled() or is_given_up
