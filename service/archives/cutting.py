"""Breaking off a response that has begun and cannot be finished: whoever receives it sees an error."""

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import web
from opentelemetry.trace import Span

from service.images.blobs import BlobAway, BlobLost, BlobUnreadable
from service.problems import InternalError, Problem, StillBuilding
from service.telemetry.metrics import Metrics
from service.telemetry.traces import mark_failed

STALLED = web.RequestKey("STALLED", bool)
"""Set when the connection was ended because the client stopped reading."""

# SO_LINGER on, 0 seconds: closing resets the connection.
_RESET = struct.pack("ii", 1, 0)


class ClientLeft(Exception):
    """The client closed the connection before the last byte."""


@contextmanager
def cut_on_error(request: web.Request, metrics: Metrics, fields: dict[str, Any], current: Span) -> Iterator[None]:
    """Around the sending of a body: whatever ends it before the last byte, the client sees an error.

    `fields` of the log and the `current` span tell how it ended.
    """
    fields["outcome"] = "cut"

    def note_left() -> None:
        metrics.client_disconnects.inc()
        fields.update({"outcome": "client_left", "status": 499})

    try:
        yield
        fields["outcome"] = "sent"
    except (ClientLeft, ConnectionError):
        note_left()
        cut(request)
    except (Problem, BlobLost, BlobUnreadable) as error:
        cause = _cause(error)
        mark_failed(current, cause.code)
        fields.update({"reason": type(error).__name__, "code": cause.code, "status": max(int(cause.status), 500)})
        cut(request)
    except BaseException:
        if request.transport is None or request.transport.is_closing():
            note_left()
        cut(request)
        raise
    finally:
        current.set_attribute("stream.outcome", fields["outcome"])


def _cause(error: Problem | BlobLost | BlobUnreadable) -> Problem:
    """The problem that it would have been before the first byte."""
    match error:
        case Problem():
            return error
        case BlobAway():
            return StillBuilding()
        case _:
            return InternalError()


def cut(request: web.Request) -> None:
    """Break the connection so that every client, and every proxy between, sees an error.

    The only way to end a response that has begun and cannot be finished: a clean end would look like a whole
    archive, and so would a mere close to an HTTP/1.0 client.
    """
    transport = request.transport
    if transport is None:
        return
    connection = transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.abort()
