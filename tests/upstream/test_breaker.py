"""The circuit breaker's promises, one by one. Time is turned by hand."""

import asyncio
import itertools
import logging
from collections.abc import Callable

import pytest

from service.telemetry.metrics import Circuit, Metrics
from service.upstream import breaker as breaker_module
from service.upstream.answers import UpstreamFailure
from service.upstream.breaker import Admission, Breaker, CircuitOpen, Operation
from tests.support.transport import TIMEOUT, FakeClock, failure, make_breakers, sample, yield_to_loop

FAILURES = 3
RESET = 60.0


_subjects = (f"subject-{number}" for number in itertools.count())


@pytest.fixture
def breaker(metrics: Metrics, clock: FakeClock) -> Breaker:
    """A closed circuit that opens after 3 failures, for 60 s."""
    return Breaker(Circuit.API, failures=FAILURES, reset=RESET, metrics=metrics, clock=clock)


def fail(breaker: Breaker, times: int = 1) -> None:
    """As many operations that end badly, each about another subject."""
    for _ in range(times):
        breaker.admit().finish(failure(), next(_subjects))


def trip(breaker: Breaker) -> None:
    fail(breaker, FAILURES)


def half_open_trial(breaker: Breaker, clock: FakeClock) -> Admission:
    trip(breaker)
    clock.advance(RESET)
    return breaker.admit()


def gauge(metrics: Metrics) -> float:
    return sample(metrics.registry, "batch_breaker_state", circuit="api")


def transitions(metrics: Metrics) -> dict[str, float]:
    return {
        state: sample(metrics.registry, "batch_breaker_transitions_total", circuit="api", state=state)
        for state in ("closed", "half-open", "open")
    }


class TestClosed:
    def test_it_opens_after_so_many_failures_in_a_row(self, breaker: Breaker) -> None:
        """Not one earlier."""
        fail(breaker, FAILURES - 1)
        before = breaker.is_open
        fail(breaker)

        assert (before, breaker.is_open) == (False, True)

    def test_a_success_starts_the_count_again(self, breaker: Breaker) -> None:
        """Only failures in a row count."""
        fail(breaker, FAILURES - 1)
        breaker.admit().finish()
        fail(breaker, FAILURES - 1)

        assert not breaker.is_open

    def test_an_abandoned_call_counts_as_nothing(self, breaker: Breaker) -> None:
        """It neither adds a failure nor clears those before it."""
        fail(breaker, FAILURES - 1)
        for _ in range(FAILURES):
            breaker.admit().abandon()
        before = breaker.is_open
        fail(breaker)

        assert (before, breaker.is_open) == (False, True)

    def test_one_subject_that_keeps_failing_counts_once(self, breaker: Breaker) -> None:
        """One broken image is no broken dependency."""
        for _ in range(5 * FAILURES):
            breaker.admit().finish(failure(), "a")
        before = breaker.is_open
        fail(breaker, FAILURES - 1)

        assert (before, breaker.is_open) == (False, True)

    def test_a_subject_counts_again_after_its_own_success(self, breaker: Breaker) -> None:
        """It works, so that its next failure is a new one."""
        breaker.admit().finish(failure(), "a")
        breaker.admit().finish(subject="a")
        for subject in ("a", "b", "c"):
            breaker.admit().finish(failure(), subject)

        assert breaker.is_open

    def test_the_success_of_others_does_not_make_a_subject_count_again(self, breaker: Breaker) -> None:
        """One broken image among good ones stays one broken image."""
        breaker.admit().finish(failure(), "a")
        breaker.admit().finish(subject="good")
        fail(breaker, FAILURES - 1)
        breaker.admit().finish(failure(), "a")
        before = breaker.is_open
        fail(breaker)

        assert (before, breaker.is_open) == (False, True)

    def test_the_memory_of_subjects_is_bounded(self, breaker: Breaker, monkeypatch: pytest.MonkeyPatch) -> None:
        """The one whose failure is longest ago is forgotten, and counts anew."""
        monkeypatch.setattr(breaker_module, "_SUBJECTS", 2)
        for subject in ("a", "b"):
            breaker.admit().finish(failure(), subject)
        breaker.admit().finish()
        breaker.admit().finish(failure(), "c")  # "a" is forgotten for it
        breaker.admit().finish(failure(), "c")
        before = breaker.is_open
        breaker.admit().finish(failure(), "a")
        breaker.admit().finish(failure(), "b")

        assert (before, breaker.is_open) == (False, True)

    def test_failures_without_a_subject_all_count(self, breaker: Breaker) -> None:
        """Calls about nothing in particular are not taken for the same one."""
        for _ in range(FAILURES):
            breaker.admit().finish(failure())

        assert breaker.is_open

    def test_an_outcome_told_twice_counts_once(self, breaker: Breaker) -> None:
        """An admission is finished by its first word."""
        admission = breaker.admit()
        for _ in range(FAILURES):
            admission.finish(failure())
            admission.abandon()

        assert not breaker.is_open

    def test_many_calls_may_run_at_once(self, breaker: Breaker) -> None:
        """A closed circuit holds nobody back."""
        admissions = [breaker.admit() for _ in range(50)]

        assert len(admissions) == 50


