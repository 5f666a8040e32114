"""Who fetches an image, where several instances could: in all of them together it is one at a time."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Lease:
    """The turn to fetch an image."""

    is_only_one: bool = True
    """False when another instance may be fetching it, or has fetched and not shared it: that cannot be told."""
    shared_in: str | None = None
    """The order as one of which the image was shared of late; "": none; None: that cannot be told."""
    give_back: Callable[[str], None] = lambda _: None

    def release(self, shared_in: str = "") -> None:
        """Let another one have its turn, soon: with the image, if it is shared as one of an order by now.

        What was taken after this lease stays taken.
        """
        self.give_back(shared_in or self.shared_in or "")


class ImageLeases(Protocol):
    """Leases by image key."""

    async def acquire(self, key: str, *, buys: bool) -> Lease:
        """Wait until this instance is the one to fetch the image; who had it before has shared it, or failed.

        Where a fetch `buys`, one that cannot be told of is waited for longer, and then `TimeoutError` raised.
        """


class NoLeases:
    """`ImageLeases` of one machine: its fetches are one per image anyway."""

    async def acquire(self, key: str, *, buys: bool) -> Lease:
        """As `ImageLeases`."""
        return Lease()
