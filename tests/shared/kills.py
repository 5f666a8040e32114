"""A random replica is killed every few seconds while jobs and downloads are made through a balancer."""

import asyncio
import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from aiohttp import ClientError, ClientResponse

from service.cluster.jobs import LEASE
from service.sandbox import ImageSpec
from service.sandbox.state import Order
from tests.faults.findings import Findings
from tests.faults.scene import members
from tests.support.fleet import Fleet, open_fleet

# By what share the time between two kills may differ, so that they fall everywhere in a job.
_SPREAD = 0.5
_SIZES = (20_000, 60_000, 200_000)
_PAUSE = 0.2
_AT_ONCE = 5
# Kills go on while a job waits: many leases, one after the other.
_TIMEOUT = 300.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How many jobs and downloads, how fast, and how they are disturbed."""

    jobs: int
    downloads: int = 0
    seed: int
    images: int = 3
    pace: float = 0.5
    """Seconds from one new job or download to the next."""
    at_once: int = 100
    """At most so many that have not ended."""
    kill_seconds: float = 2.0
    """From one kill to the next, on average; longer where nothing has ended meanwhile, for the machine is busy."""


async def kill_replicas(folder: Path, plan: Plan) -> Findings:
    """Create jobs while replicas die and are replaced; none may be lost, built differently, or paid for twice."""
    async with open_fleet(folder, DOWNLOAD_CONCURRENCY=str(_AT_ONCE)) as fleet:
        check = _Check(fleet, plan)
        await check.run()
        again = fleet.images_fetched - check.images
    check.findings.at_most(
        f"images bought again: the {_AT_ONCE} that a killed replica may have had in flight",
        again,
        check.kills * _AT_ONCE,
    )
    check.findings.figure("images", check.images)
    check.findings.figure("replicas killed", check.kills, passed=check.kills > 0)
    waited = sum(seconds > LEASE.total_seconds() for seconds in check.seconds)
    check.findings.figure("jobs that took longer than a lease (a kill struck them)", waited)
    check.findings.figure("jobs given up as crashed", check.struck, passed=check.struck == 0)
    check.findings.figure("slowest job, s from its POST to its end", f"{max(check.seconds, default=0):.1f}")
    check.findings.figure("requests made again after a kill", check.repeated)
    return check.findings


class _Check:
    def __init__(self, fleet: Fleet, plan: Plan) -> None:
        self.findings = Findings()
        self.kills = self.repeated = self.struck = self.images = 0
        self._has_ended = asyncio.Event()
        self.seconds: list[float] = []
        self._fleet = fleet
        self._plan = plan
        self._rng = random.Random(plan.seed)
        self._slots = asyncio.Semaphore(plan.at_once)
        self._is_down: set[int] = set()
        self._replacing: list[asyncio.Task[None]] = []

    async def run(self) -> None:
        """Kills go on until the last job or download was begun; the end is in peace."""
        killing = asyncio.create_task(self._kill_regularly())
        begun = [self._judge(f"job-{number}") for number in range(self._plan.jobs)]
        begun += [self._judge_download() for _ in range(self._plan.downloads)]
        self._rng.shuffle(begun)
        async with asyncio.TaskGroup() as running:
            for work in begun:
                await self._slots.acquire()
                running.create_task(work).add_done_callback(self._note_end)
                await asyncio.sleep(self._plan.pace)
            killing.cancel()
        await asyncio.gather(*self._replacing)

    def _note_end(self, _: object) -> None:
        self._has_ended.set()
        self._slots.release()

    async def _kill_regularly(self) -> None:
        while True:
            self._has_ended.clear()
            await asyncio.sleep(self._plan.kill_seconds * self._rng.uniform(1 - _SPREAD, 1 + _SPREAD))
            # Where an instance never lives as long as a job takes, no job can tell its own crashes from others'.
            await self._has_ended.wait()
            up = [index for index in range(len(self._fleet.replicas)) if index not in self._is_down]
            if len(up) > 1:
                self.kills += 1
                self._replacing.append(asyncio.create_task(self._replace(self._rng.choice(up))))

    async def _replace(self, index: int) -> None:
        self._is_down.add(index)
        await self._fleet.replace(index)
        self._is_down.discard(index)

    async def _judge(self, key: str) -> None:
        """A job from its creation to its ZIP, as a caller who does not give up sees it."""
        order = self._add_order()
        started = time.monotonic()
        try:
            async with asyncio.timeout(_TIMEOUT):
                job_id = (await self._answer_of("POST", f"/v1/orders/{order.order_id}/jobs?preview=false", key))[
                    "job_id"
                ]
                job = await self._until_its_end(job_id)
                self.seconds.append(time.monotonic() - started)
                body = await self._fetch(f"/v1/jobs/{job_id}/download") if job["status"] == "complete" else b""
        except TimeoutError:
            self.findings.hold("no job is lost: each ends", False, key)
            return
        self.findings.hold("no job is lost: each ends", True)
        error = (job.get("error") or {}).get("code")
        self.findings.hold("it is complete", job["status"] == "complete", job)
        if job["status"] == "complete":
            self._compare(order, body)
        elif error == "job_crashed":
            self.struck += 1

    def _add_order(self) -> Order:
        images = [
            ImageSpec(size=self._rng.choice(_SIZES), latency=self._rng.uniform(0, 0.8))
            for _ in range(self._plan.images)
        ]
        self.images += len(images)
        return self._fleet.add_order(images)

    async def _judge_download(self) -> None:
        """A download that is continued by its id wherever it broke off, and begun anew only if that id is gone."""
        order = self._add_order()
        path = f"/v1/orders/{order.order_id}/images?preview=false"
        try:
            async with asyncio.timeout(_TIMEOUT):
                body = await self._fetch(path)
        except TimeoutError:
            self.findings.hold("no download is lost", False, order.order_id)
            return
        self.findings.hold("no download is lost", True)
        self._compare(order, body)

    def _compare(self, order: Order, body: bytes) -> None:
        try:
            is_right = members(body) == self._fleet.expected(order)
        except BadZipFile:
            is_right = False
        self.findings.hold("its ZIP, put together from any replicas, is right", is_right, f"{len(body)} bytes")

    async def _until_its_end(self, job_id: str) -> dict[str, Any]:
        while True:
            job = await self._answer_of("GET", f"/v1/jobs/{job_id}")
            if job["status"] not in ("queued", "processing"):
                return job
            await asyncio.sleep(_PAUSE)

    async def _answer_of(self, method: str, path: str, key: str = "") -> dict[str, Any]:
        """Ask until it is answered; the key makes a repeated POST one job."""
        while True:
            try:
                async with self._fleet.session.request(
                    method, self._fleet.url + path, headers={"Idempotency-Key": key} if key else {}
                ) as response:
                    if response.status < 500:
                        document = await response.json()
                        assert response.status < 300, document
                        assert isinstance(document, dict)
                        return document
            except ClientError:
                pass
            self.repeated += 1
            await asyncio.sleep(_PAUSE)

    async def _fetch(self, path: str) -> bytes:
        """The ZIP, continued by its id where it broke off."""
        body, archive = bytearray(), ""
        while True:
            headers = {"Range": f"bytes={len(body)}-"} if archive else {}
            try:
                async with self._fleet.session.get(self._fleet.url + (archive or path), headers=headers) as response:
                    if response.status in (200, 206):
                        if not archive:
                            archive = f"/v1/archives/{response.headers['X-Archive-Id']}"
                        self.findings.equal(
                            "no gap: a part begins where the one before ended", _start(response), len(body)
                        )
                        async for block in response.content.iter_any():
                            body += block
                        return bytes(body)
                    if response.status == 416:  # all is here but the connection's proper end
                        return bytes(body)
                    if response.status == 410:
                        body, archive = bytearray(), ""
            except ClientError:
                pass
            self.repeated += 1
            await asyncio.sleep(_PAUSE)


def _start(response: ClientResponse) -> int:
    """The first byte of what is sent."""
    return int(response.headers["Content-Range"].split()[1].partition("-")[0]) if response.status == 206 else 0
