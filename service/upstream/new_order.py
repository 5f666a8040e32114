"""An order in the making: it begins with its first good file, and files are sent on while the next one comes in."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from service.reasons import UploadReason
from service.upstream.uploads import UploadFailed, Uploads

# Files on their way to storage at once. With the one that comes in, so many wait on the disk.
_AT_ONCE = 3


@dataclass
class NewFile:
    """One file, and what became of it; `reason` is None while nothing speaks against it."""

    name: str
    size: int
    image_id: str | None = None
    reason: UploadReason | None = None


class NewOrder:
    """Use as a context: what is still under way at its end is given up, and every file handed over is let go."""

    def __init__(self, uploads: Uploads) -> None:
        self._uploads = uploads
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._sending: list[tuple[asyncio.Task[None], AsyncExitStack]] = []
        self.name: str | None = None
        """Has to be known before the first file."""
        self.order_id: str | None = None
        self.files: list[NewFile] = []
        """In the sequence they came."""

    @property
    def uploaded(self) -> int:
        """Files that have arrived at Autoenhance."""
        return sum(file.image_id is not None and file.reason is None for file in self.files)

    def refuse(self, name: str, size: int, reason: UploadReason) -> None:
        """Note a file that is not sent."""
        self.files.append(NewFile(name, size, None, reason))

    async def add(self, name: str, path: Path, size: int, held: AsyncExitStack) -> None:
        """Wait for a place, then send a file in the background; `held` is closed once it is not needed any more.

        The first one makes the order, and raises what `Uploads.create_order` raises.
        """
        async with held:
            if self.order_id is None:
                self.order_id = await self._uploads.create_order(self.name)
            await self._places.acquire()
            file = NewFile(name, size)
            self.files.append(file)
            held = held.pop_all()
            task = asyncio.create_task(self._send(self.order_id, file, path, held), name="upload")
            self._sending.append((task, held))

    async def finish(self) -> None:
        """Wait until every file has arrived or failed."""
        await asyncio.gather(*(task for task, _ in self._sending))

    async def _send(self, order_id: str, file: NewFile, path: Path, held: AsyncExitStack) -> None:
        try:
            async with held:
                file.image_id = await self._uploads.upload(order_id, file.name, path, file.size)
        except UploadFailed as failure:
            file.image_id, file.reason = failure.image_id, failure.reason
        finally:
            self._places.release()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        for task, _ in self._sending:
            task.cancel()
        await asyncio.gather(*(task for task, _ in self._sending), return_exceptions=True)
        # A task that was cancelled before its first step has not let go of its file.
        for _, held in self._sending:
            await held.aclose()
