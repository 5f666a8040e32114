"""Who of several instances fetches an image: a lease per image key, which lives as long as its holder does.

batch:image:KEY               who has it, and the number of the lease; once it is given back, the order in whose index
                              the image is
batch:cannot-share:INSTANCE   S3 does not let an instance share what it has fetched
"""

import asyncio
import itertools
import time
from functools import partial

from service.cluster.image_index import TRUSTED_SECONDS
from service.cluster.link import Link, Unavailable
from service.cluster.redis_link import (
    ALIVE_PREFIX,
    BEAT_SECONDS,
    CHANNEL,
    LATE_SECONDS,
    LEASE_SECONDS,
    PAUSE_SECONDS,
    RedisLink,
)
from service.images.protocols import Lease
from service.signal import wait_at_most

TAKE = """
-- Race: two that want an image at once, or find its holder dead at once. One of them gets it.
-- KEYS: leases. ARGV: me, prefix of who is alive, seconds, whether silence says death, prefix of who cannot share, then
-- the number of each lease. Returns of each the holder, the one before, in which order's index the image is (?: cannot
-- be told), and 1 where the holder cannot share it. No holder: Redis has lost what it knew, me included.
local answers, is_lost = {}, redis.call('EXISTS', ARGV[2] .. ARGV[1]) == 0
for at, key in ipairs(KEYS) do
  local holder, order = string.match(redis.call('GET', key) or '', '^(%S*) ?(.*)')  -- version 1.0.0 gave no number
  local state
  if holder ~= '' and holder ~= ARGV[1] then
    state = redis.call('GET', ARGV[2] .. holder) or (ARGV[4] == '0' and 'alive')
  end
  if state == 'alive' then
    answers[at] = {holder, holder, '?', tostring(redis.call('EXISTS', ARGV[5] .. holder))}
  elseif is_lost and holder == '' and order == '' then
    answers[at] = {'', '', '?', '0'}
  else
    redis.call('SET', key, ARGV[1] .. ' ' .. ARGV[at + 5], 'EX', ARGV[3])
    answers[at] = {ARGV[1], holder, holder ~= '' and '?' or order, '0'}
  end
end
return answers
"""
RELEASE = """
-- Race: a lease that is given back late, when another instance, or this one, has taken the next by now.
-- KEYS: leases. ARGV: channel, topics, seconds, then of each who has it, and the order in whose index it is.
for at, key in ipairs(KEYS) do
  local now, order = redis.call('GET', key) or ' ', ARGV[2 * at + 3]
  if now == ARGV[2 * at + 2] and order == '' then
    redis.call('DEL', key)
  elseif now == ARGV[2 * at + 2] or order ~= '' and string.sub(now, 1, 1) == ' ' then
    redis.call('SET', key, ' ' .. order, 'EX', ARGV[3])
  end
end
redis.call('PUBLISH', ARGV[1], ARGV[2])
"""
# Only bounds what is left behind; who waits looks whether the holder lives.
_KEPT_SECONDS = 24 * 3600
# So long it is told in which index an image is: what is read of an index meanwhile need not be read again.
_TOLD_SECONDS = 2 * TRUSTED_SECONDS
# What is released within so many seconds is given back together.
_GATHER_SECONDS = 0.01
# So long is waited for an image that is bought, and whose holder cannot share it.
_WAIT_SECONDS = 60.0
_CANNOT_SHARE = "batch:cannot-share:"


