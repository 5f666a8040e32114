"""Callers counted by all instances together, in a Redis or Valkey; while that is away, by each for itself."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from limits import RateLimitItem
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter
from limits.util import WindowStats

from service.telemetry.logs import get_logger

log = get_logger(__name__)

T = TypeVar("T")

SHARED_SECONDS = 0.2
"""How long a caller may be held up by the counting."""


class SharedWindow(MovingWindowRateLimiter):
    """A moving window at `redis://...`, which need not be there yet."""

    def __init__(self, url: str) -> None:
        # The library's own extra would bring another client of Redis along.
        storage = RedisStorage(
            f"async+{url}",
            implementation="redispy",
            socket_timeout=SHARED_SECONDS,
            socket_connect_timeout=SHARED_SECONDS,
        )
        super().__init__(storage)
        self._alone = MovingWindowRateLimiter(MemoryStorage())

    async def hit(self, item: RateLimitItem, *identifiers: str, cost: int = 1) -> bool:
        """Count; whether it was within the limit."""
        allowed = await _in_time(super().hit(item, *identifiers, cost=cost))
        return await self._alone.hit(item, *identifiers, cost=cost) if allowed is None else allowed

    async def test(self, item: RateLimitItem, *identifiers: str, cost: int = 1) -> bool:
        """Whether the next one would be within the limit."""
        allowed = await _in_time(super().test(item, *identifiers, cost=cost))
        return await self._alone.test(item, *identifiers, cost=cost) if allowed is None else allowed

    async def get_window_stats(self, item: RateLimitItem, *identifiers: str) -> WindowStats:
        """When the window ends, and what is left in it."""
        stats = await _in_time(super().get_window_stats(item, *identifiers))
        return await self._alone.get_window_stats(item, *identifiers) if stats is None else stats


async def _in_time(call: Awaitable[T]) -> T | None:
    try:
        async with asyncio.timeout(SHARED_SECONDS):
            return await call
    except Exception as error:  # whatever is wrong with it, nobody is turned away for that
        log.warning("shared rate limits unavailable", error=type(error).__name__)
        return None
