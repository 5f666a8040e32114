"""One small change to the code, and the tests that are to notice it."""

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True, slots=True)
class Mutant:
    """A change: in `file` of `service/`, `before` becomes `after`."""

    file: str
    before: str
    after: str
    promise: str
    """What is broken by it."""
    unit: str
    """Test files that mirror the code, separated by spaces; they are asked first."""
    beyond: str = ""
    """Test files with a running service, asked when no unit test noticed."""

    @property
    def path(self) -> Path:
        """The file, within the project."""
        return Path("service") / self.file

    @property
    def fits(self) -> bool:
        """Whether the code still has the place, and the tests that are to notice the change are there."""
        file = ROOT / self.path
        tests = f"{self.unit} {self.beyond}".split()
        is_there = file.exists() and file.read_text().count(self.before) == 1
        return is_there and all((ROOT / test).exists() for test in tests)

    def applied(self, text: str) -> str:
        """The file's text with the change. Raises `ValueError` unless there is just one place for it."""
        if text.count(self.before) != 1:
            raise ValueError(f"{self.file}: {text.count(self.before)} places for {self.before!r}")
        return text.replace(self.before, self.after)