class TestOpen:
    def test_it_says_how_long_to_stay_away(self, breaker: Breaker, clock: FakeClock) -> None:
        """The seconds left of the rest, on the error and on the circuit."""
        trip(breaker)
        clock.advance(12.5)

        with pytest.raises(CircuitOpen) as refused:
            breaker.admit()

        assert (refused.value.circuit, refused.value.retry_after) == (Circuit.API, RESET - 12.5)
        assert (breaker.is_open, breaker.retry_after) == (True, RESET - 12.5)

    def test_it_stays_open_to_the_last_moment(self, breaker: Breaker, clock: FakeClock) -> None:
        """And not any longer."""
        trip(breaker)

        clock.advance(RESET - 0.001)
        with pytest.raises(CircuitOpen):
            breaker.admit()
        clock.advance(0.001)
        breaker.admit()

    def test_being_refused_does_not_lengthen_the_rest(self, breaker: Breaker, clock: FakeClock) -> None:
        """However often somebody asks."""
        trip(breaker)
        for _ in range(100):
            clock.advance(0.1)
            with pytest.raises(CircuitOpen):
                breaker.admit()

        assert breaker.retry_after == pytest.approx(RESET - 10)

    @pytest.mark.parametrize("outcome", [None, failure()], ids=["success", "failure"])
    def test_outcomes_of_before_change_nothing(
        self, breaker: Breaker, clock: FakeClock, metrics: Metrics, outcome: UpstreamFailure | None
    ) -> None:
        """A call admitted while the circuit was closed ends now: neither is the rest longer nor is it over."""
        late = [breaker.admit() for _ in range(FAILURES)]
        trip(breaker)
        clock.advance(20)

        for admission in late:
            admission.finish(outcome, "late")

        assert breaker.retry_after == RESET - 20
        assert transitions(metrics)["open"] == 1


class TestAdvice:
    def test_a_pause_is_taken_over(self, breaker: Breaker, clock: FakeClock) -> None:
        """For as long as it lasts at the instance that knows of it; then one trial decides."""
        breaker.advise(12)

        assert breaker.retry_after == 12
        clock.advance(12)
        breaker.admit()
        with pytest.raises(CircuitOpen):
            breaker.admit()

    def test_a_pause_that_is_known_is_set_right(self, breaker: Breaker) -> None:
        """Longer or shorter."""
        trip(breaker)

        for seconds in (5.0, 80.0, 0.0):
            breaker.advise(seconds)
            assert breaker.retry_after == seconds

    def test_that_all_is_well_is_no_news_to_a_closed_circuit(self, breaker: Breaker, metrics: Metrics) -> None:
        """Calls go on, side by side."""
        breaker.advise(0)

        breaker.admit()
        breaker.admit()
        assert transitions(metrics)["open"] == 0


