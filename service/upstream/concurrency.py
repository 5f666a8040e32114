"""How many image downloads run at once, over all orders, and who is next."""

import asyncio
from collections import deque
from types import TracebackType

from service.telemetry.metrics import Metrics
from service.upstream.pace import Pace


class DownloadSlots:
    """At most `limit` downloads at once, fewer while upstream cannot keep up; first come, first served.

    A build asks for its next slot only when it has got the last one, so serving in sequence is serving the builds
    in turn: a small order waits for one image of a large one, not for all of them.
    """

    def __init__(self, limit: int, metrics: Metrics, pace: Pace | None = None) -> None:
        self._pace = pace or Pace(limit)
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._held = 0
        self._next_look: asyncio.Handle | None = None
        self._metrics = metrics
        self._show()

    def unheld(self) -> "Slot":
        """A slot that has to be taken yet."""
        return Slot(self)

    async def acquire(self) -> "Slot":
        """Wait for a free slot and hold it."""
        slot = self.unheld()
        await slot.take()
        return slot

    def succeeded(self) -> None:
        """A download went well."""
        self._pace.succeeded()
        self._show()
        self._look_soon()

    def refused(self, image_id: str, *, throttled: bool) -> None:
        """Upstream answered 429 (`throttled`) or 503, or not in time."""
        self._pace.refused(image_id, throttled=throttled)
        self._show()

    async def _take(self) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._look_soon()
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # it was our turn just now
                self._give_back()
            raise

    def _give_back(self) -> None:
        self._held -= 1
        self._metrics.downloads_in_flight.set(self._held)
        self._look_soon()

    def _look_soon(self) -> None:
        """Look for whose turn it is, once all who are awake now stand in line: nobody takes several places at once."""
        if self._next_look is None:
            self._next_look = asyncio.get_running_loop().call_soon(self._admit)

    def _admit(self) -> None:
        """Let those in whose turn it is; come back by itself when only the pace is in the way."""
        self._next_look = None
        while self._waiting and self._held < self._pace.cap:
            if self._waiting[0].cancelled():
                del self._waiting[0]
                continue
            delay = self._pace.delay()
            if delay > 0:
                self._next_look = asyncio.get_running_loop().call_later(delay, self._admit)
                return
            self._waiting.popleft().set_result(None)
            self._held += 1
            self._pace.started()
            self._metrics.downloads_in_flight.set(self._held)

    def _show(self) -> None:
        self._metrics.concurrency_limit.set(self._pace.cap)
        self._metrics.download_rate_limit.set(self._pace.rate or 0)


class Slot:
    """One download's place. Within `async with` it is held; a place given up is queued for again on entry."""

    def __init__(self, slots: DownloadSlots) -> None:
        self._slots = slots
        self._held = False

    async def take(self) -> None:
        """Wait until this place is held."""
        if not self._held:
            await self._slots._take()
            self._held = True

    def release(self) -> None:
        """Give the place to the next in line; harmless when it is not held."""
        if self._held:
            self._held = False
            self._slots._give_back()

    async def __aenter__(self) -> "Slot":
        await self.take()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
