"""An instance that stood still for longer than its lease. The long form, with archives, runs with the soak."""

import asyncio
import sys
from pathlib import Path

from service.jobs.job import Status
from tests.jobs.conformance.engines import open_engine
from tests.jobs.conformance.steps import PATIENCE, request, running
from tests.redis_server import RedisServer

_ROOT = Path(__file__).parents[2]


async def start_stalled(address: str) -> asyncio.subprocess.Process:
    """An instance that has begun a job, and stands still."""
    stalled = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.shared.stalled_worker", address),
        cwd=_ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert stalled.stdout is not None
    async with asyncio.timeout(PATIENCE):
        assert await stalled.stdout.readline() == b"begun\n"
    return stalled


async def go_on(stalled: asyncio.subprocess.Process) -> bytes:
    """Let it go on, to its end; what it says of its job."""
    async with asyncio.timeout(PATIENCE):
        answer, _ = await stalled.communicate(b"\n")
    return answer


async def test_what_another_has_ended_meanwhile_stays_as_it_ended(redis: RedisServer) -> None:
    """Its job is run by another one; when it goes on, it is told so, and the history has one end."""
    address = f"shared:{redis.url}"
    async with open_engine(address) as backend:
        job, _ = await backend.submit(request())
        stalled = await start_stalled(address)
        async with running(backend) as steps:
            await steps.until(lambda: steps.finished == [job.id])
            answer = await go_on(stalled)
        history = [seen.status async for seen in backend.watch(job.id, 0)]

    assert answer == b"withdrawn\n"
    assert history == [Status.QUEUED, Status.COMPLETE]


async def test_who_only_stood_still_did_not_die(redis: RedisServer) -> None:
    """Whoever takes over its job must take it for dead; once it goes on, no death is held against the job."""
    address = f"shared:{redis.url}"
    async with open_engine(address) as backend:
        await backend.submit(request())
        stalled = await start_stalled(address)
        async with running(backend) as meanwhile:
            meanwhile.gate.clear()
            await meanwhile.until(lambda: len(meanwhile.runs) == 1)
            answer = await go_on(stalled)
        async with running(backend) as steps:
            await steps.until(lambda: len(steps.finished) == 1)

    assert answer == b"withdrawn\n"
    assert [run.deaths for run in (*meanwhile.runs, *steps.runs)] == [1, 0]
