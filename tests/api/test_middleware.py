"""What becomes of an error, by whether an answer has begun. No service runs."""

import asyncio
from contextlib import suppress
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import pytest
import structlog
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from service.api import middleware
from service.api.connections import Connection
from service.api.documents import COMMON_HEADERS
from service.api.keys import METRICS, PREPARED, REQUEST_ID, SETTINGS, STATS, TRACES
from service.api.route import POLICIES, Route, Who
from service.archives.cutting import STALLED
from service.archives.delivery import LOG_FIELDS
from service.disk import OutOfSpace
from service.problems import (
    BadRequest,
    BreakerOpen,
    ErrorsNotConfigured,
    InternalError,
    MethodNotAllowed,
    NotFound,
    OriginRefused,
    PayloadTooLarge,
    Problem,
)
from service.settings import Settings
from service.telemetry.metrics import Metrics
from service.telemetry.traces import Traces
from tests.support.transport import sample


@pytest.fixture
def cuts(monkeypatch: pytest.MonkeyPatch) -> list[web.BaseRequest]:
    """The requests whose connections were cut."""
    cut: list[web.BaseRequest] = []
    monkeypatch.setattr(middleware, "cut", cut.append)
    return cut


async def answered(error: Exception, *, has_begun: bool) -> tuple[web.Request, web.StreamResponse]:
    """A request whose handler raises, and what is answered."""
    app = web.Application()
    app[SETTINGS] = Settings(_env_file=None)
    app[STATS] = cast(Any, SimpleNamespace(note_error=lambda *_: None))
    request = make_mocked_request("GET", "/", app=app)
    request[REQUEST_ID] = "id"
    if has_begun:
        request[PREPARED] = True

    async def handler(_: web.Request) -> web.StreamResponse:
        raise error

    return request, await middleware.handle_errors(request, handler)


@pytest.mark.parametrize("error", [ValueError(), BreakerOpen(), OutOfSpace("full"), web.HTTPNotFound()], ids=repr)
async def test_after_the_first_byte_an_error_is_a_cut(error: Exception, cuts: list[web.BaseRequest]) -> None:
    """Whatever it is: nothing that a client could take for the end."""
    request, _ = await answered(error, has_begun=True)

    assert cuts == [request]


@pytest.mark.parametrize(
    ("error", "status"),
    [(ValueError(), 500), (BreakerOpen(), 503), (OutOfSpace("full"), 503), (web.HTTPNotFound(), 404)],
    ids=repr,
)
async def test_before_it_an_error_is_a_problem_document(
    error: Exception, status: int, cuts: list[web.BaseRequest]
) -> None:
    """And the connection stays."""
    _, response = await answered(error, has_begun=False)

    assert (response.status, response.content_type, cuts) == (status, "application/problem+json", [])


async def traced(status: int, fields: dict[str, Any] | None = None) -> ReadableSpan:
    """The span of a request that is answered with `status`; `fields` are noted for the log."""
    exported, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exported))
    app = web.Application()
    app[TRACES] = Traces(provider.get_tracer("test"))
    request = make_mocked_request("GET", "/", app=app)
    cast(Any, request.match_info.route.resource).canonical = "/"
    request[REQUEST_ID] = "id"

    async def handler(_: web.Request) -> web.StreamResponse:
        if fields is not None:
            request[LOG_FIELDS] = fields
        return web.Response(status=status)

    app[POLICIES] = {("GET", "/"): Route("GET", "/", handler)}

    await middleware.trace(request, handler)

    (span,) = exported.get_finished_spans()
    return span


@pytest.mark.parametrize(("status", "is_failed"), [(200, False), (404, False), (499, False), (500, True), (503, True)])
async def test_an_answer_from_500_on_marks_its_trace(status: int, is_failed: bool) -> None:
    """A fault of ours does; what a caller did wrong does not."""
    span = await traced(status)

    assert (span.name, span.status.is_ok) == ("GET /", not is_failed)
    assert (span.attributes or {}).get("error.type") == (str(status) if is_failed else None)


