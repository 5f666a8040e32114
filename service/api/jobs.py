"""Background jobs: `POST /v1/orders/{order_id}/jobs`, `POST /v1/jobs`, `/v1/jobs/{job_id}` and what is below it."""

import re
from collections.abc import Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Any, NoReturn

from aiohttp import web

from service.api.archives import refuse_purchase
from service.api.base_path import base_path, with_external_links
from service.api.caller import is_administrator, tenant
from service.api.documents import answer as answer_document
from service.api.downloads import BYTES, CONDITIONS, HEAD_ANSWERS, ZIP_ANSWERS, head_of, require_key, require_version
from service.api.job_documents import JobDocument, JobEnded
from service.api.keys import ARCHIVES, DELIVERY, JOBS, LIFECYCLE, SETTINGS
from service.api.limits import Counts
from service.api.new_job import NewJob, NewJobOfSeveral, read_job_of_several, read_new_job
from service.api.origins import is_prefetch
from service.api.query import REPLAYED, read_key, read_order_id
from service.api.route import EVENTS, Answer, Body, Callback, Parameter, Problems, Route, Who, count
from service.api.server_events import send_events
from service.archives.archive import Archive
from service.archives.delivery import DeliveryOptions
from service.jobs.events import outcomes_of
from service.jobs.job import Job, Status
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
    PreconditionFailed,
    PrefetchRefused,
    StillBuilding,
)
from service.text import printable

_ID = re.compile(r"[0-9a-f]{32}")
_ADMINISTRATOR = "administrator"
_LOOK_AGAIN_SECONDS = 2


async def create(request: web.Request) -> web.Response:
    """Accept a job of one order. When the answer goes out, it is kept safe."""
    order_id = read_order_id(request)
    return await _accept(request, order_id, await read_new_job(request, NewJob), read_key(request))


async def create_of_several(request: web.Request) -> web.Response:
    spec = await read_job_of_several(request)
    return await _accept(request, spec.order_ids, spec, read_key(request, "several orders"))


async def _accept(request: web.Request, order_id: str | tuple[str, ...], spec: NewJob, key: str | None) -> web.Response:
    require_key(request)
    require_version(request, spec)
    await count(request)
    jobs = request.app[JOBS]
    job, is_new = await jobs.submit(
        order_id,
        spec,
        callback_url=spec.callback_url,
        deliver_to=spec.deliver_to,
        key=key,
        owner=owner_of(request),
        base_path=base_path(request),
    )
    headers = {"Location": f"/v1/jobs/{job.id}", **_retry_after(job), **({} if is_new else REPLAYED)}
    return _answer(request, await jobs.document(job), status=HTTPStatus.ACCEPTED, headers=headers)


async def status(request: web.Request) -> web.Response:
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
    # More than that is of an archive that was lost, or given up, before the end.
    if job.is_final and after == outcomes_of(job) + 1:
        return web.Response(status=HTTPStatus.NO_CONTENT)  # tells a browser not to connect again
    return await send_events(request, request.app[JOBS].events(job.id, after), request.app[LIFECYCLE].stopping)


async def download(request: web.Request) -> web.StreamResponse:
    """The ZIP, as at the archive's own URL."""
    if is_prefetch(request):
        await refuse_purchase(request, await _result(request, begin=False))
    return await request.app[DELIVERY].deliver(request, await _result(request), DeliveryOptions())


async def describe(request: web.Request) -> web.StreamResponse:
    return head_of(request, await _result(request, begin=False))


async def repeat_callback(request: web.Request) -> web.Response:
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
    if owner is None or not has_callers or is_administrator(request) or owner_of(request) in (owner, _ADMINISTRATOR):
        return job
    raise JobNotFound(f"There is no job {job_id}.")


def owner_of(request: web.Request) -> str | None:
    """Whose jobs a request makes; None while callers are not distinguished."""
    if not request.app[SETTINGS].service_api_key:
        return None
    return tenant(request) or _ADMINISTRATOR


async def _result(request: web.Request, *, begin: bool = True) -> Archive:
    job = await _job(request)
    if job.status is not Status.COMPLETE or job.is_expired or job.archive_id is None:
        _refuse(job, await request.app[JOBS].document(job))
    return await request.app[ARCHIVES].by_id(job.archive_id, begin=begin)


