"""Another Redis takes the place of the first, which stays, as its replica, and keeps its connections."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from service.cluster.redis_link import RedisLink
from service.telemetry.metrics import Metrics
from tests.faults.proxy import FaultProxy
from tests.jobs.conformance.engines import open_engine
from tests.jobs.conformance.work import request, running
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.usefixtures("long_timeouts")


class Redises:
    """One behind an address, and one that can take its place."""

    def __init__(self, first: RedisServer, second: RedisServer, way: FaultProxy) -> None:
        self.url = way.url.replace("http", "redis")
        self._first = first
        self._second = second
        self._way = way

    def fail_over(self) -> None:
        """The address leads to the second from here; the first refuses to be written to."""
        self._way.target = self._second.url
        answer = self._first.command("REPLICAOF", "127.0.0.1", str(self._second.port))
        assert answer.startswith(b"+OK")


@pytest.fixture
async def redises(tmp_path: Path, redis: RedisServer) -> AsyncIterator[Redises]:
    with RedisServer(tmp_path / "second") as second:
        async with FaultProxy(redis.url) as way:
            yield Redises(redis, second, way)


async def test_what_was_connected_to_the_first_redis_writes_to_the_second(redises: Redises) -> None:
    """A command, a script and several commands together."""
    async with RedisLink.open(redises.url, "mine", Metrics()) as link:
        script = link.redis.register_script("return redis.call('SET', KEYS[1], 'by a script')")

        async def write_together() -> list[bool]:
            async with link.redis.pipeline(transaction=True) as pipeline:
                pipeline.set("c", "together")
                return list(await pipeline.execute())

        async def write() -> list[Any]:
            """Over a connection each."""
            writes = (lambda: link.redis.set("a", "alone"), lambda: script(keys=["b"]), write_together)
            return list(await asyncio.gather(*(link.call(one) for one in writes)))

        await write()
        redises.fail_over()
        answers = await write()

    assert answers == [True, b"OK", [True]]


async def test_jobs_go_on_at_the_second_redis(redises: Redises) -> None:
    """They are taken, and run."""
    async with open_engine(f"shared:{redises.url}") as engine, running(engine) as tasks:
        before, _ = await engine.submit(request())
        await tasks.until(lambda: tasks.finished == [before.id])
        redises.fail_over()
        after, _ = await engine.submit(request())
        await tasks.until(lambda: after.id in tasks.finished)
