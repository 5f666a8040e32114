"""One image's download over its attempts: what counts as an image, and how a broken body is taken up again."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Protocol

from aiohttp import ClientResponse, hdrs
from yarl import URL

from service.reasons import Reason
from service.telemetry.metrics import Call, Circuit
from service.upstream.answers import (
    SIGNATURE_BYTES,
    UpstreamFailure,
    carries_image,
    content_range,
    image_extension,
    strong_etag,
)
from service.upstream.transport import Transport


class Body(Protocol):
    """Where a download's bytes go. Kept over attempts, so that a broken body can be taken up again."""

    @property
    def received(self) -> int:
        """Bytes written since the last restart."""

    async def expect(self, length: int) -> None:
        """Upstream announced `length` bytes in all."""

    async def write(self, chunk: bytes) -> None:
        """Append a chunk."""

    async def restart(self) -> None:
        """Forget what was written."""


class Download:
    """Attempts to get one image into `body`."""

    def __init__(
        self,
        transport: Transport,
        url: URL,
        body: Body,
        *,
        dev_mode: bool,
        reach: Callable[[Circuit], None],
    ) -> None:
        self._transport = transport
        self._url = url
        self._body = body
        self._api_headers = {"x-dev-mode": "true"} if dev_mode else {}
        self._reach = reach
        self._etag: str | None = None
        self._whole: int | None = None
        self._extension: str | None = None

    async def attempt(self, seconds: float) -> str:
        """Run once; returns the image's extension. Raises `UpstreamFailure`, and whatever the body raises."""
        headers: dict[str, str] = {hdrs.ACCEPT_ENCODING: "identity"}
        if self._extension is None:
            self._etag = None  # nothing of the body that it belongs to has been written yet
        if self._etag:
            headers |= {hdrs.RANGE: f"bytes={self._body.received}-", hdrs.IF_RANGE: self._etag}
        try:
            async with self._transport.get(
                Call.IMAGE,
                self._url,
                seconds=seconds,
                headers=headers,
                api_headers=self._api_headers,
                reach=self._reach,
            ) as response:
                self._begin(response)
                await self._receive(response)
                return self._finish()
        except UpstreamFailure as failure:
            if failure.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and hdrs.RANGE in headers:
                self._etag = None
                failure.reason = Reason.TRUNCATED  # upstream has no such rest any more, but it may have the whole
            raise

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
                raise UpstreamFailure(Reason.TRUNCATED, "the rest of something else, or of nobody knows how much")
            self._etag, self._whole = etag, lengths.pop()
            return
        if not carries_image(response.headers.get(hdrs.CONTENT_TYPE)):
            raise UpstreamFailure(Reason.NOT_AN_IMAGE, f"type {response.headers.get(hdrs.CONTENT_TYPE)}")
        if not _has_an_end(response):
            raise UpstreamFailure(Reason.TRUNCATED, "neither a length nor chunks: its end cannot be told from a break")
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

    async def _receive(self, response: ClientResponse) -> None:
        head = b""
        async for chunk, _ in response.content.iter_chunks():
            if self._extension is None:
                head += chunk
                if len(head) < SIGNATURE_BYTES:
                    continue
                chunk, head = head, b""  # what was held back goes first
                self._extension = image_extension(chunk[:SIGNATURE_BYTES])
                if self._extension is None:
                    raise UpstreamFailure(Reason.NOT_AN_IMAGE, "no image signature")
                # Only now: whatever else is awaited before the first chunk is taken may lose it to a broken connection.
                await self._make_room()
            await self._body.write(chunk)
        if head and (extension := image_extension(head)) is not None:
            self._extension = extension
            await self._make_room()
            await self._body.write(head)

    async def _make_room(self) -> None:
        if self._body.received:
            await self._body.restart()
        if self._whole is not None:
            await self._body.expect(self._whole)


def _has_an_end(response: ClientResponse) -> bool:
    return response.content_length is not None or "chunked" in response.headers.get(hdrs.TRANSFER_ENCODING, "").lower()
