"""Redis as jobs use it: every call ends in time, messages go out through docket, a job's record is read whole."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

from docket import Docket
from redis import DriverInfo
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from service.jobs import scripts
from service.jobs.job import Change, JobRequest
from service.problems import JobsUnavailable

T = TypeVar("T")

STEP = "job_step"
"""The name under which a worker takes messages: one for each step of a job."""
# A call that takes longer says that jobs cannot be had at the moment; a caller is told so within 1.5 s.
_CALL_SECONDS = 0.8
_CONNECTIONS = 20
_PAUSE_SECONDS = 0.5
# Whoever publishes nothing for so long is asked for a sign of life, and given as long for it.
_SILENCE_SECONDS = 5.0
# Made once: otherwise every connection reads the library's version from the disk.
_DRIVER = DriverInfo()


class Broker:
    """One Redis or Valkey, which need not be there yet. Its scripts are `scripts`, by their names."""

    def __init__(self, redis: Any, docket: Docket) -> None:
        self.redis = redis  # typed by the library as if it could be the blocking one
        self.docket = docket
        self.submit = redis.register_script(scripts.SUBMIT)
        self.claim = redis.register_script(scripts.CLAIM)
        self.progress = redis.register_script(scripts.PROGRESS)
        self.let_go = redis.register_script(scripts.LET_GO)
        self.cancel = redis.register_script(scripts.CANCEL)
        self.renew = redis.register_script(scripts.RENEW)
        self.wake = redis.register_script(scripts.WAKE)

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str) -> AsyncIterator["Broker"]:
        """Connections to the Redis at `url`, closed in the end."""
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=_CONNECTIONS,
            timeout=_CALL_SECONDS,
            socket_timeout=None,  # `call` bounds it; redis-py's own bound loses cancellations (CPython #86296)
            socket_connect_timeout=_CALL_SECONDS / 2,
            driver_info=_DRIVER,
        )
        async with Redis.from_pool(pool) as redis, Docket(name="batch", url=url) as docket:
            yield cls(redis, docket)

    async def call(self, call: Awaitable[T], seconds: float = _CALL_SECONDS) -> T:
        """Raises `JobsUnavailable` when Redis does not do it in time."""
        try:
            async with asyncio.timeout(seconds):
                return await call
        except (RedisError, OSError, TimeoutError) as error:
            raise JobsUnavailable from error

    async def insist(self, call: Callable[[], Awaitable[T]], seconds: float = _CALL_SECONDS) -> T:
        """Call until it is done, for so many seconds: of connections broken by a restart of Redis only a use tells."""
        end = time.monotonic() + seconds
        while True:
            try:
                return await self.call(call(), min(_CALL_SECONDS, end - time.monotonic()))
            except JobsUnavailable:
                if time.monotonic() + _PAUSE_SECONDS > end:
                    raise
            await asyncio.sleep(_PAUSE_SECONDS)

    async def send(self, job_id: str, sequence: int, due: float) -> None:
        """Tell some worker to take this step of a job, then. Raises `JobsUnavailable`."""
        when = datetime.fromtimestamp(due, UTC)
        add = self.docket.add(STEP, when=when, key=message_key(job_id, sequence))
        await self.call(add(job_id=job_id, sequence=sequence))

    async def read_changes(
        self, job_id: str, after: int, seconds: float = _CALL_SECONDS
    ) -> tuple[JobRequest | None, list[Change]]:
        """What happened to a job after change number `after`. Raises `JobsUnavailable`."""

        async def read() -> tuple[bytes | None, list[bytes]]:
            async with self.redis.pipeline(transaction=False) as pipeline:
                pipeline.hget(f"batch:job:{job_id}", "request")
                pipeline.lrange(f"batch:job:{job_id}:log", after, -1)
                request, changes = await pipeline.execute()
                return request, changes

        request, changes = await self.insist(read, seconds)
        if request is None:
            return None, []
        return JobRequest.load(request.decode()), [Change.load(change.decode()) for change in changes]


async def listen(url: str, heard: Mapping[str, Callable[[str], None]]) -> None:
    """Hear what is published, by channel, until cancelled; what is said while Redis is away is missed."""
    while True:
        try:
            async with (
                Redis.from_url(url, socket_timeout=None, driver_info=_DRIVER) as redis,
                redis.pubsub() as subscription,
            ):
                async with asyncio.timeout(_SILENCE_SECONDS):
                    await subscription.subscribe(*heard)
                while True:
                    message = await _next_message(subscription)
                    if message["type"] == "message":
                        heard[message["channel"].decode()](message["data"].decode())
        except (RedisError, OSError):
            await asyncio.sleep(_PAUSE_SECONDS)


async def _next_message(subscription: PubSub) -> dict[str, Any]:
    """Raises `TimeoutError` when Redis does not even answer a ping: nobody tells of a host that is gone."""
    for _ in range(2):
        message: dict[str, Any] | None = await subscription.get_message(timeout=_SILENCE_SECONDS)
        if message is not None:
            return message
        await subscription.ping()
    raise TimeoutError


def message_key(job_id: str, sequence: int) -> str:
    """Names the message of one step: sent twice, it is one."""
    return f"{job_id}:{sequence}"
