"""What Autoenhance's webhook says of an order: whoever waits for the order looks, and a batch may begin."""

import asyncio
from collections.abc import Awaitable, Callable

from service.archives.archives import Archives
from service.archives.options import Options
from service.images.identity import digest
from service.jobs.jobs import Jobs
from service.orders.orders import Orders
from service.problems import Problem
from service.telemetry.logs import get_logger

log = get_logger(__name__)

# The order may say that it is done a little later than the webhook does.
_CONFIRM_SECONDS = (0.0, 2.0, 10.0)
# The sender wants an answer soon. Nearly always the batch is on record by then.
_ANSWER_SECONDS = 3.0


class WebhookEvents:
    """Hands on what the webhook brings. The same event twice does nothing more."""

    def __init__(
        self,
        jobs: Jobs,
        archives: Archives,
        orders: Orders,
        notify_others: Callable[[str], Awaitable[None]],
        *,
        auto_batch: bool,
    ) -> None:
        """`notify_others` lets other instances know that an order has changed."""
        self._jobs = jobs
        self._archives = archives
        self._orders = orders
        self._notify_others = notify_others
        self._auto_batch = auto_batch
        self._confirming: dict[str, asyncio.Task[None]] = {}

    async def received(self, order_id: str, *, done: bool) -> None:
        """An order has changed; `done`: nothing in it is being processed any more."""
        self._orders.notify(order_id)
        await self._notify_others(order_id)
        if done and self._auto_batch:
            await asyncio.wait([self._confirm(order_id)], timeout=_ANSWER_SECONDS)

    async def close(self) -> None:
        """Stop asking."""
        tasks = list(self._confirming.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _confirm(self, order_id: str) -> asyncio.Task[None]:
        task = self._confirming.get(order_id)
        if task is None:
            task = asyncio.create_task(self._batch_when_done(order_id), name=f"auto batch {order_id}")
            self._confirming[order_id] = task
            task.add_done_callback(lambda ended: self._confirmed(order_id, ended))
        return task

    def _confirmed(self, order_id: str, task: asyncio.Task[None]) -> None:
        del self._confirming[order_id]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("auto batch failed", order_id=order_id, exc_info=error)

    async def _batch_when_done(self, order_id: str) -> None:
        """Start a job with the default options if the order agrees that it is done; one per state of the order."""
        for delay in _CONFIRM_SECONDS:
            await asyncio.sleep(delay)
            try:
                order = await self._orders.refresh(order_id)
                if not order.is_final:
                    continue
                key = await self._archives.previews.preview(order_id, order, Options(), lambda plan, _: plan.key)
                await self._jobs.submit(order_id, Options(), key=digest("auto batch", key))
            except Problem as problem:
                log.warning("auto batch postponed", order_id=order_id, code=problem.code)
            else:
                return
        log.warning("auto batch skipped", order_id=order_id)
