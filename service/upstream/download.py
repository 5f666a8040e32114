"""One image's download over its attempts: what counts as an image, and how a broken body is resumed."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterable
from http import HTTPStatus
from typing import Protocol

from aiohttp import ClientResponse, hdrs
from yarl import URL

from service.reasons import Reason
from service.telemetry.metrics import Call, Circuit
from service.upstream import formats
from service.upstream.answers import UpstreamFailure, content_range, strong_etag
from service.upstream.breaker import Operation
from service.upstream.network import STALL_SECONDS
from service.upstream.retry import Deadline
from service.upstream.transport import Transport

# A body that brings so many bytes in so many seconds is on its way; it may take so many times as long as an image may.
_STEADY_BYTES = 64 * 1024
_STEADY_SECONDS = 10.0
_STEADY_FACTOR = 10
# The timer is moved at most so often.
_SET_SECONDS = 1.0


class Body(Protocol):
    """Where a download's bytes go. Kept over attempts, so that a broken body can be resumed."""

    @property
    def received(self) -> int:
        """Bytes appended since the last restart."""

    def try_reserve(self, length: int) -> bool:
        """Upstream announced `length` bytes in all; False when `expect` is to be awaited for them."""

    async def expect(self, length: int) -> None:
        """Make room for `length` bytes in all."""

    def append(self, chunk: bytes) -> bool:
        """Take a chunk; True when `flush` is to be awaited before the next one."""

    async def flush(self) -> None:
        """Write what was taken to the disk."""

    async def restart(self) -> None:
        """Forget what was taken."""


class Download:
    """Gets one image into `body`, in attempts. `deadline` is the image's own over all of them."""

    def __init__(
        self,
        transport: Transport,
        url: URL,
        body: Body,
        *,
        operation: Operation,
        dev_mode: bool,
        seconds: float,
        recognise: Callable[[bytes], str | None],
    ) -> None:
        self._transport = transport
        self._url = url
        self._body = body
        self._api_headers = {"x-dev-mode": "true"} if dev_mode else {}
        self._seconds = seconds
        self._extension_of = recognise
        self.reached = Circuit.API
        """The last dependency that was asked."""
        self.may_be_sold = False
        """The API was asked for the image, and has not refused every time."""
        self.is_sold = False
        """It has given the image, or told where it is, even if the bytes do not arrive."""
        self._etag: str | None = None
        self._whole: int | None = None
        self._extension: str | None = None
        self._needs_fresh_connection = False
        self._is_sent = False
        self._limit: TimeLimit | None = None
        self.operation = operation
        self.attempts = 0
        """Those that asked upstream."""
        self.deadline = Deadline.after(seconds)

    async def attempt(self, begin_overtime: Callable[[], bool] = lambda: False) -> str:
        """Run once; returns the image's extension. Raises `UpstreamFailure`, and whatever the body raises.

        `begin_overtime` is asked whether a body that is still arriving when its time is over may go on.
        """
        headers: dict[str, str] = {hdrs.ACCEPT_ENCODING: "identity"}
        if self._extension is None:
            self._etag = None  # nothing of the body that it belongs to has been taken yet
        if self._etag:
            headers |= {hdrs.RANGE: f"bytes={self._body.received}-", hdrs.IF_RANGE: self._etag}
        self._is_sent = False
        before, may_be_sold = self._body.received, self.may_be_sold
        try:
            self._limit = limit = TimeLimit(self.deadline, self._seconds, begin_overtime)
            async with self._transport.get(
                Call.IMAGE,
                self._url,
                headers=headers,
                api_headers=self._api_headers,
                admit=self._admit,
                timeout=limit.timeout,
                is_fresh=self._needs_fresh_connection,
            ) as response:
                self._begin(response)
                await self._receive(response, limit)
                extension = self._finish()
                self.operation.worked(self.reached)
                return extension
        except UpstreamFailure as failure:
            failure.has_begun = failure.has_begun or self._body.received != before
            if failure.sold_nothing:
                self.may_be_sold = may_be_sold
            self._needs_fresh_connection = failure.reason is Reason.UNREACHABLE
            if failure.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and hdrs.RANGE in headers:
                self._etag = None
                failure.reason = Reason.TRUNCATED  # upstream has no such rest any more, but it may have the whole
            raise

    def again(self) -> None:
        """The whole body is to be fetched once more, from its first byte, in as much time as it had."""
        self._etag = None
        self.deadline = Deadline.after(self._seconds)

    async def _admit(self, circuit: Circuit) -> None:
        """The API sells an image before the assets deliver it: it is asked for nothing while these are in doubt."""
        ahead: Iterable[Circuit] = Circuit
        if circuit is Circuit.ASSETS:
            self.is_sold = True
            self.operation.worked(Circuit.API)
            ahead = (circuit,)
        if (limit := self._limit) is not None:
            limit.moved()
            if self.operation.may_be_refused(ahead):
                await limit.pause(self.operation.wait_for_trials(ahead, self.deadline.left))
        self.reached = circuit
        self.operation.admit(circuit)
        if not self._is_sent:
            self._is_sent = self.may_be_sold = True
            self.attempts += 1

    def _begin(self, response: ClientResponse) -> None:
        """Decide what this answer carries: the whole, or the rest of it."""
        etag, self._etag = self._etag, None
        is_coded = response.headers.get(hdrs.CONTENT_ENCODING, "identity") != "identity"
        if response.status == HTTPStatus.PARTIAL_CONTENT:
            span = content_range(response.headers.get(hdrs.CONTENT_RANGE))
            same = etag is not None and strong_etag(response.headers.get(hdrs.ETAG)) in (None, etag) and not is_coded
            if not same or span is None or span[0] != self._body.received:
                raise UpstreamFailure(Reason.TRUNCATED, "a part that was not asked for")
            lengths = {self._whole, span[1]} - {None}
            if len(lengths) != 1:
                raise UpstreamFailure(Reason.TRUNCATED, "the rest of another body, or of one of unknown length")
            self._etag, self._whole = etag, lengths.pop()
            return
        if not _has_an_end(response):
            raise UpstreamFailure(Reason.TRUNCATED, "neither a length nor chunks: its end is unknown")
        self._extension = None
        # aiohttp undoes a content coding: neither the announced length nor a place in it is then the image's.
        self._whole = None if is_coded else response.content_length
        self._etag = None if is_coded else strong_etag(response.headers.get(hdrs.ETAG))

    def _finish(self) -> str:
        if self._extension is None:
            raise UpstreamFailure(Reason.NOT_AN_IMAGE, "no image signature")
        if self._whole is not None and self._body.received != self._whole:
            self._etag = None
            raise UpstreamFailure(Reason.TRUNCATED, f"{self._body.received} of {self._whole} bytes")
        return self._extension

    async def _receive(self, response: ClientResponse, limit: "TimeLimit") -> None:
        head = b""
        async for chunk, _ in response.content.iter_chunks():
            if self._extension is None:
                head += chunk
                if len(head) < formats.SIGNATURE_BYTES:
                    continue
                chunk, head = head, b""  # what was held back goes first
                await self._recognise(chunk, limit)
            if limit.received(len(chunk)):  # nobody can wait for its trial to its end
                self.operation.worked(self.reached)
            if self._body.append(chunk):
                await limit.pause(self._body.flush())
        if head:
            await self._recognise(head, limit)
            self._body.append(head)

    async def _recognise(self, head: bytes, limit: "TimeLimit") -> None:
        """Take the body for the image that its first bytes announce. Raises `UpstreamFailure` when there is none.

        Only now is room made for it: whatever is awaited before the first chunk is taken may lose it to a broken
        connection.
        """
        self._extension = self._extension_of(head[: formats.SIGNATURE_BYTES])
        if self._extension is None:
            raise UpstreamFailure(Reason.NOT_AN_IMAGE, "no image signature")
        self.is_sold = True
        if self._body.received:
            await limit.pause(self._body.restart())
        if self._whole is not None and not self._body.try_reserve(self._whole):
            await limit.pause(self._body.expect(self._whole))


