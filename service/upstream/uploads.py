"""Creating an order at Autoenhance and uploading images to it: three calls that change something there."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

from aiohttp import hdrs
from yarl import URL

from service.order_ids import is_order_id
from service.problems import BreakerOpen, OrderNotFound, UpstreamError
from service.reasons import Reason, UploadReason
from service.telemetry.logs import get_logger
from service.telemetry.metrics import Call, Circuit
from service.upstream.answers import UpstreamFailure, order_problem
from service.upstream.breaker import Breaker, CircuitOpen, Operation
from service.upstream.download import TimeLimit
from service.upstream.network import STALL_SECONDS
from service.upstream.retry import Deadline, Retries
from service.upstream.transport import Transport, url_from

log = get_logger(__name__)

_CALL_SECONDS = 20.0
_READ, _CHUNK = 1 << 20, 64 << 10
# What is taken sooner may have come no further than to a buffer on the way.
_BUFFERED_SECONDS = 1.0
_ANY_BYTES = "application/octet-stream"
# A repeated POST makes a second order or image, unless the first one was refused for sure.
_NOTHING_DONE = frozenset({Reason.RATE_LIMITED})
_ANY = frozenset(Reason)

_REASONS: Mapping[Reason, UploadReason] = {
    Reason.RATE_LIMITED: UploadReason.RATE_LIMITED,
    Reason.TIMEOUT: UploadReason.TIMEOUT,
    Reason.UPSTREAM_ERROR: UploadReason.UPSTREAM_ERROR,
    Reason.UNREACHABLE: UploadReason.UPSTREAM_ERROR,
    Reason.TRUNCATED: UploadReason.UPSTREAM_ERROR,
}


class UploadFailed(Exception):
    """A file could not be uploaded to Autoenhance. With an `image_id` it is listed there, without its picture."""

    def __init__(self, reason: UploadReason, image_id: str | None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.image_id = image_id


class Uploads:
    """Creates orders, and images in them."""

    def __init__(
        self,
        transport: Transport,
        *,
        base: URL,
        breakers: Mapping[Circuit, Breaker],
        retries: Callable[[Deadline, frozenset[Reason]], Retries],
        seconds: float,
    ) -> None:
        self._transport = transport
        self._base = base
        self._breakers = breakers
        self._retries = retries
        self._seconds = seconds

    @property
    def is_storage_well(self) -> bool:
        """Whether files may be sent side by side: after an outage one is tried, and others are refused meanwhile."""
        return self._breakers[Circuit.ASSETS].is_closed

    async def create_order(self, name: str | None) -> str:
        """Create an order; returns its id. Raises the problems of an order call."""
        deadline = Deadline.after(min(_CALL_SECONDS, self._seconds))
        try:
            self._breakers[Circuit.ASSETS].check()  # an order is not created to stay empty
            with Operation(self._breakers) as operation:
                operation.admit(Circuit.API)
                document = await self._post(Call.CREATE_ORDER, "orders", {"name": name} if name else {}, deadline)
        except CircuitOpen as error:
            raise BreakerOpen(retry_after=error.retry_after) from error
        except UpstreamFailure as failure:
            log.warning("order not created", reason=failure.reason, detail=failure.detail)
            problem = order_problem(failure)
            raise (UpstreamError() if isinstance(problem, OrderNotFound) else problem) from failure
        order_id = document.get("order_id") or document.get("id")
        if not is_order_id(order_id):
            log.warning("order not created", reason=Reason.UPSTREAM_ERROR, detail="no valid order id")
            raise UpstreamError
        return order_id

    async def upload(self, order_id: str, name: str, path: Path, size: int) -> str:
        """Add an image to an order and send its file of `size` bytes; returns its id. Raises `UploadFailed`."""
        deadline = Deadline.after(self._seconds)
        image_id: str | None = None
        try:
            self._breakers[Circuit.ASSETS].check()  # an image is not registered to stay without its file
            with Operation(self._breakers) as operation:
                operation.admit(Circuit.API)
                image_id, url = await self._register(order_id, name, deadline)
                operation.worked(Circuit.API)
                operation.admit(Circuit.ASSETS)
                await self._retries(deadline, _ANY).run(lambda: self._send(url, path, size, deadline, operation))
        except CircuitOpen as error:
            raise UploadFailed(UploadReason.BREAKER_OPEN, image_id) from error
        except UpstreamFailure as failure:
            log.warning(
                "upload failed", order_id=order_id, image_id=image_id, reason=failure.reason, detail=failure.detail
            )
            raise UploadFailed(_upload_reason(failure, is_registered=image_id is not None), image_id) from failure
        return image_id

    async def _register(self, order_id: str, name: str, deadline: Deadline) -> tuple[str, URL]:
        """Register an image; returns its id and the URL to upload its file to."""
        # Older API versions sign the type given here, newer ones take any field they do not know.
        registration = {"order_id": order_id, "image_name": name, "contentType": _ANY_BYTES}
        document = await self._post(Call.REGISTER_IMAGE, "images", registration, deadline)
        image_id = document.get("image_id") or document.get("id")
        upload_url = document.get("upload_url") or document.get("s3PutObjectUrl")
        if not isinstance(image_id, str) or not isinstance(upload_url, str):
            raise UpstreamFailure(Reason.UPSTREAM_ERROR, "no upload URL")
        return image_id, url_from(self._base, upload_url)

    async def _post(
        self, operation: str, collection: str, content: Mapping[str, Any], deadline: Deadline
    ) -> dict[str, Any]:
        # With the slash: without it the API redirects, and a redirect is no place for a POST.
        url = URL(f"{self._base}/{collection}/", encoded=True)
        document = await self._retries(deadline, _NOTHING_DONE).run(
            lambda: self._transport.post(operation, url, content, seconds=deadline.left)
        )
        if not isinstance(document, dict):
            raise UpstreamFailure(Reason.UPSTREAM_ERROR, "not a JSON object")
        return document

    async def _send(self, url: URL, path: Path, size: int, deadline: Deadline, operation: Operation) -> None:
        limit = TimeLimit(deadline, self._seconds, steady_seconds=STALL_SECONDS)
        is_taken = False

        async def chunks() -> AsyncIterator[bytes]:
            nonlocal is_taken
            began = time.monotonic()
            async for chunk in _chunks(path):
                yield chunk
                if time.monotonic() - began > _BUFFERED_SECONDS:
                    is_taken = True
                    if limit.received(len(chunk)):  # nobody can wait for its trial to its end
                        operation.worked(Circuit.ASSETS)

        # S3 wants to know the length, and the type that was signed.
        headers: dict[str, str] = {
            hdrs.CONTENT_LENGTH: str(size),
            hdrs.CONTENT_TYPE: url.query.get("content-type", _ANY_BYTES),
        }
        try:
            await self._transport.put(Call.UPLOAD, url, chunks(), timeout=limit.timeout, headers=headers)
        except UpstreamFailure as failure:
            failure.has_begun = is_taken
            raise


def _upload_reason(failure: UpstreamFailure, *, is_registered: bool) -> UploadReason:
    if failure.reason is Reason.RATE_LIMITED and not is_registered:
        # The limit per second clears within the retries: what stays is the one on uses of a file name an hour.
        return UploadReason.FILE_NAME_LIMIT
    return _REASONS.get(failure.reason, UploadReason.REFUSED)


async def _chunks(path: Path) -> AsyncIterator[bytes]:
    # Opened by the thread that reads, so that whoever leaves meanwhile leaves no open file behind.
    offset = 0
    while piece := await asyncio.to_thread(_piece, path, offset):
        offset += len(piece)
        for start in range(0, len(piece), _CHUNK):
            yield piece[start : start + _CHUNK]


def _piece(path: Path, offset: int) -> bytes:
    with path.open("rb", buffering=0) as file:
        file.seek(offset)
        return file.read(_READ)
