"""What keeps jobs and runs them: the promises that every engine must hold. `tests/jobs/conformance` asks for them."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypeAlias

from service.jobs.job import Change, Job, JobRequest, Status

DEATHS_TO_BE_ALONE = 2
"""After so many deaths in a row a job runs alone in its process: should that die again, it is known who was there."""


class Withdrawn(Exception):
    """The job is no longer this run's: it was cancelled, or another run has it."""


class PutOff(Exception):
    """Raised by a step when something other than its job is in the way. `due`: when to take it again (epoch seconds).

    Unlike an orderly end, it ends no row of deaths: the step did not get to what the process may have died of.
    """

    def __init__(self, due: float) -> None:
        super().__init__(due)
        self.due = due


@dataclass(slots=True)
class Run:
    """One run of a job's next step. `progress` keeps `job` up to date."""

    job: Job
    deaths: int
    """How many runs of this step died with their process while nothing else ran there, or broke, in a row.

    An orderly end ends the row, and so does an image more than any run got to: a job that gets on will get to its end.
    """
    token: str
    """Tells this run from any other of the same job."""


class Ending(StrEnum):
    """How a run ended, if not by the death of its process."""

    DONE = "done"
    INTERRUPTED = "interrupted"
    """By something that says nothing of the job; it will be run again."""
    BROKEN = "broken"
    """By an error that nobody expected; it counts as a death."""


Step: TypeAlias = Callable[[Run], Awaitable[float | None]]
"""Takes a job one step further. Returns when the next step may begin (epoch seconds), None when there is none left.

A step may be run more than once, also twice at the same time: whatever it does must bear that.
"""


class JobBackend(Protocol):
    """Keeps jobs, and sees to it that each is taken to its end."""

    async def submit(self, request: JobRequest, key: str | None = None) -> tuple[Job, bool]:
        """Accept a job; it is kept safe when this returns. True: accepted now; False: `key` named it already.

        Raises `KeyReused` when `key` names a job that asked for something else, `JobsUnavailable` when the job cannot
        be kept safe.
        """

    async def get(self, job_id: str) -> Job | None:
        """The job as it stands."""

    def watch(self, job_id: str, after: int) -> AsyncGenerator[Job, None]:
        """The job after each change from number `after` + 1 on, as they happen; ends with its final state."""

    async def progress(self, run: Run, *changes: Change) -> None:
        """Add to the job's history. Raises `Withdrawn`, and adds nothing, when the run has lost the job."""

    async def cancel(self, job_id: str) -> tuple[Job | None, bool]:
        """End a job that has not ended, and the run that has it; how it stands then, and whether this ended it.

        Raises `JobsUnavailable` when that cannot be kept safe.
        """

    async def renew(self, job_id: str, change: Change) -> Job | None:
        """Note a change in a job that has ended, and give it another step now."""

    async def wake(self, order_id: str) -> None:
        """Let the next step of every job of this order that has not ended begin now."""

    def on_wake(self, heard: Callable[[str], None]) -> None:
        """Have `heard` called with the id of every order that is woken, by whichever instance."""

    async def counts(self) -> Mapping[Status, int]:
        """How many jobs that are not expired are in each state."""

    async def run(self, step: Step) -> None:
        """Run the steps that are due, until cancelled. Then every run under way ends in order: no death is counted.

        A process that dies leaves its runs to the next one, which finds one more in `Run.deaths` of the one that ran
        alone. Of several, none is blamed; after `DEATHS_TO_BE_ALONE` such deaths in a row each runs by itself.
        """
