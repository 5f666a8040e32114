"""What several instances spend together: the images bought in a day, in a Redis or Valkey."""

import asyncio
import time
from typing import Any

from service.cluster.link import Unavailable
from service.cluster.redis_link import RedisLink
from service.images.spending import Reservation, SpendingUnknown, today
from service.telemetry.logs import get_logger

log = get_logger(__name__)

RESERVE = """
-- Race: two that want the last credit of a day. One of them gets it.
-- KEYS: the day. ARGV: image key, limit (-1: none), seconds to keep, reservation. Returns whether it may be bought.
local held = redis.call('HGET', KEYS[1], ARGV[1])
if held and string.find(held, 'bought', 1, true) then return 1 end
if not held and tonumber(ARGV[2]) >= 0 and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
if not (held and string.find(held, ARGV[4], 1, true)) then -- a call that was repeated counts once
    redis.call('HSET', KEYS[1], ARGV[1], (held or '') .. ' ' .. ARGV[4])
end
redis.call('EXPIRE', KEYS[1], ARGV[3])
return 1
"""
CONFIRM = """
-- Race: two that have bought the same image. One of them is the first.
-- KEYS: the day. ARGV: image key, seconds to keep, reservation. Returns whether it is the one that bought it.
local held = redis.call('HGET', KEYS[1], ARGV[1])
if held and string.find(held, 'bought', 1, true) then
    return held == 'bought ' .. ARGV[3] and 1 or 0 -- a call that was repeated is still the first
end
redis.call('HSET', KEYS[1], ARGV[1], 'bought ' .. ARGV[3])
redis.call('EXPIRE', KEYS[1], ARGV[2])
return 1
"""
RELEASE = """
-- Race: one that is refused while others have reserved the same image, or bought it. Theirs stays counted.
-- KEYS: the day. ARGV: image key, reservation.
local held = redis.call('HGET', KEYS[1], ARGV[1])
if not held or string.find(held, 'bought', 1, true) then return end
local others = string.gsub(held, ' ' .. ARGV[2], '')
if others == '' then redis.call('HDEL', KEYS[1], ARGV[1]) else redis.call('HSET', KEYS[1], ARGV[1], others) end
"""
# A download may outlast midnight.
_KEPT_SECONDS = 2 * 24 * 3600
# A Redis that was only late, or is being restarted, is waited for: an image is not missing for that.
_WAIT_SECONDS, _AGAIN_SECONDS = 5.0, 0.25


class SharedSpending:
    """As `Spending`. While Redis is away for longer than moments nothing is bought where there is a limit, and nothing
    counted without one."""

    def __init__(self, redis: RedisLink, limit: int | None) -> None:
        self.limit = limit
        self._redis = redis
        self._logged: float | None = None
        self._reserve = redis.redis.register_script(RESERVE)
        self._confirm = redis.redis.register_script(CONFIRM)
        self._release = redis.redis.register_script(RELEASE)

    async def reserve(self, key: str) -> Reservation | None:
        reservation = Reservation(key, today())
        try:
            return reservation if await self._may_buy(reservation) else None
        except SpendingUnknown:
            raise
        except BaseException:
            self._release_later(reservation)
            raise

    async def _may_buy(self, reservation: Reservation) -> bool:
        limit, began, was_asked = -1 if self.limit is None else self.limit, time.monotonic(), False
        while True:
            try:
                return bool(await self._call(self._reserve, reservation, limit, _KEPT_SECONDS, reservation.id))
            except Unavailable as error:
                if self.limit is None:
                    return True
                was_asked = was_asked or error.was_asked
                if time.monotonic() - min(began, self._redis.link.down_since) > _WAIT_SECONDS:
                    if self._logged != self._redis.link.down_since:  # once an outage, not for each image
                        self._logged = self._redis.link.down_since
                        log.warning("nothing is bought while Redis cannot tell what was spent today")
                    if was_asked:
                        self._release_later(reservation)
                    raise SpendingUnknown from error
            await asyncio.sleep(_AGAIN_SECONDS)

    async def confirm(self, reservation: Reservation) -> bool:
        try:
            return bool(await self._call(self._confirm, reservation, _KEPT_SECONDS, reservation.id))
        except Unavailable:
            return True  # as is most likely: an image is bought once

    async def release(self, reservation: Reservation) -> None:
        await self._redis.call_surely(lambda: self._run(self._release, reservation, reservation.id))

    async def spent(self) -> int | None:
        day = today()
        try:
            return int(await self._redis.call(lambda: self._redis.redis.hlen(_name(day))))
        except Unavailable:
            return None

    def _release_later(self, reservation: Reservation) -> None:
        """Whether it is counted cannot be told, and nobody is there to release it."""
        self._redis.call_later(lambda: self._run(self._release, reservation, reservation.id))

    async def _call(self, script: Any, reservation: Reservation, *arguments: Any) -> Any:
        return await self._redis.call(lambda: self._run(script, reservation, *arguments))

    @staticmethod
    def _run(script: Any, reservation: Reservation, *arguments: Any) -> Any:
        return script(keys=[_name(reservation.day)], args=[reservation.key, *arguments])


def _name(day: str) -> str:
    return f"batch:credits:{day}"
