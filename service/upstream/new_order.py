"""An order being created: its first good file starts it, and files are uploaded while the next one is received."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from service.reasons import UploadReason
from service.upstream.uploads import UploadFailed, Uploads

# Files uploaded at the same time. With the one being received, so many are on the disk.
_PARALLEL_UPLOADS = 3


@dataclass
class NewFile:
    """One file and its outcome; `reason` is None unless it failed."""

    name: str
    size: int
    image_id: str | None = None
    reason: UploadReason | None = None


class NewOrder:
    """Use as a context: at its end uploads still running are cancelled, and every file added is released."""

    def __init__(self, uploads: Uploads) -> None:
        self._uploads = uploads
        self._slots = asyncio.Semaphore(_PARALLEL_UPLOADS)
        self._uploading: list[tuple[asyncio.Task[None], AsyncExitStack]] = []
        self.name: str | None = None
        """To be set before the first file is added."""
        self.order_id: str | None = None
        self.files: list[NewFile] = []
        """In the order they were added."""

    @property
    def uploaded(self) -> int:
        return sum(file.image_id is not None and file.reason is None for file in self.files)

    def refuse(self, name: str, size: int, reason: UploadReason) -> None:
        self.files.append(NewFile(name, size, None, reason))

    async def add(self, name: str, path: Path, size: int, resources: AsyncExitStack) -> None:
        """Wait for a slot, then upload a file of `size` bytes in the background; `resources` is closed at its end.

        The first file creates the order, and raises what `Uploads.create_order` raises.
        """
        async with resources:
            if self.order_id is None:
                self.order_id = await self._uploads.create_order(self.name)
            if not self._uploads.is_storage_well:
                await self.finish()  # one file at a time
            await self._slots.acquire()
            file = NewFile(name, size)
            self.files.append(file)
            resources = resources.pop_all()
            task = asyncio.create_task(self._upload(self.order_id, file, path, resources), name="upload")
            self._uploading.append((task, resources))

    async def finish(self) -> None:
        """Wait until every file is uploaded or has failed."""
        await asyncio.gather(*(task for task, _ in self._uploading))

    async def _upload(self, order_id: str, file: NewFile, path: Path, resources: AsyncExitStack) -> None:
        try:
            async with resources:
                file.image_id = await self._uploads.upload(order_id, file.name, path, file.size)
        except UploadFailed as failure:
            file.image_id, file.reason = failure.image_id, failure.reason
        finally:
            self._slots.release()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        for task, _ in self._uploading:
            task.cancel()
        await asyncio.gather(*(task for task, _ in self._uploading), return_exceptions=True)
        # A task that was cancelled before its first step has not released its file.
        for _, resources in self._uploading:
            await resources.aclose()
