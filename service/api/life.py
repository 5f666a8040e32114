"""Where the instance stands in its life: starting, serving, draining."""

import asyncio
from dataclasses import dataclass, field


@dataclass
class Life:
    """Whether the instance wants traffic."""

    is_ready: bool = False
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the instance is told to stop."""
