"""A background job as it is kept: what was asked for, where it stands, and how it ended. Plain data for any engine."""

import json
import time
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Self, TypeAlias

from service.telemetry.metrics import JobStatus

Status: TypeAlias = JobStatus
"""Where a job stands."""

FINAL = frozenset({Status.COMPLETE, Status.ERROR, Status.CANCELLED})

_SUSPECT_CRASHES = 2
_NO_ZIP = {Status.ERROR: "job_failed", Status.CANCELLED: "job_cancelled"}
"""What a download of a job that ended so is told."""

NO_PROGRESS: dict[str, Any] = {"total": 0, "downloaded": 0, "failed": 0, "bytes": 0, "failures": [], "orders": []}
"""The progress of a job whose archive is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _FollowUp:
    """What is noted of a task that follows a job. Its `next_at` is in epoch seconds."""

    def dump(self) -> str:
        return json.dumps(asdict(self))

    def document(self) -> dict[str, Any]:
        """As part of the job's document."""
        values = asdict(self)
        return {**values, "next_at": moment(values["next_at"])}


class CallbackState(StrEnum):
    """Where a callback stands. `stopped`: the receiver wants no more (410). `failed`: given up."""

    PENDING = "pending"
    DELIVERED = "delivered"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Callback(_FollowUp):
    """The attempts to tell a job's receiver how it ended."""

    state: CallbackState = CallbackState.PENDING
    attempts: int = 0
    last_status: int | None = None
    last_error: str | None = None
    next_at: float | None = None
    """When the next attempt is made (epoch seconds)."""

    @classmethod
    def begun_anew(cls) -> Self:
        """To be made at once, and unlike any that was begun before."""
        return cls(next_at=time.time())

    @classmethod
    def load(cls, text: str) -> Self:
        values = json.loads(text)
        return cls(**{**values, "state": CallbackState(values["state"])})


class DeliveryState(StrEnum):
    """Where the delivery of a job's ZIP into storage stands. `failed`: given up."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery(_FollowUp):
    """The attempts to send a job's ZIP to the storage that it named."""

    status: DeliveryState = DeliveryState.PENDING
    attempts: int = 0
    error: str | None = None
    """Why the last attempt failed, in a word."""
    next_at: float | None = None
    """When the next attempt is made (epoch seconds)."""

    @classmethod
    def load(cls, text: str) -> Self:
        values = json.loads(text)
        return cls(**{**values, "status": DeliveryState(values["status"])})


