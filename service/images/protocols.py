"""What is left to others: who makes room in the store, where images are shared, and which instance fetches one."""

import sqlite3
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass
from typing import Protocol

from service.images.blobs import Blob
from service.images.requests import ImageRequest


class Evict(Protocol):
    """Chooses what the store deletes to make room."""

    def __call__(self, missing: int, *, limit: int, is_cache: bool) -> Callable[[sqlite3.Connection], list[str]]:
        """What gives, within a transaction, blobs of `missing` bytes or more; none if so many cannot be freed.

        `limit`: bytes that the store may take. `is_cache`: what is here is in a shared storage too.
        """


class SharedImages(Protocol):
    """A storage of images behind the local one, which several instances share."""

    @property
    def has_legacy(self) -> bool:
        """Whether images of version 0 may be there."""

    async def find(self, image: ImageRequest, shared_in: str | None) -> tuple[Blob | None, bool]:
        """The image if some instance has fetched it, and whether that could be told; `shared_in` as in `Lease`."""

    def mark(self, connection: sqlite3.Connection, blob: Blob, image: ImageRequest | None) -> None:
        """Within the transaction that keeps a blob: it is to be shared, and to be found as `image`."""

    def stored(self, blob: Blob, image: ImageRequest | None, when_shared: Callable[[], None] | None) -> None:
        """A blob that was marked is kept; `when_shared` is called once others find it."""

    async def present(self, digests: Collection[str]) -> set[str]:
        """Those of `digests` whose content may be there."""

    def read(self, blob: Blob, start: int, stop: int) -> AsyncIterator[bytes]:
        """Bytes `start` to before `stop` of an image. Raises `BlobLost`, or `BlobWrong`."""


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
