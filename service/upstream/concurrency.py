"""How many image downloads run at once, over all orders, and whose turn it is."""

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self, TypeAlias

from service.telemetry.metrics import Metrics
from service.upstream.adaptive_limit import AdaptiveLimit

# Downloads that outlast their time but keep arriving give their slot back; so many may.
_OVERTIME = 5
# Of the slots, so many may hold what comes behind all other downloads.
_BEHIND = 2


Party: TypeAlias = tuple[str, str]
"""Whose turn a download may take: a caller, and one of its builds."""


class NotWanted(Exception):
    """When the turn came, nobody wanted the download any more."""


@dataclass(eq=False, slots=True)
class _Queue:
    """Those of one party that wait, and how many slots the party has."""

    party: Party
    in_use: int = 0
    waiting: deque["Slot"] = field(default_factory=deque)


class _Line:
    """The downloads that wait for a slot or hold one, by caller and by build of that caller."""

    def __init__(self) -> None:
        self.in_use = 0
        self._callers: OrderedDict[str, OrderedDict[str, _Queue]] = OrderedDict()

    def queue(self, party: Party) -> _Queue:
        caller, build = party
        return self._callers.setdefault(caller, OrderedDict()).setdefault(build, _Queue(party))

    def occupy(self, slot: "Slot", party: Party) -> None:
        """The slot is granted: this caller and its build have had their turn."""
        caller, build = slot.turn_of = party
        self.queue(party).in_use += 1
        self.in_use += 1
        self._callers.move_to_end(caller)
        self._callers[caller].move_to_end(build)
        self.forget(slot)

    def release(self, slot: "Slot") -> None:
        self.queue(slot.turn_of).in_use -= 1
        self.in_use -= 1
        self._tidy(slot.turn_of)

    def forget(self, slot: "Slot") -> bool:
        """The download does not wait any more; whether it did."""
        has_waited = False
        for party in slot.parties:
            waiting = self.queue(party).waiting
            if slot in waiting:
                waiting.remove(slot)
                has_waited = True
            self._tidy(party)
        return has_waited

    def next(self) -> _Queue | None:
        """The queue of the build whose turn it is."""
        if len(self._callers) == 1:
            builds = next(iter(self._callers.values()))
        else:
            waiting = [
                (sum(queue.in_use for queue in builds.values()), builds)
                for builds in self._callers.values()
                if any(queue.waiting for queue in builds.values())
            ]
            if not waiting:
                return None
            builds = min(waiting, key=lambda caller: caller[0])[1]
        queues = [queue for queue in builds.values() if queue.waiting]
        return min(queues, key=lambda queue: queue.in_use) if queues else None

    def _tidy(self, party: Party) -> None:
        """Forget a party that neither holds a slot nor waits for one."""
        caller, build = party
        builds = self._callers[caller]
        queue = builds[build]
        if not queue.in_use and not queue.waiting:
            del builds[build]
        if not builds:
            del self._callers[caller]


