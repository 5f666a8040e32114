"""Images in the storage that several instances share: blobs by content, and an index by variant.

blobs/AB/DIGEST     the bytes
variants/AB/VARIANT the newest generation of an image in one rendition, and its blob; written conditionally
images/AB/KEY       version 0's index, by keys that are no longer made
"""

import asyncio
import json
import sqlite3
from collections import OrderedDict
from collections.abc import AsyncIterator, Collection
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from service.cluster.link import Unavailable
from service.cluster.objects import ObjectChanged, Objects
from service.images.blobs import Blob, BlobLost
from service.images.identity import split_key
from service.images.legacy import KeyWithLegacy
from service.signal import Signal

# A member is told to others before its blob is shared, which takes moments; and S3 may be away for some.
_NOT_YET_SECONDS = (0.1, 0.2, 0.4, 0.8, 1.5, 3.0)
_REMEMBERED = 10_000
_TRIES = 5
_LEGACY = "images/"


class ClusterImages:
    """The second level behind a local image store. Without the storage, an instance goes on with what it has."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self.has_work = Signal()
        """Fired when something else than an image is to be shared, or may be by now."""
        self.marked: asyncio.Queue[tuple[Blob, str | None]] = asyncio.Queue()
        """What is to be shared, and the keys that are to name it."""
        self._entries: OrderedDict[str, tuple[int, str] | None] = OrderedDict()
        self._lost: set[str] = set()
        self.has_legacy = False
        """Whether version 0's index is there."""

    async def look_for_legacy(self) -> None:
        """See whether version 0's index is there; if that cannot be told, it may be."""
        try:
            self.has_legacy = await self._objects.has_any(_LEGACY)
        except Unavailable:
            self.has_legacy = True

    async def find(self, key: str) -> tuple[Blob | None, bool]:
        """As `SharedImages`."""
        variant, generation = split_key(key)
        try:
            entry = await self._read(variant)
            if entry is None and self.has_legacy and isinstance(key, KeyWithLegacy):
                entry = await self._adopt_legacy(key)
        except Unavailable:
            return None, False
        return (entry[1] if entry is not None and entry[0] == generation else None), True

    async def _adopt_legacy(self, key: KeyWithLegacy) -> tuple[int, Blob] | None:
        """What version 0's index names, found by its key from now on. Raises `Unavailable`."""
        found = await self._objects.get(f"{_LEGACY}{key.legacy[:2]}/{key.legacy}")
        if found is None:
            return None
        blob, (variant, generation) = _blob(json.loads(found[0])), split_key(key)
        with suppress(ObjectChanged):
            self._remember(variant, (generation, await self._objects.create(_index(variant), _entry(generation, blob))))
        return generation, blob

    async def _read(self, variant: str) -> tuple[int, Blob] | None:
        """The newest generation that is shared, and its blob. Raises `Unavailable`."""
        found = await self._objects.get(_index(variant))
        entry = None
        if found is not None:
            document = json.loads(found[0])
            entry = document["generation"], _blob(document["blob"])
        self._remember(variant, (entry[0], found[1]) if entry is not None and found is not None else None)
        return entry

    def mark(self, connection: sqlite3.Connection, blob: Blob, key: str | None) -> None:
        """As `SharedImages`."""
        connection.execute("INSERT OR IGNORE INTO unshared (digest, key) VALUES (?, ?)", (blob.digest, key or ""))

    def stored(self, blob: Blob, key: str | None) -> None:
        """As `SharedImages`."""
        self.marked.put_nowait((blob, key))

    def wake(self) -> None:
        """Something was marked, or a list may be shared by now."""
        self.has_work.fire()

    async def is_there(self) -> bool:
        """Whether the storage answers; it is asked only if it did not answer before."""
        return await self._objects.is_there()

    async def publish(self, blob: Blob, content: Path | bytes, key: str | None) -> None:
        """Give others a stored image, and let `key` name it, unless a newer generation is there.

        Raises `Unavailable`, `FileNotFoundError`, or `OSError` when the file cannot be read just now.
        """
        await self._objects.upload(_content(blob.digest), content, blob.size)
        self._lost.discard(blob.digest)
        if key is None:
            return
        variant, generation = split_key(key)
        body = _entry(generation, blob)
        if variant not in self._entries:
            await self._read(variant)
        for _ in range(_TRIES):
            known = self._entries.get(variant)
            if known is not None and known[0] > generation:
                return
            try:
                name = _index(variant)
                tag = await (
                    self._objects.create(name, body) if known is None else self._objects.replace(name, body, known[1])
                )
            except ObjectChanged:
                await self._read(variant)
            else:
                self._remember(variant, (generation, tag))
                return
        raise Unavailable(variant)

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
        """As `SharedImages`."""
        position, pauses = start, iter(() if blob.digest in self._lost else _NOT_YET_SECONDS)
        while position < stop:
            try:
                async for piece in self._objects.read(_content(blob.digest), position, stop):
                    yield piece
                    position += len(piece)
            except (FileNotFoundError, Unavailable) as error:
                pause = next(pauses, None)
                if pause is None:
                    if isinstance(error, FileNotFoundError):
                        self._lost.add(blob.digest)
                    raise BlobLost(blob.digest) from error
                await asyncio.sleep(pause)

    def _remember(self, variant: str, entry: tuple[int, str] | None) -> None:
        self._entries[variant] = entry
        self._entries.move_to_end(variant)
        if len(self._entries) > _REMEMBERED:
            self._entries.popitem(last=False)


def _content(digest: str) -> str:
    return f"blobs/{digest[:2]}/{digest}"


def _entry(generation: int, blob: Blob) -> bytes:
    return json.dumps({"generation": generation, "blob": asdict(blob)}).encode()


def _blob(values: dict[str, Any]) -> Blob:
    if "is_cut" in values:  # its name in an earlier version
        values["is_incomplete"] = values.pop("is_cut")
    return Blob(**values)


def _index(variant: str) -> str:
    return f"variants/{variant[:2]}/{variant}"
