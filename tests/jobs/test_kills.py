"""Jobs outlive their process, unless they are what kills it. The full form runs with the soak."""

import asyncio
import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

from aiohttp import ClientSession

from tests.fakes.samples import ORDER, jpeg, order
from tests.fakes.upstream import FakeUpstream
from tests.jobs.kills import kill_jobs
from tests.process import ServiceProcess

_PATIENCE = 60


async def test_kills_lose_no_job(tmp_path: Path) -> None:
    """Fifty jobs, five kills: all complete, right, and bought once."""
    findings = await kill_jobs(tmp_path, jobs=50, kills=5, seed=7, judge_time=False)

    findings.verify()


async def test_a_poison_job_is_stopped(tmp_path: Path) -> None:
    """A job that takes the process down three times is given up, with the reason; the next one is built."""
    async with FakeUpstream() as upstream, ClientSession() as session:
        settings = {"AUTOENHANCE_API_BASE": upstream.url, "AUTOENHANCE_API_KEY": "k", "RESUME_GRACE": "0"}
        gate = upstream.hold("a")
        upstream.orders[ORDER] = order(["a"])
        upstream.images["a"] = jpeg(1)
        async with ServiceProcess(tmp_path, **settings) as service, asyncio.timeout(_PATIENCE):
            async with session.post(f"{service.url}/v1/orders/{ORDER}/jobs") as response:
                poison = (await response.json())["job_id"]
            for deaths in range(1, 4):
                await upstream.until(lambda: upstream.calls("a") == deaths)  # noqa: B023  # awaited in the same turn
                os.kill(service.pid, signal.SIGKILL)
                await service.stop()
                await service.start()
            async with session.get(f"{service.url}/v1/jobs/{poison}/events") as response:
                await response.read()
            async with session.get(f"{service.url}/v1/jobs/{poison}") as response:
                stopped = await response.json()
            gate.set()
            async with session.post(f"{service.url}/v1/orders/{ORDER}/jobs") as response:
                next_job = (await response.json())["job_id"]
            async with session.get(f"{service.url}/v1/jobs/{next_job}/events") as response:
                events = await response.text()

    assert (stopped["status"], stopped["error"]["code"]) == ("error", "job_crashed")
    assert '"status": "complete"' in events
    assert upstream.calls("a") == 4
    with closing(sqlite3.connect(tmp_path / "batch.sqlite3")) as database:
        assert database.execute("SELECT count(*) FROM jobs WHERE run IS NOT NULL").fetchone() == (0,)
