"""Answers a request with an archive: whole or a range of it, finished or still growing.

Headers, the directory and small images that were just stored go from memory, others by `sendfile` from their files.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from aiohttp import HttpVersion11, web

from service.archives.archive import Archive
from service.archives.cutting import STALLED, ClientLeft, cut_on_error
from service.archives.layout import BlobSlice
from service.archives.ranges import ByteRange
from service.archives.readers import Reader
from service.archives.response_heads import headers, is_not_modified, not_modified, part_of, wanted_range, whole
from service.images.blobs import BlobLost, BlobUnreadable
from service.images.files import OpenBlob
from service.images.store import ImageStore
from service.problems import RangeUnsafe, StillBuilding
from service.telemetry.metrics import Metrics
from service.telemetry.traces import span

STARTED = web.RequestKey("STARTED", float)
"""When the request came in (`time.monotonic`)."""
LOG_FIELDS = web.RequestKey("LOG_FIELDS", dict[str, Any])
"""What the request's log line tells besides the request itself. `status`: how an answer ended that began well."""

# How long a range that needs the end waits for it; below the idle limit (60 s) of common proxies.
_WAIT_FOR_END = 45.0
_RETRY_AFTER = 5.0
# So many bytes are sent with one write, if they are there.
_TOGETHER = 64 << 10
# So often does a reader's position move on while one large image is sent.
_PIECE = 16 << 20
_READ = 256 << 10


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
        # A reader that waits for the last byte of a part needs everything before it, however far ahead of the others.
        wanted = 0 if part is None else (part.first if part.last is None else part.last)
        with archive.readers.reading(wanted, to_the_end=to_the_end) as reader:
            if options.strict:
                await archive.wait_until(lambda: False)
                archive.require_all()
            if part is None:
                await archive.wait_until(lambda: not to_the_end and bool(archive.members))
            else:
                await self._until_known(archive, part)
                start, _ = part.resolve(archive.length)
                reader.advance(start)
            ranges = options.note_named is None or await options.note_named(archive.id)
            if part is not None and not ranges and "If-Range" not in request.headers:
                raise RangeUnsafe
            # The build may have ended meanwhile: its size is told with its counts, and no start of one that failed.
            if archive.failure is not None:
                raise archive.failure
            response, start, stop = whole(archive) if part is None else part_of(archive, part)
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
            archive.readers.keep_for_return(_RETRY_AFTER)
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
                    if archive.is_whole and reader.position == archive.length:  # once, however many parts it took
                        self._metrics.archives_served.inc()
            finally:
                fields |= {"bytes": reader.position - start, "images": archive.total, "failed": len(archive.failures)}
                current.set_attribute("stream.bytes", fields["bytes"])
        return response


async def transmit(
    request: web.Request,
    response: web.StreamResponse,
    archive: Archive,
    store: ImageStore,
    *,
    start: int,
    stop: int | None,
    reader: Reader,
) -> None:
    """Send the archive's bytes from `start` to before `stop` (None: to the end) as the body of a prepared response.

    Raises `ClientLeft`, the archive's problem if it fails on the way, `BlobLost` or `BlobUnreadable`. The caller must
    `cut` then.
    """
    position = start
    together: list[bytes | memoryview] = []  # headers and small images that are sent with one write
    pending = 0
    try:
        async for piece in archive.slices(start, stop):
            data = piece if isinstance(piece, bytes) else store.in_memory(piece.blob)
            count = len(piece) if isinstance(piece, bytes) else piece.count
            if data is not None:
                together.append(data if isinstance(piece, bytes) else memoryview(data)[piece.offset :][:count])
                position, pending = position + count, pending + count
                if pending < _TOGETHER and position < archive.length:
                    continue
            if together:
                await response.write(b"".join(together))
                together, pending = [], 0
                reader.advance(position)
            if data is None and not isinstance(piece, bytes):
                await _send_image(request, response, piece, store, reader, position)
                position += count
                reader.advance(position)
        await response.write_eof(b"".join(together))
        reader.advance(position)
    except ConnectionError as error:
        raise ClientLeft from error