FollowUp: TypeAlias = Callback | Delivery


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """What was asked for. `options` are those of a download that differ from their defaults."""

    id: str
    order_id: str | None = None
    """The only order, without a folder; None where there are `order_ids`."""
    order_ids: tuple[str, ...] = ()
    """Orders with a folder each."""
    options: dict[str, Any]
    callback_url: str | None = None
    deliver_to: str | None = None
    """Where in a storage the ZIP is to be put. Whoever knows the URL may write there: it is shown to nobody."""
    created: float
    """Epoch seconds, as all times here."""
    trace: str | None = None
    """Leads to the trace of the request that created it (a W3C `traceparent`)."""
    owner: str | None = None
    """The caller whose job it is; None when callers were not distinguished."""
    base_path: str = ""
    """Where its caller reached the service: links in callbacks lead below it."""

    def is_same_as(self, other: "JobRequest") -> bool:
        """Whether both ask for the same, each under its own id."""
        what = ("order_id", "order_ids", "options", "callback_url", "deliver_to")
        return all(getattr(self, name) == getattr(other, name) for name in what)

    @property
    def all_order_ids(self) -> tuple[str, ...]:
        """Of however many orders."""
        return self.order_ids if self.order_id is None else (self.order_id,)

    def dump(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def load(cls, text: str) -> Self:
        values = json.loads(text)
        return cls(**{**values, "order_ids": tuple(values.get("order_ids", ()))})


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """The record of a job. Its progress while it runs is that of its archive; only the end is kept here."""

    request: JobRequest
    status: Status = Status.QUEUED
    archive_id: str | None = None
    summary: dict[str, Any] | None = None
    """At the end: how many images there are, and what is missing, in the shape of `NO_PROGRESS`."""
    error: dict[str, Any] | None = None
    """Why the job failed: `code`, `title` and `detail`."""
    crashes: int = 0
    """How many attempts in a row ended with their process, without any progress. A running one counts already."""
    reached: int = 0
    """The most image outcomes that an attempt after a crash got to."""
    retry_at: float | None = None
    """When it is tried again after a temporary problem."""
    retrying_since: float | None = None
    """When the temporary problem began."""
    started: float | None = None
    finished: float | None = None
    expires: float | None = None
    """Until when the result is kept."""
    callback: Callback | None = None
    delivery: Delivery | None = None

    @property
    def id(self) -> str:
        return self.request.id

    @property
    def is_final(self) -> bool:
        return self.status in FINAL

    @property
    def is_suspect(self) -> bool:
        """Whether it may be what ends the process: so many attempts in a row ended with it."""
        return self.crashes >= _SUSPECT_CRASHES

    @property
    def is_expired(self) -> bool:
        return self.expires is not None and self.expires < time.time()

    @property
    def delivery_is_pending(self) -> bool:
        """Whether there are attempts to be made at its delivery."""
        is_pending = self.delivery is not None and self.delivery.status is DeliveryState.PENDING
        return is_pending and self.status is Status.COMPLETE

    @property
    def _told_delivery(self) -> Delivery | None:
        """As callers see it: without a ZIP there will be none."""
        if self.delivery is not None and (error := _NO_ZIP.get(self.status)):
            return Delivery(status=DeliveryState.FAILED, error=error)
        return self.delivery

    @property
    def callback_is_pending(self) -> bool:
        """Whether there are attempts to be made at its callback, which tells of its delivery too."""
        is_pending = self.callback is not None and self.callback.state is CallbackState.PENDING
        return is_pending and self.is_final and not self.delivery_is_pending

    @property
    def follow_up(self) -> FollowUp | None:
        """What is due next, as it stands: its delivery, or its callback."""
        if self.delivery_is_pending:
            return self.delivery
        return self.callback if self.callback_is_pending else None

    @property
    def follow_up_due(self) -> float | None:
        """When the next attempt at its delivery or callback is due (epoch seconds; 0: now); None: there is none."""
        due = self.follow_up
        return None if due is None else due.next_at or 0.0

    @classmethod
    def new(cls, request: JobRequest) -> Self:
        """A job that was just accepted."""
        return cls(
            request=request,
            callback=None if request.callback_url is None else Callback(),
            delivery=None if request.deliver_to is None else Delivery(),
        )

    def followed_up(self, by: FollowUp) -> Self:
        """The job, with a new state of its callback or its delivery."""
        return replace(self, callback=by) if isinstance(by, Callback) else replace(self, delivery=by)

    def dump(self) -> str:
        """As JSON, without request, callback and delivery: those are kept beside it, for they change by themselves."""
        state = asdict(replace(self, callback=None, delivery=None))
        return json.dumps({name: value for name, value in state.items() if name != "request" and value is not None})

    @classmethod
    def load(cls, request: str, state: str, callback: str | None, delivery: str | None = None) -> Self:
        """The reverse of the `dump` of the job, its request, its callback and its delivery."""
        values = json.loads(state)
        return cls(
            **{
                **values,
                "status": Status(values["status"]),
                "request": JobRequest.load(request),
                "callback": Callback.load(callback) if callback else None,
                "delivery": Delivery.load(delivery) if delivery else None,
            }
        )

    def document(self, progress: dict[str, Any] | None = None, *, base_path: str = "") -> dict[str, Any]:
        """The shape that callers see; `progress` (as `NO_PROGRESS`) is that of its archive, until the job has ended.

        Its links lead below `base_path`.
        """
        progress = self.summary or progress or NO_PROGRESS
        archive = f"{base_path}/v1/archives/{self.archive_id}" if self.archive_id else None
        path = f"{base_path}/v1/jobs/{self.id}"
        order_ids = self.request.all_order_ids
        return {
            "job_id": self.id,
            "order_id": order_ids[0] if len(order_ids) == 1 else None,
            "order_ids": list(order_ids),
            "status": self.status,
            **{name: progress.get(name, nothing) for name, nothing in NO_PROGRESS.items()},
            "archive_id": self.archive_id,
            "error": self.error,
            "created_at": moment(self.request.created),
            "started_at": moment(self.started),
            "finished_at": moment(self.finished),
            "expires_at": moment(self.expires),
            "retry_at": moment(self.retry_at),
            "callback": self.callback.document() if self.callback else None,
            "delivery": delivery.document() if (delivery := self._told_delivery) else None,
            "links": {
                "self": path,
                "events": f"{path}/events",
                "download": f"{path}/download" if self.status is Status.COMPLETE else None,
                "archive": archive,
                "report": archive and f"{archive}/report",
            },
        }


def moment(seconds: float | None) -> str | None:
    """Epoch seconds as an ISO 8601 date in UTC, to the millisecond."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
