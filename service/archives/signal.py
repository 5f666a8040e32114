"""Telling waiting tasks that something changed."""

import asyncio
from contextlib import suppress
from weakref import WeakValueDictionary


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


class Signals:
    """A signal per key, there for as long as somebody holds it."""

    def __init__(self) -> None:
        self._signals: WeakValueDictionary[str, Signal] = WeakValueDictionary()

    def of(self, key: str) -> Signal:
        """The signal that `fire` of this key fires. Hold on to it."""
        return self._signals.setdefault(key, Signal())

    def fire(self, key: str) -> None:
        """Wake all who wait for this key now."""
        if (signal := self._signals.get(key)) is not None:
            signal.fire()


async def within(seconds: float | None, event: asyncio.Event) -> None:
    """Wait for an event, but no longer than so many seconds."""
    with suppress(TimeoutError):
        async with asyncio.timeout(None if seconds is None else max(0.0, seconds)):
            await event.wait()
