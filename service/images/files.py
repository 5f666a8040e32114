"""The folder of the image store: a file per blob, and those that are still being filled."""

import asyncio
import os
import uuid
from pathlib import Path
from typing import BinaryIO

from service.images.blobs import Blob, BlobLost, BlobWriter

_INCOMING = "incoming"


class BlobFiles:
    """Where blobs are. All but `open` and `new` block: they run on threads."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._incoming = directory / _INCOMING

    def path(self, digest: str) -> Path:
        """Where the blob of this digest is, or would be."""
        return self._directory / digest[:2] / digest

    def new(self) -> BlobWriter:
        """A file to be filled, under a name of its own until it is complete."""
        return BlobWriter(self._incoming / uuid.uuid4().hex)

    def sweep(self, known: set[str]) -> None:
        """Make the folder, and remove what a crash left: unfinished downloads, and files that are not `known`."""
        self._incoming.mkdir(parents=True, exist_ok=True)
        for path in self._incoming.iterdir():
            path.unlink()
        for path in self._directory.glob("??/*"):
            if path.name not in known:
                path.unlink()

    def probe(self) -> None:
        """Make a file and remove it. Raises `OSError` where that cannot be done."""
        probe = self._incoming / uuid.uuid4().hex
        probe.touch()
        probe.unlink()

    async def open(self, blob: Blob) -> BinaryIO:
        """A blob's file for reading, unbuffered, to be closed by the caller. Raises `BlobLost`."""
        opening = asyncio.get_running_loop().run_in_executor(None, self._open, blob)
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close_unclaimed)  # the thread goes on, and nobody else would close its file
            raise

    def _open(self, blob: Blob) -> BinaryIO:
        try:
            file = self.path(blob.digest).open("rb", buffering=0)
        except OSError as error:
            raise BlobLost(blob.digest) from error
        if os.fstat(file.fileno()).st_size != blob.size:
            file.close()
            raise BlobLost(blob.digest)
        return file


def _close_unclaimed(opening: asyncio.Future[BinaryIO]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()
