"""An operation before the circuits of what it reaches."""

import asyncio
from contextlib import suppress

import pytest

from service.reasons import Reason
from service.telemetry.metrics import Circuit, Metrics
from service.upstream.breaker import Breaker, CircuitOpen, Operation
from tests.support.transport import FakeClock, failure, make_breakers

RESET = 60.0


@pytest.fixture
def breakers(metrics: Metrics, clock: FakeClock) -> dict[Circuit, Breaker]:
    """Both circuits, which the first failure opens."""
    return make_breakers(metrics, failures=1, reset=RESET, clock=clock)


def run(breakers: dict[Circuit, Breaker], error: BaseException | None, *circuits: Circuit) -> dict[Circuit, bool]:
    """An operation that reaches these circuits and ends like this; which circuits are open after it."""
    expected = () if error is None else (type(error),)
    with suppress(*expected), Operation(breakers, "a") as operation:
        for circuit in circuits:
            operation.admit(circuit)
        if error is not None:
            raise error
    return {circuit: breaker.is_open for circuit, breaker in breakers.items()}


def test_a_failure_of_the_assets_is_theirs_alone(breakers: dict[Circuit, Breaker]) -> None:
    """The API did its part."""
    error = failure(circuit=Circuit.ASSETS)

    opened = run(breakers, error, Circuit.API, Circuit.ASSETS)

    assert opened == {Circuit.API: False, Circuit.ASSETS: True}


def test_behind_failed_assets_the_api_has_a_success(metrics: Metrics, clock: FakeClock) -> None:
    """It clears the API's row of failures."""
    breakers = make_breakers(metrics, failures=2, reset=RESET, clock=clock)
    breakers[Circuit.API].admit().finish(failure())

    run(breakers, failure(circuit=Circuit.ASSETS), Circuit.API, Circuit.ASSETS)
    breakers[Circuit.API].admit().finish(failure())

    assert not breakers[Circuit.API].is_open


def test_a_failure_of_the_api_says_nothing_about_assets_it_never_reached(breakers: dict[Circuit, Breaker]) -> None:
    """Only the circuits that were asked get an outcome."""
    opened = run(breakers, failure(), Circuit.API)

    assert opened == {Circuit.API: True, Circuit.ASSETS: False}


@pytest.mark.parametrize(
    "reason", [Reason.UPSTREAM_ERROR, Reason.TIMEOUT, Reason.UNREACHABLE, Reason.TRUNCATED], ids=str
)
def test_what_opens_a_circuit(breakers: dict[Circuit, Breaker], reason: Reason) -> None:
    """5xx, timeouts without a byte, connection errors, broken bodies."""
    assert run(breakers, failure(reason), Circuit.API)[Circuit.API]


@pytest.mark.parametrize(
    "error",
    [
        *(
            failure(reason)
            for reason in Reason
            if reason not in (Reason.UPSTREAM_ERROR, Reason.TIMEOUT, Reason.UNREACHABLE, Reason.TRUNCATED)
        ),
        failure(Reason.UPSTREAM_ERROR, status=None),
        failure(Reason.TIMEOUT, has_begun=True),
        failure(Reason.TIMEOUT, status=408),
        asyncio.CancelledError(),
        GeneratorExit(),
        OSError("no space"),
        CircuitOpen(Circuit.ASSETS, 1),
    ],
    ids=lambda error: getattr(error, "reason", type(error).__name__),
)
def test_what_counts_as_nothing(metrics: Metrics, clock: FakeClock, error: BaseException) -> None:
    """A refusal, a slower pace asked for, a document that cannot be read, a body that was too slow, hanging up, our own
    trouble: neither a failure nor a success."""
    breakers = make_breakers(metrics, failures=2, reset=RESET, clock=clock)
    api = breakers[Circuit.API]
    api.admit().finish(failure(), "x")

    opened_by_it = run(breakers, error, Circuit.API)[Circuit.API]
    api.admit().finish(failure(), "y")

    assert (opened_by_it, api.is_open) == (False, True)


async def test_hanging_up_is_still_a_cancellation(breakers: dict[Circuit, Breaker]) -> None:
    """The operation neither swallows it nor takes it for a failure."""

    async def operate() -> None:
        with Operation(breakers) as operation:
            operation.admit(Circuit.API)
            await asyncio.Event().wait()

    task = asyncio.create_task(operate())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])

    assert task.cancelled()
    assert not breakers[Circuit.API].is_open


def test_a_cancelled_trial_frees_its_place(breakers: dict[Circuit, Breaker], clock: FakeClock) -> None:
    """The next operation is the trial, and can close the circuit."""
    run(breakers, failure(), Circuit.API)
    clock.advance(RESET)

    run(breakers, asyncio.CancelledError(), Circuit.API)
    opened = run(breakers, None, Circuit.API)

    assert not opened[Circuit.API]


def test_attempts_of_one_operation_are_one_trial(breakers: dict[Circuit, Breaker], clock: FakeClock) -> None:
    """Asking the same circuit again is no second admission."""
    run(breakers, failure(), Circuit.API)
    clock.advance(RESET)

    opened = run(breakers, None, Circuit.API, Circuit.API, Circuit.API)

    assert not opened[Circuit.API]


def test_an_operation_counts_once_whatever_its_attempts(metrics: Metrics, clock: FakeClock) -> None:
    """Three attempts that all fail are one failure."""
    breakers = make_breakers(metrics, failures=2, reset=RESET, clock=clock)

    opened = run(breakers, failure(), *[Circuit.API] * 3)

    assert not opened[Circuit.API]


def test_an_open_circuit_stops_it_before_the_call(breakers: dict[Circuit, Breaker]) -> None:
    """`reach` raises, and the circuit is none the wiser for it."""
    run(breakers, failure(circuit=Circuit.ASSETS), Circuit.API, Circuit.ASSETS)

    with Operation(breakers) as operation:
        operation.admit(Circuit.API)
        with pytest.raises(CircuitOpen) as refused:
            operation.admit(Circuit.ASSETS)

    assert refused.value.circuit is Circuit.ASSETS
    assert not breakers[Circuit.API].is_open
