"""When a failed call is tried again, and when that is enough. Nothing here waits."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.reasons import Reason
from service.upstream import retry
from service.upstream.answers import UpstreamFailure
from service.upstream.retry import Deadline, Retries, RetryBudget, RetryPolicy
from tests.support.transport import FakeClock, failure

TRANSIENT = [reason for reason in Reason if failure(reason).is_transient]
FINAL = [reason for reason in Reason if not failure(reason).is_transient]


class Sleeps:
    """Stands in for `asyncio.sleep`: turns the clock instead, and keeps the seconds."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        self._clock.advance(seconds)


@pytest.fixture
def sleeps(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Sleeps:
    """Waits take no time, except by the clock that deadlines are measured with."""
    sleeps = Sleeps(clock)
    monkeypatch.setattr(retry, "time", clock)
    monkeypatch.setattr(asyncio, "sleep", sleeps)
    return sleeps


@pytest.fixture
def full_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every wait is as long as its jitter can make it."""
    monkeypatch.setattr("random.uniform", lambda low, high: high)


class Script:
    """An operation that ends as told, one outcome per attempt; the last one stays."""

    def __init__(self, *outcomes: str | Exception) -> None:
        self._outcomes = list(outcomes)
        self.attempts = 0

    async def __call__(self) -> str:
        self.attempts += 1
        outcome = self._outcomes[min(self.attempts, len(self._outcomes)) - 1]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


async def run(
    operation: Callable[[], Awaitable[str]],
    clock: FakeClock,
    *,
    attempts: int = 3,
    seconds: float = 60,
    may_retry: Callable[[UpstreamFailure], bool] = lambda _: True,
    counts_429: bool = False,
) -> str:
    deadline = Deadline(clock() + seconds)
    retries = Retries(RetryPolicy(attempts), deadline, may_retry=may_retry, counts_429=counts_429)
    while True:
        try:
            return await operation()
        except UpstreamFailure as failed:
            await retries.pause(failed)


class TestRetrying:
    async def test_a_success_is_final(self, clock: FakeClock, sleeps: Sleeps) -> None:
        """One attempt, no wait, nobody asked."""
        operation = Script("done")

        result = await run(operation, clock, may_retry=lambda _: pytest.fail("asked for nothing"))

        assert (result, operation.attempts, sleeps.seconds) == ("done", 1, [])

    @pytest.mark.parametrize("reason", TRANSIENT, ids=str)
    async def test_what_may_pass_is_tried_again(self, clock: FakeClock, sleeps: Sleeps, reason: Reason) -> None:
        """A transient failure costs a wait, and its success counts."""
        operation = Script(failure(reason), "done")

        result = await run(operation, clock)

        assert (result, operation.attempts, len(sleeps.seconds)) == ("done", 2, 1)

    @pytest.mark.parametrize("error", [*map(failure, FINAL), OSError(), ValueError()], ids=repr)
    async def test_what_will_not_pass_is_not_tried_again(
        self, clock: FakeClock, sleeps: Sleeps, error: Exception
    ) -> None:
        """The first failure is raised as it is."""
        operation = Script(error, "done")

        with pytest.raises(type(error)) as raised:
            await run(operation, clock)

        assert raised.value is error
        assert (operation.attempts, sleeps.seconds) == (1, [])

    @pytest.mark.parametrize("attempts", [1, 2, 5])
    async def test_attempts_are_counted_with_the_first(self, clock: FakeClock, sleeps: Sleeps, attempts: int) -> None:
        """So many attempts, a wait between each two, and the last failure is raised."""
        failures = [failure(detail=str(number)) for number in range(9)]
        operation = Script(*failures)

        with pytest.raises(UpstreamFailure) as raised:
            await run(operation, clock, attempts=attempts)

        assert raised.value is failures[attempts - 1]
        assert (operation.attempts, len(sleeps.seconds)) == (attempts, attempts - 1)

    async def test_each_call_is_counted_when_it_is_made(self, clock: FakeClock, sleeps: Sleeps) -> None:
        """The first at once, each further one after its wait; what is not made is not counted."""
        counted: list[float] = []
        retries = Retries(
            RetryPolicy(3),
            Deadline(clock() + 60),
            may_retry=lambda _: True,
            count_call=lambda: counted.append(sum(sleeps.seconds)),
        )

        with pytest.raises(UpstreamFailure):
            await retries.run(Script(failure(retry_after=10)))

        assert counted == [0, 10, 20]

    async def test_no_wait_ends_past_the_deadline(self, clock: FakeClock, sleeps: Sleeps) -> None:
        """A wait that would use up the time is not begun, and spends no budget."""
        operation = Script(failure(retry_after=10), "done")

        with pytest.raises(UpstreamFailure):
            await run(operation, clock, seconds=10, may_retry=lambda _: pytest.fail("a retry that cannot be was asked"))

        assert (operation.attempts, sleeps.seconds) == (1, [])

    async def test_a_wait_that_ends_before_the_deadline_is_taken(self, clock: FakeClock, sleeps: Sleeps) -> None:
        """What upstream asks for is kept to where there is time for it."""
        operation = Script(failure(retry_after=10), "done")

        result = await run(operation, clock, seconds=10.001)

        assert (result, sleeps.seconds) == ("done", [10])

    async def test_time_spent_in_attempts_counts(self, clock: FakeClock, sleeps: Sleeps) -> None:
        """The deadline is for the whole operation, attempts included."""

        async def slow() -> str:
            clock.advance(25)
            raise failure(Reason.TIMEOUT)

        started = clock()
        with pytest.raises(UpstreamFailure):
            await run(slow, clock, attempts=10, seconds=60)

        assert len(sleeps.seconds) == 2
        assert clock() - started == pytest.approx(75 + sum(sleeps.seconds))

    async def test_a_refused_permission_ends_it(self, clock: FakeClock, sleeps: Sleeps) -> None:
        """An open circuit or an empty budget: the failure at hand is raised."""
        last = failure(detail="second")
        operation = Script(failure(), last, "done")
        answers = iter([True, False])

        with pytest.raises(UpstreamFailure) as raised:
            await run(operation, clock, attempts=5, may_retry=lambda _: next(answers))

        assert raised.value is last
        assert operation.attempts == 2

    async def test_permission_is_asked_once_per_retry_and_about_its_failure(
        self, clock: FakeClock, sleeps: Sleeps
    ) -> None:
        """Not for the last attempt, which nothing follows."""
        failures = [failure(), failure(Reason.TIMEOUT), failure(Reason.TRUNCATED)]
        asked: list[UpstreamFailure] = []

        def allow(one: UpstreamFailure) -> bool:
            asked.append(one)
            return True

        with pytest.raises(UpstreamFailure):
            await run(Script(*failures), clock, may_retry=allow)

        assert asked == failures[:2]

    @pytest.mark.usefixtures("full_jitter")
    async def test_waits_double_up_to_the_longest(self, clock: FakeClock, sleeps: Sleeps) -> None:
        """From half a second to eight."""
        with pytest.raises(UpstreamFailure):
            await run(Script(failure()), clock, attempts=8)

        assert sleeps.seconds == [0.5, 1, 2, 4, 8, 8, 8]

    async def test_pauses_are_no_attempts(self, clock: FakeClock, sleeps: Sleeps) -> None:
        """Given seven 429s and a failure between them, the two attempts that there are suffice."""
        throttled = failure(Reason.RATE_LIMITED, status=429)
        operation = Script(*[throttled] * 4, failure(), *[throttled] * 3, "done")

        result = await run(operation, clock, attempts=2, seconds=1_000)

        assert (result, operation.attempts) == ("done", 9)

    async def test_pauses_end_with_the_time(self, clock: FakeClock, sleeps: Sleeps) -> None:
        """And only with it."""
        with pytest.raises(UpstreamFailure):
            await run(Script(failure(Reason.RATE_LIMITED, status=429, retry_after=7)), clock, attempts=1, seconds=60)

        assert sleeps.seconds[:5] == [7, 7, 7, pytest.approx(7, abs=2), pytest.approx(7, abs=2)]
        assert 45 <= sum(sleeps.seconds) < 60

    @pytest.mark.usefixtures("full_jitter")
    async def test_pauses_and_attempts_grow_apart(self, clock: FakeClock, sleeps: Sleeps) -> None:
        """Each kind by its own count."""
        throttled = failure(Reason.RATE_LIMITED, status=429)

        await run(Script(throttled, throttled, failure(), throttled, failure(), "done"), clock)

        assert sleeps.seconds == [0.5, 1, 0.5, 2, 1]

    async def test_a_pause_lasts_a_moment_at_least(
        self, clock: FakeClock, sleeps: Sleeps, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A jitter of nothing would ask again at once."""
        monkeypatch.setattr("random.uniform", lambda low, high: low)

        await run(Script(failure(Reason.RATE_LIMITED, status=429), failure(), "done"), clock)

        assert sleeps.seconds == [0.25, 0]

    async def test_where_pauses_are_not_waited_out_they_are_attempts(self, clock: FakeClock, sleeps: Sleeps) -> None:
        """Some limits last an hour."""
        operation = Script(failure(Reason.RATE_LIMITED, status=429), "done")

        with pytest.raises(UpstreamFailure):
            await run(operation, clock, attempts=1, counts_429=True)

        assert operation.attempts == 1

    async def test_a_cancellation_is_not_an_outcome(self, clock: FakeClock) -> None:
        """Cancelled in the middle of an attempt, it ends at once and as cancelled."""
        operation = Script("never")

        async def hang() -> str:
            await operation()
            await asyncio.Event().wait()
            return "never"

        task = asyncio.create_task(run(hang, clock))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

        assert task.cancelled()
        assert operation.attempts == 1


class TestPolicy:
    @given(
        attempt=st.integers(1, 30),
        backoff=st.floats(0, 10),
        max_backoff=st.floats(0, 100),
        retry_after=st.none() | st.floats(0, 1_000),
    )
    def test_a_wait_lies_between_what_upstream_asks_for_and_the_jitters_bounds(
        self, attempt: int, backoff: float, max_backoff: float, retry_after: float | None
    ) -> None:
        """Never less than asked for, never more than the larger of that and the bound."""
        policy = RetryPolicy(3, backoff=backoff, max_backoff=max_backoff)

        seconds = policy.wait(failure(retry_after=retry_after), attempt)

        bound = min(max_backoff, backoff * 2**attempt)
        assert (retry_after or 0) <= seconds <= max(retry_after or 0, bound)

    @pytest.mark.parametrize(("attempt", "bound"), [(1, 0.5), (2, 1.0), (3, 2.0), (5, 8.0), (10, 8.0)])
    def test_the_jitter_is_full(self, monkeypatch: pytest.MonkeyPatch, attempt: int, bound: float) -> None:
        """Drawn from zero, so that many callers do not come back together."""
        drawn: list[tuple[float, float]] = []

        def draw(low: float, high: float) -> float:
            drawn.append((low, high))
            return 0.1

        monkeypatch.setattr("random.uniform", draw)

        seconds = RetryPolicy(3).wait(failure(), attempt)

        assert (drawn, seconds) == ([(0, bound)], 0.1)


class TestBudget:
    @staticmethod
    def spent(budget: RetryBudget, limit: int = 1_000) -> int:
        """How many retries it grants now."""
        return next((number for number in range(limit) if not budget.spend()), limit)

    def test_a_quiet_service_has_the_floor(self, clock: FakeClock) -> None:
        """Twenty retries a minute without any traffic."""
        assert self.spent(RetryBudget(clock=clock)) == 20

    @pytest.mark.parametrize(("calls", "granted"), [(10, 21), (100, 30), (1_000, 120)])
    def test_traffic_adds_a_tenth(self, clock: FakeClock, calls: int, granted: int) -> None:
        """Of the calls of the last minute."""
        budget = RetryBudget(clock=clock)
        for _ in range(calls):
            budget.count_call()

        assert self.spent(budget) == granted

    def test_calls_are_forgotten_after_a_minute(self, clock: FakeClock) -> None:
        """Only the last minute's traffic earns retries."""
        budget = RetryBudget(clock=clock)
        for _ in range(100):
            budget.count_call()
        clock.advance(60.001)

        assert self.spent(budget) == 20

    def test_retries_are_forgiven_after_a_minute(self, clock: FakeClock) -> None:
        """Each by itself, a minute after it was made."""
        budget = RetryBudget(share=0, floor=3, clock=clock)
        granted = [budget.spend()]
        clock.advance(30)
        granted += [budget.spend(), budget.spend(), budget.spend()]
        clock.advance(30.001)
        later = self.spent(budget)
        clock.advance(30)

        assert granted == [True, True, True, False]
        assert later == 1
        assert self.spent(budget) == 2

    def test_a_refused_retry_costs_nothing(self, clock: FakeClock) -> None:
        """Asking in vain does not put off the next grant."""
        budget = RetryBudget(share=0, floor=1, clock=clock)
        budget.spend()
        for _ in range(10):
            clock.advance(6)
            budget.spend()
        clock.advance(0.001)

        assert budget.spend()