class TimeLimit:
    """The time of one attempt: to the image's deadline, longer while its body keeps moving, less when nothing does.

    One timer, which is moved only now and then: aiohttp's own would be set anew with every packet.
    """

    def __init__(
        self,
        deadline: Deadline,
        seconds: float,
        begin_overtime: Callable[[], bool] = lambda: True,
        steady_seconds: float = _STEADY_SECONDS,
    ) -> None:
        self._deadline = deadline
        self._steady = steady_seconds
        self._until = deadline.at
        self._end = deadline.at + seconds * (_STEADY_FACTOR - 1)
        self._begin_overtime = begin_overtime
        self._is_overtime = False
        self._bytes = 0
        self._set_at = time.monotonic()
        # The longer an image may take, the longer its first byte may be in the making.
        self._stall = max(STALL_SECONDS, seconds / 2)
        self.timeout = asyncio.timeout_at(min(self._until, self._set_at + self._stall))

    def moved(self) -> None:
        """Something is coming or about to: the stall begins anew."""
        now = time.monotonic()
        if now - self._set_at >= _SET_SECONDS:
            self._set_at = now
            self._set()

    def received(self, count: int) -> bool:
        """So many bytes came in, or went out; whether the body, which has not much time left, is seen to be on its way.

        Raises `TimeoutError` when the time is over and there is no overtime to be had.
        """
        if self._stall != STALL_SECONDS:
            self._stall, self._set_at = STALL_SECONDS, -math.inf  # from now on
        self.moved()
        self._bytes += count
        if self._bytes < _STEADY_BYTES:
            return False
        self._bytes = 0
        now = time.monotonic()
        if now + self._steady <= self._deadline.at:
            return False
        if now > self._deadline.at and not self._is_overtime:
            self._is_overtime = self._begin_overtime()
            if not self._is_overtime:
                raise TimeoutError
        self._until = min(self._end, now + self._steady)
        self._set()
        return True

    async def pause(self, work: Awaitable[None]) -> None:
        """Await our own disk: its time is not upstream's."""
        started = time.monotonic()
        self.timeout.reschedule(None)
        await work
        spent = time.monotonic() - started
        self._deadline.extend(spent)
        self._until += spent
        self._end += spent
        self._set_at += spent
        self._set()

    def _set(self) -> None:
        self.timeout.reschedule(min(self._until, self._set_at + self._stall))


def _has_an_end(response: ClientResponse) -> bool:
    return response.content_length is not None or "chunked" in response.headers.get(hdrs.TRANSFER_ENCODING, "").lower()
