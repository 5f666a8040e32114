"""What instances tell each other of a broken dependency: how long to leave it alone, and which of them tries."""

import asyncio

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from service.cluster.breaker_hints import BreakerHints
from service.telemetry.metrics import Circuit, Metrics
from service.upstream.breaker import Breaker
from tests.support.transport import TIMEOUT, FakeClock, failure

RESET = 60.0
NAME, TRIAL = "batch:circuit:api", "batch:circuit:api:trial"


class Keys:
    """The part of Redis that is needed, by a clock that is turned by hand."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self._ends: dict[str, float] = {}
        self.is_away = False
        self.asked = asyncio.Event()

    async def set(self, name: str, _: str, *, px: int, nx: bool = False) -> bool | None:
        if nx and await self.pttl(name) > 0:
            return None
        self._look()
        self._ends[name] = self._clock() + px / 1000
        return True

    async def pttl(self, name: str) -> int:
        self._look()
        left = int((self._ends.get(name, 0.0) - self._clock()) * 1000)
        return left if left > 0 else -2

    async def pexpire(self, name: str, px: int) -> bool:
        left = await self.pttl(name)
        if left > 0:
            self._ends[name] = self._clock() + px / 1000
        return left > 0

    async def delete(self, *names: str) -> None:
        self._look()
        for name in names:
            self._ends.pop(name, None)

    def _look(self) -> None:
        self.asked.set()
        if self.is_away:
            raise RedisConnectionError


class Instance:
    """One of several, with a circuit that opens at the first failure."""

    def __init__(self, keys: Keys, clock: FakeClock) -> None:
        self.circuit = Breaker(Circuit.API, failures=1, reset=RESET, metrics=Metrics(), clock=clock)
        self.hints = BreakerHints(keys, [self.circuit])

    def fail(self) -> None:
        self.circuit.admit().finish(failure())

    async def look(self) -> float:
        """Exchange hints; returns for how long calls are paused then."""
        await self.hints.exchange(self.circuit)
        return self.circuit.retry_after


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def keys(clock: FakeClock) -> Keys:
    return Keys(clock)


@pytest.fixture
def two(keys: Keys, clock: FakeClock) -> tuple[Instance, Instance]:
    return Instance(keys, clock), Instance(keys, clock)


async def test_what_one_found_broken_the_other_leaves_alone_for_as_long(
    two: tuple[Instance, Instance], clock: FakeClock
) -> None:
    """For what is left of the pause, whenever it hears of it."""
    one, other = two
    one.fail()
    await one.look()
    clock.advance(20)

    assert await other.look() == pytest.approx(RESET - 20, abs=0.01)
    assert await one.look() == pytest.approx(RESET - 20, abs=0.01)


async def test_what_is_only_heard_of_is_not_told_on(two: tuple[Instance, Instance], keys: Keys) -> None:
    """Else a hint would live for ever; one that is gone was taken back, and the dependency may be tried."""
    one, other = two
    one.fail()
    await one.look()
    await other.look()
    await keys.delete(NAME)

    assert await other.look() == 0
    assert await keys.pttl(NAME) < 0


async def test_when_the_pause_is_over_one_of_them_tries(two: tuple[Instance, Instance], clock: FakeClock) -> None:
    """The other waits on for a moment, again and again."""
    one, other = two
    one.fail()
    await one.look()
    await other.look()
    clock.advance(RESET - 1)
    await other.look()
    for _ in range(3):
        assert await one.look() == pytest.approx(1.5)
        clock.advance(1)

    assert await other.look() == 0


@pytest.mark.parametrize("who", [0, 1], ids=["who found out", "who was told"])
async def test_who_tries_keeps_the_others_off_until_it_knows(
    two: tuple[Instance, Instance], keys: Keys, clock: FakeClock, who: int
) -> None:
    """Then it takes the hint back, and they may call as well. Of the next failure it hears again."""
    two[0].fail()
    await two[0].look()
    await two[1].look()
    clock.advance(RESET - 1)
    trying, waiting = two[who], two[1 - who]
    await trying.look()
    await waiting.look()
    clock.advance(1)

    trial = trying.circuit.admit()
    await trying.look()
    assert await waiting.look() == pytest.approx(1.5)

    trial.finish()
    await trying.look()
    assert (await keys.pttl(NAME), await keys.pttl(TRIAL)) == (-2, -2)
    clock.advance(1.5)
    assert await waiting.look() == 0
    waiting.circuit.admit().finish()
    assert (await waiting.look(), waiting.circuit.pause_seconds) == (0, None)

    waiting.fail()
    await waiting.look()
    assert await trying.look() == pytest.approx(RESET)


@pytest.mark.parametrize("who", [0, 1], ids=["who found out", "who was told"])
async def test_a_failed_trial_is_told_as_any_other_failure(
    two: tuple[Instance, Instance], clock: FakeClock, who: int
) -> None:
    """Also by one that had only heard of it: it does not try again and again. Next time any of them may."""
    first, second = two
    first.fail()
    await first.look()
    await second.look()
    clock.advance(RESET - 1)
    trying, waiting = two[who], two[1 - who]
    await trying.look()
    await waiting.look()
    clock.advance(1)
    trying.fail()

    assert await trying.look() == pytest.approx(RESET)
    assert await trying.look() == pytest.approx(RESET)
    clock.advance(RESET - 1)
    await waiting.look()
    assert await trying.look() == pytest.approx(1.5)


async def begin_trial(trying: Instance, waiting: Instance, clock: FakeClock) -> None:
    """Let a pause end of which both know, and in which the first has announced that it is going to try."""
    trying.fail()
    await trying.look()
    await waiting.look()
    clock.advance(RESET - 1)
    await trying.look()
    await waiting.look()
    clock.advance(1)


async def test_who_waits_hears_of_a_failed_trial(two: tuple[Instance, Instance], clock: FakeClock) -> None:
    """It does not try too, a moment later: nobody does for a whole pause."""
    trying, waiting = two
    await begin_trial(trying, waiting, clock)
    trying.fail()
    await trying.look()

    waited = []
    for _ in range(24):
        clock.advance(0.5)
        waited.append(await waiting.look())

    assert min(waited) > 40


async def test_a_trial_that_went_well_is_heard_of_by_who_tried_in_vain(
    two: tuple[Instance, Instance], clock: FakeClock
) -> None:
    """It had opened its circuit by itself: it does not tell of that again, which would open the other one's."""
    one, other = two
    one.fail()
    await one.look()
    await other.look()
    clock.advance(RESET)
    trial = other.circuit.admit()
    await other.look()
    one.fail()
    await one.look()
    clock.advance(10)
    trial.finish()

    paused = [(await other.look(), await one.look()) for _ in range(3)]

    assert [*paused, other.circuit.is_closed] == [(0, 0)] * 3 + [True]


