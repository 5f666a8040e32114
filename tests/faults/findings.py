"""What a check found: promises held or broken, and figures."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Row:
    """A line of the results."""

    what: str
    figure: str
    passed: bool
    detail: str = ""
    """How it was broken, the first time."""


class Findings:
    """Tallies promises over many rounds; a check returns one, whatever it found."""

    def __init__(self) -> None:
        self._held: dict[str, int] = {}
        self._tried: dict[str, int] = {}
        self._details: dict[str, str] = {}
        self._figures: list[Row] = []
        self._most: dict[str, tuple[float, float]] = {}
        self._rows: list[Row] = []
        self._is_judged = False

    def hold(self, promise: str, passed: bool, detail: object = "") -> None:
        """Note that a promise was kept once more, or broken."""
        self._tried[promise] = self._tried.get(promise, 0) + 1
        self._held[promise] = self._held.get(promise, 0) + passed
        if not passed:
            self._details.setdefault(promise, str(detail))

    def equal(self, promise: str, found: object, wanted: object) -> None:
        """Note whether two values are equal; both are told when they are not."""
        self.hold(promise, found == wanted, f"{found!r:.300} in place of {wanted!r:.300}")

    def figure(self, what: str, figure: object, *, passed: bool | None = None) -> None:
        """Note a measurement; `passed` says whether it is as it has to be, if anything can be said of that."""
        self._figures.append(Row(what, str(figure), passed is not False))
        self._is_judged = self._is_judged or passed is not None

    def at_most(self, what: str, found: float, limit: float) -> None:
        """Note a measurement that is repeated; the largest is told, and that it may be `limit`."""
        self._most[what] = max(found, self._most.get(what, (found, limit))[0]), limit

    def add(self, other: "Findings", name: str) -> None:
        """Take the rows of another check over, each with its name."""
        self._rows += [replace(row, what=f"{name}: {row.what}") for row in other.rows]

    @property
    def rows(self) -> list[Row]:
        """Everything that was found; promises first."""
        promises = [
            Row(name, f"{self._held[name]} of {tried}", self._held[name] == tried, self._details.get(name, ""))
            for name, tried in self._tried.items()
        ]
        largest = [
            Row(f"{what} (at most {most:g})", f"{found:g}", found <= most) for what, (found, most) in self._most.items()
        ]
        return promises + largest + self._figures + self._rows

    @property
    def passed(self) -> bool:
        """Whether every promise was kept, of which there is one: a check that looked at nothing has not passed."""
        return self.has_promises and all(row.passed for row in self.rows)

    @property
    def has_promises(self) -> bool:
        """Whether anything was looked at that could have been broken."""
        return bool(self._tried or self._most or self._rows or self._is_judged)

    def print(self) -> None:
        """Print all rows."""
        for row in self.rows:
            print(f"{'ok  ' if row.passed else 'FAIL'} {row.what}: {row.figure} {row.detail}", flush=True)

    def verify(self) -> None:
        """Print all rows; raises AssertionError when a promise was broken, or nothing was looked at."""
        self.print()
        assert self.has_promises, "nothing was looked at"
        broken = [f"{row.what}: {row.figure} {row.detail}" for row in self.rows if not row.passed]
        assert not broken, "\n".join(broken)