class RedisImageLeases:
    """As `ImageLeases`. `s3` is the way to where the holders put what they fetched."""

    def __init__(self, redis: RedisLink, s3: Link) -> None:
        self._redis = redis
        self._s3 = s3
        self._take = redis.redis.register_script(TAKE)
        self._give = redis.redis.register_script(RELEASE)
        self._numbers = itertools.count()
        self._held: dict[str, int] = {}
        """By key, the number of the newest lease."""
        self._asked: list[tuple[str, int, asyncio.Future[list[str]]]] = []
        self._asking: set[asyncio.Task[None]] = set()
        self._released: list[tuple[str, int, str]] = []
        self._giving_back: asyncio.Task[None] | None = None
        self._untold_until = 0.0
        """Until then Redis may have lost where images are."""
        self._unheard_until = 0.0
        """Until then others that fetch an image may not have said so again, after Redis lost it."""
        self._has_warned = False
        redis.on_lost.append(self._retake)
        redis.on_beat.append(self._warn)

    async def acquire(self, key: str, *, buys: bool) -> Lease:
        number = next(self._numbers)
        unshared_since: float | None = None
        with self._redis.messages.waiting(key) as released:
            while True:
                if (pause := self._unheard_until - time.monotonic()) > 0:
                    await asyncio.sleep(pause)
                told = released.next()
                try:
                    holder, before, order_id, is_stuck = await self._ask(key, number)
                except Unavailable as error:
                    holder, before, order_id, is_stuck = self._redis.instance, "?", "?", "0"
                    if not error.was_asked:
                        return Lease(is_only_one=False, give_back=partial(self._tell, key, number))
                if holder == self._redis.instance:
                    self._held[key] = number
                    now = time.monotonic()  # after the answer: the loss may have been noticed meanwhile
                    is_only_one = before in ("", self._redis.instance) and now > self._unheard_until
                    is_told = order_id != "?" and now > self._untold_until
                    return Lease(is_only_one, order_id if is_told else None, partial(self._release, key, number))
                if not buys and (is_stuck == "1" or not self._s3.is_up):
                    return Lease(is_only_one=False, give_back=partial(self._tell, key, number))
                if self._s3.is_steady and is_stuck == "0":
                    unshared_since = None
                elif buys:
                    unshared_since = unshared_since or time.monotonic()
                    if time.monotonic() - unshared_since > _WAIT_SECONDS:
                        raise TimeoutError
                await wait_at_most(told, BEAT_SECONDS)

    async def close(self) -> None:
        """Wait until what was released is given back, or Redis is away: others take it over when this instance has
        left."""
        if self._asking:
            await asyncio.wait(self._asking)
        while self._giving_back is not None:
            await self._giving_back

    async def _ask(self, key: str, number: int) -> list[str]:
        """Who has the lease, and what `TAKE` tells besides; all who ask at the same moment ask together."""
        asked: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()
        self._asked.append((key, number, asked))
        if len(self._asked) == 1:
            asking = asyncio.create_task(self._ask_together())
            self._asking.add(asking)
            asking.add_done_callback(self._asking.discard)
        try:
            return await asyncio.shield(asked)
        except asyncio.CancelledError:  # it may be ours once that is answered, and others would wait for it
            asked.add_done_callback(partial(self._give_back_unclaimed, key, number))
            raise

    def _give_back_unclaimed(self, key: str, number: int, answered: asyncio.Future[list[str]]) -> None:
        answered.exception()  # seen: nobody waits for it any more
        self._redis.call_later(partial(self._send, [(key, number, "")]))

    async def _ask_together(self) -> None:
        asked, self._asked = self._asked, []
        names, numbers = [_name(key) for key, *_ in asked], [number for _, number, _ in asked]
        silence = int(self._redis.silence_is_death)
        told = [self._redis.instance, ALIVE_PREFIX, _KEPT_SECONDS, silence, _CANNOT_SHARE, *numbers]
        try:
            answers: list[list[bytes]] = await self._redis.call(lambda: self._take(keys=names, args=told))
        except Exception as error:
            for *_, future in asked:
                future.set_exception(error)
        else:
            for (*_, future), answer in zip(asked, answers, strict=True):
                future.set_result([value.decode() for value in answer])

    def _release(self, key: str, number: int, order_id: str) -> None:
        if self._held.get(key) == number:
            del self._held[key]
        self._released.append((key, number, order_id))
        if self._giving_back is None:
            self._giving_back = asyncio.create_task(self._give_back())

    def _tell(self, key: str, number: int, order_id: str) -> None:
        """What was fetched without a lease is shared."""
        if order_id:
            self._release(key, number, order_id)

    async def _give_back(self) -> None:
        try:
            while self._released:
                await asyncio.sleep(_GATHER_SECONDS)
                released, self._released = self._released, []
                await self._redis.call_surely(partial(self._send, released))
        finally:
            self._giving_back = None

    async def _send(self, leases: list[tuple[str, int, str]]) -> None:
        keys, arguments = [key for key, *_ in leases], [CHANNEL, "\n".join(key for key, *_ in leases), _TOLD_SECONDS]
        for _, number, order_id in leases:
            arguments += [f"{self._redis.instance} {number}", order_id]
        await self._give(keys=[*map(_name, keys)], args=arguments)

    async def _warn(self) -> None:
        """While what is fetched here cannot be shared, those who wait for it are told with each heartbeat."""
        name = _CANNOT_SHARE + self._redis.instance
        if not self._s3.is_steady:
            self._has_warned = True
            await self._redis.call(lambda: self._redis.redis.set(name, 1, px=int(LEASE_SECONDS * 1000)))
        elif self._has_warned:
            await self._redis.call(lambda: self._redis.redis.delete(name))
            self._has_warned = False

    async def _retake(self) -> None:
        self._untold_until = time.monotonic() + TRUSTED_SECONDS
        # A heartbeat of another that fell into the pause of its link is left out: the next one is heard.
        self._unheard_until = time.monotonic() + PAUSE_SECONDS + BEAT_SECONDS + LATE_SECONDS
        for key, number in list(self._held.items()):
            if self._held.get(key) == number:
                try:
                    await self._ask(key, number)
                finally:
                    if self._held.get(key) != number:  # released meanwhile: perhaps before it was taken
                        self._redis.call_later(partial(self._send, [(key, number, "")]))


def _name(key: str) -> str:
    return f"batch:image:{key}"
