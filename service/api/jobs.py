"""Background jobs: `POST /v1/orders/{order_id}/jobs`, `/v1/jobs/{job_id}` and what is below it."""

import re
from http import HTTPStatus
from typing import Any, Literal, NoReturn

from aiohttp import web
from multidict import MultiDict
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from yarl import URL

from service.api.base_path import base_path, with_external_links
from service.api.bodies import checked, read_body, read_document
from service.api.caller import is_administrator, tenant
from service.api.documents import Count, Document, Moment, Reference, Summary
from service.api.documents import answer as answer_document
from service.api.downloads import BYTES, CONDITIONS, HEAD_ANSWERS, ZIP_ANSWERS, head_of, require_key, require_version
from service.api.idempotency import REPLAYED, read_key
from service.api.keys import ARCHIVES, DELIVERY, JOBS, LIFECYCLE, PRESETS, SETTINGS
from service.api.limits import Counts
from service.api.query import is_order_id, read_options, read_order_id
from service.api.route import EVENTS, Answer, Body, Callback, Parameter, Problems, Route, Who, count
from service.api.server_events import send_events
from service.archives.archive import Archive
from service.archives.delivery import DeliveryOptions
from service.archives.options import Options
from service.archives.renditions import PRESETS_OF_CONTEXT
from service.jobs.engine import JobFilter
from service.jobs.events import outcomes_of
from service.jobs.job import CallbackState, DeliveryState, Job, Status
from service.problems import (
    ArchiveGone,
    InvalidOrderId,
    InvalidParameter,
    JobCancelled,
    JobExpired,
    JobFailed,
    JobNotFound,
    JobsUnavailable,
    JobUnfinished,
    KeyReused,
    NoCallback,
    NotConfigured,
)
from service.text import printable
from service.upstream.network import is_public_host
from service.wrong_values import wrong_values

_ID = re.compile(r"[0-9a-f]{32}")
_CURSOR = re.compile(r"(\d{1,12}(?:\.\d{1,12})?)_([0-9a-f]{32})", re.ASCII)
# A presigned address holds a signature, and often a session's token.
_MAX_URL_LENGTH, _MAX_PRESIGNED_LENGTH = 2048, 8000
_ADDRESSES = ("callback_url", "deliver_to")
_ADMINISTRATOR = "administrator"
_LOOK_AGAIN_SECONDS = 2


class NewJob(Options):
    """The body of a request for a job: the options of a download, where they do not fit an address."""

    callback_url: str | None = Field(
        None,
        max_length=_MAX_URL_LENGTH,
        description="An https address to notify when the job ends.",
        json_schema_extra={"format": "uri"},
    )
    deliver_to: str | None = Field(
        None,
        max_length=_MAX_PRESIGNED_LENGTH,
        description="A presigned https address that the finished ZIP is put to, better in the body, since proxies log"
        " queries. Shown to nobody afterwards.",
        json_schema_extra={"format": "uri"},
    )


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
    error: str | None = Field(description="Of the last attempt, in a word.")
    next_at: Moment | None


class JobLinks(Document):
    """Where to go on from a job."""

    self: Reference
    events: Reference
    download: Reference | None
    archive: Reference | None
    report: Reference | None


class JobResult(Summary):
    """A job, as its callback tells it."""

    job_id: str
    status: Status
    archive_id: str | None = Field(description="Known from the start of the build on.")
    error: JobError | None = Field(description="Why the job failed.")
    created_at: Moment
    started_at: Moment | None
    finished_at: Moment | None
    expires_at: Moment | None = Field(description="Until when the ZIP is kept.")
    retry_at: Moment | None = Field(description="When it is tried again, after a problem that passes by itself.")
    delivery: JobDelivery | None
    links: JobLinks


class JobDocument(JobResult):
    """A job as it stands."""

    callback: JobCallback | None


class JobPage(Document):
    """Some jobs of a caller."""

    items: list[JobDocument] = Field(max_length=200)
    next_cursor: str | None = Field(description="Asks for the next page; null on the last.")


class JobEnded(BaseModel):
    """What the receiver of a callback is sent."""

    type: Literal["job.complete", "job.error", "job.cancelled"]
    timestamp: Moment
    data: JobResult


class JobQuery(BaseModel):
    """Which jobs to list."""

    model_config = ConfigDict(extra="forbid")

    status: Literal["queued", "processing", "complete", "error", "cancelled"] | None = Field(
        None, description="Only jobs in this state."
    )
    order_id: str | None = Field(None, description="Only jobs of this order.")
    cursor: str | None = Field(None, description="`next_cursor` of the page before.")
    limit: int = Field(50, ge=1, le=200, description="At most so many.")


