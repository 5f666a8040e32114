"""Takes a job to its end: waits until its order is ready, builds the archive, tells whoever asked to be told."""

import time
from contextlib import suppress

from service.archives.archive import Archive, ImageResult
from service.archives.archives import Archives
from service.archives.options import Options
from service.archives.readiness import is_settled
from service.disk import OutOfSpace
from service.jobs.backend import JobBackend, PutOff, Run
from service.jobs.callbacks import Callbacks
from service.jobs.job import Change, Job, Status
from service.problems import (
    UPSTREAM_DOWN,
    ImagesMissing,
    JobCrashed,
    JobsUnavailable,
    Problem,
    RetryableProblem,
    StoreFull,
)
from service.telemetry.logs import get_logger
from service.telemetry.metrics import Metrics
from service.telemetry.traces import Traces
from service.upstream.orders import Orders

log = get_logger(__name__)

# A job at whose runs the process died so often is what kills it.
_MOST_DEATHS = 3
# A job of a patient caller looks at its order this often: at first, and in the end.
_FIRST_INTERVAL, _LONGEST_INTERVAL = 2.0, 10.0
# With every second that it has waited, the next look may be a tenth of a second later.
_GROWTH = 0.1
# For so long a job is tried again once something is in its way that passes by itself, such as an open breaker.
_PATIENCE_SECONDS = 900.0


class Runner:
    """The steps of a job: `JobBackend.run` takes its `step`."""

    def __init__(
        self,
        backend: JobBackend,
        archives: Archives,
        orders: Orders,
        callbacks: Callbacks,
        metrics: Metrics,
        traces: Traces,
        ttl: float,
    ) -> None:
        self._backend = backend
        self._archives = archives
        self._orders = orders
        self._callbacks = callbacks
        self._metrics = metrics
        self._traces = traces
        self._ttl = ttl

    async def step(self, run: Run) -> float | None:
        """Build what the job asks for; or, when it has ended, attempt its callback."""
        if run.job.is_final:
            return await self._callbacks.step(run)
        if run.deaths >= _MOST_DEATHS:
            return await self._end(run, Status.ERROR, JobCrashed())
        options = Options.model_validate(run.job.request.options)
        try:
            later = await self._too_early(run.job, options)
            if later is not None:
                return later
            request = run.job.request
            with self._traces.job("job", request.trace, {"job.id": request.id, "order.id": request.order_id}):
                return await self._build(run, options)
        except JobsUnavailable:
            raise
        except RetryableProblem as problem:
            return await self._again(run, problem)
        except OutOfSpace:
            return await self._again(run, StoreFull())
        except Problem as problem:
            return await self._end(run, Status.ERROR, problem)

    async def _too_early(self, job: Job, options: Options) -> float | None:
        """When to look again, for a job that waits for images which are not ready."""
        now = time.time()
        deadline = job.request.created + options.wait_timeout
        if not options.wait or now >= deadline:
            return None
        try:
            if is_settled(await self._orders.refresh(job.request.order_id), options):
                return None
        except UPSTREAM_DOWN as problem:
            log.info("order could not be looked at", job_id=job.id, code=problem.code)
        waited = now - job.request.created
        return min(deadline, now + min(_LONGEST_INTERVAL, max(_FIRST_INTERVAL, waited * _GROWTH)))

    async def _build(self, run: Run, options: Options) -> float | None:
        job = run.job
        # The waiting is over: whatever is not ready by now is missing.
        wish = options.model_copy(update={"wait": False})
        archive, result = await self._archives.request(job.request.order_id, wish)
        self._metrics.cache_requests.labels(result).inc()
        with archive.demand.reading(to_the_end=True):
            await self._follow(run, archive)
        if options.on_failure == "strict" and archive.failures:
            raise ImagesMissing([failure.failure for failure in archive.failures])
        await self._archives.keep(archive.id, time.time() + self._ttl)
        return await self._end(run, Status.COMPLETE)

    async def _follow(self, run: Run, archive: Archive) -> None:
        """Put every outcome on record, as it becomes known. Raises the archive's problem when it fails."""
        begun = Change(at=time.time(), status=Status.PROCESSING, archive_id=archive.id, total=archive.total)
        told: set[str] = set()
        await self._backend.progress(run, begun)
        is_last_look = False
        while not is_last_look:
            with suppress(Problem):  # raised below, after the last outcomes
                await archive.until(lambda: len(archive.results) > len(told))
            is_last_look = archive.is_settled
            news = [result for result in archive.results if result.image_id not in told]
            told.update(result.image_id for result in news)
            await self._backend.progress(run, *map(_outcome, news))
        if archive.failure is not None:
            raise archive.failure

    async def _again(self, run: Run, problem: RetryableProblem) -> float | None:
        """Try again when the problem may be over (raises `PutOff`); not for ever."""
        job, now = run.job, time.time()
        if now - (job.held_up or now) >= _PATIENCE_SECONDS:
            return await self._end(run, Status.ERROR, problem)
        log.info("job waits", job_id=job.id, order_id=job.request.order_id, code=problem.code)
        if job.held_up is None or job.status is not Status.QUEUED:
            await self._backend.progress(run, Change(at=now, status=Status.QUEUED))
        raise PutOff(now + problem.retry_after)

    async def _end(self, run: Run, status: Status, problem: Problem | None = None) -> float | None:
        """Put the end on record. The callback is a step of its own, due now."""
        now = time.time()
        error = {"code": problem.code, "title": problem.title, "detail": str(problem)} if problem else None
        await self._backend.progress(run, Change(at=now, status=status, expires=now + self._ttl, error=error))
        self._metrics.jobs_ended.labels(status).inc()
        job = run.job
        log.info(
            "job ended",
            job_id=job.id,
            order_id=job.request.order_id,
            status=status,
            code=problem.code if problem else None,
            archive_id=job.archive_id,
            images=job.total,
            failed=len(job.failures),
            seconds=round(now - job.request.created, 3),
        )
        return now if job.callback else None


def _outcome(result: ImageResult) -> Change:
    if result.code is None:
        return Change(at=time.time(), size=result.bytes)
    return Change(at=time.time(), failure=result.failure)
