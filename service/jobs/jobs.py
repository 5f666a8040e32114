"""Background jobs as callers know them: create, look at, follow, cancel."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from uuid import uuid4

from service.archives.options import Options
from service.background import repeat
from service.jobs.backend import JobBackend
from service.jobs.job import Change, Job, JobRequest, pending
from service.jobs.runner import Runner
from service.problems import JobNotFound, JobUnfinished, NoCallback
from service.telemetry.logs import get_logger
from service.telemetry.metrics import OPEN_STATUSES, Metrics
from service.telemetry.traces import link

log = get_logger(__name__)

_COUNT_SECONDS = 2.0
_RESTART_SECONDS = 1.0


class Jobs:
    """What the API does with jobs, on whatever engine keeps them."""

    def __init__(self, backend: JobBackend, runner: Runner, metrics: Metrics) -> None:
        self._backend = backend
        self._runner = runner
        self._metrics = metrics

    async def submit(
        self, order_id: str, options: Options, *, callback_url: str | None = None, key: str | None = None
    ) -> Job:
        """A job for this wish: a new one, or the one that `key` names. It is kept safe when this returns.

        Raises `KeyReused`, `JobsUnavailable`.
        """
        request = JobRequest(
            id=uuid4().hex,
            order_id=order_id,
            options=options.model_dump(mode="json", exclude_defaults=True),
            callback_url=callback_url,
            created=time.time(),
            trace=link(),
        )
        job, is_new = await self._backend.submit(request, key)
        if is_new:
            log.info("job accepted", job_id=job.id, order_id=order_id)
        return job

    async def get(self, job_id: str) -> Job:
        """The job. Raises `JobNotFound`."""
        job = await self._backend.get(job_id)
        if job is None:
            raise JobNotFound(f"Nothing is known of job {job_id}.")
        return job

    def watch(self, job_id: str, after: int) -> AsyncGenerator[Job, None]:
        """The job after each change from number `after` + 1 on, to its final state."""
        return self._backend.watch(job_id, after)

    async def cancel(self, job_id: str) -> Job:
        """End a job that has not ended; only its own demand on the archive goes. Raises `JobNotFound`."""
        job, was_running = await self._backend.cancel(job_id)
        if job is None:
            raise JobNotFound(f"Nothing is known of job {job_id}.")
        if was_running:
            self._metrics.jobs_ended.labels(job.status).inc()
            log.info("job cancelled", job_id=job_id)
        return job

    async def repeat_callback(self, job_id: str) -> Job:
        """Attempt a job's callback anew, at once. Raises `JobNotFound`, `JobUnfinished`, `NoCallback`."""
        job = await self.get(job_id)
        if job.request.callback_url is None:
            raise NoCallback
        if not job.is_final:
            raise JobUnfinished(f"Job {job_id} is {job.status}.")
        renewed = await self._backend.renew(job_id, Change(at=time.time(), callback=pending()))
        if renewed is None:
            raise JobNotFound(f"Nothing is known of job {job_id}.")
        return renewed

    async def wake(self, order_id: str) -> None:
        """There is news of an order: its jobs look at once."""
        await self._backend.wake(order_id)

    def on_wake(self, heard: Callable[[str], None]) -> None:
        """Have `heard` called with the id of every order that there is news of, at whichever instance."""
        self._backend.on_wake(heard)

    async def run(self) -> None:
        """Take accepted jobs to their ends, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(repeat("jobs", lambda: self._backend.run(self._runner.step), every=_RESTART_SECONDS))
            tasks.create_task(repeat("count jobs", self._count, every=_COUNT_SECONDS))

    async def _count(self) -> None:
        counts = await self._backend.counts()
        for status in OPEN_STATUSES:
            self._metrics.jobs_open.labels(status).set(counts[status])
