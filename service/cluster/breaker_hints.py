"""What instances tell each other of a broken dependency: a hint, through Redis, never in the way of a call.

Each decides by what it has met itself. But once one has opened a circuit, the others need not find out too; and when
the pause is over, one of them tries, not all. Without Redis every instance is on its own.
"""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, NoReturn

from redis.exceptions import RedisError

from service.background import until_done
from service.telemetry.logs import get_logger
from service.upstream.breaker import Breaker

log = get_logger(__name__)

_LOOK_SECONDS = 0.5
# While all is well; most of what an idle instance would ask Redis else.
_IDLE_SECONDS = 4.0
_CALL_SECONDS = 0.2
# The trial must be somebody's before the pause is over.
_AHEAD_SECONDS = 1.5
_TRIAL_MILLISECONDS = 10_000


class BreakerHints:
    """Shares how long the circuits of `breakers` stay open. `redis` is a client of redis-py for asyncio."""

    def __init__(self, redis: Any, breakers: Iterable[Breaker]) -> None:
        self._redis = redis
        self._breakers = list(breakers)
        self._shared: dict[Breaker, float] = {}
        """When the pause ends that others were told of, or have told of."""
        self._trying: set[Breaker] = set()

    async def exchange_regularly(self) -> NoReturn:
        """Look and tell, again and again."""
        while True:
            await until_done("exchange hints", self._exchange_all, _IDLE_SECONDS)
            is_idle = not (self._shared or self._trying)
            await asyncio.sleep(_IDLE_SECONDS if is_idle else _LOOK_SECONDS)

    async def _exchange_all(self) -> None:
        for breaker in self._breakers:
            with suppress(RedisError, OSError, TimeoutError):
                async with asyncio.timeout(_CALL_SECONDS * 2):
                    await self.exchange(breaker)

    async def exchange(self, breaker: Breaker) -> None:
        """Tell others how this circuit stands, and take their advice."""
        name = f"batch:circuit:{breaker.circuit}"
        left = breaker.pause_seconds
        if left is None:
            if not breaker.is_closed:
                if breaker.is_open:  # its trial is under way: nobody else's begins meanwhile
                    await self._redis.pexpire(f"{name}:trial", _TRIAL_MILLISECONDS)
                return
            if breaker in self._shared or breaker in self._trying:  # its own trial went well
                await self._redis.delete(name, f"{name}:trial")
                self._shared.pop(breaker, None)
                self._trying.discard(breaker)
            elif (known := await self._redis.pttl(name)) > 0:
                self._heed(breaker, known)
        elif left < _AHEAD_SECONDS:
            await self._prepare_trial(breaker, name)
        else:
            self._trying.discard(breaker)  # in vain: the pause is its own from here
            if self._shared.get(breaker) != breaker.open_until:
                await self._redis.set(name, "open", px=int(left * 1000))
                self._shared[breaker] = breaker.open_until
            elif await self._redis.pttl(name) <= 0:  # somebody's trial went well
                breaker.advise(0)

    async def _prepare_trial(self, breaker: Breaker, name: str) -> None:
        if breaker in self._trying:
            return
        if (known := await self._redis.pttl(name)) > _AHEAD_SECONDS * 1000:  # another one has tried, in vain
            self._heed(breaker, known)
        elif await self._redis.set(f"{name}:trial", "taken", nx=True, px=_TRIAL_MILLISECONDS):
            self._trying.add(breaker)
        else:
            breaker.advise(_AHEAD_SECONDS)

    def _heed(self, breaker: Breaker, milliseconds: int) -> None:
        breaker.advise(milliseconds / 1000)
        self._shared[breaker] = breaker.open_until
