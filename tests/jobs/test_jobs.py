"""What callers ask of jobs is done also when they leave; what is told of jobs as figures."""

import asyncio
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from service.api.new_job import NewJob
from service.archives.archive import Archive
from service.archives.archives import Archives
from service.archives.options import Options
from service.database import Database
from service.jobs import table
from service.jobs.embedded import EmbeddedJobs
from service.jobs.engine import JobEngine
from service.jobs.job import Job, Status
from service.jobs.jobs import Jobs
from service.problems import JobNotFound, JobsUnavailable, JobUnfinished, NoCallback, Problem
from service.telemetry.metrics import OPEN_STATUSES, Metrics
from tests.jobs.conformance.work import ARRIVED, ORDER, TIMEOUT, Tasks, ended, request, running
from tests.jobs.test_runner import archive
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


class Kept:
    """An engine that keeps one job. `meanwhile`: how it has ended when somebody cancels it."""

    def __init__(self, job: Job, meanwhile: Job | None = None) -> None:
        self.job = job
        self._meanwhile = meanwhile

    async def get(self, job_id: str) -> Job | None:
        return self.job if job_id == self.job.id else None

    async def cancel(self, job: Job) -> bool:
        self.job = self._meanwhile or job
        return self._meanwhile is None

    async def repeat_callback(self, job_id: str) -> Job | None:
        return await self.get(job_id)


class Building:
    """Archives of which one is being built, here or at another instance."""

    def __init__(self, found: Archive, *, is_here: bool = True) -> None:
        self._found = found
        self._is_here = is_here

    def is_building(self, archive_id: str) -> bool:
        return self._is_here and archive_id == self._found.id

    async def by_id(self, archive_id: str, *, begin: bool) -> Archive:
        assert not begin  # a look starts nothing
        assert archive_id == self._found.id
        return self._found


def jobs_with(engine: Kept, archives: Building | None = None) -> Jobs:
    return Jobs(cast(JobEngine, engine), cast(Archives, archives), Metrics(), ttl=3_600)


def processing(found: Archive) -> Job:
    """A job that is tried again later, and has the archive."""
    return replace(Job.new(request()), status=Status.PROCESSING, archive_id=found.id, retry_at=time.time())


async def test_a_cancelled_job_says_how_far_it_came() -> None:
    """It is not tried again, and is kept as long as any that ended."""
    found = archive(total=5, held=2)
    engine, before = Kept(processing(found)), time.time()

    cancelled = await jobs_with(engine, Building(found)).cancel(engine.job)

    assert cancelled == engine.job
    assert (cancelled.status, cancelled.retry_at) == (Status.CANCELLED, None)
    assert cancelled.summary is not None
    assert (cancelled.summary["total"], cancelled.summary["failed"]) == (5, 2)
    assert cancelled.finished is not None
    assert cancelled.finished >= before
    assert cancelled.expires == cancelled.finished + 3_600


async def test_what_ended_before_it_was_cancelled_is_told_as_it_ended() -> None:
    """Whether that was known, or came meanwhile."""
    job = Job.new(request())
    engine = Kept(job, meanwhile=ended(job))
    jobs = jobs_with(engine)

    assert (await jobs.cancel(job)).status is Status.COMPLETE
    assert (await jobs.cancel(ended(job, Status.ERROR))).status is Status.ERROR


async def test_only_a_job_that_has_ended_can_have_its_callback_repeated() -> None:
    """And one that has a receiver, whose ZIP has been delivered, if it was to be."""
    told, sent = request(callback_url="https://example.com/"), request(deliver_to="https://example.com/")
    both = Job.new(replace(told, deliver_to=sent.deliver_to))
    is_refused: list[tuple[Job, type[Problem]]] = [
        (Job.new(told), JobUnfinished),
        (replace(Job.new(told), status=Status.PROCESSING), JobUnfinished),
        (ended(both), JobUnfinished),
        (ended(Job.new(sent)), NoCallback),
    ]
    for job, problem in is_refused:
        with pytest.raises(problem):
            await jobs_with(Kept(job)).repeat_callback(job.id)
    with pytest.raises(JobNotFound):
        await jobs_with(Kept(both)).repeat_callback("another")

    for job in (ended(Job.new(told), Status.CANCELLED), ended(replace(both, delivery=ARRIVED))):
        assert await jobs_with(Kept(job)).repeat_callback(job.id) == job


@pytest.mark.parametrize("is_here", [True, False])
async def test_progress_in_a_list_is_that_of_builds_here(is_here: bool) -> None:
    """A job by itself has it wherever it is built."""
    found = archive(total=5, held=2)
    job = processing(found)
    jobs = jobs_with(Kept(job), Building(found, is_here=is_here))

    alone, (listed,) = await jobs.document(job), await jobs.documents([job])

    assert (alone["total"], listed["total"]) == (5, 5 if is_here else 0)


async def test_a_look_does_not_wait_for_another_instance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given one that does not answer: the job is told without its progress."""
    monkeypatch.setattr("service.jobs.jobs._LOOK_SECONDS", 0)
    job = processing(archive())

    class Hanging(Building):
        async def by_id(self, archive_id: str, *, begin: bool) -> Archive:
            await asyncio.Event().wait()
            raise AssertionError

    async with asyncio.timeout(TIMEOUT / 10):
        document = await jobs_with(Kept(job), Hanging(archive())).document(job)

    assert (document["status"], document["total"]) == (Status.PROCESSING, 0)


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


async def test_an_option_that_says_its_default_asks_for_the_same(tmp_path: Path) -> None:
    """So its key names the same job."""
    default = Options().quality
    async with serving(tmp_path) as service:
        job, _ = await service.jobs.submit(ORDER, Options(), key="k")

        assert await service.jobs.submit(ORDER, Options(quality=default), key="k") == (job, False)
        assert job.request.options == {}


async def test_what_is_kept_as_options_is_nothing_else(tmp_path: Path) -> None:
    """Where a job is delivered to is a secret, and a run takes options alone."""
    asked = NewJob(quality=80, deliver_to="https://storage.example/put?Signature=x")
    async with serving(tmp_path) as service:
        job, _ = await service.jobs.submit(ORDER, asked, deliver_to=asked.deliver_to)

        assert job.request.options == {"quality": 80}


async def test_a_callback_is_repeated_though_who_asked_for_it_has_left(tmp_path: Path) -> None:
    """Given one that has been made."""
    async with serving(tmp_path) as service:
        service.tasks.gate.set()
        job, _ = await service.jobs.submit(ORDER, Options(), callback_url="https://example.com/")
        await service.tasks.until(lambda: len(service.tasks.callbacks) == 1)

        await service.leave_during_commit(service.jobs.repeat_callback(job.id))
        await service.tasks.until(lambda: len(service.tasks.callbacks) == 2)
