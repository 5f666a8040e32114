"""How busy the event loop is."""

import asyncio

import pytest

from service.telemetry.loop import watch_loop
from service.telemetry.metrics import Metrics
from tests.support.transport import FakeClock, sample


@pytest.mark.parametrize(("late", "observed"), [(0.5, 0.5), (-0.001, 0.0)])
async def test_it_is_told_how_late_the_loop_comes_and_how_much_it_has_to_do(
    monkeypatch: pytest.MonkeyPatch, late: float, observed: float
) -> None:
    """A timer that is a moment early, as its clock is coarse, is not late."""
    clock, metrics, looks = FakeClock(), Metrics(), 0

    async def sleep(seconds: float) -> None:
        nonlocal looks
        looks += 1
        if looks > 1:
            raise LookupError
        clock.advance(seconds + late)

    monkeypatch.setattr(asyncio.get_running_loop(), "time", clock)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    with pytest.raises(LookupError):
        await watch_loop(metrics)
    monkeypatch.undo()

    assert sample(metrics.registry, "batch_event_loop_lag_seconds_sum") == pytest.approx(observed)
    assert sample(metrics.registry, "batch_event_loop_lag_seconds_count") == 1
    assert sample(metrics.registry, "batch_event_loop_tasks") == len(asyncio.all_tasks())