async def test_a_download_that_was_cut_marks_its_trace() -> None:
    """It began with a 200; its trace has the status that is logged and counted."""
    span = await traced(200, {"outcome": "cut", "status": 503})

    assert (span.attributes or {})["http.status_code"] == 503
    assert not span.status.is_ok


async def observed(
    monkeypatch: pytest.MonkeyPatch,
    status: int | BaseException,
    *,
    routine: bool = False,
    who: Who = Who.CALLER,
    sent: dict[str, Any] | None = None,
    **headers: str,
) -> tuple[web.Request, Metrics, list[tuple[str, dict[str, Any]]]]:
    """A request, what was counted of it, and what was logged, at which level; `sent`: noted of an answer that began."""
    lines: list[tuple[str, dict[str, Any]]] = []

    def note(level: str, _: str, **fields: Any) -> None:
        lines.append((level, fields))

    for level in ("info", "debug"):
        monkeypatch.setattr(middleware.log, level, partial(note, level))
    app, metrics = web.Application(), Metrics()
    app[METRICS] = metrics
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    request = make_mocked_request("GET", "/v1/secret?key=hush", headers=given, app=app)
    cast(Any, request.match_info.route.resource).canonical = "/v1/{what}"

    async def handler(asked: web.Request) -> web.StreamResponse:
        if isinstance(status, BaseException):
            if sent is not None:
                asked[LOG_FIELDS] = sent
            raise status
        asked[LOG_FIELDS] = {"bytes": 7} | ({"status": 206} if status == 200 else {})
        return web.Response(status=status)

    app[POLICIES] = {("GET", "/v1/{what}"): Route("GET", "/v1/{what}", handler, who=who, routine=routine)}
    structlog.contextvars.bind_contextvars(job_id="of the request before on this connection")
    with suppress(BaseException):
        await middleware.observe(request, handler)
    return request, metrics, lines


@pytest.mark.parametrize(
    ("status", "counted_as"),
    [(200, "206"), (404, "404"), (asyncio.CancelledError(), "499"), (ValueError(), "499")],
    ids=repr,
)
async def test_every_request_is_counted_and_logged_once(
    monkeypatch: pytest.MonkeyPatch, status: int | BaseException, counted_as: str
) -> None:
    """As it ended: one that began well may not have, and one whose client left has no status. Without its query."""
    request, metrics, lines = await observed(monkeypatch, status)

    labels = {"route": "/v1/{what}", "method": "GET", "status": counted_as}
    assert sample(metrics.registry, "batch_http_requests_total", **labels) == 1
    ((level, fields),) = lines
    assert (level, str(fields["status"]), fields["path"]) == ("info", counted_as, "/v1/secret")
    assert "hush" not in str(fields)
    assert structlog.contextvars.get_contextvars() == {"request_id": request[REQUEST_ID]}


@pytest.mark.parametrize(
    ("who", "sent", "outcome", "left"),
    [
        (Who.DOWNLOADER, None, "client_left", 1),
        (Who.SHARED, {"archive_id": "a"}, "client_left", 1),
        (Who.DOWNLOADER, {"outcome": "cut"}, "cut", 0),
        (Who.CALLER, None, None, 0),
    ],
)
async def test_who_leaves_before_the_first_byte_is_told_as_who_leaves_later(
    monkeypatch: pytest.MonkeyPatch, who: Who, sent: dict[str, Any] | None, outcome: str | None, left: int
) -> None:
    """Of a file alone, and once: where the sending had begun it was noted already."""
    _, metrics, lines = await observed(monkeypatch, asyncio.CancelledError(), who=who, sent=sent)

    ((_, fields),) = lines
    assert fields.get("outcome") == outcome
    assert sample(metrics.registry, "batch_client_disconnects_total") == left


