"""The bodies of what Autoenhance says: documents, bounded whether they come packed or not, and the words of errors.

aiohttp would unpack on the event loop, and a few kilobytes can hold as many megabytes as a document may have.
"""

import asyncio
import json
import zlib
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import ClientError, ClientResponse, hdrs

from service.computing import compute
from service.reasons import Reason
from service.upstream.answers import UpstreamFailure
from service.upstream.order_document import MAX_DOCUMENT_BYTES

PACKING: Mapping[str, str] = {hdrs.ACCEPT_ENCODING: "gzip"}
"""Asks for a document in a form that can be read here."""
_GZIP, _PLAIN = frozenset({"gzip", "x-gzip"}), "identity"
# zlib's word for gzip, with the largest window.
_GZIP_BITS = 31
LONG_DOCUMENT = 256 << 10
"""Reading so many bytes takes some milliseconds of the loop."""
_LOGGED_BODY = 300
_TEXT_SECONDS = 2.0


async def read_body(response: ClientResponse, wait: Callable[[], Awaitable[None]] | None = None) -> bytearray:
    """A document's bytes. Before more than `LONG_DOCUMENT` are taken, `wait` is awaited.

    Raises `UpstreamFailure` when there are too many, or they cannot be unpacked.
    """
    body = bytearray()
    if (response.content_length or 0) > MAX_DOCUMENT_BYTES:
        raise _too_long()
    async for chunk in response.content.iter_any():
        if wait is not None and len(body) + len(chunk) > LONG_DOCUMENT:
            await wait()
            wait = None
        body += chunk
        if len(body) > MAX_DOCUMENT_BYTES:
            body.clear()  # whoever keeps the error with its traceback does not keep it
            raise _too_long()
    coding = _coding(response)
    if coding == _PLAIN:
        return body
    if coding not in _GZIP:
        raise UpstreamFailure(Reason.UPSTREAM_ERROR, "a document in a coding that was not asked for")
    return await _unpack(body, wait)


async def read_document(response: ClientResponse) -> object:
    """The JSON in an answer. Raises `UpstreamFailure` when there is none, or too much."""
    body = await read_body(response)
    try:
        document: object = await compute(lambda: json.loads(body), is_short=len(body) <= LONG_DOCUMENT)
    except (ValueError, RecursionError) as error:
        raise UpstreamFailure(Reason.UPSTREAM_ERROR, f"no document: {error}") from error
    return document


async def first_text(response: ClientResponse) -> str:
    """How an error's body begins, for the log. A body that cannot be read, or does not come, says nothing."""
    try:
        async with asyncio.timeout(_TEXT_SECONDS):
            head = await response.content.read(_LOGGED_BODY)
        if _coding(response) in _GZIP and head.startswith(b"\x1f\x8b"):
            head = zlib.decompressobj(_GZIP_BITS).decompress(head, _LOGGED_BODY)
        return head.decode("utf-8", "replace")
    except (ClientError, TimeoutError, ConnectionError, zlib.error):
        return ""


def _coding(response: ClientResponse) -> str:
    return response.headers.get(hdrs.CONTENT_ENCODING, _PLAIN).strip().lower()


async def _unpack(packed: bytearray, wait: Callable[[], Awaitable[None]] | None) -> bytearray:
    """What is packed in gzip; on the thread for it where that is long."""
    unpacker = zlib.decompressobj(_GZIP_BITS)

    def unpack(data: bytes | bytearray, max_bytes: int) -> bytearray:
        try:
            return bytearray(unpacker.decompress(data, max_bytes))
        except zlib.error as error:
            raise UpstreamFailure(Reason.UPSTREAM_ERROR, "a document that cannot be unpacked") from error

    body = unpack(packed, LONG_DOCUMENT + 1)
    if len(body) > LONG_DOCUMENT:
        if wait is not None:
            await wait()
        # At most one byte more than there may be.
        body += await compute(lambda: unpack(unpacker.unconsumed_tail, MAX_DOCUMENT_BYTES + 1 - len(body)))
    if len(body) > MAX_DOCUMENT_BYTES:
        body.clear()
        raise _too_long()
    if not unpacker.eof:
        raise UpstreamFailure(Reason.TRUNCATED, "a packed document without its end")
    return body


def _too_long() -> UpstreamFailure:
    return UpstreamFailure(Reason.REJECTED, "the document is too long")
