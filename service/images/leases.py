"""Who fetches an image, where several instances could: in all of them together it is one at a time."""

from typing import Protocol


class ImageLeases(Protocol):
    """Leases by image key."""

    async def acquire(self, key: str, *, buys: bool) -> bool:
        """Wait until this instance is the one to fetch the image; who had it before has shared it, or failed.

        False when another one may be fetching it, or has fetched and not shared it: that cannot be told. Where a fetch
        `buys`, it is waited for longer, and then `TimeoutError` raised.
        """

    def release(self, key: str) -> None:
        """Let another one have its turn, soon; nothing happens for a lease that is not ours."""


class NoLeases:
    """`ImageLeases` of one machine: its fetches are one per image anyway."""

    async def acquire(self, key: str, *, buys: bool) -> bool:
        """As `ImageLeases`."""
        return True

    def release(self, key: str) -> None:
        """As `ImageLeases`."""