async def create(request: web.Request) -> web.Response:
    """Accept a job. When the answer goes out, it is kept safe."""
    order_id = read_order_id(request)
    options, callback_url, deliver_to = await _read_options(request)
    key = read_key(request)
    require_key(request)
    require_version(request, options)
    await count(request)
    jobs = request.app[JOBS]
    job, is_new = await jobs.submit(
        order_id,
        options,
        callback_url=callback_url,
        deliver_to=deliver_to,
        key=key,
        owner=_owner(request),
        base_path=base_path(request),
    )
    headers = {"Location": f"/v1/jobs/{job.id}", **_retry_after(job), **({} if is_new else REPLAYED)}
    return _answer(request, await jobs.document(job), status=HTTPStatus.ACCEPTED, headers=headers)


async def find(request: web.Request) -> web.Response:
    """The caller's own jobs, newest first; administrators see all."""
    query = _read_job_query(request)
    wanted = JobFilter(
        owner=None if is_administrator(request) else _owner(request),
        status=Status(query.status) if query.status else None,
        order_id=query.order_id and query.order_id.lower(),
        before=_read_cursor(query.cursor),
    )
    jobs = request.app[JOBS]
    found = await jobs.find(wanted, query.limit + 1)
    page = found[: query.limit]
    items = [with_external_links(request, document) for document in await jobs.documents(page)]
    next_cursor = f"{page[-1].request.created!r}_{page[-1].id}" if len(found) > query.limit else None
    return _answer(request, {"items": items, "next_cursor": next_cursor})


async def status(request: web.Request) -> web.Response:
    """The job as it stands."""
    job = await _job(request)
    return _answer(request, await request.app[JOBS].document(job), headers=_retry_after(job))


async def cancel(request: web.Request) -> web.Response:
    """End the job, if it has not ended; what others want goes on."""
    jobs = request.app[JOBS]
    return _answer(request, await jobs.document(await jobs.cancel(await _job(request))))


async def events(request: web.Request) -> web.StreamResponse:
    """The job after every change, as server-sent events."""
    job = await _job(request)
    last = request.headers.get("Last-Event-ID", "")
    after = int(last) if re.fullmatch(r"\d{1,9}", last, re.ASCII) else 0
    if job.is_final and after > outcomes_of(job):
        return web.Response(status=HTTPStatus.NO_CONTENT)  # tells a browser not to connect again
    return await send_events(request, request.app[JOBS].events(job.id, after), request.app[LIFECYCLE].stopping)


async def download(request: web.Request) -> web.StreamResponse:
    """The ZIP, as at the archive's own address."""
    return await request.app[DELIVERY].deliver(request, await _result(request), DeliveryOptions())


async def describe(request: web.Request) -> web.StreamResponse:
    """Answer HEAD."""
    return head_of(request, await _result(request))


async def repeat_callback(request: web.Request) -> web.Response:
    """Send the job's callback once more; for administrators."""
    jobs = request.app[JOBS]
    job = await jobs.repeat_callback((await _job(request)).id)
    return _answer(request, await jobs.document(job), status=HTTPStatus.ACCEPTED)


async def _job(request: web.Request) -> Job:
    """The job, if it is the caller's. Raises `JobNotFound`, also for a job of somebody else."""
    job_id = request.match_info["job_id"]
    if not _ID.fullmatch(job_id):
        raise JobNotFound(f"{printable(job_id)} is not a job id.")
    job = await request.app[JOBS].get(job_id)
    owner = job.request.owner
    has_callers = bool(request.app[SETTINGS].service_api_key)
    if owner is None or not has_callers or is_administrator(request) or owner == _owner(request):
        return job
    raise JobNotFound(f"There is no job {job_id}.")


def _owner(request: web.Request) -> str | None:
    """Whose jobs a request makes; None while callers are not distinguished."""
    if not request.app[SETTINGS].service_api_key:
        return None
    return tenant(request) or _ADMINISTRATOR


async def _result(request: web.Request) -> Archive:
    job = await _job(request)
    if job.status is not Status.COMPLETE or job.is_expired or job.archive_id is None:
        _refuse(job, await request.app[JOBS].document(job))
    return await request.app[ARCHIVES].by_id(job.archive_id)


