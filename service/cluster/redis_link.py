"""The Redis or Valkey of several instances: its connections, who is alive, and what instances tell each other."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ReadOnlyError, RedisError

from service.background import repeat
from service.cluster.link import Link, Unavailable
from service.signal import Signals
from service.telemetry.logs import get_logger
from service.telemetry.metrics import Metrics, Shared

log = get_logger(__name__)

T = TypeVar("T")

CALL_SECONDS = 0.2
LATE_SECONDS = CALL_SECONDS
"""After so long, what was sent before a call was given up is done: what undoes it comes behind it."""
BEAT_SECONDS = 2.0
LEASE_SECONDS = 8.0
"""After so long without a heartbeat an instance is taken for dead."""
PAUSE_SECONDS = 2.0
"""So long nothing is asked of Redis after a failure, no heartbeat either."""
_CONNECTIONS = 32
CHANNEL = "batch:messages"
_LISTEN_SECONDS = 5.0
# What is to be done late is forgotten beyond so many: it only keeps others waiting for a lease, or counts too much.
_MAX_LATE = 10_000
_ALIVE, _LEFT = "alive", "left"
ALIVE_PREFIX = "batch:alive:"


class RedisLink:
    """`instance` is this process's id. Everything raises `Unavailable` as `Link` does.

    One heartbeat says that the instance is there, whatever it holds; one connection hears what others publish.
    """

    def __init__(self, redis: Any, instance: str, metrics: Metrics) -> None:
        self.redis = redis  # typed by the library as if it could be the blocking one
        self.instance = instance
        self.link = Link(Shared.REDIS, metrics, seconds=CALL_SECONDS, pause=PAUSE_SECONDS, failures=(RedisError,))
        self.messages = Signals()
        """By topic: what any instance has published."""
        self.listeners: list[Callable[[str], None]] = []
        """Told of every topic; of an empty one when messages may have been missed."""
        self.on_lost: list[Callable[[], Awaitable[None]]] = []
        """Awaited when Redis does not know this instance any more: it was taken for dead, or Redis lost its data. Again
        at the next heartbeat, until all have succeeded."""
        self.on_beat: list[Callable[[], Awaitable[None]]] = []
        """Awaited after each heartbeat: Redis is there."""
        self.lost_at = float("-inf")
        """When Redis was last found not to know this instance any more (of `time.monotonic`)."""
        self._is_lost = self._was_known = False
        self._beats = asyncio.Lock()
        # Each with when it may be made (of `time.monotonic`).
        self._late: deque[tuple[float, Callable[[], Awaitable[Any]]]] = deque(maxlen=_MAX_LATE)
        self._has_late = asyncio.Event()

    @classmethod
    @asynccontextmanager
    async def open(
        cls, url: str, instance: str, metrics: Metrics, *, before: str | None = None
    ) -> AsyncIterator["RedisLink"]:
        """Connections to a Redis that need not be there yet; hung up in the end.

        `before` is the id that this instance had before it was started again.
        """
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=_CONNECTIONS,
            timeout=CALL_SECONDS,
            socket_timeout=None,  # calls are bounded here; redis-py's bound loses cancellations (CPython #86296)
            socket_connect_timeout=BEAT_SECONDS,  # for the listener; calls are bounded as above
            retry=Retry(NoBackoff(), 1),  # that a connection was closed while it was idle only its use tells
            retry_on_error=[ReadOnlyError],  # it is a replica since a fail-over: another connection finds the new one
        )
        async with Redis.from_pool(pool) as redis:
            link = cls(redis, instance, metrics)
            with suppress(Unavailable):
                if before is not None:
                    await link.leave(before)
            await link.beat()
            loops = (
                repeat("heartbeat", link.beat, every=BEAT_SECONDS),
                repeat("listen to Redis", link.listen, every=BEAT_SECONDS),
                repeat("late calls to Redis", link.make_late_calls, every=BEAT_SECONDS),
            )
            tasks = [asyncio.create_task(loop) for loop in loops]
            try:
                yield link
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                if link._late:  # also of those who were cancelled a moment ago
                    await link.make_late_calls()
                with suppress(Unavailable):
                    await link.leave(instance)

    async def call(self, command: Callable[[], Awaitable[T]]) -> T:
        return await self.link.call(command)

    async def call_surely(self, command: Callable[[], Awaitable[Any]]) -> None:
        """Have a command done that may be done twice: now, or as soon as Redis answers again.

        So also when the caller is cancelled: whether Redis did it cannot be told then.
        """
        try:
            await self.call(command)
        except Unavailable:
            self.call_later(command)
        except BaseException:
            self.call_later(command)
            raise

    def call_later(self, command: Callable[[], Awaitable[Any]]) -> None:
        """Have a command done soon, or as soon as Redis answers, but behind what was sent before."""
        self._late.append((time.monotonic() + LATE_SECONDS, command))
        self._has_late.set()

    async def make_late_calls(self) -> None:
        """Wait until there are calls that are late, and make them, as far as Redis answers."""
        await self._has_late.wait()
        while self._late:
            await asyncio.sleep(self._late[0][0] - time.monotonic())
            due, command = self._late.popleft()
            try:
                await self.call(command)
            except Unavailable:
                self._late.append((due, command))
                return
            except BaseException:  # whether it was done cannot be told
                self._late.append((due, command))
                raise
        self._has_late.clear()

    async def publish(self, topic: str) -> None:
        """Wake whoever waits for a topic, at every instance; those who cannot be reached look by themselves."""
        with suppress(Unavailable):
            await self.call(lambda: self.redis.publish(CHANNEL, topic))

    async def beat(self) -> None:
        """Say that this instance is there; one call after the other."""
        name, milliseconds = ALIVE_PREFIX + self.instance, int(LEASE_SECONDS * 1000)

        async def say() -> None:
            was_lost, self._is_lost = self._is_lost, True  # an answer that is lost may be the one that told
            is_known = await self.redis.exists(name)  # by itself: of a SET sent twice the second finds the first
            if self._was_known and not is_known:
                self.lost_at = time.monotonic()
            await self.redis.set(name, _ALIVE, px=milliseconds)
            self._was_known = True
            self._is_lost = was_lost or not is_known

        with suppress(Unavailable):
            async with self._beats:
                await self.call(say)
                if self._is_lost:
                    for work in self.on_lost:
                        await work()
                    self._is_lost = False
                for work in self.on_beat:
                    await work()

    async def leave(self, instance: str) -> None:
        """Others need not wait for the end of an instance's lease."""
        name, milliseconds = ALIVE_PREFIX + instance, int(LEASE_SECONDS * 1000)
        await self.call(lambda: self.redis.set(name, _LEFT, px=milliseconds))
        await self.publish("")

    @property
    def silence_is_death(self) -> bool:
        """After Redis was away, nobody is taken for dead before it had the time to come back too."""
        return time.monotonic() - self.link.up_since > LEASE_SECONDS

    async def is_known(self) -> bool:
        """Whether Redis knows this instance: if not, it may have lost its data, and no heartbeat has told yet."""
        return bool(await self.call(lambda: self.redis.exists(ALIVE_PREFIX + self.instance)))

    async def is_dead(self, instance: str) -> bool:
        """Whether what an instance had begun may be gone on with: it left, or its lease has ended."""
        state: bytes | None = await self.call(lambda: self.redis.get(ALIVE_PREFIX + instance))
        return self.silence_is_death if state is None else state != _ALIVE.encode()

    async def listen(self) -> None:
        """Hear what instances publish, until the connection breaks."""
        with suppress(RedisError, OSError, TimeoutError, ValueError):
            async with self.redis.pubsub() as subscription:
                await subscription.subscribe(CHANNEL)
                while True:
                    message = await subscription.get_message(timeout=_LISTEN_SECONDS)
                    if message is None:
                        await subscription.ping()
                    elif message["type"] == "subscribe":  # also over a connection that the library has opened again
                        self._tell("")
                    elif message["type"] == "message":
                        for topic in message["data"].decode().split("\n"):
                            self._tell(topic)

    def _tell(self, topic: str) -> None:
        if topic:
            self.messages.fire(topic)
        else:
            self.messages.fire_all()
        for listener in self.listeners:
            listener(topic)

    async def warn(self) -> None:
        """Tell of a Redis that evicts, or does not persist."""
        try:
            memory = await self.call(lambda: self.redis.info("memory"))
            persistence = await self.call(lambda: self.redis.info("persistence"))
        except Unavailable:
            return
        if (policy := memory.get("maxmemory_policy", "noeviction")) != "noeviction":
            log.warning("this Redis evicts keys, so jobs may be lost: set maxmemory-policy noeviction", policy=policy)
        if not persistence.get("aof_enabled", 1):
            log.warning("this Redis does not keep what it acknowledged, so jobs may be lost: set appendonly yes")
