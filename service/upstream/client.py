"""Autoenhance as this service needs it: an order's document, and an enhanced image's bytes."""

import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from itertools import count
from typing import TypeVar
from urllib.parse import quote

from aiohttp import hdrs
from yarl import URL

from service.problems import BreakerOpen, OrderNotFound
from service.reasons import Reason
from service.telemetry.logs import get_logger
from service.telemetry.metrics import Call, Circuit, Metrics
from service.telemetry.traces import span
from service.upstream.answers import UpstreamFailure, order_problem
from service.upstream.breaker import Breaker, CircuitOpen, Operation
from service.upstream.concurrency import DownloadSlots, Slot
from service.upstream.download import Body, Download
from service.upstream.models import InvalidOrder, Order, Rendering, parse_order
from service.upstream.retry import RetryBudget, RetryPolicy, retrying
from service.upstream.transport import Transport, read_document
from service.upstream.uploads import Uploads

log = get_logger(__name__)

T = TypeVar("T")

_ORDER_SECONDS = 20.0
_TOO_FAST = frozenset({Reason.RATE_LIMITED, Reason.TIMEOUT})


class ImageFailed(Exception):
    """An image could not be fetched, for good."""

    def __init__(self, reason: Reason, attempts: int = 0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.attempts = attempts


class Autoenhance:
    """Calls with retries and circuit breakers. Order calls raise a `Problem`, image calls `ImageFailed`."""

    def __init__(
        self,
        transport: Transport,
        metrics: Metrics,
        *,
        base: URL,
        breakers: Mapping[Circuit, Breaker],
        policy: RetryPolicy,
        image_seconds: float,
        slots: DownloadSlots,
    ) -> None:
        self._transport = transport
        self._metrics = metrics
        self._base = base
        self._breakers = breakers
        self._policy = policy
        self._budget = RetryBudget()
        self._image_seconds = image_seconds
        self._slots = slots
        self.uploads = Uploads(transport, base=base, breakers=breakers, repeat=self._retrying, seconds=image_seconds)
        """Makes orders and fills them; shares the circuits and the retry budget."""

    async def order(self, order_id: str) -> Order:
        """Fetch an order's document, past every cache.

        Raises `OrderNotFound`, `UpstreamUnauthorized`, `UpstreamError`, `UpstreamBusy`, `UpstreamTimeout` or
        `BreakerOpen`.
        """
        url = URL(f"{self._base}/orders/{quote(order_id, safe='')}", encoded=True)
        deadline = time.monotonic() + min(_ORDER_SECONDS, self._image_seconds)
        attempts = count(1)
        try:
            with span("order", {"order.id": order_id}), Operation(self._breakers) as operation:
                order = await self._retrying(
                    lambda: self._order_once(url, next(attempts), operation, deadline), deadline
                )
        except CircuitOpen as error:
            raise BreakerOpen(retry_after=error.retry_after) from error
        except UpstreamFailure as failure:
            problem = order_problem(failure, order_id)
            # An id that Autoenhance does not know is its caller's mistake.
            level = logging.INFO if isinstance(problem, OrderNotFound) else logging.WARNING
            log.log(level, "order call failed", order_id=order_id, reason=failure.reason, detail=failure.detail)
            raise problem from failure
        if order.is_deleted:
            raise OrderNotFound(f"It says that order {order_id} was deleted.")
        return order

    async def download(self, image_id: str, rendering: Rendering, body: Body, slot: Slot) -> tuple[str, int]:
        """Fetch one enhanced image into `body`; returns its extension and the attempts it took.

        Every attempt holds `slot`, the waits between them do not. Raises `ImageFailed` when upstream does not give
        the image, and whatever `body` raises.
        """
        deadline = time.monotonic() + self._image_seconds
        attempts = 0
        last: UpstreamFailure | None = None
        try:
            self._check_circuits()
            with Operation(self._breakers, subject=image_id) as operation:
                download = Download(
                    self._transport,
                    self._image_url(image_id, rendering),
                    body,
                    dev_mode=rendering.dev_mode,
                    reach=operation.reach,
                )

                async def once() -> str:
                    nonlocal attempts, last
                    async with slot:
                        left = deadline - time.monotonic()
                        if last is not None and left <= 0:  # spent in the line: upstream is not to blame for that
                            raise last
                        operation.reach(Circuit.API)
                        attempts += 1
                        try:
                            with span("attempt", {"attempt": attempts}):
                                return await self._paced(image_id, download.attempt(max(0.001, left)))
                        except UpstreamFailure as failure:
                            last = failure
                            raise

                return await self._retrying(once, deadline), attempts
        except CircuitOpen as error:
            raise ImageFailed(Reason.BREAKER_OPEN, attempts) from error
        except UpstreamFailure as failure:
            log.warning(
                "image failed", image_id=image_id, reason=failure.reason, attempts=attempts, detail=failure.detail
            )
            raise ImageFailed(failure.reason, attempts) from failure

    @property
    def is_resting(self) -> bool:
        """Whether a download would be refused now by an open circuit, without any call."""
        return any(breaker.is_open for breaker in self._breakers.values())

    def _check_circuits(self) -> None:
        # Both: the API sells an image before the assets deliver it, so a rest of the assets is no time to buy.
        for breaker in self._breakers.values():
            breaker.check()

    async def _paced(self, image_id: str, attempt: Awaitable[str]) -> str:
        """Let the pace of downloads learn from an attempt."""
        try:
            extension = await attempt
        except UpstreamFailure as failure:
            if failure.status == HTTPStatus.SERVICE_UNAVAILABLE or failure.reason in _TOO_FAST:
                self._slots.refused(image_id, throttled=failure.reason is Reason.RATE_LIMITED)
            raise
        self._slots.succeeded()
        return extension

    async def _order_once(self, url: URL, attempt: int, operation: Operation, deadline: float) -> Order:
        with span("attempt", {"attempt": attempt}):
            async with self._transport.get(
                Call.ORDER,
                url,
                seconds=max(0.001, deadline - time.monotonic()),
                headers={hdrs.ACCEPT: "application/json"},
                api_headers={},
                reach=operation.reach,
            ) as response:
                document = await read_document(response)
                try:
                    return parse_order(document)
                except InvalidOrder as error:
                    raise UpstreamFailure(Reason.UPSTREAM_ERROR, f"no order document: {error}") from error

    async def _retrying(
        self, once: Callable[[], Awaitable[T]], deadline: float, only: frozenset[Reason] = frozenset(Reason)
    ) -> T:
        def may_retry(failure: UpstreamFailure) -> bool:
            if failure.reason not in only or self._breakers[failure.circuit].is_open or not self._budget.spend():
                return False
            self._metrics.upstream_retries.labels(failure.reason).inc()
            return True

        async def counted() -> T:
            self._budget.count_call()
            return await once()

        return await retrying(counted, policy=self._policy, deadline=deadline, may_retry=may_retry)

    def _image_url(self, image_id: str, rendering: Rendering) -> URL:
        try:
            # A lone dot or two would be read as a step in the path, whatever its encoding.
            segment = quote(image_id, safe="") if image_id.strip(".") else "-"
        except UnicodeEncodeError as error:
            raise UpstreamFailure(Reason.REJECTED, "an id that no address can hold") from error
        query = "&".join(f"{name}={value}" for name, value in rendering.query().items())
        return URL(f"{self._base}/images/{segment}/enhanced?{query}", encoded=True)
