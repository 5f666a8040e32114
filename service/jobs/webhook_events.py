"""What Autoenhance's webhook says of an order: whoever waits for the order looks, and a batch may begin."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from service.archives.archives import Archives
from service.archives.options import Options
from service.images.identity import digest
from service.jobs.jobs import Jobs
from service.orders.orders import Orders
from service.problems import Problem
from service.single_flight import SingleFlight
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
        self._batching: SingleFlight[None] = SingleFlight()
        self._done: set[str] = set()
        """Orders that are said to be done, since they were last looked at."""

    async def received(self, order_id: str, *, done: bool) -> None:
        """An order has changed; `done`: nothing in it is being processed any more."""
        self._orders.notify(order_id)
        await self._notify_others(order_id)
        if done and self._auto_batch:
            self._done.add(order_id)
            with suppress(TimeoutError):  # it goes on
                async with asyncio.timeout(_ANSWER_SECONDS):
                    await self._batching.join(order_id, lambda: self._batch_when_done(order_id), "auto batch")

    async def close(self) -> None:
        """Stop asking."""
        await self._batching.close()

    async def _batch_when_done(self, order_id: str) -> None:
        """Start a job with the default options if the order agrees that it is done; one per state of the order."""
        while order_id in self._done:
            await self._look(order_id)

    async def _look(self, order_id: str) -> None:
        for delay in _CONFIRM_SECONDS:
            await asyncio.sleep(delay)
            self._done.discard(order_id)
            try:
                order = await self._orders.refresh(order_id)
                if not order.is_final:
                    continue
                key = await self._archives.previews.preview(order_id, order, Options(), lambda plan, _: plan.key)
                await self._jobs.submit(order_id, Options(), key=digest("auto batch", key))
            except Problem as problem:
                log.warning("auto batch postponed", order_id=order_id, code=problem.code)
            except Exception:
                log.exception("auto batch failed", order_id=order_id)
                return
            else:
                return
        log.warning("auto batch skipped", order_id=order_id)
