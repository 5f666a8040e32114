"""How often a caller may do something: a moving window per caller, by the `limits` library."""

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
    """Counts `what` by caller, in `window` (by default this process's memory). Without a limit everybody passes."""

    def __init__(
        self, limit: RateLimitItem | None, metrics: Metrics, what: str, window: MovingWindowRateLimiter | None = None
    ) -> None:
        self._limit = limit
        self._what = what
        self._window = window or MovingWindowRateLimiter(MemoryStorage())
        self._refused = metrics.rate_limited

    async def count(self, request: web.Request, caller: str) -> None:
        """Count one for `caller`. Raises `RateLimited` when there were too many."""
        if self._limit is not None:
            allowed = await self._window.hit(self._limit, self._what, caller)
            await self._tell(request, self._limit, caller, allowed=allowed)

    async def check(self, request: web.Request, caller: str) -> None:
        """Count nothing. Raises `RateLimited` when the next one would be too many."""
        if self._limit is not None and not await self._window.test(self._limit, self._what, caller):
            await self._tell(request, self._limit, caller, allowed=False)

    async def _tell(self, request: web.Request, limit: RateLimitItem, caller: str, *, allowed: bool) -> None:
        reset, remaining = await self._window.get_window_stats(limit, self._what, caller)
        seconds = max(1, math.ceil(reset - time.time()))
        request[RATE_LIMIT] = {
            "RateLimit-Policy": f'"{self._what}";q={limit.amount};w={limit.get_expiry()}',
            "RateLimit": f'"{self._what}";r={max(0, remaining)};t={seconds}',
        }
        if not allowed:
            self._refused.inc()
            raise RateLimited(
                f"A caller's limit for {self._what} is {limit.amount} in {limit.get_expiry()} seconds;"
                f" the next may come in {seconds} seconds.",
                retry_after=seconds,
            )


async def add_headers(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """Signal handler: tell the caller where it stands."""
    if isinstance(request, web.Request) and RATE_LIMIT in request:
        response.headers.update(request[RATE_LIMIT])
