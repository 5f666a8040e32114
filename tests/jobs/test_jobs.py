"""What callers ask of jobs is done also when they leave; what is told of jobs as figures."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from service.archives.archives import Archives
from service.archives.options import Options
from service.database import Database
from service.jobs import table
from service.jobs.embedded import EmbeddedJobs
from service.jobs.engine import JobEngine
from service.jobs.job import Status
from service.jobs.jobs import Jobs
from service.problems import JobsUnavailable
from service.telemetry.metrics import OPEN_STATUSES, Metrics
from tests.jobs.conformance.work import ORDER, TIMEOUT, Tasks, running
from tests.support.transport import sample, yield_to_loop


class Counted:
    """An engine that counts, or cannot."""

    def __init__(self) -> None:
        self.answer: dict[Status, int] | Exception = {}

    async def counts(self) -> dict[Status, int]:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


async def test_figures_that_cannot_be_told_stay_as_they_were() -> None:
    """An outage of Redis is no error of ours: nothing is raised, and no job seems to have gone."""
    engine, metrics = Counted(), Metrics()
    jobs = Jobs(cast(JobEngine, engine), cast(Archives, None), metrics, ttl=3_600)
    engine.answer = dict.fromkeys(OPEN_STATUSES, 3)
    await jobs._count()

    engine.answer = JobsUnavailable()
    await jobs._count()

    told = [sample(metrics.registry, "batch_jobs_open", status=status) for status in OPEN_STATUSES]
    assert told == [3] * len(OPEN_STATUSES)


class Service:
    """Jobs on the embedded engine, which runs them."""

    def __init__(self, database: Database, engine: EmbeddedJobs, tasks: Tasks) -> None:
        self.database = database
        self.tasks = tasks
        self.metrics = Metrics()
        self.jobs = Jobs(engine, cast(Archives, None), self.metrics, ttl=3_600)

    async def leave_during_commit(self, asked: Coroutine[Any, Any, object]) -> None:
        """Ask, and be cancelled, as a client's handler is, before what is durable is committed."""
        begun, go_on = asyncio.Event(), threading.Event()
        holding: list[asyncio.Future[bool]] = []

        async def run(work: Callable[[sqlite3.Connection], Any], *, durable: bool = False) -> Any:
            if durable:
                holding.append(self.database.give(lambda _: go_on.wait(TIMEOUT)))
                begun.set()
            return await Database.run(self.database, work, durable=durable)

        self.database.run = run  # type: ignore[method-assign,assignment]
        caller = asyncio.create_task(asked)
        async with asyncio.timeout(TIMEOUT):
            await begun.wait()
        await yield_to_loop()
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        go_on.set()
        del self.database.run


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Service]:
    """A service whose jobs go on until they are cancelled."""
    database = await Database.open(folder, [table.SCHEMA])
    engine = await EmbeddedJobs.open(database)
    async with running(engine) as tasks:
        tasks.gate.clear()
        await yield_to_loop()
        yield Service(database, engine, tasks)
    await database.close()


async def test_a_job_stops_though_who_cancelled_it_has_left(tmp_path: Path) -> None:
    """Else it would buy on, to its end, with a record that says it was cancelled."""
    async with serving(tmp_path) as service:
        job, _ = await service.jobs.submit(ORDER, Options())
        await service.tasks.until(lambda: len(service.tasks.runs) == 1)

        await service.leave_during_commit(service.jobs.cancel(job))
        await service.tasks.until(lambda: service.tasks.cancelled == [job.id])

        assert (await service.jobs.get(job.id)).status is Status.CANCELLED
        assert sample(service.metrics.registry, "batch_jobs_total", outcome=Status.CANCELLED) == 1


async def test_a_job_begins_though_who_asked_for_it_has_left(tmp_path: Path) -> None:
    """It is on record: who asks again with the same key is given it, and must not wait for ever."""
    async with serving(tmp_path) as service:
        await service.leave_during_commit(service.jobs.submit(ORDER, Options(), key="k"))
        await service.tasks.until(lambda: len(service.tasks.runs) == 1)

        job, is_new = await service.jobs.submit(ORDER, Options(), key="k")
        assert (job.id, is_new) == (service.tasks.runs[0].id, False)


async def test_a_callback_is_repeated_though_who_asked_for_it_has_left(tmp_path: Path) -> None:
    """Given one that has been made."""
    async with serving(tmp_path) as service:
        service.tasks.gate.set()
        job, _ = await service.jobs.submit(ORDER, Options(), callback_url="https://example.com/")
        await service.tasks.until(lambda: len(service.tasks.callbacks) == 1)

        await service.leave_during_commit(service.jobs.repeat_callback(job.id))
        await service.tasks.until(lambda: len(service.tasks.callbacks) == 2)
