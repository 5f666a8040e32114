"""Answers a request with an archive: whole or a range of it, finished or still growing (RFC 9110 13 and 14)."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import HttpVersion11, web
from opentelemetry.trace import Span

from service.archives.archive import Archive
from service.archives.names import archive_filename, content_disposition
from service.archives.ranges import ByteRange, parse_range
from service.archives.readers import Reader
from service.archives.transmission import ClientLeft, cut, transmit
from service.images.blobs import BlobLost, BlobUnreadable
from service.images.store import ImageStore
from service.problems import ImagesMissing, InternalError, PreconditionFailed, Problem, RangeUnsafe, StillBuilding
from service.telemetry.metrics import Metrics
from service.telemetry.traces import mark_failed, span

STARTED = web.RequestKey("STARTED", float)
"""When the request came in (`time.monotonic`)."""
LOG_FIELDS = web.RequestKey("LOG_FIELDS", dict[str, Any])
"""What the request's log line tells besides the request itself. `status`: how an answer ended that began well."""

# How long a range that needs the end waits for it; below the idle limit (60 s) of common proxies.
_WAIT_FOR_END = 45.0
_RETRY_AFTER = 5.0


@dataclass(frozen=True)
class DeliveryOptions:
    """How the caller wants the archive."""

    strict: bool = False
    complete: bool = False
    """Only when all is in."""
    note_named: Callable[[str], Awaitable[bool]] | None = None
    """For a URL that may name other bytes tomorrow: notes that it names this archive now, and says whether it has
    named no other."""
    stale: bool = False
    waits: bool = False
    """For images that are still in the making."""


class Delivery:
    """Sends archives to clients. A range that needs the end of a build waits for it at most `max_wait` seconds."""

    def __init__(self, store: ImageStore, metrics: Metrics, max_wait: float = _WAIT_FOR_END) -> None:
        self._store = store
        self._metrics = metrics
        self._max_wait = max_wait

    async def deliver(self, request: web.Request, archive: Archive, options: DeliveryOptions) -> web.StreamResponse:
        """Answer with the archive, or raise the `Problem` that keeps it from being answered with."""
        if is_not_modified(request, archive):
            return not_modified(archive, stale=options.stale)
        part = wanted_range(request, archive.id)
        to_the_end = options.strict or options.complete or request.version < HttpVersion11
        if part is not None:
            to_the_end = options.strict or part.needs_end
        # Who waits for a part to its last byte wants all before it, however far ahead that is of what was read.
        wanted = 0 if part is None else (part.first if part.last is None else part.last)
        with archive.readers.reading(wanted, to_the_end=to_the_end) as reader:
            if options.strict:
                await archive.wait_until(lambda: False)
                if archive.failures or archive.unlisted:
                    raise ImagesMissing([result.failure for result in archive.failures], archive.unlisted)
            if part is None:
                await archive.wait_until(lambda: not to_the_end and bool(archive.members))
                response, start, stop = _whole(archive)
            else:
                await self._until_known(archive, part)
                response, start, stop = _part(archive, part)
                reader.advance(start)
            ranges = options.note_named is None or await options.note_named(archive.id)
            if part is not None and not ranges and "If-Range" not in request.headers:
                raise RangeUnsafe
            response.headers.update(headers(archive, stale=options.stale, ranges=ranges))
            # Who asked to wait is not served slowly: objectives and alerts stand on this.
            if part is None and not to_the_end and not options.waits:
                self._metrics.archive_first_byte.observe(time.monotonic() - request[STARTED])
            return await self._send(request, response, archive, start=start, stop=stop, reader=reader)

    async def _until_known(self, archive: Archive, span: ByteRange) -> None:
        last = span.last
        try:
            async with asyncio.timeout(self._max_wait):
                await archive.wait_until(lambda: last is not None and archive.length > last)
        except TimeoutError:
            archive.readers.keep_for_return()
            raise StillBuilding(retry_after=_RETRY_AFTER) from None

    async def _send(
        self,
        request: web.Request,
        response: web.StreamResponse,
        archive: Archive,
        *,
        start: int,
        stop: int | None,
        reader: Reader,
    ) -> web.StreamResponse:
        fields = request[LOG_FIELDS] = {"archive_id": archive.id}
        with span("stream", {"archive.id": archive.id}) as current:
            try:
                with cut_on_error(request, self._metrics, fields, current):
                    await response.prepare(request)
                    await transmit(request, response, archive, self._store, start=start, stop=stop, reader=reader)
                    self._metrics.archives_served.inc()
            finally:
                fields |= {"bytes": reader.position - start, "images": archive.total, "failed": len(archive.failures)}
                current.set_attribute("stream.bytes", fields["bytes"])
        return response


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
        mark_failed(current, type(error).__name__)
        cause = error if isinstance(error, Problem) else InternalError()
        fields.update({"reason": type(error).__name__, "code": cause.code, "status": max(cause.status, 500)})
        cut(request)
    except BaseException:
        if request.transport is None or request.transport.is_closing():
            note_left()
        cut(request)
        raise
    finally:
        current.set_attribute("stream.outcome", fields["outcome"])


