"""How many image downloads run at once, over all orders, and who is next."""

import asyncio
from types import TracebackType

from service.telemetry.metrics import Metrics


class DownloadSlots:
    """At most `limit` downloads at once, first come, first served.

    A build asks for its next slot only when it has got the last one, so serving in sequence is serving the builds
    in turn: a small order waits for one image of a large one, not for all of them.
    """

    def __init__(self, limit: int, metrics: Metrics) -> None:
        self._semaphore = asyncio.Semaphore(limit)
        self._in_flight = metrics.downloads_in_flight
        metrics.concurrency_limit.set(limit)

    async def acquire(self) -> "Slot":
        """Wait for a free slot and hold it."""
        slot = Slot(self)
        await slot.take()
        return slot


class Slot:
    """One download's place. Within `async with` it is held; a place given up is queued for again on entry."""

    def __init__(self, slots: DownloadSlots) -> None:
        self._slots = slots
        self._held = False

    async def take(self) -> None:
        """Wait until this place is held."""
        if not self._held:
            await self._slots._semaphore.acquire()
            self._held = True
            self._slots._in_flight.inc()

    def release(self) -> None:
        """Give the place to the next in line; harmless when it is not held."""
        if self._held:
            self._held = False
            self._slots._in_flight.dec()
            self._slots._semaphore.release()

    async def __aenter__(self) -> "Slot":
        await self.take()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
