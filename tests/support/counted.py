"""An event that knows how many wait for it."""

import asyncio
from typing import Literal


class CountedEvent(asyncio.Event):
    """So that a test can tell who was left waiting."""

    waiting = 0

    async def wait(self) -> Literal[True]:
        self.waiting += 1
        try:
            return await super().wait()
        finally:
            self.waiting -= 1
