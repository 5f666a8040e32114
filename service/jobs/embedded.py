"""The job engine of a service that stands alone: a table in the data directory's database, and one task per job."""

import asyncio
import contextvars
import sqlite3
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import TypeVar

from service.background import until_done
from service.database import Database
from service.disk import OutOfSpace
from service.jobs import table
from service.jobs.engine import JobEnded, JobFilter, Work
from service.jobs.job import Callback, Job, JobRequest, Status
from service.problems import JobsUnavailable, KeyReused
from service.signal import Signals
from service.telemetry.logs import get_logger

log = get_logger(__name__)

T = TypeVar("T")

_DISK_FULL_SECONDS = 1.0
_AFTER_FAULT_SECONDS = 30.0
_SWEEP_SECONDS = 60.0
# How long an expired job is still known.
_REMEMBERED_SECONDS = 24 * 3600.0
_UNWRITABLE = (OutOfSpace, sqlite3.OperationalError)


class EmbeddedJobs:
    """`JobEngine` on SQLite. One process works in a data directory, so what had not ended at the start has died.

    What a caller is told of as accepted or cancelled is on the disk before; the rest can be found out again.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._work: Work | None = None
        self._context = contextvars.copy_context()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._changed = Signals()

    @classmethod
    async def open(cls, database: Database) -> "EmbeddedJobs":
        """Jobs in a database that has `table.SCHEMA`; those of earlier versions are carried on."""
        await database.run(table.migrate, durable=True)
        return cls(database)

    async def submit(self, request: JobRequest, key: str | None = None) -> tuple[Job, bool]:
        """As `JobEngine`. Raises `JobsUnavailable` when the disk is full."""
        job = Job.new(request)
        known = await self._durably(lambda connection: table.insert(connection, job, key))
        if known is None:
            self._start(job)
            return job, True
        if not known.request.is_same_as(request):
            raise KeyReused
        return known, False

    async def get(self, job_id: str) -> Job | None:
        return await self._database.run(lambda connection: table.read(connection, job_id))

    async def find(self, wanted: JobFilter, limit: int) -> list[Job]:
        return await self._database.run(lambda connection: table.find(connection, wanted, limit))

    async def watch(self, job_id: str) -> AsyncGenerator[Job, None]:
        with self._changed.waiting(job_id) as signal:
            while True:
                change = signal.next()
                job = await self.get(job_id)
                if job is not None:
                    yield job
                if job is None or job.is_final:
                    return
                await change.wait()

    async def save(self, job: Job) -> None:
        """As `JobEngine`. Waits for room on the disk."""
        if not await self._until_written(lambda connection: table.save(connection, job)):
            raise JobEnded
        self._changed.fire(job.id)

    async def end(self, job: Job) -> bool:
        """As `JobEngine`. Waits for room on the disk."""
        is_first = await self._until_written(lambda connection: table.save(connection, job))
        self._ended(job, is_first=is_first)
        return is_first

    async def cancel(self, job: Job) -> bool:
        """As `JobEngine`. Raises `JobsUnavailable` when the disk is full."""
        is_first = await self._durably(lambda connection: table.save(connection, job))
        if is_first and (task := self._tasks.get(job.id)) is not None:
            task.cancel()
        self._ended(job, is_first=is_first)
        return is_first

    async def repeat_callback(self, job_id: str) -> Job | None:
        again = Callback.begun_anew()
        job = await self._durably(lambda connection: table.save_follow_up(connection, job_id, again))
        if job is None:
            return await self.get(job_id)
        if (task := self._tasks.pop(_follow_up_of(job), None)) is not None:
            task.cancel()
        self._start(job)
        return job

    async def counts(self) -> Mapping[Status, int]:
        return await self._database.run(table.counts)

    async def run(self, work: Work) -> None:
        self._work = work
        self._context = contextvars.copy_context()  # a job is not part of the request that creates it
        try:
            for job in await self._until_written(table.unfinished):
                self._start(job)
            while True:
                await self._until_written(lambda connection: table.sweep(connection, time.time() - _REMEMBERED_SECONDS))
                await asyncio.sleep(_SWEEP_SECONDS)
        finally:
            self._work = None
            tasks = list(self._tasks.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, job: Job) -> None:
        """Begin the task that a job needs now, if jobs are run and it has none."""
        if self._work is None:
            return
        if not job.is_final:
            self._begin(job.id, job.id, self._work.run)
        elif job.follow_up_due is not None:
            self._begin(_follow_up_of(job), job.id, partial(self._follow_up, self._work))

    def _begin(self, name: str, job_id: str, work: Callable[[Job], Awaitable[None]]) -> None:
        if name in self._tasks:
            return

        async def run() -> None:
            if (job := await self.get(job_id)) is not None:
                await work(job)

        task = self._tasks[name] = asyncio.create_task(
            until_done(f"job {name}", run, _AFTER_FAULT_SECONDS), name=f"job {name}", context=self._context.copy()
        )

        def ended(_: asyncio.Task[None]) -> None:
            if self._tasks.get(name) is task:
                del self._tasks[name]

        task.add_done_callback(ended)

    async def _follow_up(self, work: Work, job: Job) -> None:
        """Deliver the job's ZIP, then tell its receiver."""
        known: Job | None = job
        while known is not None and (due := known.follow_up_due) is not None:
            await asyncio.sleep(max(0.0, due - time.time()))
            save = partial(
                table.save_follow_up,
                job_id=job.id,
                by=await work.follow_up(known),
                before=known.follow_up,
            )
            known = await self._until_written(save)

    def _ended(self, job: Job, *, is_first: bool) -> None:
        self._changed.fire(job.id)
        if is_first:
            self._start(job)

    async def _durably(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """On the disk itself when this returns."""
        try:
            return await self._database.run(work, durable=True)
        except _UNWRITABLE as error:
            log.exception("job could not be recorded")
            raise JobsUnavailable from error

    async def _until_written(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Again and again, until the disk has room."""
        while True:
            with suppress(*_UNWRITABLE):
                return await self._database.run(work)
            log.warning("jobs cannot be recorded")
            await asyncio.sleep(_DISK_FULL_SECONDS)


def _follow_up_of(job: Job) -> str:
    return f"follow-up of {job.id}"
