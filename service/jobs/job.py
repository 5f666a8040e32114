"""A background job: what was asked for, and what happened since. Plain data, so that any engine can carry it."""

import json
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Self, TypeAlias

from service.telemetry.metrics import JobStatus

Status: TypeAlias = JobStatus
"""Where a job stands."""


class CallbackState(StrEnum):
    """Where a callback stands. `stopped`: the receiver wants no more (410). `failed`: given up."""

    PENDING = "pending"
    DELIVERED = "delivered"
    STOPPED = "stopped"
    FAILED = "failed"


FINAL = frozenset({Status.COMPLETE, Status.ERROR, Status.CANCELLED})


def pending() -> dict[str, Any]:
    """A callback that was not attempted yet, in the shape that the job's document shows."""
    return {"state": CallbackState.PENDING, "attempts": 0, "last_status": None, "last_error": None, "next_at": None}


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """What was asked for. `options` are those of a download that differ from their defaults."""

    id: str
    order_id: str
    options: dict[str, Any]
    callback_url: str | None = None
    created: float
    """Epoch seconds, as all times here."""
    trace: str | None = None
    """Leads to the trace of the request that created it (a W3C `traceparent`)."""

    def asks_for_the_same(self, other: "JobRequest") -> bool:
        """Whether both want the same, each under its own id."""
        return (self.order_id, self.options, self.callback_url) == (other.order_id, other.options, other.callback_url)

    def dump(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def load(cls, text: str) -> Self:
        """The reverse of `dump`."""
        return cls(**json.loads(text))


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One thing that happened to a job: a change of state, the outcome of an image, an attempt at its callback."""

    at: float
    status: Status | None = None
    archive_id: str | None = None
    total: int | None = None
    """Images in all; with `archive_id`, told when the job begins to be processed."""
    size: int | None = None
    """An image is here: its bytes."""
    failure: dict[str, Any] | None = None
    """An image is missing: the shape of a failure in every document."""
    error: dict[str, Any] | None = None
    """Why the job failed: `code`, `title` and `detail`."""
    expires: float | None = None
    """With a final state: until when job and result are kept."""
    callback: dict[str, Any] | None = None

    def dump(self) -> str:
        """As JSON, without what is not set."""
        return json.dumps({name: value for name, value in asdict(self).items() if value is not None})

    @classmethod
    def load(cls, text: str) -> Self:
        """The reverse of `dump`."""
        values = json.loads(text)
        return cls(**{**values, "status": Status(values["status"]) if "status" in values else None})


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A request and all changes so far, added up. `number` is that of the last change; the first has 1."""

    request: JobRequest
    number: int = 0
    status: Status = Status.QUEUED
    archive_id: str | None = None
    total: int = 0
    downloaded: int = 0
    bytes: int = 0
    failures: tuple[dict[str, Any], ...] = ()
    error: dict[str, Any] | None = None
    held_up: float | None = None
    """When it was first put back into the queue, for something that was in its way."""
    started: float | None = None
    finished: float | None = None
    expires: float | None = None
    callback: dict[str, Any] | None = None

    @property
    def id(self) -> str:
        """The job's id."""
        return self.request.id

    @property
    def is_final(self) -> bool:
        """Whether its state will not change any more."""
        return self.status in FINAL

    @property
    def outcomes(self) -> int:
        """How many of its images have come to something."""
        return self.downloaded + len(self.failures)

    @property
    def is_expired(self) -> bool:
        """Whether its result is no longer kept."""
        return self.expires is not None and self.expires < time.time()

    @classmethod
    def new(cls, request: JobRequest) -> "Job":
        """The job before anything has happened to it."""
        return cls(request=request, callback=pending() if request.callback_url is not None else None)

    def after(self, *changes: Change) -> "Job":
        """The job when these have happened too."""
        job = self
        for change in changes:
            job = job._after(change)
        return job

    def _after(self, change: Change) -> "Job":
        job = replace(self, number=self.number + 1)
        if change.status in FINAL:
            job = replace(job, status=change.status, finished=change.at, expires=change.expires, error=change.error)
        elif change.status is not None:  # begun, or begun again after an interruption: counted anew
            job = replace(
                job,
                status=change.status,
                archive_id=change.archive_id,
                total=change.total or 0,
                downloaded=0,
                bytes=0,
                failures=(),
                held_up=job.held_up or (change.at if change.status is Status.QUEUED and self.number else None),
                started=job.started or (change.at if change.status is Status.PROCESSING else None),
            )
        if change.size is not None:
            job = replace(job, downloaded=job.downloaded + 1, bytes=job.bytes + change.size)
        if change.failure is not None:
            job = replace(job, failures=(*job.failures, change.failure))
        return job if change.callback is None else replace(job, callback=change.callback)

    def document(self) -> dict[str, Any]:
        """The shape that callers see; it extends what overview, report and callback share."""
        archive = f"/v1/archives/{self.archive_id}" if self.archive_id else None
        address = f"/v1/jobs/{self.id}"
        return {
            "job_id": self.id,
            "order_id": self.request.order_id,
            "status": self.status,
            "total": self.total,
            "downloaded": self.downloaded,
            "failed": len(self.failures),
            "bytes": self.bytes,
            "failures": list(self.failures),
            "archive_id": self.archive_id,
            "error": self.error,
            "created_at": moment(self.request.created),
            "started_at": moment(self.started),
            "finished_at": moment(self.finished),
            "expires_at": moment(self.expires),
            "callback": self.callback,
            "links": {
                "self": address,
                "events": f"{address}/events",
                "download": f"{address}/download" if self.status is Status.COMPLETE else None,
                "archive": archive,
                "report": archive and f"{archive}/report",
            },
        }


def add_up(request: JobRequest, changes: Iterable[Change]) -> Job:
    """The job that a request and its changes make."""
    return Job.new(request).after(*changes)


def moment(seconds: float | None) -> str | None:
    """Epoch seconds as an ISO 8601 date in UTC, to the millisecond."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
