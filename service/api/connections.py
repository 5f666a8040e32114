"""Callers' connections: how they are listened for, bounded in time, and answered when they do not speak HTTP."""

import asyncio
import socket
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import hdrs, web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from multidict import CIMultiDict, CIMultiDictProxy

from service.api.accepting import accepting
from service.api.admission import Admission, connections_within, raise_file_limit
from service.api.base_path import taken_off
from service.api.documents import COMMON_HEADERS, problem_response
from service.api.keys import LIFECYCLE, SETTINGS, TIMEOUTS
from service.api.timeouts import Timeouts
from service.problems import BadRequest, HeadersTooLarge, InternalError, Problem
from service.telemetry.logs import get_logger

log = get_logger(__name__)

# At a stop: what a request may take to follow its connection.
_FIRST_REQUEST_SECONDS = 1.0
_LOOK_SECONDS = 0.02
# Of Linux: milliseconds that bytes may wait to be taken, then the connection ends with ETIMEDOUT.
_TCP_USER_TIMEOUT: int | None = getattr(socket, "TCP_USER_TIMEOUT", None)
_LONGEST_MILLISECONDS = 2**31 - 1


class Connection(web.RequestHandler):
    """A connection to a caller."""

    __slots__ = ("_admission", "_base_path", "_head_timer", "_peer", "_timeouts", "is_stalled")

    def __init__(self, server: web.Server, timeouts: Timeouts, admission: Admission, base_path: str = "") -> None:
        loop = asyncio.get_running_loop()
        quiet: Any = None  # what the annotation does not say: no access log
        super().__init__(
            server,
            loop=loop,
            keepalive_timeout=timeouts.idle,
            lingering_time=timeouts.unread,
            access_log=quiet,
            # Half a megabyte of gzip may be 500: to unpack it, needed or not, keeps all others waiting.
            auto_decompress=False,
        )
        self._timeouts = timeouts
        self._admission = admission
        self._base_path = base_path
        self._peer: str | None = None
        self._head_timer: asyncio.TimerHandle | None = None
        self.is_stalled = False
        """Whether it was ended because the caller stopped reading."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        address = str(peer[0]) if peer else ""
        if not self._admission.admit(self, address):
            self._abort()
            return
        self._peer = address
        connection = transport.get_extra_info("socket")
        if _TCP_USER_TIMEOUT is not None and connection is not None:
            milliseconds = int(min(max(1, self._timeouts.send * 1000), _LONGEST_MILLISECONDS))
            connection.setsockopt(socket.IPPROTO_TCP, _TCP_USER_TIMEOUT, milliseconds)
        self._head_timer = asyncio.get_running_loop().call_later(self._timeouts.head, self._abort)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._stop_head_timer()
        self.is_stalled = isinstance(exc, TimeoutError)
        if self._peer is not None:
            self._admission.leave(self, self._peer)
            self._peer = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what comes; at a stop also the rest of a request in progress, of which aiohttp takes nothing more."""
        if self._current_request is None:
            super().data_received(data)
            return
        is_closing, is_stopping = self._close, self._force_close
        self._close = self._force_close = False
        super().data_received(data)
        self._close |= is_closing
        self._force_close |= is_stopping

    @property
    def awaits_first_request(self) -> bool:
        """It was made, and no head of a request has come in yet."""
        return self._head_timer is not None

    def head_received(self) -> None:
        """The head of a request has come in."""
        self._stop_head_timer()
        if self._peer is not None:
            self._admission.busy(self, self._peer)

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send what is left of the answer, all of it; then the connection waits for another request."""
        finished = await super().finish_response(request, resp, start_time)
        await self._hand_over(request)
        if self._peer is not None:
            self._admission.idle(self, self._peer)
        return finished

    async def _hand_over(self, request: web.BaseRequest) -> None:
        """Wait until the kernel has all that was written: what it does not have is lost at a stop, or by `evict`."""
        transport = self.transport
        if transport is None or not transport.get_write_buffer_size():
            return
        transport.set_write_buffer_limits(high=0)
        try:
            await request.writer.drain()
        finally:
            transport.set_write_buffer_limits()

    def evict(self) -> None:
        """End the connection, which is idle, to make room for another."""
        self._peer = None
        self._abort()

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what no handler could: bytes that are no request, or a fault of ours beyond every handler."""
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun")
        request_id = uuid.uuid4().hex
        if isinstance(exc, HttpProcessingError):
            log.info("malformed request", request_id=request_id, kind=type(exc).__name__)
            problem: Problem = HeadersTooLarge() if isinstance(exc, LineTooLong) else BadRequest()
        else:
            log.error("connection failed", request_id=request_id, exc_info=exc)
            problem = InternalError()
        response = problem_response(problem, request_id, self._base_path)
        response.headers.update({**COMMON_HEADERS, "X-Request-Id": request_id})
        response.force_close()
        return response

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """A body that cannot be read after its request was answered is no fault of ours."""
        error = kw.get("exc_info")
        if isinstance(error, web.RequestPayloadError):
            log.info("body not received", kind=type(error.__cause__ or error).__name__)
        else:
            super().log_exception(*args, **kw)

    def _abort(self) -> None:
        if isinstance(self.transport, asyncio.Transport):
            self.transport.abort()