def _refuse(job: Job, document: dict[str, Any]) -> NoReturn:
    """Say why there is nothing to download."""
    if not job.is_final:
        total, downloaded = document["total"], document["downloaded"]
        done = f", with {downloaded} of {total} images fetched" if total else ""
        raise JobUnfinished(f"Job {job.id} is {job.status}{done}.", retry_after=_LOOK_AGAIN_SECONDS)
    if job.is_expired:
        raise JobExpired(f"Job {job.id} is complete, but its ZIP has expired.")
    if job.error is not None:
        raise JobFailed(job.error, document["failures"])
    raise JobCancelled(f"Job {job.id} was cancelled before its ZIP was complete.")


def _answer(
    request: web.Request,
    document: dict[str, Any],
    *,
    status: HTTPStatus = HTTPStatus.OK,
    headers: dict[str, str] | None = None,
) -> web.Response:
    if "links" in document:
        document = with_external_links(request, document)
    return answer_document(document, status=status, headers=headers or {})


def _retry_after(job: Job) -> dict[str, str]:
    return {} if job.is_final else {"Retry-After": str(_LOOK_AGAIN_SECONDS)}


async def _read_options(request: web.Request) -> tuple[Options, str | None, str | None]:
    """Options, callback address and storage address, from the query, a JSON body, or both.

    Raises `InvalidParameter`, `BadRequest`.
    """
    query = MultiDict(request.query)
    addresses: dict[str, str | None] = {}
    for name in _ADDRESSES:
        given = query.popall(name, [])
        if len(given) > 1:
            raise InvalidParameter(name, "may be given only once")
        if given:
            addresses[name] = given[0]
    presets = request.app[PRESETS]
    options = read_options(query, presets)
    if request.can_read_body and await read_body(request):
        body = await read_document(request, NewJob, {PRESETS_OF_CONTEXT: presets})
        if twice := body.model_fields_set & {*options.model_fields_set, *addresses}:
            raise InvalidParameter(min(twice), "is given in the query and in the body")
        both = options.model_dump(exclude_unset=True) | body.model_dump(exclude_unset=True, exclude={*_ADDRESSES})
        options = checked(Options, both)
        addresses |= body.model_dump(include={*_ADDRESSES} & body.model_fields_set)
    callback_url, deliver_to = (_read_address(request, name, addresses.get(name)) for name in _ADDRESSES)
    return options, callback_url, deliver_to


def _read_job_query(request: web.Request) -> JobQuery:
    for name in request.query:
        if len(request.query.getall(name)) > 1:
            raise InvalidParameter(printable(name), "may be given only once")
    try:
        query = JobQuery.model_validate(dict(request.query))
    except ValidationError as error:
        name, reason = next(wrong_values(JobQuery, error, what="parameter"))
        raise InvalidParameter(printable(name), reason) from None
    if query.order_id is not None and not is_order_id(query.order_id):
        raise InvalidParameter("order_id", "must be a UUID")
    return query


def _read_cursor(cursor: str | None) -> tuple[float, str] | None:
    if cursor is None:
        return None
    found = _CURSOR.fullmatch(cursor)
    if found is None:
        raise InvalidParameter("cursor", "must be the next_cursor of a page")
    return float(found[1]), found[2]


def _read_address(request: web.Request, name: str, given: str | None) -> str | None:
    """Where something is to be sent, as far as it can be judged without looking it up. Raises `InvalidParameter`."""
    if given is None:
        return None
    settings = request.app[SETTINGS]
    if name == "callback_url" and not settings.callback_secret:
        raise InvalidParameter(name, "callbacks are not configured; the operator must set CALLBACK_SECRET")
    max_length = _MAX_URL_LENGTH if name == "callback_url" else _MAX_PRESIGNED_LENGTH
    reason = _objection(given, max_length, allow_private=settings.callback_allow_private)
    if reason is not None:
        raise InvalidParameter(name, reason)
    return given


def _objection(address: str, max_length: int, *, allow_private: bool) -> str | None:
    """What is wrong with a receiver's address."""
    try:
        url = URL(address)
        host, user = url.host, url.user or url.password
    except ValueError:
        return "is not a URL"
    if not host or not address.isprintable() or len(address) > max_length:
        return f"must be an absolute URL of at most {max_length} characters"
    schemes = ("http", "https") if allow_private else ("https",)
    if url.scheme not in schemes:
        return f"must be an {' or '.join(schemes)} address"
    if user or "#" in address:
        return "must have neither a user nor a fragment"
    if not allow_private and not is_public_host(host):
        return "must not be a private address"
    return None


