"""Replicas are told to stop and replaced, one after the other, as an upgrade does it, while callers come and go."""

import asyncio
from pathlib import Path

from aiohttp import ClientError

from service.sandbox import ImageSpec
from tests.faults.findings import Findings
from tests.faults.scene import members
from tests.support.fleet import SERVED_BY, Fleet, open_fleet

_CALLERS = 4
_IMAGES = [ImageSpec(size=60_000, latency=0.2)] * 6
_JOB_SECONDS = 0.5


async def roll_replicas(folder: Path, *, rounds: int) -> Findings:
    """Every replica is stopped and replaced, so many times, under load: nobody notices, nothing is paid for twice."""
    findings = Findings()
    async with open_fleet(folder) as fleet:
        callers = _Callers(fleet, findings)
        async with asyncio.TaskGroup() as running:
            tasks = [running.create_task(callers.download()) for _ in range(_CALLERS)]
            tasks.append(running.create_task(callers.create_jobs()))
            for number in range(rounds * len(fleet.replicas)):
                code = await fleet.renew(number % len(fleet.replicas))
                findings.equal("a stop ends in order", code, 0)
                await callers.until_served_by(len(fleet.replicas))
            callers.is_over = True
            await asyncio.wait(tasks)
        await callers.judge_jobs()
        again = fleet.images_fetched - callers.images
    findings.equal("no image is bought again", again, 0)
    findings.figure("replicas stopped and replaced", rounds * 3)
    findings.figure("images", callers.images, passed=callers.images > 0)
    return findings


class _Callers:
    def __init__(self, fleet: Fleet, findings: Findings) -> None:
        self.is_over = False
        self.images = 0
        self._fleet = fleet
        self._findings = findings
        self._jobs: list[str] = []

    def _add_order(self) -> tuple[str, dict[str, bytes]]:
        order = self._fleet.add_order(_IMAGES)
        self.images += len(_IMAGES)
        return order.order_id, self._fleet.expected(order)

    async def download(self) -> None:
        """One order after the other."""
        while not self.is_over:
            order_id, expected = self._add_order()
            url = f"{self._fleet.url}/v1/orders/{order_id}/images?preview=false"
            found: object = None
            try:
                async with self._fleet.session.get(url) as response:
                    found = members(await response.read()) if response.status == 200 else response.status
            except ClientError as error:
                found = type(error).__name__
            self._findings.hold("no download fails", found == expected, found)

    async def create_jobs(self) -> None:
        """One after the other; they are looked at in the end."""
        while not self.is_over:
            order_id, _ = self._add_order()
            url, found = f"{self._fleet.url}/v1/orders/{order_id}/jobs?preview=false", ""
            try:
                async with self._fleet.session.post(url) as response:
                    found = str((await response.json()).get("job_id", response.status))
                    if response.status == 202:
                        self._jobs.append(found)
                self._findings.hold("no job is refused", response.status == 202, found)
            except ClientError as error:
                self._findings.hold("no job is refused", False, type(error).__name__)
            await asyncio.sleep(_JOB_SECONDS)

    async def judge_jobs(self) -> None:
        """Each is complete, in the end."""
        for job_id in self._jobs:
            async with self._fleet.session.get(f"{self._fleet.url}/v1/jobs/{job_id}/events") as response:
                last = (await response.read()).rpartition(b"data: ")[2]
            self._findings.hold("every job is complete", b'"complete"' in last, last)

    async def until_served_by(self, replicas: int) -> None:
        """Wait until the balancer has found so many."""
        found: set[str] = set()
        while len(found) < replicas:
            async with self._fleet.session.get(f"{self._fleet.url}/livez") as response:
                found.add(response.headers[SERVED_BY])
            await asyncio.sleep(0.05)
