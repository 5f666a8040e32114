"""`kill -9` at random moments while jobs are accepted, run and finished, and what becomes of the jobs."""

import asyncio
import random
import shutil
import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

from aiohttp import ClientError

from service.sandbox import ImageSpec
from service.sandbox.state import Order
from tests.faults.findings import Findings
from tests.faults.scene import QUERY, TIMEOUT, Scene, members, open_scene

_SIZES = (20_000, 60_000, 200_000)
# A burst of submissions takes so long. Some kills come in the middle of it, some when half of the jobs have ended.
_BURST_SECONDS = 0.8
_LATEST_KILL = 1.2
_LOOK_SECONDS = 0.02
_RESTART_SECONDS = 2.0
"""Within which interrupted jobs must be running again."""


async def kill_jobs(folder: Path, *, jobs: int, kills: int, seed: int, judge_time: bool = True) -> Findings:
    """Submit `jobs` jobs while the service is killed `kills` times; none may be lost, or built differently.

    `judge_time`: whether a slow restart counts as a broken promise, or is only told.
    """
    async with open_scene(folder) as scene:
        check = _Check(scene, random.Random(seed), folder)
        await check.rounds(jobs, kills)
        await check.judge()
    once, twice = (max(check.restarts[kill], default=0.0) for kill in (1, 2))
    fast = once <= _RESTART_SECONDS or not judge_time
    check.findings.figure("kills", kills)
    check.findings.figure("jobs that a kill interrupted", check.interrupted, passed=check.interrupted > 0)
    check.findings.figure("jobs accepted", check.accepted, passed=check.accepted == jobs)
    check.findings.figure("POSTs that a kill interrupted", check.unanswered)
    check.findings.figure("slowest interrupted job running again after the start, s", f"{once:.2f}", passed=fast)
    check.findings.figure("the same after a second kill (these take turns until they get on), s", f"{twice:.2f}")
    return check.findings


