"""Requests that make an order, of several instances: in Redis, by the key that the caller gave them."""

import json
from collections.abc import Awaitable
from typing import Any
from uuid import uuid4

from service.api.order_requests import KEPT_SECONDS, Document
from service.cluster.link import Unavailable
from service.cluster.redis_link import RedisLink
from service.problems import RequestsUnavailable, RequestUnfinished

_PREFIX = "batch:order-request:"
_INSTANCE, _TOKEN, _ANSWER = "instance", "token", "answer"
_REPLACE = """
-- Race: one that was taken for dead answers, or gives up, what another has begun anew by now. That stays.
-- KEYS: request. ARGV: what is there, or was until Redis lost it; what is to be there, seconds to keep.
-- Returns whether it is.
local known = redis.call('GET', KEYS[1])
if known and known ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
return 1
"""
_REMOVE = """
-- Race: as above.
-- KEYS: request. ARGV: what is there.
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
"""


class SharedOrderRequests:
    """As `OrderRequests`. What a dead instance had begun, the next request with its key begins anew."""

    def __init__(self, redis: RedisLink) -> None:
        self._redis = redis
        self._begun: dict[str, bytes] = {}

    async def begin(self, key: str) -> Document | None:
        mine = json.dumps({_INSTANCE: self._redis.instance, _TOKEN: uuid4().hex}).encode()
        try:
            answer = await self._begin(key, mine)
        except RequestUnfinished:
            raise
        except BaseException as error:  # whether it is noted as begun cannot be told
            self._redis.call_later(lambda: self._eval(_REMOVE, key, mine))
            if isinstance(error, Unavailable):
                raise RequestsUnavailable from None
            raise
        if answer is None:
            self._begun[key] = mine
        return answer

    async def finish(self, key: str, answer: Document) -> None:
        """As `OrderRequests.finish`; where Redis is away the answer is given all the same, and kept when it is back."""
        mine, kept = self._begun.pop(key), json.dumps({_ANSWER: answer}).encode()
        await self._redis.call_surely(lambda: self._eval(_REPLACE, key, mine, kept, KEPT_SECONDS))

    async def release(self, key: str) -> None:
        mine = self._begun.pop(key, None)
        if mine is not None:  # else its answer is kept, or was to be
            await self._redis.call_surely(lambda: self._eval(_REMOVE, key, mine))

    async def _begin(self, key: str, mine: bytes) -> Document | None:
        """Note what was begun; or return the answer. Raises `RequestUnfinished`, `Unavailable`."""
        redis = self._redis.redis
        found: bytes | None = await self._redis.call(
            lambda: redis.set(_PREFIX + key, mine, nx=True, get=True, ex=KEPT_SECONDS)
        )
        # A call that was repeated may find what it has set itself.
        if found is None or found == mine:
            return None
        state: dict[str, Any] = json.loads(found)
        if _ANSWER in state:
            answer: Document = state[_ANSWER]
            return answer
        if not await self._redis.is_dead(state[_INSTANCE]):
            raise RequestUnfinished
        taken = await self._redis.call(lambda: self._eval(_REPLACE, key, found, mine, KEPT_SECONDS))
        if not taken and await self._redis.call(lambda: redis.get(_PREFIX + key)) != mine:
            raise RequestUnfinished
        return None

    def _eval(self, script: str, key: str, *arguments: bytes | int) -> Awaitable[Any]:
        evaluated: Awaitable[Any] = self._redis.redis.eval(script, 1, _PREFIX + key, *arguments)
        return evaluated