_STANDING = (Answer(200, "The job.", JobDocument, ("Retry-After",)),)
_DOCUMENT: Problems = (JobNotFound, JobsUnavailable)
_RESULT: Problems = (JobNotFound, JobUnfinished, JobFailed, JobCancelled, JobExpired, ArchiveGone)
_ENDED = Callback(
    "{$request.query.callback_url}",
    "The job has ended",
    JobEnded,
    (
        Parameter("webhook-id", "msg_3c1f9a0b", "The same for every attempt."),
        Parameter("webhook-signature", "v1,K5oZfzN95Z9UVu1EsfQm", "With `webhook-timestamp`, as Standard Webhooks."),
    ),
    (
        ("2XX", "It was heard. Any other answer is tried again, for three days."),
        ("410", "Never again for this job."),
    ),
)

ROUTES = (
    Route(
        "POST",
        "/v1/orders/{order_id}/jobs",
        create,
        name="createJob",
        summary="Build an order's ZIP in the background",
        tag="Jobs",
        alias="/orders/{order_id}/jobs",
        counts=Counts.DOWNLOADS,
        query=NewJob,
        headers=(Parameter("Idempotency-Key", "5c0ffe02", "The same key gives the same job, once."),),
        body=Body(NewJob, {"quality": 80, "image": ["a3f6", "b7c1"]}, required=False),
        answers=(
            Answer(
                202,
                "The job is on record; it outlives this connection and this process.",
                JobDocument,
                ("Location", "Retry-After", "Idempotent-Replayed"),
            ),
        ),
        problems=(InvalidOrderId, KeyReused, NotConfigured, JobsUnavailable),
        callback=_ENDED,
    ),
    Route(
        "GET",
        "/v1/jobs",
        find,
        name="jobs",
        summary="The caller's jobs, newest first",
        tag="Jobs",
        who=Who.NAMED,
        query=JobQuery,
        answers=(Answer(200, "A page of them. Administrators see all; without keys only they do.", JobPage),),
        problems=(InvalidParameter, JobsUnavailable),
    ),
    Route(
        "GET",
        "/v1/jobs/{job_id}",
        status,
        name="job",
        summary="The job as it stands",
        tag="Jobs",
        alias="/jobs/{job_id}",
        answers=_STANDING,
        problems=_DOCUMENT,
    ),
    Route(
        "DELETE",
        "/v1/jobs/{job_id}",
        cancel,
        name="cancelJob",
        summary="Cancel the job; what has ended stays as it is",
        tag="Jobs",
        alias="/jobs/{job_id}",
        answers=_STANDING,
        problems=_DOCUMENT,
    ),
    Route(
        "GET",
        "/v1/jobs/{job_id}/download",
        download,
        name="downloadJob",
        summary="The ZIP of a job that is complete",
        tag="Jobs",
        alias="/jobs/{job_id}/download",
        who=Who.DOWNLOADER,
        headers=CONDITIONS,
        answers=ZIP_ANSWERS,
        problems=(*_RESULT, *BYTES),
    ),
    Route(
        "HEAD",
        "/v1/jobs/{job_id}/download",
        describe,
        name="describeJob",
        summary="The headers of the job's ZIP",
        tag="Jobs",
        alias="/jobs/{job_id}/download",
        who=Who.DOWNLOADER,
        answers=HEAD_ANSWERS,
        problems=_RESULT,
    ),
    Route(
        "GET",
        "/v1/jobs/{job_id}/events",
        events,
        name="jobEvents",
        summary="Follow the job",
        tag="Jobs",
        head=False,
        headers=(Parameter("Last-Event-ID", "3", "Go on after this one."),),
        answers=(
            Answer(
                200,
                "`image` events, one per outcome, and `status` events; the id is the number of outcomes,"
                " at the end one more.",
                EVENTS,
            ),
            Answer(204, "The caller has the last event; nothing more will come."),
        ),
        problems=_DOCUMENT,
    ),
    Route(
        "POST",
        "/v1/jobs/{job_id}/callback",
        repeat_callback,
        name="repeatCallback",
        summary="Send the job's callback once more",
        tag="Jobs",
        who=Who.ADMINISTRATOR,
        answers=(Answer(202, "It will be sent now.", JobDocument),),
        problems=(*_DOCUMENT, JobUnfinished, NoCallback),
    ),
)
