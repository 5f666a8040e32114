"""How often a caller may begin a download: a moving window per caller, by the `limits` library."""

import math
import time

from aiohttp import web
from limits import RateLimitItem
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import MovingWindowRateLimiter

from service.problems import RateLimited
from service.telemetry.metrics import Metrics

RATE_LIMIT = web.RequestKey("RATE_LIMIT", dict[str, str])
"""The headers that tell the caller where it stands (draft-ietf-httpapi-ratelimit-headers)."""


class RateLimiter:
    """Counts in this process's memory, `what` by name. Without a limit it lets everybody pass."""

    def __init__(self, limit: RateLimitItem | None, metrics: Metrics, what: str = "downloads") -> None:
        self._limit = limit
        self._what = what
        self._window = MovingWindowRateLimiter(MemoryStorage())
        self._refused = metrics.rate_limited

    async def count(self, request: web.Request, caller: str) -> None:
        """Count one for `caller`. Raises `RateLimited` when there were too many."""
        if self._limit is None:
            return
        allowed = await self._window.hit(self._limit, caller)
        reset, remaining = await self._window.get_window_stats(self._limit, caller)
        seconds = max(1, math.ceil(reset - time.time()))
        request[RATE_LIMIT] = {
            "RateLimit-Policy": f'"{self._what}";q={self._limit.amount};w={self._limit.get_expiry()}',
            "RateLimit": f'"{self._what}";r={max(0, remaining)};t={seconds}',
        }
        if not allowed:
            self._refused.inc()
            raise RateLimited(
                f"At most {self._limit.amount} {self._what} in {self._limit.get_expiry()} seconds.", retry_after=seconds
            )


async def add_headers(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """Signal handler: tell the caller where it stands."""
    if isinstance(request, web.Request) and RATE_LIMIT in request:
        response.headers.update(request[RATE_LIMIT])