@asynccontextmanager
async def listening(app: web.Application, host: str, port: int, *, drain_seconds: float) -> AsyncIterator[list[str]]:
    """Run the service; yields its addresses. In the end requests have `drain_seconds`, twice, before they are cut.

    Raises `CannotListen`.
    """
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=drain_seconds)
    await runner.setup()
    try:
        server = runner.server
        if server is None:
            raise RuntimeError("the runner made no server")
        base_path = app[SETTINGS].base_path
        server.request_factory = _last_if_chunked(_without_odd_expect(taken_off(base_path, server.request_factory)))
        admission = Admission(connections_within(raise_file_limit()), app[SETTINGS].trusted_proxies)
        timeouts = app[TIMEOUTS]

        def connect() -> Connection:
            return Connection(server, timeouts, admission, base_path)

        async with accepting(connect, host, port, admission) as listeners:
            yield [_url_of(listener) for listener in listeners]
            app[LIFECYCLE].stop()
        await _first_requests(server.connections)
    finally:
        await runner.cleanup()


def _last_if_chunked(make_request: Callable[..., web.BaseRequest]) -> Callable[..., web.BaseRequest]:
    """Makes a request with a chunked body the last one of its connection.

    aiohttp's parser takes the trailer of such a body for a header of the next request, which is another caller's where
    a proxy shares its connections.
    """

    def make(message: Any, *others: Any) -> web.BaseRequest:
        return make_request(message._replace(should_close=True) if message.chunked else message, *others)

    return make


def _without_odd_expect(make_request: Callable[..., web.BaseRequest]) -> Callable[..., web.BaseRequest]:
    """Makes requests that expect `100-continue` or nothing. What else is expected is passed over, as RFC 9110 10.1.1
    allows: aiohttp would refuse it ahead of every middleware, so without a problem document."""

    def make(message: Any, *others: Any) -> web.BaseRequest:
        if message.headers.get(hdrs.EXPECT, "100-continue").lower() != "100-continue":
            headers = CIMultiDict(message.headers)
            del headers[hdrs.EXPECT]
            message = message._replace(headers=CIMultiDictProxy(headers))
        return make_request(message, *others)

    return make


async def _first_requests(connections: Iterable[web.RequestHandler]) -> None:
    """Wait, a moment at most, for connections that have brought no request yet: who made them knows of no stop."""
    end = time.monotonic() + _FIRST_REQUEST_SECONDS
    made = [connection for connection in connections if isinstance(connection, Connection)]
    while time.monotonic() < end and any(connection.awaits_first_request for connection in made):  # noqa: ASYNC110
        await asyncio.sleep(_LOOK_SECONDS)


def _url_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