@pytest.mark.parametrize(("status", "level"), [(304, "debug"), (404, "info"), (503, "info")])
async def test_what_is_asked_all_the_time_is_logged_when_it_fails(
    monkeypatch: pytest.MonkeyPatch, status: int, level: str
) -> None:
    """Else it would be most of the log."""
    assert [told for told, _ in (await observed(monkeypatch, status, routine=True))[2]] == [level]


@pytest.mark.parametrize(
    ("given", "is_kept"),
    [("a" * 8, True), ("a" * 64, True), ("A-z_0.9-", True), ("a" * 7, False), ("a" * 65, False), ("a b c d e", False)],
)
async def test_a_caller_may_name_its_request(monkeypatch: pytest.MonkeyPatch, given: str, is_kept: bool) -> None:
    """As far as that is harmless in a log; every answer has the name, which says that it is on its way."""
    request, *_ = await observed(monkeypatch, 404, X_Request_Id=given)
    response = web.Response(headers={"Server": "aiohttp", "X-Frame-Options": "SAMEORIGIN"})

    await middleware.add_headers(request, response)

    assert (request[REQUEST_ID] == given) is is_kept
    assert (response.headers["X-Request-Id"], request[PREPARED]) == (request[REQUEST_ID], True)
    assert {**COMMON_HEADERS, "X-Frame-Options": "SAMEORIGIN"}.items() <= dict(response.headers).items()


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (web.HTTPNotFound(), NotFound),
        (web.HTTPMethodNotAllowed("PUT", ["POST", "GET"]), MethodNotAllowed),
        (web.HTTPForbidden(), OriginRefused),
        (web.HTTPRequestEntityTooLarge(1, 2), PayloadTooLarge),
        (web.HTTPExpectationFailed(), BadRequest),
        (web.HTTPServiceUnavailable(), InternalError),
    ],
    ids=repr,
)
def test_what_the_library_raises_is_a_problem_of_ours(error: web.HTTPException, problem: type[Problem]) -> None:
    """With what helps: the methods that there are."""
    found = middleware._from_http(make_mocked_request("PUT", "/nowhere"), error)

    assert type(found) is problem
    assert found.headers.get("Allow") == ("GET, POST" if problem is MethodNotAllowed else None)


@pytest.mark.parametrize(
    ("error", "is_noted"),
    [(BreakerOpen(), True), (ValueError(), True), (NotFound("x"), False), (ErrorsNotConfigured(), False)],
    ids=repr,
)
async def test_faults_are_noted_for_administrators(error: Exception, is_noted: bool) -> None:
    """What callers did wrong is none, nor that Sentry is not set up."""
    noted: list[str] = []
    app = web.Application()
    app[SETTINGS] = Settings(_env_file=None)
    app[STATS] = cast(Any, SimpleNamespace(note_error=lambda code, *_: noted.append(code)))
    request = make_mocked_request("GET", "/", app=app)
    request[REQUEST_ID] = "id"

    async def handler(_: web.Request) -> web.StreamResponse:
        raise error

    await middleware.handle_errors(request, handler)

    assert bool(noted) is is_noted
    assert request[LOG_FIELDS]["code"]


@pytest.mark.parametrize(("was_cut", "is_stalled"), [(True, False), (False, True), (False, False)])
def test_the_log_tells_who_stopped_reading(was_cut: bool, is_stalled: bool) -> None:
    """Whether the service noticed it, or the system did; beside what else there is to tell."""
    request, connection = make_mocked_request("GET", "/"), Connection.__new__(Connection)
    request[LOG_FIELDS], connection.is_stalled = {"bytes": 7}, is_stalled
    if was_cut:
        request[STALLED] = True

    fields = middleware._log_fields(request, connection)

    assert fields == {"bytes": 7} | ({"outcome": "stalled"} if was_cut or is_stalled else {})
