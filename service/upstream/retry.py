"""When a failed call is tried again: attempts, deadline, backoff, pauses, and a budget over all traffic."""

import asyncio
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from service.upstream.answers import UpstreamFailure

T = TypeVar("T")

_WINDOW = 60.0
# aiohttp takes no time at all for no limit.
_MOMENT = 0.001


class RetryBudget:
    """Retries may be a tenth of the last minute's calls, and 20 more: they must never become the load."""

    def __init__(self, *, share: float = 0.1, floor: int = 20, clock: Callable[[], float] = time.monotonic) -> None:
        self._share = share
        self._floor = floor
        self._clock = clock
        self._calls: deque[float] = deque()
        self._retries: deque[float] = deque()

    def count_call(self) -> None:
        """One call was sent, first or repeated."""
        self._calls.append(self._clock())
        self._forget(self._calls)

    def spend(self) -> bool:
        """Take one retry; False when the budget of this minute is used up."""
        self._forget(self._calls)
        self._forget(self._retries)
        if len(self._retries) >= self._floor + self._share * len(self._calls):
            return False
        self._retries.append(self._clock())
        return True

    def _forget(self, moments: deque[float]) -> None:
        horizon = self._clock() - _WINDOW
        while moments and moments[0] < horizon:
            moments.popleft()


@dataclass(frozen=True)
class RetryPolicy:
    """How one operation is repeated. Times in seconds."""

    attempts: int
    backoff: float = 0.25
    """The n-th wait is drawn from 0 to `backoff * 2**n` (full jitter), at most `max_backoff`."""
    max_backoff: float = 8.0
    min_pause: float = 0.25
    """After a 429 that does not say how long to wait, at least; it grows and is drawn like the backoff."""

    def wait(self, failure: UpstreamFailure, number: int) -> float:
        """Seconds after the `number`-th failure of its kind (1, 2, ...). What upstream asked for is the least."""
        jittered = random.uniform(0, min(self.max_backoff, self.backoff * 2**number))  # noqa: S311  # no secret
        least = failure.retry_after or 0.0
        return max(jittered, least, self.min_pause) if failure.is_throttled else max(jittered, least)


class Deadline:
    """When an operation must be over. Time that is not upstream's is added to it."""

    def __init__(self, at: float) -> None:
        self.at = at
        """Of `time.monotonic`."""

    @classmethod
    def after(cls, seconds: float) -> "Deadline":
        return cls(time.monotonic() + seconds)

    @property
    def left(self) -> float:
        """Seconds until then; a moment once it is past."""
        return max(_MOMENT, self.at - time.monotonic())

    def extend(self, seconds: float) -> None:
        self.at += seconds


class Retries:
    """The attempts of one operation: whether another one can help, and when.

    A 429 is a pause, not an attempt: it costs nothing but time. With `counts_429` it is one: some limits last an hour.
    `may_retry` is asked last, so that it can spend a budget that `count_call` fills.
    """

    def __init__(
        self,
        policy: RetryPolicy,
        deadline: Deadline,
        *,
        may_retry: Callable[[UpstreamFailure], bool],
        count_call: Callable[[], None] = lambda: None,
        counts_429: bool = False,
    ) -> None:
        self._policy = policy
        self._deadline = deadline
        self._may_retry = may_retry
        self._count_call = count_call
        self._counts_429 = counts_429
        self._throttled = self._failed = 0
        self.attempt = 1
        """Which call is the next one (1, 2, ...)."""
        count_call()

    async def run(self, once: Callable[[], Awaitable[T]]) -> T:
        """What `once` returns, called until it does. Raises its last `UpstreamFailure`."""
        while True:
            try:
                return await once()
            except UpstreamFailure as failure:
                await self.pause(failure)

    async def pause(self, failure: UpstreamFailure) -> None:
        """Wait until the next attempt. Raises `failure` when it cannot be helped, or not within the deadline."""
        if not failure.is_transient:
            raise failure
        if failure.is_throttled and not self._counts_429:
            self._throttled += 1
            seconds = self._policy.wait(failure, self._throttled)
        else:
            self._failed += 1
            seconds = self._policy.wait(failure, self._failed)
        is_late = time.monotonic() + seconds >= self._deadline.at
        if self._failed >= self._policy.attempts or is_late or not self._may_retry(failure):
            raise failure
        await asyncio.sleep(seconds)
        self.attempt += 1
        self._count_call()
