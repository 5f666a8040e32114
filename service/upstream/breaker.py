"""The circuit breaker: pybreaker keeps state and counters, this adapter makes it safe for asyncio.

pybreaker's own ways of guarding count a cancellation as a failure, let every waiter through when half-open and take
late outcomes for new ones. Here nothing awaits inside pybreaker: a call is admitted, runs, and its outcome is handed
over afterwards, unless the circuit has moved on meanwhile.
"""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, Self

import pybreaker

from service.signal import Signal, wait_at_most
from service.telemetry.logs import get_logger
from service.telemetry.metrics import Circuit, Metrics
from service.upstream.answers import UpstreamFailure

log = get_logger(__name__)

_STATE_VALUES = {pybreaker.STATE_CLOSED: 0, pybreaker.STATE_HALF_OPEN: 1, pybreaker.STATE_OPEN: 2}


# Subjects whose failure is remembered, so that it counts once: also when the circuit has been open since, or one broken
# order would open it again for everybody as often as somebody asks for it.
_SUBJECTS = 1000


class CircuitOpen(Exception):
    """No call is admitted for another `retry_after` seconds."""

    def __init__(self, circuit: Circuit, retry_after: float) -> None:
        super().__init__(f"circuit {circuit} is open")
        self.circuit = circuit
        self.retry_after = retry_after


