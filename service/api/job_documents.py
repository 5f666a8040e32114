"""What a job looks like from outside: in answers, and to the receiver of its callback."""

from typing import Literal

from pydantic import BaseModel, Field

from service.api.documents import Count, Document, Moment, OrdersSummary, Reference, Uuid
from service.jobs.job import CallbackState, DeliveryState, Status


class JobError(Document):
    """Why a job failed; the codes are those of problems."""

    code: str
    title: str
    detail: str


class JobCallback(Document):
    """The attempts to tell a job's receiver how it ended."""

    state: CallbackState
    attempts: Count
    last_status: int | None
    last_error: str | None
    next_at: Moment | None


class JobDelivery(Document):
    """The attempts to put a job's ZIP into the storage that `deliver_to` named."""

    status: DeliveryState
    attempts: Count
    error: str | None = Field(description="Of the last attempt, in a word; or that there is no ZIP.")
    next_at: Moment | None


class JobLinks(Document):
    """Where to go on from a job."""

    self: Reference
    events: Reference
    download: Reference | None
    archive: Reference | None
    report: Reference | None


class JobResult(OrdersSummary):
    """A job, as its callback tells it."""

    job_id: str
    order_ids: list[Uuid] = Field(description="As they were asked for.")
    status: Status
    archive_id: str | None = Field(description="Known from the start of the build on.")
    error: JobError | None = Field(description="Why the job failed.")
    created_at: Moment
    started_at: Moment | None
    finished_at: Moment | None
    expires_at: Moment | None = Field(description="Until when its ZIP is kept, if it has one.")
    retry_at: Moment | None = Field(description="When it is tried again, after a problem that passes by itself.")
    delivery: JobDelivery | None
    links: JobLinks


class JobDocument(JobResult):
    """A job as it stands."""

    callback: JobCallback | None


class JobEnded(BaseModel):
    """What the receiver of a callback is sent."""

    type: Literal["job.complete", "job.error", "job.cancelled"]
    timestamp: Moment
    data: JobResult
