"""When a failed call is tried again: attempts, deadline, backoff, and a budget over all traffic."""

import random
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception

from service.upstream.answers import UpstreamFailure

T = TypeVar("T")

_WINDOW = 60.0


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
    """How one operation is repeated."""

    attempts: int
    backoff: float = 0.25
    """Seconds; the n-th wait is drawn from 0 to `backoff * 2**n` (full jitter), at most `longest_backoff`."""
    longest_backoff: float = 8.0

    def wait(self, failure: UpstreamFailure, attempt: int) -> float:
        """Seconds before the attempt after `attempt` (1, 2, ...). Upstream's own wish is the least."""
        jittered = random.uniform(0, min(self.longest_backoff, self.backoff * 2**attempt))  # noqa: S311  # no secret
        return max(jittered, failure.retry_after or 0.0)


async def retrying(
    operation: Callable[[], Awaitable[T]],
    *,
    policy: RetryPolicy,
    deadline: float,
    may_retry: Callable[[UpstreamFailure], bool],
) -> T:
    """Run `operation` until it succeeds, cannot be helped, or would end past `deadline` (of `time.monotonic`).

    Raises the last `UpstreamFailure`. `may_retry` is asked last, so that it can spend a budget.
    """

    def is_over(state: RetryCallState) -> bool:
        failure = _failure(state)
        if state.attempt_number >= policy.attempts or time.monotonic() + state.upcoming_sleep >= deadline:
            return True
        return not may_retry(failure)

    async def attempt() -> T:  # tenacity awaits only what it knows for a coroutine function
        return await operation()

    return await AsyncRetrying(
        retry=retry_if_exception(lambda error: isinstance(error, UpstreamFailure) and error.is_transient),
        wait=lambda state: policy.wait(_failure(state), state.attempt_number),
        stop=is_over,
        reraise=True,
    )(attempt)


def _failure(state: RetryCallState) -> UpstreamFailure:
    error = state.outcome.exception() if state.outcome else None
    if not isinstance(error, UpstreamFailure):
        raise TypeError("only upstream failures are retried")
    return error
