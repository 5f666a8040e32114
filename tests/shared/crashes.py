"""What becomes of jobs whose replica is killed, stands still, or is killed by the job itself."""

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from aiohttp import ClientError

from service.cluster.job_records import JobRecords
from service.cluster.jobs import LEASE
from service.jobs.job import Job
from service.sandbox import ImageSpec
from service.sandbox.state import Order
from tests.faults.findings import Findings
from tests.faults.scene import members
from tests.support.fleet import TIMEOUT, Fleet, open_fleet
from tests.support.process import ServiceProcess

_JOBS = 6
_SIZE = 50_000
_AGAIN_SECONDS = LEASE.total_seconds() * 1.5
"""Within which an interrupted job must be running again."""
_STALL_SECONDS = LEASE.total_seconds() * 1.5
_CRASHES = 5
_PAUSE = 0.05
_IN_FLIGHT = "batch_downloads_in_flight "


async def kill_running(folder: Path, *, rounds: int) -> Findings:
    """Time from the death of a replica until another one runs what it had."""
    async with open_fleet(folder) as fleet:
        check = _Check(fleet)
        for number in range(rounds):
            await check.interrupt(number % len(fleet.replicas), stall=False)
    check.tell_times()
    return check.findings


async def stall_running(folder: Path, *, rounds: int) -> Findings:
    """A replica stands still for longer than its lease, then goes on beside the one that has its jobs by then."""
    async with open_fleet(folder) as fleet:
        check = _Check(fleet)
        for number in range(rounds):
            await check.interrupt(number % len(fleet.replicas), stall=True)
    check.tell_times()
    return check.findings


async def stop_poison(folder: Path, *, rounds: int) -> Findings:
    """A job kills every replica that runs it; it is stopped, and the others go on."""
    async with open_fleet(folder) as fleet:
        check = _Check(fleet)
        for _ in range(rounds):
            await check.poison()
    return check.findings


