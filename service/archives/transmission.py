"""Sends an archive's bytes: headers and directory from memory, images by `sendfile` from their files."""

import asyncio
import socket
import struct
from collections.abc import Callable
from contextlib import nullcontext

from aiohttp import web

from service.archives.archive import Archive
from service.archives.layout import BlobSlice
from service.archives.readers import Reader
from service.images.blobs import BlobLost
from service.images.files import OpenBlob
from service.images.store import ImageStore

STALLED = web.RequestKey("STALLED", bool)
"""Set when the connection was ended because the client stopped reading."""

# So often does a reader's position move on while one large image is sent.
_PIECE = 4 << 20
# SO_LINGER on, 0 seconds: closing resets the connection.
_RESET = struct.pack("ii", 1, 0)


class ClientLeft(Exception):
    """The client closed the connection before the last byte."""


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

    Raises `ClientLeft`, the archive's problem if it fails on the way, or `BlobLost`. The caller must `cut` then.
    """
    position = start
    header = b""  # sent together with a small image: one write for both
    try:
        async for piece in archive.slices(start, stop):
            if isinstance(piece, bytes):
                header += piece
                position += len(piece)
                continue
            data = store.in_memory(piece.blob)
            if data is not None:
                part = memoryview(data)[piece.offset : piece.offset + piece.count]
                await response.write(b"".join((header, part)))
            else:
                if header:
                    await response.write(header)
                    reader.advance(position)
                await _send_image(request, response, piece, store, reader, position)
            header = b""
            position += piece.count
            reader.advance(position)
        await response.write_eof(header)
        reader.advance(position)
    except ConnectionError as error:
        raise ClientLeft from error


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

    `advance` is told how many bytes have gone. Raises `BlobLost`, or `ConnectionError`.
    """
    if opened is None:
        done = 0
        async for block in store.read_shared(piece.blob, piece.offset, piece.offset + piece.count):
            await response.write(block)
            done += len(block)
            advance(done)
        return
    loop = asyncio.get_running_loop()
    transport = _open_transport(request)
    if response.chunked:
        # aiohttp has no way to send a file as one chunk of a chunked body, so the chunk's frame is written here.
        transport.write(b"%x\r\n" % piece.count)
    done = 0
    while done < piece.count:
        if transport.is_closing():
            raise ConnectionResetError("the client left")
        try:
            sent = await loop.sendfile(transport, opened.file, piece.offset + done, min(_PIECE, piece.count - done))
        except TimeoutError as error:  # the kernel's: bytes waited too long to be taken
            request[STALLED] = True
            raise ConnectionAbortedError("the client stopped reading") from error
        if not sent:  # the file became shorter since it was opened
            raise BlobLost(piece.blob.digest)
        done += sent
        advance(done)
    if response.chunked:
        transport.write(b"\r\n")


def cut(request: web.Request) -> None:
    """Break the connection so that every client, and every proxy between, sees an error.

    The only way to end a response that has begun and cannot be finished: a clean end would look like a whole
    archive, and so would a mere close to an HTTP/1.0 client.
    """
    transport = request.transport
    if transport is None:
        return
    reset_at_close(transport)
    transport.abort()


def reset_at_close(transport: asyncio.BaseTransport) -> None:
    """However the connection is closed from here on, the client sees an error."""
    connection = transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


def _open_transport(request: web.Request) -> asyncio.Transport:
    transport = request.transport
    if transport is None or transport.is_closing():
        raise ConnectionResetError("the client left")
    return transport
