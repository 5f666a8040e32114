"""Who reads an archive, and how far ahead of them its build may run."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from service.signal import Signal


class Abandoned(Exception):
    """Nobody reads the archive any more, and nobody came back in time."""


class Reader:
    """One party's interest: in the bytes around `position`, or in the end."""

    def __init__(self, readers: "Readers", position: int, *, to_the_end: bool) -> None:
        self._readers = readers
        self.position = position
        self.to_the_end = to_the_end

    def advance(self, position: int) -> None:
        """The reader has taken all bytes before `position`."""
        self.position = position
        self._readers.moved()


class Readers:
    """The readers of one archive. A build starts downloads only while `want_more`.

    `window` is how many bytes a build may be ahead of its furthest reader, `grace` for how many seconds it waits for a
    reader who left.
    """

    def __init__(self, window: int, grace: float) -> None:
        self._window = window
        self._grace = grace
        self._readers: set[Reader] = set()
        self._left_at = time.monotonic()
        self._expected = 0
        self._changed = Signal()
        self._awaited = 0
        self.is_abandoned = False
        """The build has given up: it is too late to join it."""

    @property
    def count(self) -> int:
        return len(self._readers)

    @property
    def is_used(self) -> bool:
        """Whether somebody reads, or is about to: what he was promised is not to be removed."""
        return bool(self._readers or self._expected)

    @contextmanager
    def expected(self) -> Iterator[None]:
        """Within the block, and right after it, a reader may come: what was found must not go before it is read.

        Whoever is going to read must begin without awaiting anything in between.
        """
        self._expected += 1
        try:
            yield
        finally:
            asyncio.get_running_loop().call_soon(self._expect_one_less)

    def _expect_one_less(self) -> None:
        self._expected -= 1

    @contextmanager
    def reading(self, position: int = 0, *, to_the_end: bool = False) -> Iterator[Reader]:
        """Be interested for the length of the block."""
        reader = self._enter(position, to_the_end=to_the_end)
        try:
            yield reader
        finally:
            self._leave(reader)

    def keep_for_return(self, seconds: float) -> None:
        """Keep the archive going to its end as long as a reader who was sent away for `seconds` may take to return."""
        reader = self._enter(0, to_the_end=True)
        # He returns somewhat later than that, however short the grace is.
        asyncio.get_running_loop().call_later(max(self._grace, 2 * seconds), self._leave, reader)

    def want_more(self, built: int) -> bool:
        """Whether somebody wants bytes beyond the `built` ones."""
        return any(reader.to_the_end or built - reader.position < self._window for reader in self._readers)

    async def wait_for_demand(self, built: Callable[[], int]) -> None:
        """Wait until somebody wants more bytes than are `built`; call `moved` when these become fewer.

        Raises `Abandoned` when all left and none came back.
        """
        while not self.want_more(built()):
            left = None if self._readers else self._left_at + self._grace - time.monotonic()
            self._awaited += 1
            try:
                async with asyncio.timeout(left):
                    await self._changed.wait()
            except TimeoutError:
                if not self._readers:
                    self.is_abandoned = True
                    raise Abandoned from None
            finally:
                self._awaited -= 1

    def moved(self) -> None:
        """A reader has taken bytes, came or left: look again who wants more."""
        if self._awaited:
            self._changed.fire()

    def _enter(self, position: int, *, to_the_end: bool) -> Reader:
        reader = Reader(self, position, to_the_end=to_the_end)
        self._readers.add(reader)
        self.moved()
        return reader

    def _leave(self, reader: Reader) -> None:
        self._readers.discard(reader)
        self._left_at = time.monotonic()
        self.moved()
