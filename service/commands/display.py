"""The progress of a download on a terminal: of the whole archive, and of the image that arrives."""

from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text

from service.archives.names import REPORT_NAME
from service.commands.contents import base_name
from service.commands.zip_progress import ZipProgress


class _SpeedColumn(TransferSpeedColumn):
    """Bytes a second; nothing, rather than a question mark, until there is a speed."""

    def render(self, task: Task) -> Text:
        return super().render(task) if task.finished_speed or task.speed else Text()


class Display:
    """One bar for the whole archive, and below it one for the image that is arriving; nothing at all if not `visible`.

    Speeds are of what came over the connection: not of what an earlier run had received.
    """

    def __init__(self, console: Console, *, visible: bool = True) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            DownloadColumn(),
            _SpeedColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=console,
            disable=not visible,
        )
        self._whole = self._progress.add_task("waiting for the first image", total=None)
        self._image: TaskID | None = None
        self._images: int | None = None
        self._skipped = 0
        self._zip = ZipProgress()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        if not self._progress.tasks[0].completed:  # refused: the message says it all
            self._progress.update(self._whole, visible=False)
        self._progress.stop()

    def expect(self, images: int | None, length: int | None) -> None:
        """What the service announced: the order's images, and the archive's length in bytes where it is known."""
        self._images = images
        self._progress.update(self._whole, total=length)

    def restart(self) -> None:
        """The download starts again."""
        self._zip = ZipProgress()
        self._skipped = 0
        self._finish_image()
        self._progress.reset(self._whole)

    def skip(self, chunk: bytes) -> None:
        """Account for bytes of the archive that were there before."""
        for _ in self._zip.feed(chunk):
            pass
        self._skipped += len(chunk)
        # A reset forgets the time and the bytes that the speed is computed from.
        self._progress.reset(self._whole, completed=self._skipped, description=self._description())

    def feed(self, chunk: bytes) -> None:
        """Account for the next bytes of the archive."""
        for name in self._zip.feed(chunk):
            self._finish_image()
            label = "report" if base_name(name) == REPORT_NAME else name
            self._image = self._progress.add_task(f"  {label}", total=self._zip.size)
        if self._image is not None:
            self._progress.update(self._image, completed=self._zip.received)
        self._progress.update(self._whole, advance=len(chunk), description=self._description())

    def finish(self) -> None:
        """The archive is complete."""
        self._finish_image()
        task = self._progress.tasks[0]
        self._progress.update(self._whole, description="done", total=task.completed)

    def _description(self) -> str:
        if self._images is None:
            return f"image {self._zip.members}"
        return f"image {min(self._zip.members, self._images)} of {self._images}"  # behind them comes the report

    def _finish_image(self) -> None:
        if self._image is not None:
            self._progress.remove_task(self._image)
            self._image = None
