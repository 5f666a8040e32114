"""The file that a download collects its bytes in, kept between runs until it is whole."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from service.commands.client import Interrupted
from service.commands.output import Output

try:
    import fcntl
except ImportError:  # Windows, where a file that is open cannot be moved either
    fcntl = None  # type: ignore[assignment]


@contextmanager
def only_run(path: Path) -> Iterator[None]:
    """Within the block no other run collects its bytes in the file at `path`. Raises `Interrupted`, and OSError.

    The lock is on that very file: another run would write into it even after it was moved into place.
    """
    if fcntl is None:
        yield
        return
    with path.open("ab") as file:
        is_free = True
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            is_free = False
        except OSError:
            pass  # a file system without locks
        if not is_free or not _is_at(file.fileno(), path):
            raise Interrupted(f"Another command downloads into {path}. Wait until it has ended.")
        try:
            yield
        finally:
            if _is_at(file.fileno(), path) and path.stat().st_size == 0:
                path.unlink()


def _is_at(descriptor: int, path: Path) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), path.stat())
    return False


@dataclass
class Partial:
    """A partial file and what is known of its archive, kept beside it between runs."""

    path: Path
    identity: str
    archive_id: str | None = None
    total: int | None = None

    @property
    def note(self) -> Path:
        """The file that says which archive the partial file belongs to."""
        return self.path.with_name(self.path.name + ".json")

    @property
    def size(self) -> int:
        """Bytes received so far."""
        return self.path.stat().st_size if self.path.exists() else 0

    def load(self) -> None:
        """Keep what an earlier run left, if it belongs to the same request."""
        try:
            known = json.loads(self.note.read_text())
            if known["identity"] == self.identity:
                self.archive_id = str(known["archive_id"])
        except (OSError, ValueError, KeyError, TypeError):
            self.archive_id = None
        if self.archive_id is None:
            self.restart()

    def begin(self, archive_id: str) -> None:
        """Record the archive before its first byte is written."""
        self.archive_id = archive_id
        self.note.write_text(json.dumps({"identity": self.identity, "archive_id": archive_id}))

    def deliver(self, output: Output, name: str) -> Path | None:
        """Move the whole file to where it belongs, as `Output.deliver`."""
        target = output.deliver(self.path, name)
        self.note.unlink(missing_ok=True)
        return target

    def restart(self) -> None:
        """Delete what was received; the file stays, with its lock."""
        self.archive_id = None
        if self.path.exists():
            os.truncate(self.path, 0)
        self.note.unlink(missing_ok=True)
