"""Who wants an archive to go on, and how far ahead of them it may run."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

from service.archives.signal import Signal


class Abandoned(Exception):
    """Nobody wants the archive any more, and nobody came back in time."""


class Reader:
    """One party's interest: in the bytes around `position`, or in the end."""

    def __init__(self, demand: "Demand", position: int, *, to_the_end: bool) -> None:
        self._demand = demand
        self.position = position
        self.to_the_end = to_the_end

    def advance(self, position: int) -> None:
        """The reader has taken all bytes before `position`."""
        self.position = position
        self._demand.changed.fire()


class Demand:
    """The readers of one archive. A build begins new downloads only while `is_open`."""

    def __init__(self, window: int, grace: float) -> None:
        self._window = window
        self._grace = grace
        self._readers: set[Reader] = set()
        self._left_at = time.monotonic()
        self.changed = Signal()

    @property
    def readers(self) -> int:
        """How many parties are interested."""
        return len(self._readers)

    @contextmanager
    def reading(self, position: int = 0, *, to_the_end: bool = False) -> Iterator[Reader]:
        """Be interested for the length of the block."""
        reader = self._enter(position, to_the_end=to_the_end)
        try:
            yield reader
        finally:
            self._leave(reader)

    def linger(self) -> None:
        """Keep the archive going to its end as long as a reader who was sent away may take to return."""
        reader = self._enter(0, to_the_end=True)
        asyncio.get_running_loop().call_later(self._grace, self._leave, reader)

    def is_open(self, built: int) -> bool:
        """Whether somebody wants bytes beyond the `built` ones."""
        return any(reader.to_the_end or built - reader.position < self._window for reader in self._readers)

    async def wanted(self, built: int) -> None:
        """Wait until somebody wants more than `built` bytes. Raises `Abandoned` when all left and none came back."""
        while not self.is_open(built):
            patience = None if self._readers else self._left_at + self._grace - time.monotonic()
            try:
                async with asyncio.timeout(patience):
                    await self.changed.wait()
            except TimeoutError:
                if not self._readers:
                    raise Abandoned from None

    def _enter(self, position: int, *, to_the_end: bool) -> Reader:
        reader = Reader(self, position, to_the_end=to_the_end)
        self._readers.add(reader)
        self.changed.fire()
        return reader

    def _leave(self, reader: Reader) -> None:
        self._readers.discard(reader)
        self._left_at = time.monotonic()
        self.changed.fire()
