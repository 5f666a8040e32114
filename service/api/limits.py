"""How often a caller may do something: a moving window per caller, on a clock that nobody sets."""

import math
import time
from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from aiohttp import web
from limits import RateLimitItem, parse

from service.problems import RateLimited
from service.telemetry.metrics import Metrics

RATE_LIMIT = web.RequestKey("RATE_LIMIT", dict[str, str])
"""The headers that tell the caller where it stands (draft-ietf-httpapi-ratelimit-headers)."""

# Of images that are not stored, whatever `RATE_LIMIT` is: a page full of photos asks for each.
_IMAGE_LIMIT = parse("600/minute")
_QUESTION_LIMIT = parse("20/minute")
# Callers who have not come for a whole window are forgotten at every so many hits.
_SWEEP_AFTER = 1_000


class Counts(StrEnum):
    """What the requests of a route are counted as; each has a limit of its own."""

    DOWNLOADS = "downloads"
    OVERVIEWS = "overviews"
    """What begins nothing, but asks Autoenhance."""
    IMAGES = "images"
    """What single images ask of Autoenhance."""
    QUESTIONS = "questions"


@dataclass(frozen=True, slots=True)
class LimitState:
    """Where a caller stands after a request."""

    allowed: bool
    remaining: int
    """Requests that are left."""
    seconds: float
    """Until there is room for one more than now."""


class Window(Protocol):
    """Counts what came in the last so many seconds."""

    async def hit(self, key: str, limit: RateLimitItem) -> LimitState:
        """Count one for `key` if it is within the limit."""

    async def test(self, key: str, limit: RateLimitItem) -> LimitState:
        """Count nothing; whether the next one would be within the limit."""


class LocalWindow:
    """Counts in this process's memory.

    The windows of `limits` count on the wall clock: put back two hours, it locks everybody out for as long.
    """

    def __init__(self) -> None:
        self._hits: dict[str, deque[float]] = {}
        self._windows: dict[str, float] = {}
        self._until_sweep = _SWEEP_AFTER

    async def hit(self, key: str, limit: RateLimitItem) -> LimitState:
        state = await self.test(key, limit)
        if not state.allowed:
            return state
        now = time.monotonic()
        hits = self._hits.setdefault(key, deque())
        hits.append(now)
        self._windows[key] = limit.get_expiry()
        self._sweep(now)
        return LimitState(allowed=True, remaining=state.remaining - 1, seconds=hits[0] + limit.get_expiry() - now)

    async def test(self, key: str, limit: RateLimitItem) -> LimitState:
        hits, now = self._hits.get(key, deque()), time.monotonic()
        while hits and hits[0] <= now - limit.get_expiry():
            hits.popleft()
        seconds = hits[0] + limit.get_expiry() - now if hits else 0.0
        return LimitState(allowed=len(hits) < limit.amount, remaining=limit.amount - len(hits), seconds=seconds)

    def _sweep(self, now: float) -> None:
        self._until_sweep -= 1
        if self._until_sweep > 0:
            return
        gone = [key for key, hits in self._hits.items() if not hits or hits[-1] <= now - self._windows[key]]
        for key in gone:
            del self._hits[key], self._windows[key]
        # As often as there are callers: a sweep then costs each hit the same, however many callers there are.
        self._until_sweep = max(_SWEEP_AFTER, len(self._hits))


class RateLimiter:
    """Counts `what` by caller, in `window` (by default this process's memory). Without a limit everybody passes.

    Callers are told where they stand; if `quiet`, only once there were too many.
    """

    def __init__(
        self,
        limit: RateLimitItem | None,
        metrics: Metrics,
        what: str,
        window: Window | None = None,
        *,
        quiet: bool = False,
    ) -> None:
        self._limit = limit
        self._what = what
        self._window = window or LocalWindow()
        self._quiet = quiet
        self._refused = metrics.rate_limited

    async def count(self, request: web.Request, caller: str) -> None:
        """Count one for `caller`. Raises `RateLimited` when there were too many."""
        if self._limit is not None:
            self._judge(request, self._limit, await self._window.hit(f"{self._what}:{caller}", self._limit))

    async def check(self, request: web.Request, caller: str) -> None:
        """Count nothing. Raises `RateLimited` when the next one would be too many."""
        if self._limit is not None:
            state = await self._window.test(f"{self._what}:{caller}", self._limit)
            if not state.allowed:
                self._judge(request, self._limit, state)

    def _judge(self, request: web.Request, limit: RateLimitItem, state: LimitState) -> None:
        seconds = max(1, math.ceil(state.seconds))
        if not (self._quiet and state.allowed):
            request[RATE_LIMIT] = {
                "RateLimit-Policy": f'"{self._what}";q={limit.amount};w={limit.get_expiry()}',
                "RateLimit": f'"{self._what}";r={max(0, state.remaining)};t={seconds}',
            }
        if not state.allowed:
            self._refused.inc()
            raise RateLimited(
                f"A caller's limit for {self._what} is {limit.amount} in {limit.get_expiry()} seconds;"
                f" the next may come in {seconds} seconds.",
                retry_after=seconds,
            )


def limiters(rate_limit: RateLimitItem | None, metrics: Metrics, window: Window | None) -> dict[Counts, RateLimiter]:
    """One for each thing that is counted. Questions are counted by each instance for itself."""
    tenfold = None if rate_limit is None else type(rate_limit)(rate_limit.amount * 10, rate_limit.multiples)
    return {
        Counts.DOWNLOADS: RateLimiter(rate_limit, metrics, Counts.DOWNLOADS, window),
        Counts.OVERVIEWS: RateLimiter(tenfold, metrics, Counts.OVERVIEWS, window),
        Counts.IMAGES: RateLimiter(_IMAGE_LIMIT, metrics, Counts.IMAGES, window),
        Counts.QUESTIONS: RateLimiter(_QUESTION_LIMIT, metrics, Counts.QUESTIONS),
    }


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Signal handler: tell the caller where it stands."""
    if RATE_LIMIT in request:
        response.headers.update(request[RATE_LIMIT])
