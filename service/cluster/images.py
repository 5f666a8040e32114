"""Images in the storage that several instances share: found by image key, read by content."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from dataclasses import asdict
from pathlib import Path

from service.cluster.objects import Objects, ObjectsUnavailable
from service.images.blobs import Blob, BlobLost
from service.telemetry.logs import get_logger

log = get_logger(__name__)


class ClusterImages:
    """The second level behind a local image store. Without the storage, an instance goes on with what it has."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    async def find(self, key: str) -> Blob | None:
        """The image that some instance fetched under this key; None when nobody did, or when it cannot be told."""
        try:
            found = await self._objects.get(_index(key))
        except ObjectsUnavailable as error:
            log.warning("shared storage unavailable", action="find image", error=str(error))
            return None
        try:
            return Blob(**json.loads(found[0])) if found else None
        except (TypeError, ValueError):  # written by another version
            return None

    async def share(self, blob: Blob, path: Path, key: str | None) -> bool:
        """Give others a stored image, and let `key` name it; False when the storage did not take it."""
        try:
            if not await self._objects.exists(_content(blob.digest)):
                await self._objects.upload(_content(blob.digest), path)
            if key is not None:
                await self._objects.overwrite(_index(key), json.dumps(asdict(blob)).encode())
        except (ObjectsUnavailable, OSError) as error:
            log.warning("shared storage unavailable", action="share image", error=str(error))
            return False
        return True

    async def present(self, digests: Iterable[str]) -> set[str]:
        """Those of `digests` whose content is here."""

        async def look(digest: str) -> str | None:
            try:
                return digest if await self._objects.exists(_content(digest)) else None
            except ObjectsUnavailable:
                return None

        return {digest for digest in await asyncio.gather(*map(look, digests)) if digest is not None}

    async def read(self, blob: Blob, start: int, stop: int) -> AsyncIterator[bytes]:
        """Bytes `start` to before `stop` of an image. Raises `BlobLost`."""
        try:
            async for piece in self._objects.read(_content(blob.digest), start, stop):
                yield piece
        except (FileNotFoundError, ObjectsUnavailable) as error:
            raise BlobLost(blob.digest) from error


def _content(digest: str) -> str:
    return f"blobs/{digest[:2]}/{digest}"


def _index(key: str) -> str:
    return f"images/{key[:2]}/{key}"
