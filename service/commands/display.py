"""The progress of a download on a terminal: of the current image, and of the whole archive."""

from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from service.archives.names import REPORT_NAME
from service.commands.zip_progress import ZipProgress


class Display:
    """One line for the whole archive, one for each image as it arrives."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            TimeElapsedColumn(),
            console=console,
        )
        self._whole = self._progress.add_task("waiting for the first image", total=None)
        self._image: TaskID | None = None
        self._images: int | None = None
        self._zip = ZipProgress()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def expect(self, images: int | None, length: int | None) -> None:
        """What the service announced: the order's images, and the archive's length in bytes where it is known."""
        self._images = images
        self._progress.update(self._whole, total=length)

    def restart(self) -> None:
        """The download starts again."""
        self._zip = ZipProgress()
        self._progress.update(self._whole, completed=0)

    def feed(self, chunk: bytes) -> None:
        """Account for the next bytes of the archive."""
        for name in self._zip.feed(chunk):
            self._finish_image()
            label = "report" if name == REPORT_NAME else name
            self._image = self._progress.add_task(f"  {label}", total=self._zip.size)
        if self._image is not None:
            self._progress.update(self._image, completed=self._zip.received)
        of = f" of {self._images}" if self._images is not None else ""
        self._progress.update(self._whole, advance=len(chunk), description=f"image {self._zip.members}{of}")

    def finish(self) -> None:
        """The archive is complete."""
        self._finish_image()
        task = self._progress.tasks[self._whole]
        self._progress.update(self._whole, description="done", total=task.completed)

    def _finish_image(self) -> None:
        if self._image is not None:
            total = self._progress.tasks[self._image].total
            self._progress.update(self._image, completed=total)
            self._image = None