class TestHalfOpen:
    def test_one_trial_is_let_through_and_no_other(self, breaker: Breaker, clock: FakeClock) -> None:
        """The others are sent away for a second while it runs."""
        half_open_trial(breaker, clock)

        with pytest.raises(CircuitOpen) as refused:
            breaker.admit()

        assert refused.value.retry_after == 1
        assert breaker.is_open

    async def test_of_many_waiters_one_tries(self, metrics: Metrics, clock: FakeClock) -> None:
        """Twenty operations start at the same moment after the rest; one reaches the dependency."""
        breakers = make_breakers(metrics, failures=1, reset=RESET, clock=clock)
        fail(breakers[Circuit.API])
        clock.advance(RESET)
        gate = asyncio.Event()
        trials = 0

        async def operate() -> None:
            nonlocal trials
            with Operation(breakers) as operation:
                operation.admit(Circuit.API)
                trials += 1
                await gate.wait()

        waiters = [asyncio.create_task(operate()) for _ in range(20)]
        await asyncio.sleep(0)
        gate.set()
        outcomes = await asyncio.gather(*waiters, return_exceptions=True)

        assert trials == 1
        assert [type(outcome) for outcome in outcomes].count(CircuitOpen) == 19
        assert not breakers[Circuit.API].is_open

    @pytest.mark.parametrize(
        ("end", "is_refused"),
        [(Admission.finish, False), (Admission.abandon, False), (lambda trial: trial.finish(failure()), True)],
        ids=["succeeds", "is cancelled", "fails"],
    )
    async def test_what_it_comes_to_can_be_waited_for(
        self, breaker: Breaker, clock: FakeClock, end: Callable[[Admission], None], *, is_refused: bool
    ) -> None:
        """One that says nothing leaves it to the next."""
        trial = half_open_trial(breaker, clock)
        waiting = asyncio.create_task(breaker.wait_for_trial(TIMEOUT))
        await yield_to_loop()
        is_over = waiting.done()
        end(trial)
        await asyncio.wait([waiting])

        assert not is_over
        assert isinstance(waiting.exception(), CircuitOpen) == is_refused

    async def test_what_takes_too_long_is_not_waited_for(self, breaker: Breaker, clock: FakeClock) -> None:
        """Calls are paused for who has no more time."""
        half_open_trial(breaker, clock)

        with pytest.raises(CircuitOpen):
            await breaker.wait_for_trial(0.01)

    def test_a_good_trial_closes_it(self, breaker: Breaker, clock: FakeClock) -> None:
        """And the count of failures begins at zero."""
        half_open_trial(breaker, clock).finish()

        fail(breaker, FAILURES - 1)
        before = breaker.is_open
        fail(breaker)
        assert (before, breaker.is_open) == (False, True)

    def test_a_failed_trial_opens_it_for_a_whole_new_rest(self, breaker: Breaker, clock: FakeClock) -> None:
        """One failure is enough, and the time of the trial is not counted in."""
        trial = half_open_trial(breaker, clock)
        clock.advance(25)

        trial.finish(failure())

        assert breaker.retry_after == RESET

    def test_an_abandoned_trial_leaves_its_place_to_the_next(self, breaker: Breaker, clock: FakeClock) -> None:
        """It decides nothing: the next call is the trial."""
        half_open_trial(breaker, clock).abandon()
        before = breaker.is_open

        breaker.admit().finish(failure())

        assert (before, breaker.retry_after) == (False, RESET)

    @pytest.mark.parametrize("outcome", [None, failure()], ids=["success", "failure"])
    def test_outcomes_of_before_do_not_decide(
        self, breaker: Breaker, clock: FakeClock, metrics: Metrics, outcome: UpstreamFailure | None
    ) -> None:
        """A call that outlived the whole rest is no trial, and does not free the place of the one that is."""
        late = breaker.admit()
        half_open_trial(breaker, clock)

        late.finish(outcome)

        assert gauge(metrics) == 1
        with pytest.raises(CircuitOpen):
            breaker.admit()

    def test_a_call_of_before_that_is_given_up_frees_no_place(self, breaker: Breaker, clock: FakeClock) -> None:
        """The trial that is under way is the only one."""
        late = breaker.admit()
        half_open_trial(breaker, clock)

        late.abandon()

        with pytest.raises(CircuitOpen):
            breaker.admit()

    def test_a_trial_of_an_earlier_rest_does_not_decide_a_later_one(
        self, breaker: Breaker, clock: FakeClock, metrics: Metrics
    ) -> None:
        """An abandoned trial that is finished after all says nothing."""
        first = half_open_trial(breaker, clock)
        first.abandon()
        breaker.admit().finish(failure())
        clock.advance(RESET)
        breaker.admit()

        first.finish()
        first.abandon()

        assert gauge(metrics) == 1
        assert breaker.is_open

    def test_what_opened_it_does_not_open_it_again(self, breaker: Breaker, clock: FakeClock) -> None:
        """A broken order that somebody asks for again and again does not keep it open for all; other failures do."""
        for number in range(FAILURES):
            breaker.admit().finish(failure(), f"image-{number}")
        clock.advance(RESET)
        breaker.admit().finish()

        for number in range(FAILURES):
            breaker.admit().finish(failure(), f"image-{number}")
        before = breaker.is_open
        fail(breaker, FAILURES)

        assert (before, breaker.is_open) == (False, True)

    def test_what_opened_it_decides_as_a_trial(self, breaker: Breaker, clock: FakeClock) -> None:
        """Nobody else may have asked."""
        for number in range(FAILURES):
            breaker.admit().finish(failure(), f"image-{number}")
        clock.advance(RESET)

        breaker.admit().finish(failure(), "image-0")

        assert breaker.is_open

    def test_an_image_that_failed_as_a_trial_counts_again(self, breaker: Breaker, clock: FakeClock) -> None:
        """It was the circuit's trial, not its own."""
        half_open_trial(breaker, clock).finish(failure(), "image")
        clock.advance(RESET)
        breaker.admit().finish()

        breaker.admit().finish(failure(), "image")
        fail(breaker, FAILURES - 1)

        assert breaker.is_open