async def pieces_of(archive: Archive, store: ImageStore) -> AsyncIterator[bytes]:
    """All bytes of a settled archive for whoever is no client of ours, at most 256 KiB at a time.

    Raises `BlobLost`, or `BlobUnreadable`.
    """
    async for part in archive.slices(0, None):
        if isinstance(part, bytes):
            yield part
            continue
        starts = range(part.offset, part.offset + part.count, _READ)
        if (data := store.in_memory(part.blob)) is not None:
            for start in starts:
                yield data[start : start + _READ]
        elif (opened := await store.open_blob(part.blob)) is None:
            async for piece in store.read_shared(part.blob, part.offset, part.offset + part.count):
                yield piece
        else:
            with opened:
                for start in starts:
                    yield await asyncio.to_thread(os.pread, opened.file.fileno(), _READ, start)


async def _send_image(
    request: web.Request,
    response: web.StreamResponse,
    piece: BlobSlice,
    store: ImageStore,
    reader: Reader,
    position: int,
) -> None:
    opened = await store.open_blob(piece.blob, whole=piece.count == piece.blob.size)
    with opened or nullcontext():
        await send_file(
            request, response, piece, store, opened=opened, advance=lambda done: reader.advance(position + done)
        )


async def send_file(
    request: web.Request,
    response: web.StreamResponse,
    piece: BlobSlice,
    store: ImageStore,
    *,
    opened: OpenBlob | None,
    advance: Callable[[int], None] = lambda done: None,
) -> None:
    """Send a part of an image from its open file; None when it is only in the shared storage.

    `advance` is told how many bytes have gone. Raises `BlobLost`, `BlobUnreadable`, or `ConnectionError`.
    """
    if opened is None:
        done = 0
        async for block in store.read_shared(piece.blob, piece.offset, piece.offset + piece.count):
            await response.write(block)
            done += len(block)
            advance(done)
        return
    transport = request.transport
    if transport is None or transport.is_closing():
        raise ConnectionResetError("the client left")
    if response.chunked:
        # aiohttp has no way to send a file as one chunk of a chunked body, so the chunk's frame is written here.
        transport.write(b"%x\r\n" % piece.count)
    done = 0
    while done < piece.count:
        if transport.is_closing():
            raise ConnectionResetError("the client left")
        try:
            sent = await _send_piece(request, transport, opened, piece.offset + done, min(_PIECE, piece.count - done))
        except TimeoutError as error:  # the kernel's: bytes waited too long to be taken
            request[STALLED] = True
            raise ConnectionAbortedError("the client stopped reading") from error
        if not sent:  # the file became shorter since it was opened
            raise BlobLost(piece.blob.digest)
        done += sent
        advance(done)
    if response.chunked:
        transport.write(b"\r\n")


async def _send_piece(
    request: web.Request, transport: asyncio.Transport, opened: OpenBlob, offset: int, count: int
) -> int:
    """Send at most `count` bytes of a file from `offset`; returns how many: none where it ends.

    Raises `ConnectionError`, `BlobUnreadable`, or `TimeoutError` when the client stopped reading.
    """
    loop = asyncio.get_running_loop()
    try:
        return await loop.sendfile(transport, opened.file, offset, count, fallback=False)
    except asyncio.SendfileNotAvailableError:
        # The client left, which a write tells; or the file system has no `sendfile`. What asyncio would do then reads
        # from wherever the file stands, and others read it too.
        reading = loop.run_in_executor(None, os.pread, opened.file.fileno(), min(count, _TOGETHER), offset)
    try:
        block = await reading
    except OSError as error:
        raise BlobUnreadable(error.strerror) from error
    transport.write(block)
    if transport.is_closing():
        raise ConnectionResetError("the client left")
    await request.writer.drain()
    return len(block)
