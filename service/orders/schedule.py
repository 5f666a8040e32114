"""When to ask upstream again about an order that is waited for."""

import time
from collections.abc import Callable

_FIRST_INTERVAL = 2.0
_STEADY_SECONDS = 20.0
_GROWTH = 1.25
_MAX_INTERVAL = 10.0


class PollSchedule:
    """Every 2 s for the first 20 s, then growing to 10 s; the last time at `deadline`, a moment of the clock."""

    def __init__(self, deadline: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.deadline = deadline
        self._clock = clock
        self._started = clock()
        self._interval = _FIRST_INTERVAL

    @property
    def is_over(self) -> bool:
        return self._clock() >= self.deadline

    def pause(self, least: float = 0.0) -> float:
        """Seconds until the next look, not before `least` unless the time is over then."""
        if self._clock() - self._started >= _STEADY_SECONDS:
            self._interval = min(_MAX_INTERVAL, self._interval * _GROWTH)
        return max(0.0, min(max(self._interval, least), self.deadline - self._clock()))
