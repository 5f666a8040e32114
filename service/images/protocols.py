"""What the image store leaves to others: who makes room, and where images are shared."""

import sqlite3
from collections.abc import AsyncIterator, Callable, Collection
from typing import Protocol

from service.images.blobs import Blob


class Evict(Protocol):
    """Chooses what the store deletes to make room."""

    def __call__(self, missing: int, *, limit: int, is_cache: bool) -> Callable[[sqlite3.Connection], list[str]]:
        """What gives, within a transaction, blobs of `missing` bytes together; none if so many cannot be freed.

        `limit`: bytes that the store may take. `is_cache`: what is here is in a shared storage too.
        """


class SharedImages(Protocol):
    """A storage of images behind the local one, which several instances share."""

    has_legacy: bool
    """Whether images of version 0 are there."""

    async def find(self, key: str) -> tuple[Blob | None, bool]:
        """The image that some instance fetched under this key, if any, and whether that could be told."""

    def mark(self, connection: sqlite3.Connection, blob: Blob, key: str | None) -> None:
        """Within the transaction that keeps an image: it is to be shared, and `key` to name it."""

    def stored(self, blob: Blob, key: str | None) -> None:
        """An image that was marked is kept."""

    async def present(self, digests: Collection[str]) -> set[str]:
        """Those of `digests` whose content may be there."""

    def read(self, blob: Blob, start: int, stop: int) -> AsyncIterator[bytes]:
        """Bytes `start` to before `stop` of an image. Raises `BlobLost`."""
