"""Order documents, kept for seconds, so that a burst of requests for one order is one call upstream."""

import time
from collections import OrderedDict
from collections.abc import Callable

from service.single_flight import SingleFlight
from service.upstream.client import Autoenhance
from service.upstream.models import Order

# An order in progress may be finished at any moment; this only absorbs a burst.
_UNSETTLED_SECONDS = 1.0
_MOST_KEPT = 1024


class Orders:
    """Fetches order documents; raises what `Autoenhance.order` raises. `on_answer` hears of each that has come."""

    def __init__(self, upstream: Autoenhance, freshness: float, on_answer: Callable[[str], None] | None = None) -> None:
        self._upstream = upstream
        self._freshness = freshness
        self._kept: OrderedDict[str, tuple[float, Order]] = OrderedDict()
        self._calls: SingleFlight[Order] = SingleFlight()
        self._on_answer = on_answer

    async def get(self, order_id: str) -> Order:
        """The order's document, not older than the freshness allows."""
        kept = self._kept.get(order_id)
        if kept is not None:
            fetched, order = kept
            age = time.monotonic() - fetched
            if age < (self._freshness if order.is_settled else min(self._freshness, _UNSETTLED_SECONDS)):
                return order
        return await self.refresh(order_id)

    async def refresh(self, order_id: str) -> Order:
        """The order's document past the cache; callers at the same time share one call."""
        return await self._calls.join(order_id, lambda: self._fetch(order_id), "order")

    async def close(self) -> None:
        """Cancel what is under way and wait for it."""
        await self._calls.close()

    async def _fetch(self, order_id: str) -> Order:
        order = await self._upstream.order(order_id)
        if self._on_answer is not None:
            self._on_answer(order_id)
        self._kept[order_id] = (time.monotonic(), order)
        self._kept.move_to_end(order_id)
        if len(self._kept) > _MOST_KEPT:
            self._kept.popitem(last=False)
        return order
