"""What is told of jobs as figures."""

from typing import cast

from service.archives.archives import Archives
from service.jobs.engine import JobEngine
from service.jobs.job import Status
from service.jobs.jobs import Jobs
from service.problems import JobsUnavailable
from service.telemetry.metrics import OPEN_STATUSES, Metrics
from tests.support.transport import sample


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
