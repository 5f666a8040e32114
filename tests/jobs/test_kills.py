"""Jobs outlive their process, unless they are what kills it. The full form runs with the soak."""

import asyncio
import io
import json
import os
import signal
import zipfile
from pathlib import Path
from typing import Any

from aiohttp import ClientSession

from tests.jobs.kills import kill_jobs
from tests.support.process import ServiceProcess
from tests.support.samples import ORDER, OTHER_ORDER, jpeg, order
from tests.support.upstream import FakeUpstream

_TIMEOUT = 60
THIRD_ORDER = "0b9f7c1e-4a57-4d6e-9d51-2f3c8a7be003"


async def test_kills_lose_no_job(tmp_path: Path) -> None:
    """Fifty jobs, five kills: all complete, right, and bought once."""
    findings = await kill_jobs(tmp_path, jobs=50, kills=5, seed=7, judge_time=False)

    findings.verify()


async def test_a_poison_job_is_stopped_and_nobody_else(tmp_path: Path) -> None:
    """The job that takes the process down five times is given up, with the reason.

    Those that ran beside it, created before and after, are not: their images take so long that they got to none.
    """
    async with FakeUpstream() as upstream, ClientSession() as session:
        orders = dict.fromkeys((ORDER, OTHER_ORDER, THIRD_ORDER))
        gates = {}
        for name, order_id in zip(("before", "poison", "after"), orders, strict=True):
            gates[name] = upstream.hold(name)
            upstream.orders[order_id] = order([name])
            upstream.images[name] = jpeg(1)
        settings = {"AUTOENHANCE_API_BASE": upstream.url, "AUTOENHANCE_API_KEY": "k", "RESUME_GRACE": "0"}
        async with ServiceProcess(tmp_path, **settings) as service, asyncio.timeout(_TIMEOUT):

            async def submit(order_id: str) -> str:
                async with session.post(f"{service.url}/v1/orders/{order_id}/jobs") as response:
                    return str((await response.json())["job_id"])

            async def end_of(job_id: str) -> dict[str, Any]:
                async with session.get(f"{service.url}/v1/jobs/{job_id}/events") as response:
                    await response.read()
                async with session.get(f"{service.url}/v1/jobs/{job_id}") as response:
                    found = await response.json()
                    assert isinstance(found, dict)
                    return found

            before, poison, after = [await submit(order_id) for order_id in orders]
            for crashes in range(1, 6):
                if crashes <= 2:  # all three are fetched side by side
                    await upstream.until(lambda: all(upstream.calls(name) == crashes for name in gates))  # noqa: B023
                else:  # they take turns
                    gates["before"].set()
                    await upstream.until(lambda: upstream.calls("poison") == crashes)  # noqa: B023
                os.kill(service.pid, signal.SIGKILL)
                await service.stop()
                await service.start()
            stopped = await end_of(poison)
            gates["after"].set()
            others = [await end_of(job_id) for job_id in (before, after)]

    assert (stopped["status"], stopped["error"]["code"]) == ("error", "job_crashed")
    assert [job["status"] for job in others] == ["complete"] * 2
    assert upstream.calls("poison") == 5


async def test_a_kill_in_the_middle_of_several_orders_costs_nothing(tmp_path: Path) -> None:
    """The job goes on by itself: what was fetched of one order is there, what was on its way is fetched again."""
    async with FakeUpstream() as upstream, ClientSession() as session:
        upstream.orders |= {ORDER: order(["a", "b"]), OTHER_ORDER: order(["c"], order_id=OTHER_ORDER, name="Mill Road")}
        upstream.images |= {name: jpeg(ord(name)) for name in "abc"}
        gate = upstream.hold("c")
        settings = {"AUTOENHANCE_API_BASE": upstream.url, "AUTOENHANCE_API_KEY": "k"}
        async with ServiceProcess(tmp_path, **settings) as service, asyncio.timeout(_TIMEOUT):
            document = {"order_ids": [ORDER, OTHER_ORDER], "include": ["manifest"]}
            async with session.post(f"{service.url}/v1/jobs", json=document) as response:
                job = await response.json()
            async with session.get(f"{service.url}{job['links']['events']}") as stream:
                async for line in stream.content:
                    if line.startswith(b"data: ") and json.loads(line[6:])["downloaded"] == 2:
                        break
            os.kill(service.pid, signal.SIGKILL)
            await service.stop()
            gate.set()
            await service.start()
            async with session.get(f"{service.url}{job['links']['events']}") as response:
                await response.read()
            async with session.get(f"{service.url}{job['links']['self']}/download") as response:
                body = await response.read()

    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        assert archive.testzip() is None
        assert set(archive.namelist()) == {
            *("12 Harbour Lane/a.jpg", "12 Harbour Lane/b.jpg", "12 Harbour Lane/_manifest.json"),
            *("Mill Road/c.jpg", "Mill Road/_manifest.json"),
        }
    assert [upstream.calls(name) for name in "ab"] == [1, 1]