def _refuse(job: Job, document: dict[str, Any]) -> NoReturn:
    """Say why there is nothing to download."""
    if not job.is_final:
        total, downloaded = document["total"], document["downloaded"]
        done = f", with {downloaded} of {total} images fetched" if total else ""
        raise JobUnfinished(f"Job {job.id} is {job.status}{done}.", retry_after=_LOOK_AGAIN_SECONDS)
    if job.error is not None:
        raise JobFailed(job.error, document["failures"])
    if job.status is Status.CANCELLED:
        raise JobCancelled(f"Job {job.id} was cancelled before its ZIP was complete.")
    raise JobExpired(f"Job {job.id} is complete, but its ZIP has expired.")


def _answer(
    request: web.Request,
    document: dict[str, Any],
    *,
    status: HTTPStatus = HTTPStatus.OK,
    headers: Mapping[str, str] = {},
) -> web.Response:
    return answer_document(with_external_links(request, document), status=status, headers=headers)


def _retry_after(job: Job) -> dict[str, str]:
    return {} if job.is_final else {"Retry-After": str(_LOOK_AGAIN_SECONDS)}


_STANDING = (Answer(200, "The job.", JobDocument, ("Retry-After",)),)
_DOCUMENT: Problems = (JobNotFound, JobsUnavailable)
_RESULT: Problems = (*_DOCUMENT, JobUnfinished, JobFailed, JobCancelled, JobExpired, ArchiveGone, StillBuilding)
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

_KEY = Parameter("Idempotency-Key", "5c0ffe02", "The same key gives the same job, once.")
_ACCEPTED = (
    Answer(
        202,
        "The job is on record; it outlives this connection and this process.",
        JobDocument,
        ("Location", "Retry-After", "Idempotent-Replayed"),
    ),
)

ROUTES = (
    Route(
        "POST",
        "/v1/orders/{order_id}/jobs",
        create,
        name="createJob",
        summary="Build an order's ZIP in the background",
        alias="/orders/{order_id}/jobs",
        counts=Counts.DOWNLOADS,
        query=NewJob,
        headers=(_KEY,),
        body=Body(NewJob, {"quality": 80, "image": ["a3f6", "b7c1"]}, required=False),
        answers=_ACCEPTED,
        problems=(InvalidOrderId, KeyReused, NotConfigured, JobsUnavailable),
        callback=_ENDED,
    ),
    Route(
        "POST",
        "/v1/jobs",
        create_of_several,
        name="createJobOfSeveral",
        summary="Build one ZIP of several orders in the background, a folder each",
        counts=Counts.DOWNLOADS,
        headers=(_KEY,),
        body=Body(
            NewJobOfSeveral,
            {
                "order_ids": ["0b9f7c1e-4a57-4d6e-9d51-2f3c8a7be001", "6f1c2b52-0d6e-4c1b-9a35-3f7b1f6f0a11"],
                "rendition": ["print", "mls"],
            },
        ),
        answers=_ACCEPTED,
        problems=(InvalidParameter, KeyReused, NotConfigured, JobsUnavailable),
        callback=replace(_ENDED, address="{$request.body#/callback_url}"),
    ),
    Route(
        "GET",
        "/v1/jobs/{job_id}",
        status,
        name="job",
        summary="The job as it stands",
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
        alias="/jobs/{job_id}/download",
        who=Who.DOWNLOADER,
        headers=CONDITIONS,
        answers=ZIP_ANSWERS,
        problems=(*_RESULT, PrefetchRefused, *BYTES),
    ),
    Route(
        "HEAD",
        "/v1/jobs/{job_id}/download",
        describe,
        name="describeJob",
        summary="The headers of the job's ZIP",
        alias="/jobs/{job_id}/download",
        who=Who.DOWNLOADER,
        answers=HEAD_ANSWERS,
        problems=(*_RESULT, PreconditionFailed),
    ),
    Route(
        "GET",
        "/v1/jobs/{job_id}/events",
        events,
        name="jobEvents",
        summary="Follow the job",
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
        who=Who.ADMINISTRATOR,
        answers=(Answer(202, "It will be sent now.", JobDocument),),
        problems=(*_DOCUMENT, JobUnfinished, NoCallback),
    ),
)
