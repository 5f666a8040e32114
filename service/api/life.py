"""Where the instance stands in its life: starting, serving, draining."""

from dataclasses import dataclass


@dataclass
class Life:
    """Whether the instance wants traffic."""

    is_ready: bool = False
