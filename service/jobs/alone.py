"""Steps side by side, except for those that must be alone."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """Who is here: many together, or one alone. Who must be alone waits for the others to leave, and they for it."""

    def __init__(self) -> None:
        self._changed = asyncio.Condition()
        self._here = 0
        self._is_alone = False
        self._waiting = 0

    @asynccontextmanager
    async def turn(self, *, alone: bool) -> AsyncIterator[None]:
        """Be here for the length of the block."""
        async with self._changed:
            if alone:
                self._waiting += 1
                try:
                    await self._changed.wait_for(lambda: not self._here)
                finally:
                    self._waiting -= 1
                    self._changed.notify_all()
            else:
                await self._changed.wait_for(lambda: not self._is_alone and not self._waiting)
            self._here += 1
            self._is_alone = alone
        try:
            yield
        finally:
            async with self._changed:
                self._here -= 1
                self._is_alone = False
                self._changed.notify_all()
