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
from service.images.blobs import BlobLost
from service.problems import StillBuilding
from service.telemetry.metrics import Metrics
from tests.support.transport import sample


@pytest.mark.parametrize(
    ("error", "outcome", "left"),
    [
        (ClientLeft(), "client_left", 1),
        (ConnectionResetError(), "client_left", 1),
        (BlobLost("d"), "cut", 0),
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
