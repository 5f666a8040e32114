"""Telling waiting tasks that something changed."""

import asyncio
from contextlib import suppress


class Signal:
    """Wakes everybody who waits, once per `fire`. Look at the state, then wait, without awaiting between the two."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def fire(self) -> None:
        """Wake all who wait now."""
        event, self._event = self._event, asyncio.Event()
        event.set()

    async def wait(self) -> None:
        """Wait for the next `fire`."""
        await self._event.wait()

    async def wait_for(self, seconds: float) -> None:
        """Wait for the next `fire`, but no longer than so many seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._event.wait()
