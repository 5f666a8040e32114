"""What every request passes: a span, an id, a problem document for every error, one log line, its metrics."""

import asyncio
import re
import time
import uuid
from http import HTTPStatus
from typing import Any

import structlog
from aiohttp import web
from aiohttp.hdrs import METH_ALL
from aiohttp.typedefs import Handler

from service.api.base_path import base_path
from service.api.connections import Connection
from service.api.documents import COMMON_HEADERS, problem_response
from service.api.keys import METRICS, PREPARED, REQUEST_ID, STATS, TRACES
from service.api.route import Who, policy_of
from service.archives.cutting import STALLED, cut
from service.archives.delivery import LOG_FIELDS, STARTED
from service.disk import OutOfSpace
from service.problems import (
    BadRequest,
    ErrorsNotConfigured,
    InternalError,
    MethodNotAllowed,
    NotFound,
    OriginRefused,
    PayloadTooLarge,
    Problem,
    StoreFull,
)
from service.telemetry.logs import get_logger
from service.telemetry.traces import mark_failed, trace_id
from service.text import printable

log = get_logger(__name__)

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")
_OF_FILES = (Who.DOWNLOADER, Who.SHARED)


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Signal handler: what every answer carries, and the request's id."""
    response.headers.popall("Server", None)  # aiohttp has set it already
    for name, value in COMMON_HEADERS.items():
        response.headers.setdefault(name, value)
    if REQUEST_ID in request:
        request[PREPARED] = True
        response.headers["X-Request-Id"] = request[REQUEST_ID]


@web.middleware
async def trace(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Everything that is done for a request is one trace."""
    if not policy_of(request).traced:
        return await handler(request)
    method, route = _method_of(request), _route_of(request)
    # Names of the semantic conventions before 1.23, which Sentry reads too. No path: a link's token stands in it.
    attributes = {"http.method": method, "http.route": route}
    with request.app[TRACES].request(f"{method} {route}", request.headers, attributes) as span:
        response = await handler(request)
        # As it is logged and counted: of a download that was cut, the status of its cause.
        status = request.get(LOG_FIELDS, {}).get("status", response.status)
        span.set_attribute("http.status_code", status)
        span.set_attribute("request.id", request[REQUEST_ID])
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            mark_failed(span, str(status))
        return response


@web.middleware
async def observe(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give the request an id, then count, time and log it."""
    connection = request.protocol
    if isinstance(connection, Connection):
        connection.head_received()
    request[STARTED] = started = time.monotonic()
    request[REQUEST_ID] = request_id = _request_id(request)
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=request_id)
    status = 499
    try:
        response = await handler(request)
        status = response.status
        return response
    except asyncio.CancelledError:
        _note_left(request)
        raise
    finally:
        seconds = time.monotonic() - started
        route = _route_of(request)
        fields = _log_fields(request, connection)
        status = fields.pop("status", status)
        metrics = request.app[METRICS]
        labels = (route, _method_of(request), str(status))
        metrics.http_requests.labels(*labels).inc()
        metrics.http_duration.labels(*labels).observe(seconds)
        note = log.debug if policy_of(request).routine and status < HTTPStatus.BAD_REQUEST else log.info
        note(
            "request",
            method=request.method,
            route=route,
            path=request.path,
            status=status,
            seconds=round(seconds, 4),
            **fields,
        )


@web.middleware
async def handle_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn whatever is raised into a problem document; once a response has begun, into a cut connection."""
    try:
        return await handler(request)
    except Problem as problem:
        return _answer(request, problem)
    except web.HTTPException as error:
        return _answer(request, _from_http(request, error))
    except OutOfSpace as error:
        log.warning("no storage space", reason=str(error))
        return _answer(request, StoreFull())
    except Exception:
        log.exception("request failed", method=_method_of(request), route=_route_of(request), path=request.path)
        return _answer(request, InternalError())


def _answer(request: web.Request, problem: Problem) -> web.StreamResponse:
    if PREPARED in request:
        cut(request)
    request[LOG_FIELDS] = {**request.get(LOG_FIELDS, {}), "code": problem.code}
    # That Sentry is not set up is no error: the page asks whenever an administrator comes.
    if problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR and not isinstance(problem, ErrorsNotConfigured):
        request.app[STATS].note_error(problem.code, _route_of(request), request[REQUEST_ID])
    return problem_response(problem, request[REQUEST_ID], base_path(request))


def _from_http(request: web.Request, error: web.HTTPException) -> Problem:
    match error:
        case web.HTTPNotFound():
            return NotFound(f"Nothing is at {printable(request.path)}.")
        case web.HTTPMethodNotAllowed():
            allowed = ", ".join(sorted(error.allowed_methods))
            return MethodNotAllowed(f"It takes {allowed}, not {_method_of(request)}.", headers={"Allow": allowed})
        case web.HTTPForbidden():  # of aiohttp-cors, to a preflight
            return OriginRefused()
        case web.HTTPRequestEntityTooLarge():
            return PayloadTooLarge()
        case _ if error.status < 500:
            return BadRequest()
        case _:
            return InternalError()


def _note_left(request: web.Request) -> None:
    """Who left before the first byte of a file counts as who leaves later, which was noted where it was sent."""
    fields = request.get(LOG_FIELDS, {})
    if policy_of(request).who in _OF_FILES and "outcome" not in fields:
        request[LOG_FIELDS] = {**fields, "outcome": "client_left"}
        request.app[METRICS].client_disconnects.inc()


def _log_fields(request: web.Request, connection: object) -> dict[str, Any]:
    """What the log line tells besides the request itself; `status`: how one ended that began well."""
    is_stalled = STALLED in request or (isinstance(connection, Connection) and connection.is_stalled)
    return {**request.get(LOG_FIELDS, {}), **({"outcome": "stalled"} if is_stalled else {})}


def _request_id(request: web.Request) -> str:
    """The caller's own id, if it is harmless in a log; else that of the request's trace, or a new one."""
    given = request.headers.get("X-Request-Id", "")
    return given if _REQUEST_ID.fullmatch(given) else trace_id() or uuid.uuid4().hex


def _route_of(request: web.Request) -> str:
    """The route's template: labels are bounded, so never the path itself."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "unmatched"


def _method_of(request: web.Request) -> str:
    """The method, of the known ones."""
    return request.method if request.method in METH_ALL else "other"
