"""Order documents: kept for seconds, so that a burst of requests is one call upstream, and waited for together."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from service.orders.schedule import PollSchedule
from service.problems import UPSTREAM_DOWN, OrderNotFound, Problem, RetryableProblem, UpstreamError
from service.signal import Signal, wait_at_most
from service.single_flight import SingleFlight
from service.telemetry.logs import get_logger
from service.upstream.client import Autoenhance
from service.upstream.models import Order

log = get_logger(__name__)

# An order in progress may be finished at any moment; this only absorbs a burst.
_CHANGING_SECONDS = 1.0
_SHORT_SECONDS = 2.0
# Images of one order are listed within seconds of each other; what a count says besides may never be listed.
_UNCHANGED_SECONDS = 30.0
_MAX_SHORT = 1000
# Of memory for all documents that are kept.
_MAX_BYTES = 16 << 20
# So many times in a row an order that is waited for has to be unknown: one poll may have met a lagging replica.
_MISSED_POLLS = 2


@dataclass(eq=False)
class _Polls:
    """The polls of an order that some wait for."""

    watches: int = 0
    count: int = 0
    outcome: Order | Problem | None = None
    """Of the last one."""
    not_before: float = 0.0
    """When the next one may be, as the last one was told (of `time.monotonic`)."""
    was_notified: bool = False
    """Something happened to the order that no poll has seen."""
    changed: Signal = field(default_factory=Signal)


class Orders:
    """Fetches order documents; raises what `Autoenhance.order` raises."""

    def __init__(self, upstream: Autoenhance, freshness: float) -> None:
        self._upstream = upstream
        self._freshness = freshness
        self._kept: OrderedDict[str, tuple[float, Order]] = OrderedDict()
        self._kept_bytes = 0
        self._calls: SingleFlight[Order] = SingleFlight()
        self._polls: dict[str, _Polls] = {}
        # Orders that list fewer images than they count, with both numbers.
        self._short: OrderedDict[str, tuple[int | None, int]] = OrderedDict()

    async def get(self, order_id: str, *, anew: bool = False) -> Order:
        """The order's document, not older than the freshness allows; `anew`: past the cache.

        Raises `OrderNotFound` also for a deleted one.
        """
        if not anew and (kept := self._fresh(order_id)) is not None:
            return _existing(order_id, kept)
        order = await self.refresh(order_id)
        return await self._poll_twice(order_id, order) if self._is_short(order_id, order) else order

    def is_kept(self, order_id: str) -> bool:
        """Whether `get` answers without asking Autoenhance."""
        return self._fresh(order_id) is not None

    async def refresh(self, order_id: str) -> Order:
        """The order's document past the cache; callers at the same time share one call. Raises as `get`."""
        return _existing(order_id, await self._poll(order_id))

    def _is_short(self, order_id: str, order: Order) -> bool:
        """Whether it lists fewer images than it counts, and was not known to."""
        return bool(order.unlisted) and not order.counts_others and self._short.get(order_id) != _counts(order)

    async def _poll_twice(self, order_id: str, order: Order) -> Order:
        """A listing may lag behind its count: what is still so a moment later is told to who does not wait."""
        await asyncio.sleep(_SHORT_SECONDS)
        order = await self.refresh(order_id)
        if order.unlisted:
            self._short[order_id] = _counts(order)
            if len(self._short) > _MAX_SHORT:
                self._short.popitem(last=False)
        return order

    @contextmanager
    def watch(self, order_id: str) -> Iterator["OrderWatch"]:
        """Wait for an order within the block: it misses neither a poll nor a `notify`."""
        polls = self._polls.setdefault(order_id, _Polls())
        polls.watches += 1
        try:
            yield OrderWatch(polls, lambda: self._poll(order_id), order_id)
        finally:
            polls.watches -= 1
            if not polls.watches:
                del self._polls[order_id]

    async def wait_until_listed(
        self, order_id: str, schedule: PollSchedule, wanted: Collection[str] = frozenset()
    ) -> Order:
        """The order as soon as all of its images are listed, or those that are `wanted`; at the latest as it is when
        the schedule ends.

        While images are processed, a list that stays the same for long is taken for all of it, whatever its count is.
        Raises `OrderNotFound` once the order is unknown twice in a row; at the end, with no image listed, what `get`
        raises.
        """
        with self.watch(order_id) as watch:
            order = await self.get(order_id)
            changed = time.monotonic()
            while order.may_grow and not (schedule.is_over or _lists(order, wanted)):
                if order.images and not order.is_merging and time.monotonic() - changed > _UNCHANGED_SECONDS:
                    break
                before = order
                try:
                    order = await watch.next_poll(schedule)
                except UPSTREAM_DOWN:
                    if schedule.is_over and not order.images:
                        raise
                if _counts(order) != _counts(before):
                    changed = time.monotonic()
        return order

    def notify(self, order_id: str) -> None:
        """Something happened to the order: whoever waits for it polls at once."""
        if (polls := self._polls.get(order_id)) is not None:
            polls.was_notified = True
            polls.changed.fire()

    async def close(self) -> None:
        await self._calls.close()

    async def _poll(self, order_id: str) -> Order:
        return await self._calls.join(order_id, lambda: self._fetch(order_id), "order")

    async def _fetch(self, order_id: str) -> Order:
        if (polls := self._polls.get(order_id)) is not None:
            polls.was_notified = False  # a call that was under way when it came may have been answered before it
        try:
            order = await self._upstream.order(order_id)
        except Problem as problem:
            self._tell(order_id, problem)
            raise
        self._keep(order_id, order)
        self._tell(order_id, order)
        return order

    def _tell(self, order_id: str, outcome: Order | Problem) -> None:
        """Hand the outcome of a poll to all who wait for one."""
        if (polls := self._polls.get(order_id)) is not None:
            polls.count += 1
            polls.outcome = outcome
            wait = outcome.retry_after if isinstance(outcome, RetryableProblem) else 0.0
            polls.not_before = time.monotonic() + wait
            polls.changed.fire()

    def _keep(self, order_id: str, order: Order) -> None:
        self._drop(order_id)
        self._kept[order_id] = (time.monotonic(), order)
        self._kept_bytes += order.memory_bytes
        while self._kept_bytes > _MAX_BYTES and len(self._kept) > 1:
            self._drop(next(iter(self._kept)))

    def _fresh(self, order_id: str) -> Order | None:
        kept = self._kept.get(order_id)
        if kept is None:
            return None
        fetched, order = kept
        freshness = self._freshness if order.is_final else min(self._freshness, _CHANGING_SECONDS)
        return order if time.monotonic() - fetched < freshness else None

    def _drop(self, order_id: str) -> None:
        kept = self._kept.pop(order_id, None)
        if kept is not None:
            self._kept_bytes -= kept[1].memory_bytes


