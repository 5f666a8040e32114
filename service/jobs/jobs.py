"""Background jobs as callers know them: create, look at, list, follow, cancel."""

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from typing import Any
from uuid import uuid4

from service.archives.archives import Archives
from service.archives.options import Options
from service.background import carry_through, repeat
from service.jobs.engine import JobEngine, JobFilter, Work
from service.jobs.events import JobEvent, archive_of, events
from service.jobs.job import Job, JobRequest, Status
from service.jobs.runner import progress_of
from service.problems import JobNotFound, JobsUnavailable, JobUnfinished, NoCallback
from service.telemetry.logs import get_logger
from service.telemetry.metrics import OPEN_STATUSES, Metrics
from service.telemetry.traces import link

log = get_logger(__name__)

_COUNT_SECONDS = 15.0
_RESTART_SECONDS = 1.0
# A look at a job does not wait longer for its archive, which another instance may build.
_LOOK_SECONDS = 1.0


class Jobs:
    """What the API does with jobs, on whatever engine keeps them.

    What was begun is done also when the caller leaves: a job that is on record is run, one that is cancelled stops.
    """

    def __init__(self, engine: JobEngine, archives: Archives, metrics: Metrics, ttl: float) -> None:
        self._engine = engine
        self._archives = archives
        self._metrics = metrics
        self._ttl = ttl

    async def submit(
        self,
        order_id: str | tuple[str, ...],
        options: Options,
        *,
        callback_url: str | None = None,
        deliver_to: str | None = None,
        key: str | None = None,
        owner: str | None = None,
        base_path: str = "",
    ) -> tuple[Job, bool]:
        """A job for this request, new or the one that `key` names, and whether it is new. It is safe when this returns.

        Of several orders each has a folder. Raises `KeyReused`, `JobsUnavailable`.
        """
        request = JobRequest(
            id=uuid4().hex,
            **({"order_id": order_id} if isinstance(order_id, str) else {"order_ids": order_id}),
            options=options.model_dump(mode="json", exclude_defaults=True, include={*Options.model_fields}),
            callback_url=callback_url,
            deliver_to=deliver_to,
            created=time.time(),
            trace=link(),
            owner=owner,
            base_path=base_path,
        )
        return await carry_through(self._submit(request, key))

    async def _submit(self, request: JobRequest, key: str | None) -> tuple[Job, bool]:
        job, is_new = await self._engine.submit(request, key)
        if is_new:
            log.info("job accepted", job_id=job.id, order_id=",".join(job.request.all_order_ids))
        return job, is_new

    async def get(self, job_id: str) -> Job:
        """The job. Raises `JobNotFound`, and `JobsUnavailable` when that cannot be told."""
        job = await self._engine.get(job_id)
        if job is None:
            raise JobNotFound(f"There is no job {job_id}.")
        return job

    async def find(self, wanted: JobFilter, limit: int) -> list[Job]:
        """At most `limit` jobs that fit, newest first. Raises `JobsUnavailable`."""
        return await self._engine.find(wanted, limit)

    async def document(self, job: Job) -> dict[str, Any]:
        """The job as callers see it, with the progress of its archive while it runs."""
        return job.document(await self._progress(job))

    async def documents(self, jobs: Sequence[Job]) -> list[dict[str, Any]]:
        """As `document`, without following what other instances build: there, the progress of many is not worth it."""
        return [job.document(await self._progress(job) if self._is_here(job) else None) for job in jobs]

    def _is_here(self, job: Job) -> bool:
        return job.archive_id is not None and self._archives.is_building(job.archive_id)

    async def _progress(self, job: Job) -> dict[str, Any] | None:
        archive = None if job.is_final else await archive_of(self._archives, job, _LOOK_SECONDS)
        return progress_of(archive) if archive else None

    def events(self, job_id: str, after: int) -> AsyncGenerator[JobEvent, None]:
        """The job's events after number `after`, to its end."""
        return events(self._engine, self._archives, job_id, after)

    async def cancel(self, job: Job) -> Job:
        """End a job that has not ended; only its own demand on the archive goes. Raises `JobsUnavailable`."""
        return job if job.is_final else await carry_through(self._cancel(job))

    async def _cancel(self, job: Job) -> Job:
        progress = await self._progress(job)
        now = time.time()
        cancelled = replace(
            job,
            status=Status.CANCELLED,
            summary=progress,
            retry_at=None,
            finished=now,
            expires=now + self._ttl,
        )
        if not await self._engine.cancel(cancelled):
            return await self.get(job.id)
        self._metrics.jobs_ended.labels(Status.CANCELLED).inc()
        log.info("job cancelled", job_id=job.id)
        return cancelled

    async def repeat_callback(self, job_id: str) -> Job:
        """Attempt a job's callback anew, at once. Raises `JobNotFound`, `JobUnfinished`, `NoCallback`."""
        job = await self.get(job_id)
        if job.request.callback_url is None:
            raise NoCallback
        if not job.is_final:
            raise JobUnfinished(f"Job {job_id} is {job.status}.")
        if job.delivery_is_pending:
            raise JobUnfinished(f"The ZIP of job {job_id} is still being delivered; the callback follows that.")
        renewed = await carry_through(self._engine.repeat_callback(job_id))
        if renewed is None:
            raise JobNotFound(f"There is no job {job_id}.")
        return renewed

    async def run(self, work: Work) -> None:
        """Take accepted jobs to their ends, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(repeat("jobs", lambda: self._engine.run(work), every=_RESTART_SECONDS))
            tasks.create_task(repeat("count jobs", self._count, every=_COUNT_SECONDS))

    async def _count(self) -> None:
        try:
            counts = await self._engine.counts()
        except JobsUnavailable:  # that Redis is away is told by whoever called it first; the figures stay as they were
            return
        for status in OPEN_STATUSES:
            self._metrics.jobs_open.labels(status).set(counts.get(status, 0))
