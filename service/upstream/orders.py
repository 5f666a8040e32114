"""Order documents, kept for seconds, so that a burst of requests for one order is one call upstream."""

import asyncio
import time
from collections import OrderedDict

from service.upstream.client import Autoenhance
from service.upstream.models import Order

# An order in progress may be finished at any moment; this only absorbs a burst.
_UNSETTLED_SECONDS = 1.0
_MOST_KEPT = 1024


class Orders:
    """Fetches order documents; raises what `Autoenhance.order` raises."""

    def __init__(self, upstream: Autoenhance, freshness: float) -> None:
        self._upstream = upstream
        self._freshness = freshness
        self._kept: OrderedDict[str, tuple[float, Order]] = OrderedDict()
        self._running: dict[str, asyncio.Task[Order]] = {}

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
        task = self._running.get(order_id)
        if task is None:
            task = asyncio.create_task(self._fetch(order_id), name=f"order {order_id}")
            self._running[order_id] = task
            task.add_done_callback(lambda ended: self._ended(order_id, ended))
        return await asyncio.shield(task)

    async def _fetch(self, order_id: str) -> Order:
        order = await self._upstream.order(order_id)
        self._kept[order_id] = (time.monotonic(), order)
        self._kept.move_to_end(order_id)
        if len(self._kept) > _MOST_KEPT:
            self._kept.popitem(last=False)
        return order

    def _ended(self, order_id: str, task: asyncio.Task[Order]) -> None:
        del self._running[order_id]
        if not task.cancelled():
            task.exception()  # seen, so that a failure nobody waited for is not reported as forgotten

    async def close(self) -> None:
        """Cancel what is under way and wait for it."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
