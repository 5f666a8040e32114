"""When to ask upstream again about an order that is waited for."""

import time
from collections.abc import Callable

_FIRST_INTERVAL = 2.0
_STEADY_SECONDS = 20.0
_GROWTH = 1.25
_LONGEST_INTERVAL = 10.0


class Polling:
    """Every 2 s for the first 20 s, then growing to 10 s; the last time at the deadline."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._started = clock()
        self._interval = _FIRST_INTERVAL

    def pause(self, deadline: float) -> float:
        """Seconds until the next look; `deadline` is a moment of the clock."""
        if self._clock() - self._started >= _STEADY_SECONDS:
            self._interval = min(_LONGEST_INTERVAL, self._interval * _GROWTH)
        return max(0.0, min(self._interval, deadline - self._clock()))
