"""What becomes of an error, by whether an answer has begun. No service runs."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from service.api import middleware
from service.api.keys import PREPARED, REQUEST_ID, SETTINGS, STATS, TRACES
from service.api.route import POLICIES, Route
from service.disk import OutOfSpace
from service.problems import BreakerOpen
from service.settings import Settings
from service.telemetry.traces import Traces


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


@pytest.mark.parametrize(("status", "is_failed"), [(200, False), (404, False), (499, False), (500, True), (503, True)])
async def test_an_answer_from_500_on_marks_its_trace(status: int, is_failed: bool) -> None:
    """A fault of ours does; what a caller did wrong does not."""
    exported, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exported))
    app = web.Application()
    app[TRACES] = Traces(provider.get_tracer("test"))
    request = make_mocked_request("GET", "/", app=app)
    cast(Any, request.match_info.route.resource).canonical = "/"
    request[REQUEST_ID] = "id"

    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status)

    app[POLICIES] = {("GET", "/"): Route("GET", "/", handler)}

    await middleware.trace(request, handler)

    (span,) = exported.get_finished_spans()
    assert (span.name, span.status.is_ok) == ("GET /", not is_failed)
    assert (span.attributes or {}).get("error.type") == (str(status) if is_failed else None)
