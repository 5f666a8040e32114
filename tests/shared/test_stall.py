"""An instance that stood still for longer than its lease. The long form, with archives, runs with the soak."""

import asyncio
import sys
from pathlib import Path

from service.jobs.job import Status
from tests.jobs.conformance.engines import open_engine
from tests.jobs.conformance.steps import PATIENCE, request, running
from tests.redis_server import RedisServer

_ROOT = Path(__file__).parents[2]


async def test_what_another_has_ended_meanwhile_stays_as_it_ended(redis: RedisServer) -> None:
    """Its job is run by another one; when it goes on, it is told so, and the history has one end."""
    address = f"shared:{redis.url}"
    async with open_engine(address) as backend:
        job, _ = await backend.submit(request())
        stalled = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.shared.stalled_worker", address),
            cwd=_ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert stalled.stdin is not None
        assert stalled.stdout is not None
        async with asyncio.timeout(PATIENCE):
            assert await stalled.stdout.readline() == b"begun\n"
            async with running(backend) as steps:
                await steps.until(lambda: steps.finished == [job.id])
                stalled.stdin.write(b"\n")
                answer = await stalled.stdout.readline()
                await stalled.wait()
        history = [seen.status async for seen in backend.watch(job.id, 0)]

    assert answer == b"withdrawn\n"
    assert history == [Status.QUEUED, Status.COMPLETE]
