"""Requests that make an order, of several instances: in Redis, by the key that the caller gave them."""

import json
from typing import Any
from uuid import uuid4

from service.api.order_requests import KEPT_SECONDS, Document
from service.cluster.link import Unavailable
from service.cluster.redis_link import RedisLink
from service.problems import RequestsUnavailable, RequestUnfinished

_PREFIX = "batch:order-request:"
_INSTANCE, _TOKEN, _ANSWER = "instance", "token", "answer"
# Sets what is there only if it is what it was.
_REPLACE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then
    return redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
end
return false
"""
_REMOVE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


class SharedOrderRequests:
    """As `OrderRequests`. What a dead instance had begun, the next request with its key begins anew."""

    def __init__(self, redis: RedisLink) -> None:
        self._redis = redis
        self._begun: dict[str, bytes] = {}

    async def begin(self, key: str) -> Document | None:
        """As `OrderRequests.begin`."""
        mine = json.dumps({_INSTANCE: self._redis.instance, _TOKEN: uuid4().hex}).encode()
        try:
            found = await self._set_if_absent(key, mine)
            # A call that was repeated may find what it has set itself.
            if found is None or found == mine:
                self._begun[key] = mine
                return None
            state: dict[str, Any] = json.loads(found)
            if _ANSWER in state:
                answer: Document = state[_ANSWER]
                return answer
            if not (await self._redis.is_dead(state[_INSTANCE]) and await self._replace(key, found, mine)):
                raise RequestUnfinished
        except Unavailable:
            raise RequestsUnavailable from None
        self._begun[key] = mine
        return None

    async def finish(self, key: str, answer: Document) -> None:
        """As `OrderRequests.finish`; where Redis is away the answer is given all the same, and not kept."""
        try:
            await self._replace(key, self._begun[key], json.dumps({_ANSWER: answer}).encode())
        except Unavailable:
            return
        finally:
            self._begun.pop(key, None)

    async def release(self, key: str) -> None:
        """As `OrderRequests.release`."""
        mine = self._begun.pop(key, None)
        if mine is None:  # its answer is kept, or was to be
            return
        try:
            await self._redis.call(lambda: self._redis.redis.eval(_REMOVE, 1, _PREFIX + key, mine))
        except Unavailable:
            return

    async def _set_if_absent(self, key: str, value: bytes) -> bytes | None:
        redis = self._redis.redis
        found: bytes | None = await self._redis.call(
            lambda: redis.set(_PREFIX + key, value, nx=True, get=True, ex=KEPT_SECONDS)
        )
        return found

    async def _replace(self, key: str, before: bytes, after: bytes) -> bool:
        redis = self._redis.redis
        done = await self._redis.call(lambda: redis.eval(_REPLACE, 1, _PREFIX + key, before, after, str(KEPT_SECONDS)))
        return done is not None
