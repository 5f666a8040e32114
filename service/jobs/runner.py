"""Takes a job from start to end: one archive, which it has built, and what to do when that does not go well."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from pydantic import ValidationError

from service.archives.archive import Archive
from service.archives.archives import Archives
from service.archives.options import Options, kept_options
from service.archives.registry import seconds_left
from service.disk import OutOfSpace
from service.jobs.engine import JobEnded, JobEngine
from service.jobs.job import NO_PROGRESS, Job, Status
from service.orders.orders import Orders, OrderWatch
from service.problems import (
    ArchiveGone,
    ArchiveNotFound,
    InvalidParameter,
    JobCrashed,
    Problem,
    RetryableProblem,
    StoreFull,
)
from service.telemetry.logs import get_logger
from service.telemetry.metrics import Metrics
from service.telemetry.traces import Traces
from service.wrong_values import wrong_values

log = get_logger(__name__)

# A job whose attempts end with their process so often in a row, without any progress, is what ends it.
_MAX_CRASHES = 5
# What is temporary has so long to pass; a job looks again at least this often, whatever `Retry-After` says.
_RETRY_SECONDS = 900.0
_MAX_PAUSE, _MIN_PAUSE, _DEFAULT_PAUSE = 60.0, 0.1, 5.0
_AFTER_FAULT_SECONDS = 30.0
# A stop waits no longer than this for a record; the next attempt then takes it for a crash.
_STOP_SECONDS = 5.0
_UNWRITABLE = (OutOfSpace, sqlite3.OperationalError)
_ORDERLY = (asyncio.CancelledError, Problem, *_UNWRITABLE)


class JobRunner:
    """Runs jobs, any number at once."""

    def __init__(
        self, engine: JobEngine, archives: Archives, orders: Orders, metrics: Metrics, traces: Traces, ttl: float
    ) -> None:
        self._engine = engine
        self._archives = archives
        self._orders = orders
        self._metrics = metrics
        self._traces = traces
        self._ttl = ttl
        self._suspects = asyncio.Lock()

    async def run(self, job: Job) -> None:
        request = job.request
        with (
            self._traces.job("job", request.trace, {"job.id": request.id, "order.id": _orders(job)}),
            suppress(JobEnded),
        ):
            while not job.is_final:
                if job.crashes >= _MAX_CRASHES:
                    job = await self._end(job, Status.ERROR, JobCrashed())
                else:
                    job = await self._attempt(job)

    async def _attempt(self, job: Job) -> Job:
        """Try once; returns how the job stands after it, and after the pause that follows a temporary problem."""
        if job.crashes and job.archive_id is not None:
            # What another instance builds is no attempt of this one, whose end would count as another crash.
            await self._archives.catalogue.wait_until_free(job.archive_id)
        attempt = Attempt(self._engine, job, self._suspects)
        try:
            async with attempt:
                await self._build(attempt)
                return await self._end(attempt.job, Status.COMPLETE, archive=attempt.archive)
        except _UNWRITABLE:
            return await self._pause(attempt, StoreFull())
        except (RetryableProblem, ArchiveGone, ArchiveNotFound) as problem:
            return await self._pause(attempt, problem)
        except Problem as problem:
            return await self._end(attempt.job, Status.ERROR, problem, attempt.archive)
        except JobEnded:
            raise
        except Exception:  # a fault of ours: it counts as a crash
            log.exception("attempt at a job failed", job_id=job.id)
            await asyncio.sleep(_AFTER_FAULT_SECONDS)
            return attempt.job

    async def _build(self, attempt: "Attempt") -> None:
        """Have the archive built, and see it to its end."""
        request, options = attempt.job.request, _options_now(attempt.job)
        async with self._noting_answers(attempt, is_waiting=options.wait):
            wanted = request.order_ids if request.order_id is None else request.order_id
            # As a caller of its own it waits for no other job of its owner: the sooner its first image is here, the
            # less likely it is to be charged for a crash that another one caused.
            caller = request.id if attempt.is_suspect else request.owner or ""
            archive, result = await self._archives.get_or_start(wanted, options, caller)
            self._metrics.cache_requests.labels(result).inc()
            with archive.readers.reading(to_the_end=True):
                await attempt.begin(archive)
                await self._follow(attempt, archive)
                if options.on_failure == "strict":
                    archive.require_all()
                await self._archives.catalogue.keep(archive.id, time.time() + self._ttl)

    async def _follow(self, attempt: "Attempt", archive: Archive) -> None:
        """Note every outcome as progress, to the end. Raises the archive's problem when it fails."""
        is_last_look = False
        while not is_last_look:
            with suppress(Problem):  # raised below, after the last outcomes
                await archive.wait_until(lambda: len(archive.results) > attempt.outcomes)
            is_last_look = archive.is_settled
            await attempt.note_outcomes(len(archive.results))
        if archive.failure is not None:
            raise archive.failure

    @asynccontextmanager
    async def _noting_answers(self, attempt: "Attempt", *, is_waiting: bool) -> AsyncIterator[None]:
        """While a job waits for images, each look that is answered is progress; the first only says where it stands."""
        if not is_waiting:
            yield
            return

        async def note(watch: OrderWatch) -> None:
            await watch.next_answer()
            while True:
                await watch.next_answer()
                with suppress(JobEnded):
                    await attempt.note_progress()

        with ExitStack() as watches:
            noting = [
                asyncio.create_task(note(watches.enter_context(self._orders.watch(order_id))))
                for order_id in attempt.job.request.all_order_ids
            ]
            try:
                yield
            finally:
                for task in noting:
                    task.cancel()
                await asyncio.wait(noting)

    async def _pause(self, attempt: "Attempt", problem: Problem) -> Job:
        """Wait until it is worth to try again, or end the job when it has been tried for long enough."""
        job, now = attempt.job, time.time()
        since = min(job.retrying_since or now, now)  # later, if the wall clock was put back
        left = since + _RETRY_SECONDS - now
        if left <= 0:
            return await self._end(job, Status.ERROR, problem, attempt.archive)
        requested = problem.retry_after if isinstance(problem, RetryableProblem) else _DEFAULT_PAUSE
        pause = min(max(requested, _MIN_PAUSE), _MAX_PAUSE, left)
        log.info(
            "job waits",
            job_id=job.id,
            order_id=_orders(job),
            code=problem.code,
            seconds=round(pause, 1),
        )
        job = replace(job, status=Status.QUEUED, retry_at=now + pause, retrying_since=since)
        await self._engine.save(job)
        await asyncio.sleep(pause)
        return job

    async def _end(
        self, job: Job, status: Status, problem: Problem | None = None, archive: Archive | None = None
    ) -> Job:
        """Put the end on record."""
        now = time.time()
        ended = replace(
            job,
            status=status,
            summary=progress_of(archive) if archive else NO_PROGRESS,
            error={"code": problem.code, "title": problem.title, "detail": str(problem)} if problem else None,
            retry_at=None,
            finished=now,
            expires=now + self._ttl,
        )
        if not await self._engine.end(ended):
            raise JobEnded
        self._metrics.jobs_ended.labels(status).inc()
        log.info(
            "job ended",
            job_id=job.id,
            order_id=_orders(job),
            status=status,
            code=problem.code if problem else None,
            archive_id=job.archive_id,
            images=archive.total if archive else 0,
            failed=len(archive.failures) if archive else 0,
            seconds=round(now - job.request.created, 3),
        )
        return ended


