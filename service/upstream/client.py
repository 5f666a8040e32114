"""Autoenhance as this service needs it: orders' documents and lists, images' bytes, and uploads."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from functools import partial
from typing import TypeVar
from urllib.parse import quote

from aiohttp import ClientResponse
from yarl import URL

from service.computing import compute
from service.problems import BreakerOpen, OrderNotFound, UpstreamError
from service.reasons import Reason
from service.telemetry.logs import get_logger
from service.telemetry.metrics import Call, Circuit, Metrics
from service.telemetry.traces import span
from service.upstream import formats
from service.upstream.answers import UpstreamFailure, order_problem
from service.upstream.bodies import LONG_DOCUMENT, read_body
from service.upstream.breaker import Breaker, CircuitOpen, Operation
from service.upstream.download import Body, Download
from service.upstream.json_stream import InvalidDocument
from service.upstream.models import Order, OrdersPage, Rendition
from service.upstream.order_document import read_order, read_orders
from service.upstream.retry import Deadline, Retries, RetryBudget, RetryPolicy
from service.upstream.transport import Transport
from service.upstream.uploads import Uploads

log = get_logger(__name__)

T = TypeVar("T")

_ORDER_SECONDS = 20.0
# The most that a page of the list of orders may have.
_PER_PAGE = 15
# All of them count as one subject of the circuits: that they fail must not keep enhanced images from being fetched.
_ORIGINALS = "originals"
# So many long documents are held at once: each may take three times its 16 MiB.
_LONG_AT_ONCE = 2


class UnknownOffset(Exception):
    """Autoenhance does not know this offset of its list of orders."""


class Autoenhance:
    """Calls to Autoenhance, and the rules by which they are repeated or refused."""

    def __init__(
        self,
        transport: Transport,
        metrics: Metrics,
        *,
        base: URL,
        breakers: Mapping[Circuit, Breaker],
        policy: RetryPolicy,
        image_seconds: float,
    ) -> None:
        self._transport = transport
        self._metrics = metrics
        self._base = base
        self._breakers = breakers
        self._policy = policy
        self._budget = RetryBudget()
        self._long_documents = asyncio.Semaphore(_LONG_AT_ONCE)
        self._image_seconds = image_seconds
        self.uploads = Uploads(
            transport,
            base=base,
            breakers=breakers,
            retries=partial(self.retries, counts_429=True),
            seconds=image_seconds,
        )
        """Makes orders and fills them; shares the circuits and the retry budget."""

    async def order(self, order_id: str) -> Order:
        """Fetch an order's document, past every cache; one that was deleted says so.

        Raises `OrderNotFound`, `UpstreamUnauthorized`, `UpstreamError`, `UpstreamBusy`, `UpstreamTimeout` or
        `BreakerOpen`.
        """
        url = URL(f"{self._base}/orders/{quote(order_id, safe='')}", encoded=True)
        with span("order", {"order.id": order_id}):
            try:
                return await self._document(Call.ORDER, url, self._parse_order, subject=order_id)
            except UpstreamFailure as failure:
                problem = order_problem(failure, order_id)
                # An id that Autoenhance does not know is its caller's mistake.
                level = logging.INFO if isinstance(problem, OrderNotFound) else logging.WARNING
                log.log(level, "order call failed", order_id=order_id, code=problem.code, detail=failure.detail)
                raise problem from failure

    async def orders(self, search: str = "", offset: str | None = None) -> OrdersPage:
        """A page of the account's orders, newest first, at most 15; those whose name contains `search`.

        `offset` is the `next_offset` of the page before. Raises `UnknownOffset`, and what `order` raises.
        """
        query = {"per_page": str(_PER_PAGE), "sort": "-date"}
        query |= ({"q": search} if search else {}) | ({"offset": offset} if offset is not None else {})
        url = URL(f"{self._base}/orders/").with_query(query)
        try:
            with span("orders"):
                return await self._document(Call.LIST_ORDERS, url, read_orders)
        except UpstreamFailure as failure:
            if failure.reason is Reason.REJECTED and offset is not None:
                raise UnknownOffset from failure
            log.warning("list of orders failed", reason=failure.reason, detail=failure.detail)
            is_none = failure.reason in (Reason.IMAGE_NOT_FOUND, Reason.EXPIRED)  # an API without such a list
            raise (UpstreamError() if is_none else order_problem(failure)) from failure

    async def _document(
        self,
        call: Call,
        url: URL,
        parse: Callable[[bytearray], T],
        *,
        subject: str | None = None,
    ) -> T:
        """What `parse` makes of what the API says at `url`. Raises `UpstreamFailure`, or `BreakerOpen`."""
        deadline = Deadline.after(min(_ORDER_SECONDS, self._image_seconds))
        retries = self.retries(deadline)

        async def admit(circuit: Circuit) -> None:
            operation.admit(circuit)

        async def once() -> T:
            response: ClientResponse | None = None
            try:
                with span("attempt", {"attempt": retries.attempt}):
                    async with self._transport.get(
                        call,
                        url,
                        timeout=asyncio.timeout(deadline.left),
                        admit=admit,
                        is_fresh=retries.attempt > 1,
                        is_document=True,
                    ) as response:
                        return await self._read(response, parse)
            except UpstreamFailure as failure:
                failure.has_begun = response is not None and response.content.total_bytes > 0
                raise

        try:
            with Operation(self._breakers, subject=subject) as operation:
                while True:
                    try:
                        return await once()
                    except UpstreamFailure as failure:
                        await retries.pause(failure)
        except CircuitOpen as error:
            raise BreakerOpen(retry_after=error.retry_after) from error

    def image(self, image_id: str, rendition: Rendition, body: Body) -> Download:
        """The download of one image into `body`, to be run in attempts.

        Raises `UpstreamFailure` for an id that cannot be part of a URL, `CircuitOpen` while calls are paused.
        """
        for breaker in self._breakers.values():  # a pause of the assets is no time to buy either
            breaker.check(may_wait=True)
        return Download(
            self._transport,
            self._image_url(image_id, rendition),
            body,
            operation=Operation(self._breakers, subject=_ORIGINALS if rendition.is_original else image_id),
            dev_mode=rendition.dev_mode,
            recognise=formats.original_extension if rendition.is_original else formats.extension,
            seconds=self._image_seconds,
        )

    def retries(
        self, deadline: Deadline, only: frozenset[Reason] = frozenset(Reason), *, counts_429: bool = False
    ) -> Retries:
        """The attempts of an operation, within all traffic's retry budget; none while the circuit is open.

        `only` failures for these reasons are worth another.
        """

        def may_retry(failure: UpstreamFailure) -> bool:
            if failure.reason not in only or self._breakers[failure.circuit].is_open:
                return False
            if not failure.is_throttled and not self._budget.spend():
                return False
            self._metrics.upstream_retries.labels(failure.reason).inc()
            return True

        return Retries(
            self._policy,
            deadline,
            may_retry=may_retry,
            count_call=self._budget.count_call,
            counts_429=counts_429,
        )

    def _parse_order(self, body: bytearray) -> Order:
        """The order, without our key: its reasons are shown to callers, and Autoenhance may quote what it was sent."""
        order = read_order(body)
        if not any(image.status_reason for image in order.images):
            return order
        masked = self._transport.masked
        images = tuple(
            replace(image, status_reason=masked(image.status_reason)) if image.status_reason else image
            for image in order.images
        )
        return replace(order, images=images)

    async def _read(self, response: ClientResponse, parse: Callable[[bytearray], T]) -> T:
        """What `parse` makes of a document; of long documents so many are held at once. Raises `UpstreamFailure`."""
        async with AsyncExitStack() as turn:
            body = await read_body(response, lambda: turn.enter_async_context(self._long_documents))

            def read() -> T:
                try:
                    return parse(body)
                finally:
                    with suppress(BufferError):
                        body.clear()  # whoever keeps an error with its traceback does not keep it

            try:
                return await compute(read, is_short=len(body) <= LONG_DOCUMENT)
            except InvalidDocument as error:
                raise UpstreamFailure(Reason.UPSTREAM_ERROR, f"no order document: {error}") from error

    def _image_url(self, image_id: str, rendition: Rendition) -> URL:
        try:
            # A lone dot or two would be read as a step in the path, whatever its encoding.
            segment = quote(image_id, safe="") if image_id.strip(".") else "-"
        except UnicodeEncodeError as error:
            raise UpstreamFailure(Reason.REJECTED, "an id that cannot be part of a URL") from error
        query = "&".join(f"{name}={value}" for name, value in rendition.query().items())
        route = "original" if rendition.is_original else "enhanced"
        return URL(f"{self._base}/images/{segment}/{route}?{query}", encoded=True)
