"""Callers counted by all instances together, in a Redis or Valkey; while that is away, by each for itself."""

import asyncio
import time

from limits import RateLimitItem

from service.api.limits import LimitState, LocalWindow
from service.telemetry.logs import get_logger

log = get_logger(__name__)

SHARED_SECONDS = 0.2
"""How long a caller may be held up by the counting."""

# After two failures in a row the instance counts alone for so long: not every request waits for a Redis that is away.
_ALONE_SECONDS = 1.0

_SCRIPT = """
-- Race: two callers, at two instances, that want the last place in the window. One of them gets it.
-- By the clock of Redis alone: those of the instances differ. What lies in its future was counted before that clock
-- was put back, and would keep callers out until it is there again.
-- KEYS: the times that were counted, newest first. ARGV: limit, window (seconds), 1 to count or 0 to look.
-- Returns whether it is within the limit, how many are left, and milliseconds until the oldest leaves the window.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local amount, window, cost = tonumber(ARGV[1]), tonumber(ARGV[2]) * 1000, tonumber(ARGV[3])
local newest = redis.call('LINDEX', KEYS[1], 0)
while newest and tonumber(newest) > now do
    redis.call('LPOP', KEYS[1])
    newest = redis.call('LINDEX', KEYS[1], 0)
end
local oldest = redis.call('LINDEX', KEYS[1], -1)
while oldest and tonumber(oldest) <= now - window do
    redis.call('RPOP', KEYS[1])
    oldest = redis.call('LINDEX', KEYS[1], -1)
end
local count = redis.call('LLEN', KEYS[1])
local allowed = count < amount
if allowed and cost > 0 then
    redis.call('LPUSH', KEYS[1], now)
    redis.call('PEXPIRE', KEYS[1], window)
    count, oldest = count + 1, oldest or now
end
return {allowed and 1 or 0, amount - count, oldest and oldest + window - now or 0}
"""


class SharedWindow:
    """A moving window at `redis://...`, which need not be there yet."""

    def __init__(self, url: str) -> None:
        from redis.asyncio import Redis  # comes with an extra
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff

        self._redis = Redis.from_url(
            url,
            socket_timeout=None,  # calls are bounded here; redis-py's bound loses cancellations (CPython #86296)
            socket_connect_timeout=SHARED_SECONDS,
            retry=Retry(NoBackoff(), 1),  # that a connection was closed while it was idle only its use tells
        )
        self._run = self._redis.register_script(_SCRIPT)
        self._alone = LocalWindow()
        self._failures = 0
        self._alone_until = 0.0

    async def hit(self, key: str, limit: RateLimitItem) -> LimitState:
        return await self._shared(key, limit, cost=1) or await self._alone.hit(key, limit)

    async def test(self, key: str, limit: RateLimitItem) -> LimitState:
        return await self._shared(key, limit, cost=0) or await self._alone.test(key, limit)

    async def close(self, app: object = None) -> None:
        """Hang up. (Of an application, a signal handler.)"""
        await self._redis.aclose()

    async def _shared(self, key: str, limit: RateLimitItem, *, cost: int) -> LimitState | None:
        if time.monotonic() < self._alone_until:
            return None
        try:
            async with asyncio.timeout(SHARED_SECONDS):
                allowed, remaining, milliseconds = await self._run(
                    keys=[f"limit:{key}"], args=[limit.amount, limit.get_expiry(), cost]
                )
        except Exception as error:  # whatever is wrong with it, nobody is turned away for that
            log.warning("shared rate limits unavailable", error=type(error).__name__)
            self._failures += 1
            if self._failures > 1:
                self._alone_until = time.monotonic() + _ALONE_SECONDS
            return None
        self._failures = 0
        return LimitState(bool(allowed), int(remaining), int(milliseconds) / 1000)
