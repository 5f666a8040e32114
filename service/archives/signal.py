"""Telling waiting tasks that something changed."""

import asyncio


class Signal:
    """Wakes everybody who waits, once per `fire`. Look at the state, then wait, without awaiting between the two."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def fire(self) -> None:
        """Wake all who wait now."""
        event, self._event = self._event, asyncio.Event()
        event.set()

    def next(self) -> asyncio.Event:
        """What the next `fire` will set. Taken before a look at the state, it misses nothing that happens meanwhile."""
        return self._event

    async def wait(self) -> None:
        """Wait for the next `fire`."""
        await self._event.wait()
