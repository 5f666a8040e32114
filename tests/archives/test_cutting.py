"""However a body ends before its last byte, the client sees an error."""

import asyncio
from contextlib import nullcontext
from typing import Any, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from opentelemetry.trace import INVALID_SPAN

from service.archives import cutting
from service.archives.cutting import ClientLeft, cut_on_error
from service.images.blobs import BlobAway, BlobLost, BlobUnreadable
from service.problems import ImagesMissing, StillBuilding, StoreFull
from service.telemetry.metrics import Metrics
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


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        (BlobLost("d"), "internal_error", 500),
        (BlobUnreadable("d"), "internal_error", 500),
        (BlobAway("d"), "still_building", 503),
        (StoreFull(), "store_full", 503),
        (ImagesMissing([]), "images_missing", 500),
    ],
)
def test_a_cut_is_logged_as_what_it_would_have_been(
    monkeypatch: pytest.MonkeyPatch, error: Exception, code: str, status: int
) -> None:
    """Before the first byte; always as a failure of ours."""
    monkeypatch.setattr(cutting, "cut", lambda request: None)
    fields = dict[str, Any]()

    with cut_on_error(make_mocked_request("GET", "/"), Metrics(), fields, INVALID_SPAN):
        raise error

    assert (fields["code"], fields["status"], type(fields["status"])) == (code, status, int)


def test_what_was_sent_to_its_end_is_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection goes on to the next request."""
    cuts, fields = list[web.Request](), dict[str, Any]()
    monkeypatch.setattr(cutting, "cut", cuts.append)

    with cut_on_error(make_mocked_request("GET", "/"), Metrics(), fields, INVALID_SPAN):
        pass

    assert (cuts, fields["outcome"]) == ([], "sent")
