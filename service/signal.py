"""Telling waiting tasks that something changed."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress


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
    """A signal per key, there for as long as somebody waits for it."""

    def __init__(self) -> None:
        self._signals: dict[str, Signal] = {}
        self._waiting: Counter[str] = Counter()

    @contextmanager
    def waiting(self, key: str) -> Iterator[Signal]:
        """Within the block, the signal that `fire` of this key fires."""
        self._waiting[key] += 1
        try:
            yield self._signals.setdefault(key, Signal())
        finally:
            self._waiting[key] -= 1
            if not self._waiting[key]:
                del self._waiting[key], self._signals[key]

    def fire(self, key: str) -> None:
        """Wake all who wait for this key now."""
        if (signal := self._signals.get(key)) is not None:
            signal.fire()

    def fire_all(self) -> None:
        """Wake all who wait, whatever for."""
        for signal in self._signals.values():
            signal.fire()


async def wait_at_most(event: asyncio.Event, seconds: float) -> None:
    """Wait until it is set, but no longer than so many seconds."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
