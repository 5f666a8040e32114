"""Where a finished download goes: a file, or something that is written to but never replaced."""

import errno
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

STDOUT = "-"
_SEPARATORS = tuple(filter(None, (os.sep, os.altsep)))


@dataclass(frozen=True)
class Output:
    """`-o`: a file, a folder, `-` for standard output, a device or a FIFO; None is the working directory."""

    name: str | None = None

    def problem(self, *, several: bool = False) -> str | None:
        """Why nothing could be written there; None when it looks right. `several` files need a folder."""
        try:
            return self._problem(several=several)
        except OSError as error:  # a folder that may not be looked into, a name that is too long
            return f"--output: {error.strerror}: {error.filename}."

    def _problem(self, *, several: bool) -> str | None:
        if several and self.name is not None and not Path(self.name).is_dir():
            return "--output: several ZIPs need a folder that exists."
        if self.is_stdout:
            redirect = "--output: standard output is a terminal. Redirect it to a file or another program."
            return redirect if sys.stdout.isatty() else None
        if self.name and self.name.endswith(_SEPARATORS) and not Path(self.name).is_dir():
            return f"--output: there is no folder {self.name}."
        target = _resolved(Path(self.name or "."))
        if target.is_symlink():
            return f"--output: the symbolic link {self.name} leads in a circle."
        if not target.is_dir() and not target.parent.is_dir():
            return f"--output: there is no folder {target.parent}."
        return None

    @property
    def folder(self) -> Path | None:
        """Where the service names the files; None: it is one file, or a stream."""
        path = Path(self.name or ".")
        return path if not self.is_stdout and path.is_dir() else None

    @property
    def is_stdout(self) -> bool:
        return self.name == STDOUT

    @property
    def is_stream(self) -> bool:
        """Whether it takes bytes, but cannot be replaced by a file: standard output, a FIFO, a device, a socket."""
        return self.is_stdout or (self.name is not None and _is_special(Path(self.name)))

    @contextmanager
    def partial_file(self, name: str) -> Iterator[Path]:
        """The path that the bytes are collected at until all are here.

        Beside the file, where the next run finds it; for a stream in a temporary folder, which goes at the end.
        """
        if self.is_stream:
            with tempfile.TemporaryDirectory(prefix="autoenhance-batch-") as folder:
                yield Path(folder) / f"{name}.zip.part"
        else:
            target = _resolved(self._target(f"{name}.zip"))
            yield target.with_name(target.name + ".part")

    def deliver(self, finished: Path, suggested_name: str) -> Path | None:
        """Move a finished file to its place, or write it to the stream; returns the path it has, None for a stream.

        `suggested_name` is its name in a folder. A symbolic link stays one: the file it leads to is replaced. Waits for
        the reader of a FIFO. Raises OSError.
        """
        if self.is_stdout:
            _write(finished, os.dup(sys.stdout.fileno()))
            return None
        target = self._target(suggested_name)
        if _is_special(target):
            _write(finished, os.open(target, os.O_WRONLY))
            return None
        _replace(finished, _resolved(target))
        return target

    def _target(self, suggested_name: str) -> Path:
        return Path(self.name or ".") if self.folder is None else self.folder / suggested_name


def _is_special(path: Path) -> bool:
    """Whether there is something at `path`, links followed, that is neither a file nor a folder."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _resolved(path: Path) -> Path:
    """What a symbolic link leads to, whether it is there or not; a circle of links stays what it is."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def _write(finished: Path, descriptor: int) -> None:
    with os.fdopen(descriptor, "wb") as stream, finished.open("rb") as file:
        shutil.copyfileobj(file, stream, 1 << 20)


def _replace(finished: Path, target: Path) -> None:
    if target.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(target))
    try:
        finished.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:  # a link in a folder may lead to another file system
            raise
        shutil.copyfile(finished, target)
        finished.unlink()
