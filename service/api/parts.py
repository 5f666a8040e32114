"""The parts of a multipart/form-data request, taken as they come: bounded in size and in time."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from aiohttp import BodyPartReader, MultipartReader, web
from aiohttp.http_exceptions import BadHttpMessage

from service.api.bodies import require_plain
from service.problems import BadRequest, InvalidParameter, PayloadTooLarge, UnsupportedMediaType, UploadTimeout
from service.text import is_printable

T = TypeVar("T")

# Nothing at all for so long: the sender has gone. And a whole request ends one day, however it drips.
SILENCE_SECONDS = 30.0
WHOLE_SECONDS = 3600.0

_READ = 64 * 1024
_BROKEN_MESSAGE = "The multipart body is malformed."
_BROKEN = (ValueError, RuntimeError, RuntimeWarning, AssertionError, BadHttpMessage)


class Parts:
    """Iterates over a request's parts. Read each to its end with `chunks` or `text` before the next.

    Raises `UnsupportedMediaType`, `BadRequest`, `PayloadTooLarge` past `max_bytes` or `max_parts`, and `UploadTimeout`.
    """

    def __init__(self, request: web.Request, *, max_bytes: int, max_parts: int) -> None:
        if request.content_type != "multipart/form-data":
            raise UnsupportedMediaType
        require_plain(request)
        if (request.content_length or 0) > max_bytes:
            raise PayloadTooLarge
        try:
            self._reader = MultipartReader(request.headers, request.content)
        except _BROKEN:
            raise BadRequest("The Content-Type has no boundary.") from None
        self._left = max_bytes
        self._parts_left = max_parts
        self._deadline = time.monotonic() + WHOLE_SECONDS

    async def __aiter__(self) -> AsyncIterator[BodyPartReader]:
        while (part := await self._in_time(self._reader.next())) is not None:
            if not isinstance(part, BodyPartReader):
                raise BadRequest("A part must not be multipart itself.")
            self._parts_left -= 1
            if self._parts_left < 0:
                raise PayloadTooLarge
            yield part
            # Parts that came in together are read without a pause: thousands of empty ones would hold everybody up.
            await asyncio.sleep(0)

    async def chunks(self, part: BodyPartReader) -> AsyncIterator[bytes]:
        """A part's bytes, as they stand."""
        while chunk := await self._in_time(part.read_chunk(_READ)):
            self._left -= len(chunk)
            if self._left < 0:
                raise PayloadTooLarge
            yield chunk
        if not part.at_eof():  # the body ended before the part did
            raise BadRequest(_BROKEN_MESSAGE)

    async def text(self, part: BodyPartReader, name: str, max_length: int) -> str:
        """A field's text on one line. Raises `InvalidParameter` when it is longer than so many characters."""
        content = bytearray()
        async for chunk in self.chunks(part):
            content += chunk
            if len(content) > 4 * max_length:
                raise InvalidParameter(name, f"may have at most {max_length} characters")
        text = " ".join(content.decode("utf-8", "replace").split())
        if len(text) > max_length or not is_printable(text):
            raise InvalidParameter(name, f"must be printable text of at most {max_length} characters")
        return text

    async def _in_time(self, step: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(min(SILENCE_SECONDS, max(0.0, self._deadline - time.monotonic()))):
                return await step
        except TimeoutError:
            raise UploadTimeout from None
        except _BROKEN:
            raise BadRequest(_BROKEN_MESSAGE) from None


def file_name(part: BodyPartReader) -> str | None:
    """What the caller calls the part's file; None when the part is no file. Raises `BadRequest`."""
    with _readable():
        return part.filename


def field_name(part: BodyPartReader) -> str | None:
    """What the part's field is called. Raises `BadRequest`."""
    with _readable():
        return part.name


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except _BROKEN:
        raise BadRequest("A part's Content-Disposition cannot be read.") from None
