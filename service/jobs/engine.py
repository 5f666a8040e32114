"""What keeps jobs and runs them: the promises that every engine must hold. `tests/jobs/conformance` asks for them."""

from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from service.jobs.job import Callback, Delivery, FollowUp, Job, JobRequest, Status


class JobEnded(Exception):
    """The job has ended meanwhile: it was cancelled, or another run took it to its end."""


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs to list. `before`: only those created before this one (creation time, id)."""

    owner: str | None = None
    status: Status | None = None
    order_id: str | None = None
    before: tuple[float, str] | None = None

    def fits(self, job: Job) -> bool:
        return (
            (self.owner is None or job.request.owner == self.owner)
            and (self.status is None or job.status is self.status)
            and (self.order_id is None or self.order_id in job.request.all_order_ids)
            and (self.before is None or (job.request.created, job.id) < self.before)
        )


@dataclass(frozen=True, slots=True)
class Work:
    """What an engine calls for its jobs. All may be called twice for the same, also at the same time."""

    run: Callable[[Job], Coroutine[Any, Any, None]]
    """Takes a job from start to end: it returns once the job has ended. Cancelled, it leaves the job to a later run."""
    call_back: Callable[[Job], Coroutine[Any, Any, Callback]]
    """Makes one attempt at the callback of a job that has ended; `next_at` says when to call again."""
    deliver: Callable[[Job], Coroutine[Any, Any, Delivery]]
    """Makes one attempt at the delivery of a job that is complete, likewise; the callback comes when that has ended."""

    async def follow_up(self, job: Job) -> FollowUp:
        """The attempt that is due for a job with a `follow_up_due`."""
        return await (self.deliver(job) if job.delivery_is_pending else self.call_back(job))


class JobEngine(Protocol):
    """Keeps jobs, and sees to it that each is taken to its end.

    `submit`, `cancel` and `repeat_callback` are to be carried through: they record, then act on it.
    """

    async def submit(self, request: JobRequest, key: str | None = None) -> tuple[Job, bool]:
        """Accept a job; it is kept safe when this returns. True: accepted now; False: `key` named it already.

        Raises `KeyReused` when `key` names a job that asked for something else, `JobsUnavailable` when the job cannot
        be kept safe.
        """

    async def get(self, job_id: str) -> Job | None:
        """The job as it stands. Raises `JobsUnavailable`, as do all methods that read."""

    async def find(self, wanted: JobFilter, limit: int) -> list[Job]:
        """At most `limit` jobs that fit, newest first."""

    def watch(self, job_id: str) -> AsyncGenerator[Job, None]:
        """The job as it stands, and again after changes; ends with its final state, or when it is not known."""

    async def save(self, job: Job) -> None:
        """Keep the state of a job that runs. Raises `JobEnded`, and changes nothing, when it has ended."""

    async def end(self, job: Job) -> bool:
        """Keep a job's final state, and have it delivered and its receiver told. False, and nothing changes, when it
        had ended."""

    async def cancel(self, job: Job) -> bool:
        """As `end`, and stop the run of the job, wherever it is. Raises `JobsUnavailable`."""

    async def repeat_callback(self, job_id: str) -> Job | None:
        """Begin anew with the callback of a job that has ended, now."""

    async def counts(self) -> Mapping[Status, int]:
        """How many jobs are in each state but the final ones; one that no job is in may be left out."""

    async def run(self, work: Work) -> None:
        """Run all jobs that have not ended, each by a task of its own, until cancelled.

        What was running then is run again by the next process, and so is what a dead process had.
        """
