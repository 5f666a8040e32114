"""The limits that Autoenhance publishes: calls a second, uses of a file name an hour, enhancements a day."""

from collections import deque

from .errors import ApiError
from .state import State

SECOND, HOUR, DAY = 1.0, 3600.0, 86_400
OVER_DAILY_LIMIT = "Daily enhancement limit reached. Please try again tomorrow or upgrade your plan."


class Limits:
    """Counts by the sandbox's clock, against what the configuration allows at that moment."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._calls: deque[float] = deque()
        self._names: dict[str, deque[float]] = {}
        self._day = 0
        self._enhanced = 0

    def count_call(self) -> None:
        """Count a call of the API; raises ApiError 429 when there are too many in this second."""
        self._count(self._calls, SECOND, self._state.config.requests_per_second, "Too many requests.")

    def count_name(self, name: str) -> None:
        """Count a use of a file name; raises ApiError 429 when it was used too often in the last hour."""
        uses = self._names.setdefault(name, deque())
        self._count(uses, HOUR, self._state.config.same_name_per_hour, "This file name was used too often.")

    def count_enhancement(self) -> bool:
        """Count an image that is to be enhanced; False when the day's are used up. Days are UTC's."""
        today = int(self._state.clock.now()) // DAY
        if today != self._day:
            self._day, self._enhanced = today, 0
        allowed = self._state.config.enhancements_per_day
        if allowed is not None and self._enhanced >= allowed:
            return False
        self._enhanced += 1
        return True

    def _count(self, uses: deque[float], seconds: float, allowed: int | None, message: str) -> None:
        now = self._state.clock.now()
        while uses and uses[0] <= now - seconds:
            uses.popleft()
        if allowed is not None and len(uses) >= allowed:
            wait = self._state.config.limit_retry_after
            raise ApiError(429, message, headers=None if wait is None else {"Retry-After": f"{wait:g}"})
        uses.append(now)
