"""The job engine of a service that stands alone: the data directory's database, and this process."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import suppress
from typing import TypeVar
from uuid import uuid4

from service.archives.signal import Signal, Signals, within
from service.database import Database
from service.disk import OutOfSpace
from service.jobs import records
from service.jobs.backend import Ending, PutOff, Run, Step, Withdrawn
from service.jobs.job import Change, Job, JobRequest, Status, add_up
from service.jobs.records import BUILDS, CALLBACKS, FIRST, Lane
from service.problems import JobsUnavailable, KeyReused
from service.telemetry.logs import get_logger

log = get_logger(__name__)

T = TypeVar("T")

# A step that raised what nobody expected is run again after so long, and counts as a death.
_BROKEN_SECONDS = 30.0
_DISK_FULL_SECONDS = 1.0
# A stop waits no longer than this for room on the disk; at the next start it looks like a death.
_STOP_SECONDS = 5.0
_BROKEN = (OutOfSpace, sqlite3.OperationalError)
_SWEEP_SECONDS = 60.0
# How long an expired job is still known.
_REMEMBERED_SECONDS = 24 * 3600.0


class EmbeddedJobs:
    """`JobBackend` on SQLite. One process works in a data directory, so whatever was running at the start has died.

    What a caller is told of as accepted or cancelled is on the disk before; the rest can be found out again.
    """

    def __init__(self, database: Database, ttl: float) -> None:
        self._database = database
        self._ttl = ttl
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._work = Signal()
        self._histories = Signals()
        self._heard: list[Callable[[str], None]] = []

    @classmethod
    async def open(cls, database: Database, ttl: float) -> "EmbeddedJobs":
        """Take over what a dead process left. `ttl`: seconds for which an ended job is kept."""
        await database.run(records.take_over)
        return cls(database, ttl)

    async def submit(self, request: JobRequest, key: str | None = None) -> tuple[Job, bool]:
        """As `JobBackend`. Raises `JobsUnavailable` when the disk is full."""
        queued = Change(at=request.created, status=Status.QUEUED)
        known = await self._safely(lambda connection: records.insert(connection, request, key, queued))
        if known is None:
            self._work.fire()
            return add_up(request, [queued]), True
        if not known.request.asks_for_the_same(request):
            raise KeyReused
        return known, False

    async def get(self, job_id: str) -> Job | None:
        """As `JobBackend`."""
        return await self._database.run(lambda connection: records.read(connection, job_id))

    async def watch(self, job_id: str, after: int) -> AsyncGenerator[Job, None]:
        """As `JobBackend`."""
        history = self._histories.of(job_id)
        number, job = 0, None
        while True:
            news = history.next()
            request, changes = await self._read_changes(job_id, number)
            if request is None:
                return
            job = job or Job.new(request)
            for change in changes:
                job = job.after(change)
                if job.number > after:
                    yield job
                if job.is_final:
                    return
            number = job.number
            await news.wait()

    async def progress(self, run: Run, *changes: Change) -> None:
        """As `JobBackend`."""
        job = run.job.after(*changes)
        if not await self._database.run(
            lambda connection: records.append_if_held(connection, run, changes, job.outcomes)
        ):
            raise Withdrawn
        run.job = job
        self._histories.fire(run.job.id)

    async def cancel(self, job_id: str) -> tuple[Job | None, bool]:
        """As `JobBackend`. Raises `JobsUnavailable` when the disk is full."""
        now = time.time()
        end = Change(at=now, status=Status.CANCELLED, expires=now + self._ttl)
        job, done = await self._safely(lambda connection: records.cancel(connection, job_id, end))
        if done:
            if (task := self._tasks.get(job_id)) is not None:
                task.cancel()
            self._histories.fire(job_id)
            self._work.fire()
        return job, done

    async def renew(self, job_id: str, change: Change) -> Job | None:
        """As `JobBackend`."""
        job = await self._safely(lambda connection: records.renew(connection, job_id, change))
        self._work.fire()
        return job

    async def wake(self, order_id: str) -> None:
        """As `JobBackend`."""
        for heard in self._heard:
            heard(order_id)
        await self._database.run(lambda connection: records.wake(connection, order_id, time.time()))
        self._work.fire()

    def on_wake(self, heard: Callable[[str], None]) -> None:
        """As `JobBackend`."""
        self._heard.append(heard)

    async def counts(self) -> Mapping[Status, int]:
        """As `JobBackend`."""
        return await self._database.run(lambda connection: records.counts(connection, time.time()))

    async def run(self, step: Step) -> None:
        """As `JobBackend`."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._sweep_regularly())
                group.create_task(self._run_lane(BUILDS, step))
                group.create_task(self._run_lane(CALLBACKS, step))
        finally:  # what was claimed while the stop came, and begun by nobody
            with suppress(*_BROKEN):
                await self._database.run(records.hand_back)

    async def _run_lane(self, lane: Lane, step: Step) -> None:
        running: set[asyncio.Task[None]] = set()

        def ended(task: asyncio.Task[None]) -> None:
            running.discard(task)
            self._work.fire()

        async with asyncio.TaskGroup() as group:
            while True:
                news = self._work.next()
                run: Run | None = None
                due: float | None = None
                if len(running) < lane.slots:
                    run, due = await self._claim(lane)
                if run is None:
                    await within(None if due is None else due - time.time(), news)
                    continue
                task = group.create_task(self._take(run, step), name=f"job {run.job.id}")
                running.add(task)
                task.add_done_callback(ended)

    async def _claim(self, lane: Lane) -> tuple[Run | None, float | None]:
        token = uuid4().hex
        return await self._insist(lambda connection: records.claim(connection, lane, time.time(), token))

    async def _take(self, run: Run, step: Step) -> None:
        """Run one step, and see that the job is let go of, whatever happens."""
        job_id, task = run.job.id, asyncio.current_task()
        if task is not None:
            self._tasks[job_id] = task
        due: float | None = FIRST
        ending = Ending.INTERRUPTED
        patience: float | None = None
        try:
            due, ending = await step(run), Ending.DONE
        except asyncio.CancelledError:
            patience = _STOP_SECONDS
            raise
        except Withdrawn:
            log.info("job withdrawn", job_id=job_id)
        except PutOff as obstacle:
            due = obstacle.due
        except _BROKEN:
            log.exception("job interrupted", job_id=job_id)
            due = time.time() + _BROKEN_SECONDS
        except Exception:
            log.exception("step of a job failed", job_id=job_id)
            due, ending = time.time() + _BROKEN_SECONDS, Ending.BROKEN
        finally:
            if self._tasks.get(job_id) is task:
                del self._tasks[job_id]
            with suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await self._insist(lambda connection: records.let_go(connection, run, due, ending))

    async def _read_changes(self, job_id: str, after: int) -> tuple[JobRequest | None, list[Change]]:
        return await self._database.run(lambda connection: records.read_changes(connection, job_id, after))

    async def _safely(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """On the disk when this returns."""
        try:
            return await self._database.run(work, durable=True)
        except _BROKEN as error:
            log.exception("job could not be recorded")
            raise JobsUnavailable from error

    async def _insist(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Again and again, until the disk has room."""
        while True:
            try:
                return await self._database.run(work)
            except _BROKEN:
                log.exception("jobs cannot be recorded")
                await asyncio.sleep(_DISK_FULL_SECONDS)

    async def _sweep_regularly(self) -> None:
        while True:
            await self._insist(lambda connection: records.sweep(connection, time.time() - _REMEMBERED_SECONDS))
            await asyncio.sleep(_SWEEP_SECONDS)
