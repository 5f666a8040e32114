"""How fast downloads may start: what refusals teach about an upstream whose limits nobody has published.

Two controls, as in the AWS SDKs' adaptive retry mode. A cap on downloads under way is cut when upstream refuses and
grows back by one per round of successes (AIMD). A pace for new ones is learned at the first 429 and recovers along a
cubic curve (CUBIC) towards, and then beyond, the rate at which the refusals came. Arithmetic only: nothing waits here.
"""

import math
import time
from collections import deque
from collections.abc import Callable

_DECREASE = 0.7
# Steepness of the cubic recovery, as the AWS SDKs have it.
_SCALE = 0.4
_SLOWEST = 2.0
# One image's refusal may be that image's own; two different ones within this time are upstream's answer to our speed.
_WINDOW = 10.0
# Refusals of calls that were under way together are one message.
_DECREASE_SECONDS = 1.0


class AdaptiveLimit:
    """Learns from outcomes; `cap` and `rate` are what it allows now."""

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._cap = float(limit)
        self._refused: deque[tuple[float, str]] = deque()
        self._started: deque[float] = deque()
        self._decreased_at = -_DECREASE_SECONDS
        self._best_rate: float | None = None
        self._throttled_at = 0.0
        self._next_start = 0.0

    @property
    def cap(self) -> int:
        """Downloads allowed at once: from 1 to `limit`."""
        return int(self._cap)

    @property
    def rate(self) -> float | None:
        """Starts per second; None while no 429 was ever met, or once its lesson is outgrown."""
        if self._best_rate is None:
            return None
        seconds_to_best = math.cbrt(self._best_rate * (1 - _DECREASE) / _SCALE)
        since = self._clock() - self._throttled_at
        return max(_SLOWEST, _SCALE * (since - seconds_to_best) ** 3 + self._best_rate)

    def delay(self) -> float:
        """Seconds until the next download may start."""
        return max(0.0, self._next_start - self._clock()) if self._best_rate is not None else 0.0

    def started(self) -> None:
        now = self._clock()
        self._started.append(now)
        while self._started[0] < now - _WINDOW:
            self._started.popleft()
        if (rate := self.rate) is not None:
            self._next_start = max(self._next_start, now) + 1 / rate

    def succeeded(self) -> None:
        """Upstream delivered: one more at once after a whole round of these."""
        self._cap = min(self._limit, self._cap + 1 / self._cap)
        rate = self.rate
        if rate is not None and self._cap >= self._limit and rate > 2 * self._measured_rate() + self._limit:
            self._best_rate = None  # the curve has left our own speed behind: it limits nothing any more

    def refused(self, image_id: str, *, throttled: bool) -> None:
        """Upstream could not keep up: it answered 429 (`throttled`) or 503, or not in time."""
        now = self._clock()
        self._refused.append((now, image_id))
        while self._refused[0][0] < now - _WINDOW:
            self._refused.popleft()
        if len({image for _, image in self._refused}) < 2 or now - self._decreased_at < _DECREASE_SECONDS:
            return
        self._decreased_at = now
        self._cap = max(1.0, self._cap * _DECREASE)
        if throttled:
            self._best_rate = max(_SLOWEST, min(self._measured_rate(), self.rate or float("inf")))
            self._throttled_at = now

    def _measured_rate(self) -> float:
        """Starts per second of late."""
        now = self._clock()
        recent = [moment for moment in self._started if moment >= now - _WINDOW]
        return len(recent) / max(1.0, now - recent[0]) if recent else 0.0
