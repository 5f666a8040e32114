"""The job engine of several instances: docket over Redis or Valkey.

One docket task runs a job from start to end, another one makes the attempts at its delivery and its callback; docket's
keys, schedule, retries and redelivery do the rest. A job's message is added before its record is written
(`job_records`), and runs only once there is a record: what a caller was not told of is not run, what it was told of is
not lost.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, TypeVar, cast
from uuid import uuid4

from docket import Docket, Retry, Worker
from docket.dependencies import Dependency, current_worker
from redis.asyncio import retry
from redis.backoff import NoBackoff
from redis.exceptions import ReadOnlyError

from service.background import repeat
from service.cluster.job_records import JobRecords, call, until_available
from service.cluster.link import bounded
from service.jobs.engine import JobEnded, JobFilter, Work
from service.jobs.job import Callback, Job, JobRequest, Status
from service.problems import JobsUnavailable, KeyReused
from service.telemetry.logs import get_logger

log = get_logger(__name__)

T = TypeVar("T")

LEASE = timedelta(seconds=10)
"""After so long without a sign of life of a worker, another one is given its jobs."""
_RUN_JOB, _CALL_BACK = "run_job", "call_back"
_AT_ONCE = 1000
# docket has 100 connections, and each message that it takes needs one for a moment.
_MESSAGES = 32
# New messages are heard of at once; this only bounds what an idle instance asks Redis.
_CHECK, _SCHEDULE = timedelta(seconds=2.5), timedelta(seconds=3)
_RECONNECT, _AFTER_FAULT = timedelta(seconds=1), timedelta(seconds=30)
_HEARTBEAT = timedelta(seconds=15)  # only tells docket's own tools of this worker
_RETRY = Retry(None, _AFTER_FAULT)
_AFTER_FAIL_OVER = retry.Retry(NoBackoff(), 1, (ReadOnlyError,))  # as in `redis_link`
_SUBMIT_SECONDS = 1.4
_LOOK_SECONDS = 0.5
# Whoever runs a job that was cancelled is told; what says so may be lost.
_CANCELLED_SECONDS = 2.0
# So long a message waits for its record, which is written right after it.
_RECORD_ATTEMPTS, _RECORD_PAUSE = 10, timedelta(seconds=1)
_STOP_SECONDS, _CANCEL_AGAIN_SECONDS = 10.0, 5.0


class SessionEnd(Dependency[asyncio.Event]):
    """Set when the session of the worker that runs a task ends, by a stop or because Redis is away.

    docket then waits for every task to end, and leaves the messages of those that end cancelled.
    """

    _events: ClassVar[dict[str, asyncio.Event]] = {}

    @classmethod
    @asynccontextmanager
    async def worker_lifecycle(cls, _docket: Docket, worker: Worker) -> AsyncIterator[None]:
        """Called by docket around each session."""
        event = cls._events[worker.name] = asyncio.Event()
        try:
            yield
        finally:
            event.set()
            del cls._events[worker.name]

    async def __aenter__(self) -> asyncio.Event:
        return self._events[current_worker.get().name]


_SESSION_END = SessionEnd()


class SharedJobs:
    """`JobEngine` for any number of instances. A job is kept as safe as Redis keeps what it has acknowledged."""

    def __init__(self, records: JobRecords, docket: Docket, lease: timedelta) -> None:
        self._records = records
        self._docket = docket
        self._lease = lease
        self._work: Work | None = None
        self._runs: dict[str, asyncio.Task[Any]] = {}
        docket.register(self._run_job, names=[_RUN_JOB])
        docket.register(self._call_back, names=[_CALL_BACK])

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, lease: timedelta = LEASE) -> AsyncIterator["SharedJobs"]:
        """Jobs at a Redis or Valkey, which need not be there yet. Raises `IncompatibleJobs`."""
        logging.getLogger("docket").setLevel(logging.CRITICAL)  # what goes wrong is told by us, once
        async with AsyncExitStack() as stack:
            records = await stack.enter_async_context(JobRecords.open(url))
            docket = Docket(name="batch-jobs", url=url, heartbeat_interval=_HEARTBEAT)
            jobs = cls(records, await stack.enter_async_context(docket), lease)
            async with docket.redis() as redis:
                cast(Any, redis).set_retry(_AFTER_FAIL_OVER)
            with suppress(JobsUnavailable):
                await records.require_compatible()
            yield jobs

    async def submit(self, request: JobRequest, key: str | None = None) -> tuple[Job, bool]:
        try:
            async with bounded(_SUBMIT_SECONDS):
                if key is not None:
                    request = replace(request, id=await self._records.claim_key(key, request.id))
                known = await self._records.get(request.id)
                if known is None:
                    await call(lambda: self._docket.add(_RUN_JOB, key=request.id)(request.id))
                    job = Job.new(request)
                    if await self._records.add(job):
                        return job, True
                    known = await self._records.get(request.id)  # another one was quicker
        except TimeoutError as error:
            raise JobsUnavailable from error
        if known is None or not known.request.is_same_as(request):
            raise KeyReused
        return known, False

    async def get(self, job_id: str) -> Job | None:
        return await self._records.get(job_id)

    async def find(self, wanted: JobFilter, limit: int) -> list[Job]:
        return await self._records.find(wanted, limit)

    async def watch(self, job_id: str) -> AsyncGenerator[Job, None]:
        last: Job | None = None
        while True:
            with suppress(JobsUnavailable):
                job = await self.get(job_id)
                if job is not None and job != last:
                    yield job
                if job is None or job.is_final:
                    return
                last = job
            await asyncio.sleep(_LOOK_SECONDS)

    async def save(self, job: Job) -> None:
        """As `JobEngine`. Waits for Redis."""
        if not await until_available(lambda: self._records.save(job)):
            raise JobEnded

    async def end(self, job: Job) -> bool:
        """As `JobEngine`. Waits for Redis. The task that runs the job has its receiver told."""
        return await until_available(lambda: self._records.end(job))

    async def cancel(self, job: Job) -> bool:
        if not await self._records.end(job):
            return False  # whoever ended it is about to have it delivered
        with suppress(JobsUnavailable):  # the end on record is what counts: whoever runs the job looks there
            await self._schedule_callback(job)
            await call(lambda: self._docket.cancel(job.id))
        return True

    async def repeat_callback(self, job_id: str) -> Job | None:
        job = await self.get(job_id)
        if job is None or not job.is_final:
            return job
        callback = Callback.begun_anew()
        if not await self._records.write_follow_up(job_id, callback):
            return None
        again = self._docket.replace(_CALL_BACK, when=datetime.now(UTC), key=_callback_of(job_id))
        await call(lambda: again(job_id))
        return replace(job, callback=callback)

    async def _schedule_callback(self, job: Job) -> None:
        if job.follow_up_due is not None:
            await call(lambda: self._docket.add(_CALL_BACK, key=_callback_of(job.id))(job.id))

    async def counts(self) -> Mapping[Status, int]:
        return await self._records.counts()

    async def run(self, work: Work) -> None:
        """As `JobEngine`. Redis may come and go meanwhile."""
        await until_available(self._records.require_compatible)
        self._work = work
        worker = Worker(
            self._docket,
            name=f"batch-{uuid4().hex}",
            concurrency=_AT_ONCE,
            redelivery_timeout=self._lease,
            reconnection_delay=_RECONNECT,
            minimum_check_interval=_CHECK,
            scheduling_resolution=_SCHEDULE,
            schedule_automatic_tasks=False,
            message_batch=_MESSAGES,
        )
        async with worker:
            working = asyncio.create_task(worker.run_forever(), name="jobs")
            looking = asyncio.create_task(repeat("cancelled jobs", self._stop_cancelled, every=_CANCELLED_SECONDS))
            try:
                await asyncio.wait([working])
                raise RuntimeError("the worker ended")
            finally:
                looking.cancel()
                working.cancel()  # first: of tasks that end cancelled from now on docket leaves the messages
                runs = list(self._runs.values())
                for run in runs:
                    run.cancel()
                if runs:
                    await asyncio.wait(runs, timeout=_STOP_SECONDS)
                await _end_of(working)

    async def _stop_cancelled(self) -> None:
        """End the runs of jobs that were cancelled, where docket did not hear of it or has lost sight of them."""
        with suppress(JobsUnavailable):
            for job in await self._records.read(list(self._runs)):
                if job is not None and job.status is Status.CANCELLED:
                    await self._schedule_callback(job)
                    if (run := self._runs.get(job.id)) is not None:
                        run.cancel()

    async def _run_job(
        self,
        job_id: str,
        retry: Retry = _RETRY,
        session: asyncio.Event = _SESSION_END,  # type: ignore[assignment]  # docket injects both
    ) -> None:
        """docket's task: a job from start to end."""
        job = await until_available(lambda: self.get(job_id))
        if job is None:
            if retry.attempt < _RECORD_ATTEMPTS:
                retry.after(_RECORD_PAUSE)
            return
        if self._work is not None and not job.is_final:
            await self._within(session, job_id, self._work.run(job))
            job = await until_available(lambda: self.get(job_id))
        if job is not None:
            await until_available(lambda: self._schedule_callback(job))

    async def _call_back(
        self,
        job_id: str,
        retry: Retry = _RETRY,
        session: asyncio.Event = _SESSION_END,  # type: ignore[assignment]  # docket injects both
    ) -> None:
        """docket's task: an attempt at a delivery, or a callback; the next one is the same task, later."""
        job = await until_available(lambda: self.get(job_id))
        while self._work is not None and job is not None and (before := job.follow_up) is not None:
            if before.next_at is not None and before.next_at > time.time():
                retry.at(datetime.fromtimestamp(before.next_at, UTC))
            name = f"{_callback_of(job_id)} {before.attempts} {before.next_at}"
            by = await self._within(session, name, self._work.follow_up(job))
            if not await until_available(lambda: self._records.write_follow_up(job_id, by, before)):  # noqa: B023
                return  # it was begun anew meanwhile, or its record has gone
            job = job.followed_up(by)

    async def _within(self, session: asyncio.Event, name: str, work: Coroutine[Any, Any, T]) -> T:
        """What `work` returns; cancelled when the session ends before it, while a job's run goes on for the next one.

        A message that is redelivered to this worker finds the run that it has already.
        """
        run = self._runs.get(name)
        if run is None:
            run = self._runs[name] = asyncio.create_task(work, name=f"job {name}")
            run.add_done_callback(lambda _: self._runs.pop(name, None))
        else:
            work.close()
        ending = asyncio.create_task(session.wait())
        try:
            await asyncio.wait((run, ending), return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:  # the job was cancelled
            run.cancel()
            await asyncio.wait([run], timeout=_STOP_SECONDS)
            raise
        finally:
            ending.cancel()
        if not run.done():
            raise asyncio.CancelledError
        try:
            return run.result()  # type: ignore[no-any-return]
        except Exception:
            log.exception("job could not be run", job=name)
            raise


def _callback_of(job_id: str) -> str:
    return f"callback:{job_id}"


async def _end_of(task: "asyncio.Task[Any]") -> None:
    """Cancel a task and wait for its end. A library may swallow one cancellation, but not every one."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=_CANCEL_AGAIN_SECONDS)
    if not task.cancelled():
        task.exception()  # seen
