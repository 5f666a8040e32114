"""One image's download over its attempts: what counts as an image, and how a broken body is taken up again."""

from collections.abc import Callable
from typing import Protocol

from aiohttp import ClientResponse, hdrs
from yarl import URL

from service.problems import Reason
from service.telemetry.metrics import Circuit
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
        self._extension: str | None = None

    async def attempt(self, seconds: float) -> str:
        """Run once; returns the image's extension. Raises `UpstreamFailure`, and whatever the body raises."""
        headers: dict[str, str] = {hdrs.ACCEPT_ENCODING: "identity"}
        if self._body.received and self._etag:
            headers |= {hdrs.RANGE: f"bytes={self._body.received}-", hdrs.IF_RANGE: self._etag}
        async with self._transport.get(
            "image", self._url, seconds=seconds, headers=headers, api_headers=self._api_headers, reach=self._reach
        ) as response:
            whole = self._begin(response)
            await self._receive(response, whole)
        if self._extension is None:
            raise UpstreamFailure(Reason.NOT_AN_IMAGE, "no image signature")
        if whole is not None and self._body.received != whole:
            self._etag = None
            raise UpstreamFailure(Reason.TRUNCATED, f"{self._body.received} of {whole} bytes")
        return self._extension

    def _begin(self, response: ClientResponse) -> int | None:
        """Decide what this answer carries: the whole, or the rest. Returns the image's whole length, if announced."""
        etag, self._etag = self._etag, None
        if response.status == 206:
            span = content_range(response.headers.get(hdrs.CONTENT_RANGE))
            same = etag is not None and strong_etag(response.headers.get(hdrs.ETAG)) in (None, etag)
            if not same or span is None or span[0] != self._body.received:
                raise UpstreamFailure(Reason.TRUNCATED, "a part that was not asked for")
            self._etag = etag
            return span[1]
        if not carries_image(response.headers.get(hdrs.CONTENT_TYPE)):
            raise UpstreamFailure(Reason.NOT_AN_IMAGE, f"type {response.headers.get(hdrs.CONTENT_TYPE)}")
        self._extension = None
        self._etag = strong_etag(response.headers.get(hdrs.ETAG))
        # aiohttp undoes a content coding, so the announced length is then not the image's.
        return None if hdrs.CONTENT_ENCODING in response.headers else response.content_length

    async def _receive(self, response: ClientResponse, whole: int | None) -> None:
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
                await self._make_room(whole)
            await self._body.write(chunk)
        if head and (extension := image_extension(head)) is not None:
            self._extension = extension
            await self._make_room(whole)
            await self._body.write(head)

    async def _make_room(self, whole: int | None) -> None:
        if self._body.received:
            await self._body.restart()
        if whole is not None:
            await self._body.expect(whole)