class OrderWatch:
    """One party that waits for an order."""

    def __init__(self, polls: _Polls, poll: Callable[[], Awaitable[Order]], order_id: str) -> None:
        self._polls = polls
        self._poll = poll
        self._order_id = order_id
        self._seen = polls.count
        self._missed = 0

    async def next_poll(self, schedule: PollSchedule) -> Order:
        """The order at the next poll, whoever takes it: when `schedule` says so, or at once after a `notify`.

        However many wait, one of them polls. Raises what a poll raises: `OrderNotFound` for a deleted order, and for
        one that is unknown twice in a row; `UpstreamError` at the first time.
        """
        polls = self._polls
        if polls.count == self._seen and not polls.was_notified:
            least = max(0.0, polls.not_before - time.monotonic())
            await wait_at_most(polls.changed.next(), schedule.pause(least))
        if polls.count == self._seen:
            with suppress(Problem):
                await self._poll()
        self._seen = polls.count
        return self._read(polls.outcome)

    async def next_answer(self) -> None:
        """Wait for the next poll that Autoenhance answers, whoever takes it and whenever."""
        seen = self._polls.count
        while self._polls.count == seen or isinstance(self._polls.outcome, Problem):
            seen = self._polls.count
            await self._polls.changed.wait()

    def _read(self, outcome: Order | Problem | None) -> Order:
        self._missed = self._missed + 1 if isinstance(outcome, OrderNotFound) else 0
        if isinstance(outcome, Problem):
            log.warning("order could not be polled", order_id=self._order_id, code=outcome.code)
            raise UpstreamError() if 0 < self._missed < _MISSED_POLLS else outcome
        assert outcome is not None  # noqa: S101  # a poll has been taken
        return _existing(self._order_id, outcome)


def _counts(order: Order) -> tuple[int | None, int]:
    return order.total_images, order.image_count


def _lists(order: Order, wanted: Collection[str]) -> bool:
    """Whether there is all that is wanted; not if that is everything."""
    return bool(wanted) and {image.image_id for image in order.images}.issuperset(wanted)


def _existing(order_id: str, order: Order) -> Order:
    if order.is_deleted:
        raise OrderNotFound(f"Order {order_id} was deleted.")
    return order