async def test_a_long_trial_keeps_the_others_off(two: tuple[Instance, Instance], clock: FakeClock) -> None:
    """One that was given up says nothing: the hint stays, and after a while another one may try."""
    trying, waiting = two
    await begin_trial(trying, waiting, clock)

    trial = trying.circuit.admit()
    for _ in range(20):
        await trying.look()
        assert await waiting.look() == pytest.approx(1.5)
        clock.advance(1)
    trial.abandon()
    await trying.look()
    assert await waiting.look() == pytest.approx(1.5)
    clock.advance(10)
    await waiting.look()

    assert await waiting.look() == 0


async def test_one_that_died_while_it_tried_keeps_others_off_for_seconds(
    two: tuple[Instance, Instance], clock: FakeClock
) -> None:
    """Not for a whole pause."""
    one, other = two
    one.fail()
    await one.look()
    await other.look()
    clock.advance(RESET - 1)
    await one.look()
    clock.advance(9)
    assert await other.look() == pytest.approx(1.5)

    clock.advance(1.5)
    await other.look()

    assert await other.look() == 0


async def test_without_redis_each_is_on_its_own(keys: Keys, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is raised, and it is told once Redis is back; what is idle asks seldom, what is not asks often."""
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            one.fail()
        if len(pauses) == 3:
            keys.is_away = False
        if len(pauses) == 5:
            raise asyncio.CancelledError

    monkeypatch.setattr("service.cluster.breaker_hints.asyncio.sleep", sleep)
    one, other = Instance(keys, clock), Instance(keys, clock)
    keys.is_away = True
    async with asyncio.timeout(TIMEOUT):
        with pytest.raises(asyncio.CancelledError):
            await one.hints.exchange_regularly()
    monkeypatch.undo()

    assert pauses == [4.0, 4.0, 4.0, 0.5, 0.5]
    assert await other.look() == pytest.approx(RESET)
