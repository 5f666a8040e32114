"""Errors of background jobs."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from service.problems.base import Problem, RetryableProblem

_NEW_JOB = "Start a new job; stored images are not fetched again."


class JobNotFound(Problem):
    status, code = HTTPStatus.NOT_FOUND, "job_not_found"
    title = "No such job"
    advice = _NEW_JOB


class JobUnfinished(RetryableProblem):
    status, code = HTTPStatus.CONFLICT, "job_unfinished"
    title = "The job has not finished yet"
    advice = "Follow its events, or try again later."


class JobFailed(Problem):
    """`error` is the problem that ended it, `failures` lists the images."""

    status, code = HTTPStatus.UNPROCESSABLE_ENTITY, "job_failed"
    title = "The job failed"
    advice = "`error` says what to do, `failures` gives the reason for each image. Then start a new job."

    def __init__(self, error: Mapping[str, Any], failures: Sequence[Mapping[str, Any]]) -> None:
        # The title: the detail ends with advice of its own, which is in `error`.
        super().__init__(f"{error['title']}.", extra={"error": dict(error), "failures": list(failures)})


class JobCancelled(Problem):
    status, code = HTTPStatus.GONE, "job_cancelled"
    title = "The job was cancelled"
    advice = _NEW_JOB


class JobExpired(Problem):
    status, code = HTTPStatus.GONE, "job_expired"
    title = "The result of the job has expired"
    advice = _NEW_JOB


class JobCrashed(Problem):
    status, code = HTTPStatus.INTERNAL_SERVER_ERROR, "job_crashed"
    title = "The service crashed several times while running this job"
    advice = "The operator can find the cause in the log. Then start a new job."


class NoCallback(Problem):
    status, code = HTTPStatus.CONFLICT, "no_callback"
    title = "The job has no callback_url"
    advice = "Set callback_url when you start a job to be notified when it ends."


class KeyReused(Problem):
    status, code = HTTPStatus.UNPROCESSABLE_ENTITY, "idempotency_key_reused"
    title = "This Idempotency-Key was used for another request"
    advice = "Use a new key for each new request."


class JobsUnavailable(RetryableProblem):
    code = "jobs_unavailable"
    title = "Jobs are temporarily unavailable"
    advice = "Try again later, or download the order without a job."