class TestMetrics:
    def test_the_gauge_follows_and_every_change_is_counted(
        self, breaker: Breaker, clock: FakeClock, metrics: Metrics
    ) -> None:
        """0 closed, 1 half-open, 2 open; a failed and a good trial on the way."""
        seen = [gauge(metrics)]

        trip(breaker)
        seen.append(gauge(metrics))
        clock.advance(RESET)
        trial = breaker.admit()
        seen.append(gauge(metrics))
        trial.finish(failure())
        seen.append(gauge(metrics))
        clock.advance(RESET)
        breaker.admit().finish()
        seen.append(gauge(metrics))

        assert seen == [0, 2, 1, 2, 0]
        assert transitions(metrics) == {"open": 2, "half-open": 2, "closed": 1}

    def test_every_change_is_in_the_log(
        self, breaker: Breaker, clock: FakeClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        """That it opens is a warning."""
        with caplog.at_level(logging.INFO):
            half_open_trial(breaker, clock).finish()

        told = [(record.levelname, record.msg["state"]) for record in caplog.records if isinstance(record.msg, dict)]
        assert told == [("WARNING", "open"), ("INFO", "half-open"), ("INFO", "closed")]

    def test_ordinary_traffic_is_no_change(self, breaker: Breaker, metrics: Metrics) -> None:
        """Successes of a closed circuit do not close it again."""
        for _ in range(5):
            breaker.admit().finish()
        fail(breaker)

        assert transitions(metrics) == {"open": 0, "half-open": 0, "closed": 0}

    def test_the_other_circuit_has_series_of_its_own(self, breaker: Breaker, metrics: Metrics) -> None:
        """What happens to one dependency is not shown for another."""
        trip(breaker)

        assert sample(metrics.registry, "batch_breaker_state", circuit="assets") == 0