class Attempt:
    """One attempt at a job, as a context. From its start it counts as a crash, until it ends in order or gets on.

    What gets on: an image outcome that no attempt after a crash has had before, and an answer that it waited for.
    """

    def __init__(self, engine: JobEngine, job: Job, suspects: asyncio.Lock) -> None:
        self.job = job
        self.archive: Archive | None = None
        self.outcomes = 0
        """Image outcomes seen so far."""
        self._engine = engine
        self._crashes_before = job.crashes
        self._has_crashed = job.crashes > 0 or job.reached > 0
        self.is_suspect = job.is_suspect
        """As `Job.is_suspect`, before this attempt. Such jobs take turns: none is charged for another's crash."""
        self._suspects = suspects if self.is_suspect else None
        self._saving = asyncio.Lock()

    async def __aenter__(self) -> Self:
        if self._suspects is not None:
            await self._suspects.acquire()
        try:
            await self._save(crashes=self._crashes_before + 1, started=self.job.started or time.time())
        except BaseException:
            self._release_suspects()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._release_suspects()
        if error is None or isinstance(error, _ORDERLY):
            self.job = replace(self.job, crashes=self._crashes_before)
        if isinstance(error, asyncio.CancelledError):
            with suppress(TimeoutError, JobEnded):
                async with asyncio.timeout(_STOP_SECONDS):
                    await self._engine.save(self.job)

    async def begin(self, archive: Archive) -> None:
        """This is the archive; what it has already is no progress."""
        self.archive, self.outcomes = archive, len(archive.results)
        await self._save(status=Status.PROCESSING, archive_id=archive.id, retry_at=None)

    async def note_outcomes(self, outcomes: int) -> None:
        """So many images have come to something."""
        if outcomes > max(self.outcomes, self.job.reached):
            await self.note_progress(reached=outcomes)
        self.outcomes = max(self.outcomes, outcomes)

    async def note_progress(self, **changes: Any) -> None:
        """Begin anew to count crashes. Nothing is written for a job without a crash or a problem behind it."""
        self._release_suspects()
        self._crashes_before = 0
        if self._has_crashed or self.job.retrying_since is not None:
            await self._save(crashes=1, retrying_since=None, **changes)

    async def _save(self, **changes: Any) -> None:
        self.job = replace(self.job, **changes)
        async with self._saving:  # else an earlier state could arrive behind a later one
            await self._engine.save(self.job)

    def _release_suspects(self) -> None:
        if self._suspects is not None:
            self._suspects.release()
            self._suspects = None


def progress_of(archive: Archive) -> dict[str, Any]:
    """An archive's progress in the shape of `NO_PROGRESS`."""
    summary = archive.summary()
    return {name: summary[name] for name in NO_PROGRESS}


def _orders(job: Job) -> str:
    return ",".join(job.request.all_order_ids)


def _options_now(job: Job) -> Options:
    """The job's options, with what is left of its time to wait; images are refreshed for its first archive only.

    Raises `InvalidParameter` for what another version took, and this one does not.
    """
    try:
        options = kept_options(job.request.options)
    except ValidationError as error:
        raise InvalidParameter(*next(wrong_values(Options, error, what="option"))) from None
    left = seconds_left(job.request.created, options.wait_timeout)
    return options.model_copy(
        update={
            "wait_timeout": max(0.0, left),
            "wait": options.wait and left > 0,
            "refresh": options.refresh and job.archive_id is None,
        }
    )
