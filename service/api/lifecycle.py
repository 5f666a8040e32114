"""The lifecycle of the instance: starting, serving, draining."""

import asyncio
from dataclasses import dataclass, field


@dataclass
class Lifecycle:
    """Whether the instance takes traffic."""

    is_ready: bool = False
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the instance is told to stop."""

    def stop(self) -> None:
        """It wants no more traffic."""
        self.is_ready = False
        self.stopping.set()