class _Check:
    def __init__(self, fleet: Fleet) -> None:
        self.findings = Findings()
        self._fleet = fleet
        self._again: list[float] = []

    def tell_times(self) -> None:
        """How soon interrupted jobs were running again."""
        slowest = max(self._again, default=0.0)
        self.findings.figure("jobs that were interrupted", len(self._again), passed=bool(self._again))
        what = f"slowest of them running again elsewhere, s (at most {_AGAIN_SECONDS:.0f})"
        self.findings.figure(what, f"{slowest:.1f}", passed=slowest <= _AGAIN_SECONDS)

    async def interrupt(self, index: int, *, stall: bool) -> None:
        """Hold up, or kill, one replica while jobs run on all of them."""
        image = ImageSpec(size=_SIZE, latency=4.0)
        jobs = {
            await self._create(order): order for order in (self._fleet.add_order([image] * 2) for _ in range(_JOBS))
        }
        watcher = self._fleet.replicas[index - 1]
        again: dict[str, float] = {}
        async with JobRecords.open(self._fleet.redis.url) as records, asyncio.TaskGroup() as watching:
            for job_id in jobs:
                watching.create_task(self._watch(watcher, job_id))
            await self._until(records, jobs, lambda job: job.archive_id is not None)
            struck = time.monotonic()
            watching.create_task(self._note_attempts(records, jobs, again))
            if stall:
                pid = self._fleet.replicas[index].pid
                os.kill(pid, signal.SIGSTOP)
                await asyncio.sleep(_STALL_SECONDS)
                os.kill(pid, signal.SIGCONT)
            else:
                await self._fleet.replace(index)
        self._again += [moment - struck for moment in again.values()]
        for job_id, order in jobs.items():
            await self._judge(job_id, order)

    async def _judge(self, job_id: str, order: Order) -> None:
        """One result, the same bytes from everywhere, the right ones."""
        job = await self._get(self._fleet.replicas[0], f"/v1/jobs/{job_id}")
        self.findings.equal("every job is complete", job["status"], "complete")
        bodies = {await self._read(replica, f"/v1/jobs/{job_id}/download") for replica in self._fleet.replicas}
        self.findings.equal("its bytes are the same from every replica", len(bodies), 1)
        self.findings.hold("its ZIP is right", members(bodies.pop()) == self._fleet.expected(order), job_id)

    async def _until(self, records: JobRecords, jobs: Iterable[str], condition: Callable[[Job], bool]) -> None:
        async with asyncio.timeout(TIMEOUT):
            while not all([(job := await records.get(job_id)) and condition(job) for job_id in jobs]):  # noqa: ASYNC110
                await asyncio.sleep(_PAUSE)

    async def _note_attempts(self, records: JobRecords, jobs: Iterable[str], again: dict[str, float]) -> None:
        """Note when a second attempt at a job begins, until all jobs have ended."""
        is_over = False
        while not is_over:
            found = {job_id: await records.get(job_id) for job_id in jobs}
            is_over = all(job is None or job.is_final for job in found.values())
            for job_id, job in found.items():
                if job is not None and not job.is_final and (job.crashes > 1 or job.reached):
                    again.setdefault(job_id, time.monotonic())
            await asyncio.sleep(_PAUSE)

    async def _watch(self, replica: ServiceProcess, job_id: str) -> None:
        """Its events, to the end."""
        ends = 0
        async with self._fleet.session.get(f"{replica.url}/v1/jobs/{job_id}/events") as events:
            async for line in events.content:
                if line.startswith(b"data: "):
                    ends += json.loads(line[6:])["status"] in ("complete", "error", "cancelled")
        self.findings.equal("it ends once", ends, 1)

    async def poison(self) -> None:
        """One job alone in the fleet: whoever fetches its image is killed."""
        job_id = await self._create(self._fleet.add_order([ImageSpec(size=_SIZE, latency=TIMEOUT / 2)]))
        crashes = 0
        while (job := await self._status(job_id))["status"] in ("queued", "processing"):
            for index, replica in enumerate(self._fleet.replicas):
                if await self._is_fetching(replica):
                    await self._fleet.replace(index)
                    crashes += 1
            await asyncio.sleep(_PAUSE)
        self.findings.equal("a job that kills its process is given up after five crashes", crashes, _CRASHES)
        self.findings.equal("with the reason", (job["error"] or {}).get("code"), "job_crashed")
        order = self._fleet.add_order([ImageSpec(size=_SIZE)])
        await self._watch(self._fleet.replicas[0], await self._create(order))
        bodies = {await self._download(replica, order) for replica in self._fleet.replicas}
        right = len(bodies) == 1 and members(bodies.pop()) == self._fleet.expected(order)
        self.findings.hold("the fleet lives: the next job ends, and every replica has its order", right)

    async def _is_fetching(self, replica: ServiceProcess) -> bool:
        try:
            async with self._fleet.session.get(f"{replica.url}/metrics") as response:
                lines = (await response.text()).splitlines()
        except ClientError:
            return False
        return any(line.startswith(_IN_FLIGHT) and float(line.split()[1]) > 0 for line in lines)

    async def _create(self, order: Order) -> str:
        url = f"{self._fleet.url}/v1/orders/{order.order_id}/jobs"
        async with self._fleet.session.post(url, params={"preview": "false"}) as response:
            assert response.status == 202, await response.text()
            return str((await response.json())["job_id"])

    async def _status(self, job_id: str) -> dict[str, Any]:
        """From whoever answers."""
        while True:
            for replica in self._fleet.replicas:
                try:
                    return await self._get(replica, f"/v1/jobs/{job_id}")
                except ClientError:
                    await asyncio.sleep(_PAUSE)

    async def _get(self, replica: ServiceProcess, path: str) -> dict[str, Any]:
        found = json.loads(await self._read(replica, path))
        assert isinstance(found, dict)
        return found

    async def _download(self, replica: ServiceProcess, order: Order) -> bytes:
        return await self._read(replica, f"/v1/orders/{order.order_id}/images?preview=false")

    async def _read(self, replica: ServiceProcess, path: str) -> bytes:
        """What is answered, in the end: whoever stood still may have to find out first that another one went on."""
        async with asyncio.timeout(TIMEOUT):
            while True:
                async with self._fleet.session.get(replica.url + path) as response:
                    if response.status != 503:
                        response.raise_for_status()
                        return await response.read()
                await asyncio.sleep(_PAUSE)
