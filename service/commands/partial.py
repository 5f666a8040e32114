"""The file that a download collects its bytes in, kept between runs until it is whole."""

import json
from dataclasses import dataclass
from pathlib import Path

from service.commands.output import Output


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
        """Delete what was received."""
        self.archive_id = None
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)
