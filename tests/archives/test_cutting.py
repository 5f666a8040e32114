"""However a body ends before its last byte, the client sees an error."""

import asyncio
from contextlib import nullcontext
from typing import Any, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from opentelemetry.trace import INVALID_SPAN
from yarl import URL

from service.archives import cutting
from service.archives.cutting import ClientLeft, cut_on_error
from service.images.blobs import BlobAway, BlobLost, BlobUnreadable
from service.problems import BreakerOpen, OrderNotFound, StillBuilding
from service.telemetry.metrics import Metrics
from tests.support.loopback import serving
from tests.support.transport import sample


@pytest.mark.parametrize(
    ("error", "outcome", "left"),
    [
        (ClientLeft(), "client_left", 1),
        (ConnectionResetError(), "client_left", 1),
        (BlobLost("d"), "cut", 0),
        (BlobAway("d"), "cut", 0),
        (StillBuilding(), "cut", 0),
        (RuntimeError("a fault"), "cut", 0),
        (asyncio.CancelledError(), "cut", 0),
    ],
)
def test_whatever_ends_a_body_midway_the_connection_is_cut(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, outcome: str, left: int
) -> None:
    """A clean end would look like a whole archive. The log tells who ended it; a fault of ours goes on."""
    request, metrics, cuts, fields = make_mocked_request("GET", "/"), Metrics(), list[web.Request](), dict[str, Any]()
    monkeypatch.setattr(cutting, "cut", cuts.append)
    cast(Any, request.transport).is_closing.return_value = False
    is_fault = isinstance(error, RuntimeError | asyncio.CancelledError)

    passed_on = pytest.raises(type(error)) if is_fault else nullcontext()
    with passed_on, cut_on_error(request, metrics, fields, INVALID_SPAN):
        raise error

    assert cuts == [request]
    assert (fields["outcome"], sample(metrics.registry, "batch_client_disconnects_total")) == (outcome, left)


def test_what_was_sent_to_its_end_is_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection goes on to the next request."""
    cuts, fields = list[web.Request](), dict[str, Any]()
    monkeypatch.setattr(cutting, "cut", cuts.append)

    with cut_on_error(make_mocked_request("GET", "/"), Metrics(), fields, INVALID_SPAN):
        pass

    assert (cuts, fields["outcome"]) == ([], "sent")


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        (BlobLost("d"), "internal_error", 500),
        (BlobUnreadable("d"), "internal_error", 500),
        (BlobAway("d"), "still_building", 503),
        (BreakerOpen(retry_after=1), BreakerOpen.code, BreakerOpen.status),
        (OrderNotFound("o"), OrderNotFound.code, 500),
    ],
    ids=["lost", "unreadable", "away", "a problem", "a problem of a caller"],
)
def test_the_log_tells_why_a_body_was_cut(
    monkeypatch: pytest.MonkeyPatch, error: Exception, code: str, status: int
) -> None:
    """As a fault of this service, whatever it would have been before the first byte."""
    fields = dict[str, Any]()
    monkeypatch.setattr(cutting, "cut", lambda _: None)

    with cut_on_error(make_mocked_request("GET", "/"), Metrics(), fields, INVALID_SPAN):
        raise error

    assert fields == {"outcome": "cut", "reason": type(error).__name__, "code": code, "status": status}
    assert type(fields["status"]) is int


async def test_who_receives_what_is_cut_sees_an_error() -> None:
    """Also one to whom the end of a connection is the end of a body."""

    async def halve(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"half of it")
        cutting.cut(request)
        return response

    async with serving(web.get("/", halve)) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", URL(url).port)
        writer.write(b"GET / HTTP/1.0\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()
