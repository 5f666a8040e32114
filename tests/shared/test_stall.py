"""An instance that stood still for longer than its lease. The long form, with archives, runs with the soak."""

import asyncio
import sys
from pathlib import Path

from service.jobs.job import Status
from tests.jobs.conformance.engines import open_engine
from tests.jobs.conformance.work import TIMEOUT, request, running
from tests.support.redis_server import RedisServer

_ROOT = Path(__file__).parents[2]


async def start_stalled(address: str) -> asyncio.subprocess.Process:
    """An instance that has begun a job, and stands still."""
    stalled = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.stalled_worker", address),
        cwd=_ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert stalled.stdout is not None
    async with asyncio.timeout(TIMEOUT):
        assert await stalled.stdout.readline() == b"begun\n"
    return stalled


async def go_on(stalled: asyncio.subprocess.Process) -> bytes:
    """Let it go on, to its end; what it says of its job."""
    async with asyncio.timeout(TIMEOUT):
        answer, _ = await stalled.communicate(b"\n")
    return answer


async def test_what_another_has_ended_meanwhile_stays_as_it_ended(redis: RedisServer) -> None:
    """Its job is run by another one; when it goes on, its own end is refused."""
    address = f"shared:{redis.url}"
    async with open_engine(address) as engine:
        job, _ = await engine.submit(request())
        stalled = await start_stalled(address)
        async with running(engine) as tasks:
            await tasks.until(lambda: tasks.finished == [job.id])
            answer = await go_on(stalled)
        kept = await engine.get(job.id)

    assert answer == b"refused\n"
    assert kept is not None
    assert kept.status is Status.COMPLETE