class Breaker(pybreaker.CircuitBreakerListener):
    """One dependency's circuit. Opens after `failures` in a row, for `reset` seconds; then one trial decides."""

    def __init__(
        self,
        circuit: Circuit,
        *,
        failures: int,
        reset: float,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.circuit = circuit
        self._reset = reset
        self._clock = clock
        self._opened_at = clock()
        self._epoch = 0
        self._trial_under_way = False
        self._trial_ended = Signal()
        self.is_closed = True
        self._failed_subjects: OrderedDict[str, None] = OrderedDict()
        self._gauge = metrics.breaker_state.labels(circuit)
        self._transitions = metrics.breaker_transitions
        self._state = pybreaker.CircuitBreaker(
            fail_max=failures, reset_timeout=reset, listeners=[self], throw_new_error_on_trip=False
        )

    @property
    def is_open(self) -> bool:
        return self.retry_after > 0

    @property
    def retry_after(self) -> float:
        """Seconds until a call may be admitted; 0 when one would be now."""
        if self.is_closed:
            return 0.0
        if self._state.current_state == pybreaker.STATE_OPEN:
            return max(0.0, self.open_until - self._clock())
        return 1.0 if self._trial_under_way else 0.0

    @property
    def open_until(self) -> float:
        """When the last pause ends, or has ended, by its own clock."""
        return self._opened_at + self._reset

    @property
    def pause_seconds(self) -> float | None:
        """Seconds for which an open circuit stays open; None when it is not open."""
        return self.retry_after if self._state.current_state == pybreaker.STATE_OPEN else None

    def advise(self, seconds: float) -> None:
        """Another instance knows for how long calls should be paused (0: the dependency works again, try)."""
        if self._state.current_state == pybreaker.STATE_CLOSED and seconds > 0:
            self._state.open()
        if self._state.current_state == pybreaker.STATE_OPEN:
            self._opened_at = self._clock() + seconds - self._reset

    def check(self, *, may_wait: bool = False) -> None:
        """Raises `CircuitOpen` when no call is admitted now; with `may_wait` not while a trial is under way."""
        wait = self.retry_after
        if wait > 0 and not (may_wait and self._trial_under_way):
            raise CircuitOpen(self.circuit, wait)

    async def wait_for_trial(self, seconds: float) -> None:
        """Wait for what the trial that is under way comes to, at most so many seconds. Raises `CircuitOpen`."""
        end = time.monotonic() + seconds
        while self._trial_under_way and (left := end - time.monotonic()) > 0:
            await wait_at_most(self._trial_ended.next(), left)
        self.check()

    def admit(self) -> "Admission":
        """Let one call begin. Raises `CircuitOpen`. Whoever is admitted must finish or abandon the admission."""
        if not self.is_closed:
            self.check()
            if self._state.current_state == pybreaker.STATE_OPEN:
                self._state.half_open()
            self._trial_under_way = self._state.current_state == pybreaker.STATE_HALF_OPEN
        return Admission(self, self._epoch)

    def state_change(self, cb: object, old_state: object, new_state: Any) -> None:
        """Called by pybreaker: a new state begins, and outcomes of calls admitted before it are void."""
        self._epoch += 1
        self.is_closed = new_state.name == pybreaker.STATE_CLOSED
        self._end_trial()
        self._opened_at = self._clock()
        self._gauge.set(_STATE_VALUES[new_state.name])
        self._transitions.labels(self.circuit, new_state.name).inc()
        level = logging.WARNING if new_state.name == pybreaker.STATE_OPEN else logging.INFO
        log.log(level, "circuit changed", circuit=self.circuit, state=new_state.name)

    def _record(self, epoch: int, failure: Exception | None, subject: str | None) -> None:
        if epoch != self._epoch:
            return
        self._end_trial()
        if failure is None:
            self._failed_subjects.pop(subject or "", None)
            if self._state.fail_counter or not self.is_closed:
                self._state.call(lambda: None)  # a success in a row of them changes nothing
            return
        if subject is not None and self.is_closed:  # a trial decides, whatever it is about
            if subject in self._failed_subjects:
                return
            self._failed_subjects[subject] = None
            if len(self._failed_subjects) > _SUBJECTS:
                self._failed_subjects.popitem(last=False)
        with suppress(type(failure)):
            self._state.call(_raise, failure)

    def _withdraw(self, epoch: int) -> None:
        if epoch == self._epoch:
            self._end_trial()

    def _end_trial(self) -> None:
        if self._trial_under_way:
            self._trial_under_way = False
            self._trial_ended.fire()


class Admission:
    """The right to make one call, and the duty to say how it went. Saying it twice counts once."""

    def __init__(self, breaker: Breaker, epoch: int) -> None:
        self._breaker = breaker
        self._epoch = epoch
        self._open = True

    @property
    def is_current(self) -> bool:
        """Whether the circuit is still in the state that admitted the call."""
        return self._epoch == self._breaker._epoch

    def finish(self, failure: Exception | None = None, subject: str | None = None) -> None:
        """The dependency worked (None) or failed. Failures of one `subject` count once until it succeeds."""
        if self._open:
            self._open = False
            self._breaker._record(self._epoch, failure, subject)

    def abandon(self) -> None:
        """The call says nothing about the dependency: it was cancelled, or refused for the caller's fault."""
        if self._open:
            self._open = False
            self._breaker._withdraw(self._epoch)


class Operation:
    """One operation, retries and all, before the circuits of the dependencies it reaches."""

    def __init__(self, breakers: Mapping[Circuit, Breaker], subject: str | None = None) -> None:
        self._breakers = breakers
        self._subject = subject
        self._admissions: dict[Circuit, Admission] = {}

    def admit(self, circuit: Circuit) -> None:
        """Ask this circuit: once, and again when its state has changed since. Raises `CircuitOpen`."""
        if not self._is_admitted(circuit):
            self._admissions[circuit] = self._breakers[circuit].admit()

    def may_be_refused(self, circuits: Iterable[Circuit]) -> bool:
        """Whether one of these is not closed, and this operation is not its trial."""
        return any(not self._breakers[one].is_closed and not self._is_admitted(one) for one in circuits)

    async def wait_for_trials(self, circuits: Iterable[Circuit], seconds: float) -> None:
        """Wait for what trials of these by other operations come to, at most so many seconds each.

        Raises `CircuitOpen`.
        """
        for circuit in circuits:
            if not self._is_admitted(circuit):
                await self._breakers[circuit].wait_for_trial(seconds)

    def worked(self, circuit: Circuit) -> None:
        """This circuit's part is done: who waits for its trial does not wait for what comes after it, too.

        That may be another attempt, which takes a slot that they hold.
        """
        if circuit in self._admissions and not self._breakers[circuit].is_closed:
            self._admissions[circuit].finish(subject=self._subject)

    def _is_admitted(self, circuit: Circuit) -> bool:
        admission = self._admissions.get(circuit)
        return admission is not None and admission.is_current

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        for circuit, admission in self._admissions.items():
            if error is None or (isinstance(error, UpstreamFailure) and error.circuit is not circuit):
                admission.finish(subject=self._subject)
            elif isinstance(error, UpstreamFailure) and error.breaks_circuit:
                admission.finish(error, self._subject)
            else:
                admission.abandon()


def _raise(failure: Exception) -> None:
    raise failure