class DownloadSlots:
    """At most `limit` downloads at once, fewer while upstream cannot keep up.

    A free slot goes to the caller who holds the fewest, and of that caller to the build that holds the fewest; among
    equals to who has waited longest since its last turn. So one caller's many builds keep nobody else waiting for more
    than one image; what several want takes the turn of whoever has it first. What comes `behind` all that holds at most
    two slots, and leaves one free.
    """

    def __init__(self, limit: int, metrics: Metrics, adaptive: AdaptiveLimit | None = None) -> None:
        self.limit = limit
        self._adaptive = adaptive or AdaptiveLimit(limit)
        self._line, self._behind = _Line(), _Line()
        self._overtime = 0
        self._next_admission: asyncio.Handle | None = None
        self._metrics = metrics
        self._shown: tuple[int, float] | None = None
        self._show()

    def slot(
        self,
        caller: str,
        build: str,
        is_wanted: Callable[[], bool] = lambda: True,
        *,
        ahead: bool = False,
        behind: bool = False,
    ) -> "Slot":
        """A slot, to be taken by `async with`; entering raises `NotWanted` if it is not wanted when its turn comes.

        `ahead`: before the others of its build, for a download that has begun. `behind`: after all that are not.
        """
        return Slot(self, self._behind if behind else self._line, caller, build, is_wanted, ahead=ahead)

    @property
    def _in_use(self) -> int:
        return self._line.in_use + self._behind.in_use

    def succeeded(self) -> None:
        self._adaptive.succeeded()
        self._show()
        self._look_soon()

    def refused(self, image_id: str, *, throttled: bool) -> None:
        """Upstream answered 429 (`throttled`) or 503, or not in time."""
        self._adaptive.refused(image_id, throttled=throttled)
        self._show()

    async def _take(self, slot: "Slot") -> None:
        slot.granted = granted = asyncio.get_running_loop().create_future()
        for party in slot.parties:
            waiting = slot.line.queue(party).waiting
            waiting.appendleft(slot) if slot.ahead else waiting.append(slot)
        self._look_soon()
        try:
            await granted
        except BaseException:
            if granted.done() and not granted.cancelled() and granted.exception() is None:
                self._give_back(slot)  # it was granted just now
            else:
                slot.line.forget(slot)
            raise

    def _bring_forward(self, slot: "Slot") -> None:
        """What waits behind all others queues with them."""
        if slot.line is self._behind and self._behind.forget(slot):
            slot.line = self._line
            for party in slot.parties:
                self._line.queue(party).waiting.append(slot)
            self._look_soon()

    def _give_back(self, slot: "Slot") -> None:
        slot.line.release(slot)
        self._metrics.downloads_in_flight.set(self._in_use + self._overtime)
        self._look_soon()

    def _begin_overtime(self, slot: "Slot") -> bool:
        if self._overtime >= _OVERTIME:
            return False
        self._overtime += 1
        self._give_back(slot)
        return True

    def _end_overtime(self) -> None:
        self._overtime -= 1
        self._metrics.downloads_in_flight.set(self._in_use + self._overtime)

    def _look_soon(self) -> None:
        """Look whose turn it is once everybody who is awake now has queued: nobody takes several turns at once."""
        if self._next_admission is None:
            self._next_admission = asyncio.get_running_loop().call_soon(self._admit)

    def _admit(self) -> None:
        """Let those in whose turn it is; come back by itself when only the learned rate is in the way."""
        self._next_admission = None
        while self._in_use < self._adaptive.cap and (queue := self._next_queue()) is not None:
            slot = queue.waiting[0]
            granted = slot.granted
            if granted is None or granted.done():
                queue.waiting.popleft()
                continue
            if not slot.is_wanted():
                slot.line.forget(slot)
                granted.set_exception(NotWanted())
                continue
            delay = self._adaptive.delay()
            if delay > 0:
                self._next_admission = asyncio.get_running_loop().call_later(delay, self._admit)
                return
            slot.line.occupy(slot, queue.party)
            granted.set_result(None)
            self._adaptive.started()
        self._metrics.downloads_in_flight.set(self._in_use + self._overtime)

    def _next_queue(self) -> _Queue | None:
        """The queue of the build whose turn it is; what is behind has none while it could keep another waiting."""
        queue = self._line.next()
        if (
            queue is None
            and self._behind.in_use < _BEHIND
            and (not self._in_use or self._in_use + 1 < self._adaptive.cap)
        ):
            queue = self._behind.next()
        return queue

    def _show(self) -> None:
        """Export what was learned, if it changed."""
        learned = self._adaptive.cap, self._adaptive.rate or 0
        if learned != self._shown:
            self._shown = learned
            self._metrics.concurrency_limit.set(learned[0])
            self._metrics.download_rate_limit.set(learned[1])


class Slot:
    """One download's slot, occupied within `async with`."""

    def __init__(
        self, slots: DownloadSlots, line: _Line, caller: str, build: str, is_wanted: Callable[[], bool], *, ahead: bool
    ) -> None:
        self.line = line
        self.parties: dict[Party, None] = {(caller, build): None}
        """Who wants it, in sequence, each once: it takes the turn of whoever has one first."""
        self.turn_of: Party = caller, build
        """Whose turn it took."""
        self.is_wanted = is_wanted
        self.ahead = ahead
        self.granted: asyncio.Future[None] | None = None
        self.waited = 0.0
        """Seconds in the queue."""
        self._slots = slots
        self._has_slot = self._is_overtime = False

    def begin_overtime(self) -> bool:
        """Give the slot to the next download and go on without one; False when too many do so already."""
        self._is_overtime = self._slots._begin_overtime(self)
        self._has_slot = not self._is_overtime
        return self._is_overtime

    def add_party(self, caller: str, build: str) -> None:
        """Wait for a turn of this caller's build too, if it still waits: it wants the same."""
        if (caller, build) not in self.parties:
            self.parties[caller, build] = None
            if self.granted is not None and not self.granted.done():
                self.line.queue((caller, build)).waiting.append(self)
                self._slots._look_soon()

    def bring_forward(self) -> None:
        """Wait no longer behind all others: somebody wants it who is not to be kept waiting."""
        self._slots._bring_forward(self)

    async def __aenter__(self) -> Self:
        started = time.monotonic()
        await self._slots._take(self)
        self._has_slot = True
        self.waited = time.monotonic() - started
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._has_slot:
            self._has_slot = False
            self._slots._give_back(self)
        elif self._is_overtime:
            self._is_overtime = False
            self._slots._end_overtime()