class _Check:
    def __init__(self, scene: Scene, rng: random.Random, data_dir: Path) -> None:
        self.findings = Findings()
        self.interrupted = 0
        self.unanswered = 0
        self.restarts: dict[int, list[float]] = {1: [], 2: []}
        """Seconds until all that the first, or a second, kill in a row had interrupted was running again."""
        self._scene = scene
        self._rng = rng
        self._data_dir = data_dir
        self._accepted: dict[str, Order] = {}
        self._up = asyncio.Event()
        self._up.set()

    @property
    def accepted(self) -> int:
        """How many jobs there are."""
        return len(self._accepted)

    async def rounds(self, jobs: int, kills: int) -> None:
        """Submit in bursts, each followed by one kill or two."""
        submitted = done = 0
        while done < kills:
            twice = done + 2 <= kills and self._rng.random() < 0.4
            done += 2 if twice else 1
            share = jobs * done // kills
            burst = [asyncio.create_task(self._submit(f"job-{number}")) for number in range(submitted, share)]
            submitted = share
            struck = await self._kill(1)
            if twice:
                struck |= await self._kill(2)
            await asyncio.gather(*burst)
            await asyncio.gather(*(self._read_events(job_id) for job_id in struck))

    def _image(self) -> ImageSpec:
        return ImageSpec(size=self._rng.choice(_SIZES), latency=self._rng.uniform(0, 0.4))

    async def _submit(self, key: str) -> None:
        """Ask until there is an answer; the key makes that one job."""
        order = self._scene.add_order([self._image() for _ in range(self._rng.randint(1, 4))])
        await asyncio.sleep(self._rng.uniform(0, _BURST_SECONDS))
        while True:
            await self._up.wait()
            try:
                job = await self._post(key, order)
            except (ClientError, OSError):
                self.unanswered += 1
                await asyncio.sleep(0.05)
                continue
            self._accepted[job["job_id"]] = order
            return

    async def _post(self, key: str, order: Order) -> dict[str, Any]:
        url = f"{self._scene.service.url}/v1/orders/{order.order_id}/jobs"
        async with self._scene.session.post(url, params=QUERY, headers={"Idempotency-Key": key}) as response:
            assert response.status == 202, await response.text()
            found = await response.json()
            assert isinstance(found, dict)
            return found

    async def _kill(self, in_a_row: int) -> set[str]:
        """Kill, look at what is on disk, start again, and time the interrupted jobs; returns their ids."""
        await asyncio.sleep(self._rng.uniform(0, _LATEST_KILL))
        told = set(self._accepted)
        self._up.clear()
        await self._scene.service.kill()
        known, running = await asyncio.to_thread(_records_of_the_dead, self._data_dir)
        self.findings.hold("an accepted job is on disk when its process dies", told <= known, told - known)
        self.interrupted += len(running)
        await self._scene.service.start()
        started = time.monotonic()
        self._up.set()
        await asyncio.to_thread(_wait_for_changes, self._data_dir, running)
        if running:
            self.restarts[in_a_row].append(time.monotonic() - started)
        return set(running)

    @asynccontextmanager
    async def _events(self, job_id: str) -> AsyncIterator[Any]:
        url = f"{self._scene.service.url}/v1/jobs/{job_id}/events"
        async with (
            asyncio.timeout(TIMEOUT),
            self._scene.session.get(url) as response,
        ):
            yield response.content

    async def _read_events(self, job_id: str) -> bytes:
        """Its events, once it has ended."""
        async with self._events(job_id) as lines:
            body = await lines.read()
            assert isinstance(body, bytes)
            return body

    async def judge(self) -> None:
        """Every accepted job ends, complete, with the right images, each bought once."""
        at_once = asyncio.Semaphore(8)

        async def one(job_id: str, order: Order) -> None:
            async with at_once:
                await self._judge(job_id, order)

        await asyncio.gather(*(one(job_id, order) for job_id, order in self._accepted.items()))

    async def _judge(self, job_id: str, order: Order) -> None:
        body = await self._read_events(job_id)
        document = await self._scene.session.get(f"{self._scene.service.url}/v1/jobs/{job_id}")
        job = await document.json()
        self.findings.hold("every accepted job is complete in the end", job["status"] == "complete", job)
        numbers = [int(line[4:]) for line in body.splitlines() if line.startswith(b"id: ")]
        numbers = [number for number in dict.fromkeys(numbers) if number]  # a state has the number of what it follows
        self.findings.equal("its events have no gap", numbers, list(range(1, len(order.images) + 2)))
        answer = await self._scene.ask(f"/v1/jobs/{job_id}/download")
        right = answer.status == 200 and members(answer.body) == self._scene.expected(order)
        self.findings.hold("its ZIP holds what was ordered", right, order.order_id)
        self.findings.equal("every image is bought once", self._scene.bought(order), len(order.images))


def _records_of_the_dead(data_dir: Path) -> tuple[set[str], dict[str, str]]:
    """From a copy of the dead process's database: all jobs, and the states of those it was running."""
    with tempfile.TemporaryDirectory() as folder:
        for path in data_dir.glob("batch.sqlite3*"):
            if not path.name.endswith("-shm"):
                shutil.copy(path, folder)
        with closing(sqlite3.connect(Path(folder) / "batch.sqlite3")) as connection:
            known = {row[0] for row in connection.execute("SELECT id FROM job_records")}
            begun = "SELECT id, state FROM job_records WHERE expires IS NULL AND json_extract(state, '$.crashes') > 0"
            return known, dict(connection.execute(begun).fetchall())


def _wait_for_changes(data_dir: Path, states: dict[str, str]) -> None:
    """Until each of the jobs has another state: the first thing that a run does is to say that it has begun."""
    deadline = time.monotonic() + TIMEOUT
    with closing(sqlite3.connect(data_dir / "batch.sqlite3")) as connection:
        while states and time.monotonic() < deadline:
            now = dict(connection.execute("SELECT id, state FROM job_records").fetchall())
            states = {job_id: state for job_id, state in states.items() if now[job_id] == state}
            time.sleep(_LOOK_SECONDS)
