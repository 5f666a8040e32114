"""Background jobs: `POST /v1/orders/{order_id}/jobs`, `/v1/jobs/{job_id}` and what is below it."""

import re
from http import HTTPStatus
from typing import NoReturn

from aiohttp import web
from multidict import MultiDict
from yarl import URL

from service.api.base_path import with_external_links
from service.api.bodies import read_body
from service.api.caller import identity, require_administrator, tenant
from service.api.downloads import head_of, require_key
from service.api.keys import ARCHIVES, DELIVERY, JOBS, LIFECYCLE, LIMITER, SETTINGS
from service.api.query import read_options, read_order_id
from service.api.server_events import send_events
from service.archives.archive import Archive
from service.archives.delivery import Wish
from service.images.identity import digest
from service.jobs.job import Job, Status
from service.problems import (
    BadRequest,
    InvalidParameter,
    JobCancelled,
    JobExpired,
    JobFailed,
    JobNotFound,
    JobUnfinished,
)
from service.text import printable
from service.upstream.network import is_public_host

_ID = re.compile(r"[0-9a-f]{32}")
_KEY = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?")
_LONGEST_URL = 2048
_LOOK_AGAIN_SECONDS = 2


async def create(request: web.Request) -> web.Response:
    """Accept a job. When the answer goes out, it is kept safe."""
    order_id = read_order_id(request)
    query = MultiDict(request.query)
    callback_url = _read_callback_url(request, query.popall("callback_url", []))
    options = read_options(query)
    key = _read_key(request)
    if request.can_read_body and await read_body(request):
        raise BadRequest("Options belong into the query; the body must be empty.")
    require_key(request)
    await request.app[LIMITER].count(request, identity(request))
    job = await request.app[JOBS].submit(order_id, options, callback_url=callback_url, key=key)
    location = f"/v1/jobs/{job.id}"
    return _answer(request, job, status=HTTPStatus.ACCEPTED, headers={"Location": location, **_retry_after(job)})


async def status(request: web.Request) -> web.Response:
    """The job as it stands."""
    job = await _job(request)
    return _answer(request, job, headers=_retry_after(job))


async def cancel(request: web.Request) -> web.Response:
    """End the job, if it has not ended; what others want goes on."""
    return _answer(request, await request.app[JOBS].cancel(_id(request)))


async def events(request: web.Request) -> web.StreamResponse:
    """The job after every change, as server-sent events."""
    job = await _job(request)
    last = request.headers.get("Last-Event-ID", "")
    after = int(last) if re.fullmatch(r"\d{1,9}", last, re.ASCII) else 0
    if job.is_final and after >= job.number:
        return web.Response(status=HTTPStatus.NO_CONTENT)  # tells a browser not to connect again
    return await send_events(request, request.app[JOBS].watch(job.id, after), request.app[LIFECYCLE].stopping)


async def download(request: web.Request) -> web.StreamResponse:
    """The ZIP, as at the archive's own address."""
    return await request.app[DELIVERY].deliver(request, await _result(request), Wish())


async def describe(request: web.Request) -> web.StreamResponse:
    """Answer HEAD."""
    return head_of(request, await _result(request))


async def repeat_callback(request: web.Request) -> web.Response:
    """Send the job's callback once more; for administrators."""
    require_administrator(request)
    return _answer(request, await request.app[JOBS].repeat_callback(_id(request)), status=HTTPStatus.ACCEPTED)


async def _job(request: web.Request) -> Job:
    return await request.app[JOBS].get(_id(request))


def _id(request: web.Request) -> str:
    job_id = request.match_info["job_id"]
    if not _ID.fullmatch(job_id):
        raise JobNotFound(f"{printable(job_id)} is no job's id.")
    return job_id


async def _result(request: web.Request) -> Archive:
    job = await _job(request)
    if job.status is not Status.COMPLETE or job.is_expired or job.archive_id is None:
        _refuse(job)
    return await request.app[ARCHIVES].by_id(job.archive_id)


def _refuse(job: Job) -> NoReturn:
    """Say why there is nothing to download."""
    if not job.is_final:
        raise JobUnfinished(_progress(job), retry_after=_LOOK_AGAIN_SECONDS)
    if job.is_expired:
        raise JobExpired(f"Job {job.id} is done, and its ZIP was kept for a while.")
    if job.error is not None:
        raise JobFailed(job.error, job.failures)
    raise JobCancelled(f"Job {job.id} was cancelled before its ZIP was whole.")


def _progress(job: Job) -> str:
    done = f", with {job.downloaded} of {job.total} images fetched" if job.total else ""
    return f"Job {job.id} is {job.status}{done}."


def _answer(
    request: web.Request, job: Job, *, status: HTTPStatus = HTTPStatus.OK, headers: dict[str, str] | None = None
) -> web.Response:
    return web.json_response(
        with_external_links(request, job.document()),
        status=status,
        headers={"Cache-Control": "no-store", **(headers or {})},
    )


def _retry_after(job: Job) -> dict[str, str]:
    return {} if job.is_final else {"Retry-After": str(_LOOK_AGAIN_SECONDS)}


def _read_key(request: web.Request) -> str | None:
    """What names the caller's job: its `Idempotency-Key`, apart from those of callers with another API key."""
    given = request.headers.getall("Idempotency-Key", [])
    if not given:
        return None
    if len(given) > 1 or not _KEY.fullmatch(given[0]):
        raise InvalidParameter("Idempotency-Key", "must be one value of 1 to 255 printable ASCII characters")
    return digest(tenant(request), given[0])


def _read_callback_url(request: web.Request, given: list[str]) -> str | None:
    """The receiver's address, as far as it can be judged without looking it up. Raises `InvalidParameter`."""
    if not given:
        return None
    if len(given) > 1:
        raise InvalidParameter("callback_url", "may be given only once")
    settings = request.app[SETTINGS]
    if not settings.callback_secret:
        raise InvalidParameter("callback_url", "this service sends no callbacks: it has no CALLBACK_SECRET")
    reason = _objection(given[0], allow_private=settings.callback_allow_private)
    if reason is not None:
        raise InvalidParameter("callback_url", reason)
    return given[0]


def _objection(address: str, *, allow_private: bool) -> str | None:
    """What is wrong with a receiver's address."""
    try:
        url = URL(address)
        host, user = url.host, url.user or url.password
    except ValueError:
        return "is not a URL"
    if not host or not address.isprintable() or len(address) > _LONGEST_URL:
        return f"must be an absolute URL of at most {_LONGEST_URL} characters"
    schemes = ("http", "https") if allow_private else ("https",)
    if url.scheme not in schemes:
        return f"must be an {' or '.join(schemes)} address"
    if user or "#" in address:
        return "must have neither a user nor a fragment"
    if not allow_private and not is_public_host(host):
        return "must not be a private address"
    return None