def headers(archive: Archive, *, stale: bool = False, ranges: bool = True) -> dict[str, str]:
    """What every answer about the archive's bytes says of it. `ranges`: whether a bare range is safe at its URL."""
    found = {
        "Content-Type": "application/zip",
        "Content-Disposition": content_disposition(archive_filename(archive.order_name, archive.order_id)),
        "ETag": f'"{archive.id}"',
        "Accept-Ranges": "bytes" if ranges else "none",
        "Cache-Control": "private, no-transform",
        "Link": f'</v1/archives/{archive.id}/report>; rel="describedby"',
        "X-Accel-Buffering": "no",
        "X-Archive-Id": archive.id,
        "X-Total-Images": str(archive.total),
    }
    if archive.is_settled:
        found |= {"X-Downloaded": str(archive.downloaded), "X-Failed": str(len(archive.failures))}
    return found | ({"X-Archive-Stale": "true"} if stale else {})


def _whole(archive: Archive) -> tuple[web.StreamResponse, int, int | None]:
    response = web.StreamResponse()
    if archive.is_settled:
        response.content_length = archive.length
    else:
        response.enable_chunked_encoding()
    return response, 0, archive.length if archive.is_settled else None


def _part(archive: Archive, span: ByteRange) -> tuple[web.StreamResponse, int, int]:
    start, stop = span.resolve(archive.length)
    total = str(archive.length) if archive.is_settled else "*"
    response = web.StreamResponse(status=206, headers={"Content-Range": f"bytes {start}-{stop - 1}/{total}"})
    response.content_length = stop - start
    return response, start, stop


def not_modified(archive: Archive, *, stale: bool = False) -> web.Response:
    """The caller has these bytes."""
    return web.Response(status=304, headers=headers(archive, stale=stale))


def is_not_modified(request: web.Request, archive: Archive) -> bool:
    """Evaluate `If-Match` (raises `PreconditionFailed`) and `If-None-Match`."""
    # A star means any archive that exists, and one that has just begun does not exist yet.
    return is_held(request, archive.id, f"This is archive {archive.id}.", exists=archive.is_settled)


def is_held(request: web.Request, tag: str, occurrence: str, *, exists: bool = True) -> bool:
    """Whether the caller has what `tag` names (`If-None-Match`).

    Raises `PreconditionFailed` with the `occurrence` when `If-Match` asks for something else.
    """
    if request.if_match is not None and not any(
        given.value in (tag, "*") and not given.is_weak for given in request.if_match
    ):
        raise PreconditionFailed(occurrence)
    return any(given.value == tag or (given.value == "*" and exists) for given in request.if_none_match or ())


def wanted_range(request: web.Request, tag: str) -> ByteRange | None:
    """The range that a GET asks for, if it asks for one of what `tag` names."""
    if request.method != "GET":
        return None
    if_range = request.headers.get("If-Range")
    if if_range is not None and if_range.strip() != f'"{tag}"':
        return None
    return parse_range(request.headers.get("Range"))
