"""Images in the storage that several instances share: blobs by content, and their index.

blobs/AB/DIGEST       the bytes
index/                which image is which blob (`image_index`)
variants/AB/VARIANT   the same in version 1.0.0, one by one
images/AB/KEY         the same in version 0, by keys that are no longer made
"""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from mmap import mmap
from pathlib import Path

from service.cluster.image_index import ImageIndex
from service.cluster.link import Unavailable
from service.cluster.objects import ObjectChanged, Objects
from service.images.blobs import Blob, BlobAway, BlobLost, BlobWrong
from service.images.identity import split_key
from service.images.legacy import KeyWithLegacy
from service.images.requests import ImageRequest
from service.signal import Signal

# A member is told to others before its blob is shared, which takes moments; and S3 may be away for some.
_NOT_YET_SECONDS = (0.1, 0.2, 0.4, 0.8, 1.5, 3.0)
_VERSION_1, _VERSION_0 = "variants/", "images/"


@dataclass(frozen=True, slots=True)
class Unshared:
    """What is to be shared."""

    blob: Blob
    order_id: str = ""
    key: str = ""
    """Of the image, of this order, that it is; without one it is none."""
    when_shared: Callable[[], None] | None = None


class ClusterImages:
    """The second level behind a local image store. Without the storage, an instance goes on with what it has."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self.has_work = Signal()
        """Fired when something else than an image is to be shared, or may be by now."""
        self.marked: asyncio.Queue[Unshared] = asyncio.Queue()
        self._index = ImageIndex(objects)
        self._lost: set[str] = set()
        self._earlier: tuple[str, ...] = (_VERSION_1, _VERSION_0)
        """Indexes of earlier versions that may be there."""

    @property
    def has_legacy(self) -> bool:
        """Whether version 0's index may be there."""
        return _VERSION_0 in self._earlier

    async def look_for_earlier(self) -> None:
        """See which indexes of earlier versions are there; of which that cannot be told, it may be."""
        with suppress(Unavailable):
            self._earlier = tuple([prefix for prefix in self._earlier if await self._objects.has_any(prefix)])

    async def find(self, image: ImageRequest, shared_in: str | None) -> tuple[Blob | None, bool]:
        order_id = shared_in or image.order_id
        try:
            blob = await self._index.find(order_id, image.key, is_new=shared_in == "")
            return blob or await self._adopt(image), True
        except Unavailable:
            return None, False

    async def _adopt(self, image: ImageRequest) -> Blob | None:
        """What the index of an earlier version names, found in this one's from now on. Raises `Unavailable`."""
        variant, generation = split_key(image.key)
        keys = {_VERSION_1: variant}
        if isinstance(image.key, KeyWithLegacy):
            keys[_VERSION_0] = image.key.legacy
        for prefix in self._earlier:
            key = keys.get(prefix)
            if key is None or (found := await self._objects.get(f"{prefix}{key[:2]}/{key}")) is None:
                continue
            entry = json.loads(found[0])
            if entry.get("generation", generation) == generation:
                values = entry.get("blob", entry)
                if "is_cut" in values:  # its name before
                    values["is_incomplete"] = values.pop("is_cut")
                blob = Blob(**values)
                await self._index.add(image.order_id, image.key, blob)
                return blob
        return None

    def mark(self, connection: sqlite3.Connection, blob: Blob, image: ImageRequest | None) -> None:
        statement = "INSERT OR IGNORE INTO unshared (digest, key, order_id) VALUES (?, ?, ?)"
        connection.execute(statement, (blob.digest, image.key if image else "", image.order_id if image else ""))

    def stored(self, blob: Blob, image: ImageRequest | None, when_shared: Callable[[], None] | None) -> None:
        marked = Unshared(blob, image.order_id, image.key, when_shared) if image else Unshared(blob)
        self.marked.put_nowait(marked)

    async def publish(self, marked: Unshared, content: bytes | mmap | Path) -> None:
        """Give others a stored image, and let its key name it, unless a newer generation is there.

        Raises `Unavailable`, `FileNotFoundError`, or `OSError` when the file cannot be read just now.
        """
        blob = marked.blob
        await self._objects.upload(_content(blob.digest), content, blob.size)
        self._lost.discard(blob.digest)
        if marked.key and marked.order_id:  # of what version 1.0.0 has left, the order is not known
            await self._index.add(marked.order_id, marked.key, blob)

    async def present(self, digests: Collection[str]) -> set[str]:
        """As `SharedImages`: what is on a list was shared. Only when a read has missed one, all are looked for."""
        if self._lost.isdisjoint(digests):
            return set(digests)
        await asyncio.gather(*map(self._look, digests))
        return set(digests) - self._lost

    async def _look(self, digest: str) -> None:
        with suppress(Unavailable):
            if await self._objects.exists(_content(digest)):
                self._lost.discard(digest)
            else:
                self._lost.add(digest)

    async def read(self, blob: Blob, start: int, stop: int) -> AsyncIterator[bytes]:
        position, pauses = start, iter(() if blob.digest in self._lost else _NOT_YET_SECONDS)
        while position < stop:
            try:
                async for piece in self._objects.read(_content(blob.digest), position, stop):
                    yield piece
                    position += len(piece)
            except ObjectChanged as error:  # it is written whole: no more of it will come
                raise BlobWrong(blob.digest) from error
            except (FileNotFoundError, Unavailable) as error:
                pause = next(pauses, None)
                if pause is None:
                    if isinstance(error, Unavailable):
                        raise BlobAway(blob.digest) from error
                    self._lost.add(blob.digest)
                    raise BlobLost(blob.digest) from error
                await asyncio.sleep(pause)


def _content(digest: str) -> str:
    return f"blobs/{digest[:2]}/{digest}"
