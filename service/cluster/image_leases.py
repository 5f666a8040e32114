"""Who of several instances fetches an image: a lease per image key, which lives as long as its holder does."""

import asyncio
import time
from contextlib import suppress

from service.cluster.link import Link, Unavailable
from service.cluster.redis_link import ALIVE_PREFIX, BEAT_SECONDS, CHANNEL, LATE_SECONDS, RedisLink

TAKE = """
-- Race: two that want an image at once, or find its holder dead at once. One of them gets it.
-- KEYS: lease. ARGV: me, prefix of who is alive, seconds, whether silence says death.
-- Returns the holder, and the one before.
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
  local state = redis.call('GET', ARGV[2] .. holder) or (ARGV[4] == '0' and 'alive')
  if state == 'alive' then return {holder, holder} end
end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[3])
return {ARGV[1], holder or ''}
"""
RELEASE = """
-- Race: a holder that was taken for dead, and gives back what is another's by now.
-- KEYS: leases. ARGV: me, channel, topics.
for _, key in ipairs(KEYS) do
  if redis.call('GET', key) == ARGV[1] then redis.call('DEL', key) end
end
redis.call('PUBLISH', ARGV[2], ARGV[3])
"""
# Only bounds what is left behind; who waits looks whether the holder lives.
_KEPT_SECONDS = 24 * 3600
# What is released within so many seconds is given back together.
_GATHER_SECONDS = 0.01
# So long is waited for an image that is bought, and whose holder cannot share it.
_WAIT_SECONDS = 60.0


class RedisImageLeases:
    """As `ImageLeases`. `s3` is the way to where the holders put what they fetched."""

    def __init__(self, redis: RedisLink, s3: Link) -> None:
        self._redis = redis
        self._s3 = s3
        self._take = redis.redis.register_script(TAKE)
        self._release = redis.redis.register_script(RELEASE)
        self._held: set[str] = set()
        self._released: list[str] = []
        # Those among them that Redis may have been told of: it did not answer.
        self._doubtful: set[str] = set()
        self._giving_back: asyncio.Task[None] | None = None
        self._sending: frozenset[str] = frozenset()
        self._sent = asyncio.Lock()
        redis.on_lost.append(self._retake)
        redis.on_beat.append(self._give_back_late)

    async def acquire(self, key: str, *, buys: bool) -> bool:
        """As `ImageLeases`."""
        if key in self._sending:
            async with self._sent:  # what is on its way must not give back the new lease
                pass
        if key in self._released:
            self._released.remove(key)
            if key not in self._doubtful:  # not given back yet: it is still ours
                self._held.add(key)
                return True
        unshared_since: float | None = None
        with self._redis.messages.waiting(key) as released:
            while True:
                told = released.next()
                try:
                    holder, before = await self._ask(key)
                except Unavailable as error:
                    if error.was_asked or key in self._doubtful:
                        self._hold_in_doubt(key)
                    return False
                except BaseException:
                    self._hold_in_doubt(key)
                    self.release(key)
                    raise
                self._doubtful.discard(key)
                if holder == self._redis.instance:
                    self._held.add(key)
                    return before in ("", self._redis.instance)
                if self._s3.is_up:
                    unshared_since = None
                elif not buys:
                    return False
                else:
                    unshared_since = unshared_since or time.monotonic()
                    if time.monotonic() - unshared_since > _WAIT_SECONDS:
                        raise TimeoutError
                with suppress(TimeoutError):
                    async with asyncio.timeout(BEAT_SECONDS):
                        await told.wait()

    async def _ask(self, key: str) -> tuple[str, str]:
        arguments = [self._redis.instance, ALIVE_PREFIX, _KEPT_SECONDS, int(self._redis.silence_is_death)]
        answer: list[bytes] = await self._redis.call(lambda: self._take(keys=[_lease(key)], args=arguments))
        return answer[0].decode(), answer[1].decode()

    def release(self, key: str) -> None:
        """As `ImageLeases`."""
        if key in self._held:
            self._held.discard(key)
            self._released.append(key)
            self._begin_to_give_back()

    async def close(self) -> None:
        """Wait until what was released is given back, or Redis is away: others take it over when this instance has
        left."""
        while self._giving_back is not None:
            await self._giving_back

    def _hold_in_doubt(self, key: str) -> None:
        """It may be ours, and others would wait for it: it is to be given back."""
        self._held.add(key)
        self._doubtful.add(key)

    def _begin_to_give_back(self) -> None:
        if self._giving_back is None:
            self._giving_back = asyncio.create_task(self._give_back())

    async def _give_back_late(self) -> None:
        """What could not be given back while Redis was away: others wait for it."""
        if self._released:
            self._begin_to_give_back()

    async def _give_back(self) -> None:
        try:
            while self._released:
                is_certain = self._doubtful.isdisjoint(self._released)
                await asyncio.sleep(_GATHER_SECONDS if is_certain else LATE_SECONDS)
                async with self._sent:
                    released, self._released = self._released, []
                    self._sending = frozenset(released)
                    try:
                        await self._send(released)
                    except Unavailable:
                        self._released += released
                        self._doubtful.update(released)
                        return
                    finally:
                        self._sending = frozenset()
                    self._doubtful.difference_update(released)
        finally:
            self._giving_back = None

    async def _send(self, released: list[str]) -> None:
        if released:
            keys, arguments = [_lease(key) for key in released], [self._redis.instance, CHANNEL, "\n".join(released)]
            await self._redis.call(lambda: self._release(keys=keys, args=arguments))

    async def _retake(self) -> None:
        for key in list(self._held):
            if key in self._held:  # not released meanwhile
                await self._ask(key)


def _lease(key: str) -> str:
    return f"batch:image:{key}"
