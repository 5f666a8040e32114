"""The breaker against a model of itself, over random runs of everything that can happen to it."""

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from service.telemetry.metrics import Circuit, Metrics
from service.upstream.breaker import Admission, Breaker, CircuitOpen
from tests.support.transport import FakeClock, failure, sample

FAILURES = 3
RESET = 60.0
STATES = {"closed": 0, "half-open": 1, "open": 2}
LEGAL = {("closed", "open"), ("open", "half-open"), ("half-open", "open"), ("half-open", "closed")}


class BreakerMachine(RuleBasedStateMachine):
    """`era` counts changes of state: an outcome counts only in the era that admitted its call."""

    admissions: Bundle[tuple[Admission, int]] = Bundle("admissions")

    def __init__(self) -> None:
        super().__init__()
        self.clock, self.metrics = FakeClock(), Metrics()
        self.breaker = Breaker(Circuit.API, failures=FAILURES, reset=RESET, metrics=self.metrics, clock=self.clock)
        self.state = "closed"
        self.era = 0
        self.failures = 0
        self.subjects: set[str] = set()
        self.opened = 0.0
        self.trials = 0
        self.changes = dict.fromkeys(STATES, 0)

    def change(self, state: str) -> None:
        assert (self.state, state) in LEGAL
        self.state = state
        self.era += 1
        self.failures = 0
        self.trials = 0
        self.opened = self.clock()
        self.changes[state] += 1

    @rule(target=admissions)
    def admit(self) -> Any:
        """A call begins if it may: always when closed, after the rest when open, alone when half-open."""
        if self.state == "open" and self.clock() >= self.opened + RESET:
            self.change("half-open")
        allowed = self.state == "closed" or (self.state == "half-open" and self.trials == 0)
        if not allowed:
            with pytest.raises(CircuitOpen) as refused:
                self.breaker.admit()
            assert 0 < refused.value.retry_after <= RESET
            return None, -1
        admission = self.breaker.admit()
        if self.state == "half-open":
            self.trials += 1
        return admission, self.era

    @rule(taken=consumes(admissions), subject=st.sampled_from([None, "a", "b"]))
    def succeed(self, taken: tuple[Admission | None, int], subject: str | None) -> None:
        """A call ends well."""
        admission, era = taken
        if admission is None:
            return
        admission.finish(subject=subject)
        if era == self.era:
            self.failures = 0
            self.subjects.discard(subject or "")
            if self.state == "half-open":
                self.change("closed")

    @rule(taken=consumes(admissions), subject=st.sampled_from([None, "a", "b", "c", "d"]))
    def fail(self, taken: tuple[Admission | None, int], subject: str | None) -> None:
        """A call ends badly."""
        admission, era = taken
        if admission is None:
            return
        admission.finish(failure(), subject)
        if era != self.era:
            return
        if self.state == "half-open":
            self.change("open")
        elif subject is None or subject not in self.subjects:
            if subject is not None:
                self.subjects.add(subject)
            self.failures += 1
            if self.failures == FAILURES:
                self.change("open")

    @rule(taken=consumes(admissions))
    def abandon(self, taken: tuple[Admission | None, int]) -> None:
        """A call ends without a word about the dependency."""
        admission, era = taken
        if admission is None:
            return
        admission.abandon()
        if era == self.era and self.state == "half-open":
            self.trials = 0

    @rule(taken=admissions)
    def tell_late(self, taken: tuple[Admission | None, int]) -> None:
        """A call from before a change ends, twice even: both are void."""
        admission, era = taken
        if admission is not None and era != self.era:
            admission.finish()
            admission.finish(failure())

    @rule(seconds=st.sampled_from([0.5, RESET / 2, RESET - 0.5, RESET]))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.clock.advance(seconds)

    @invariant()
    def agrees_with_the_model(self) -> None:
        """State and transitions are exported as the model has them, and never two trials run."""
        registry = self.metrics.registry
        assert self.trials <= 1
        assert sample(registry, "batch_breaker_state", circuit="api") == STATES[self.state]
        for state, count in self.changes.items():
            assert sample(registry, "batch_breaker_transitions_total", circuit="api", state=state) == count
        refuses = (self.state == "open" and self.clock() < self.opened + RESET) or self.trials == 1
        assert self.breaker.is_open is refuses


TestBreakerMachine = BreakerMachine.TestCase
TestBreakerMachine.settings = settings(max_examples=40, stateful_step_count=50)
