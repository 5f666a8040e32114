"""`tests/RESULTS.md`: one line for the latest run of each long check."""

import os
import platform
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from tests.faults.findings import Row

RESULTS = Path(__file__).parent.parent / "RESULTS.md"

_HEAD = """# Results of the long checks

What `make soak` found, each check at its latest run; it prints every promise and figure.
`make soak CHECKS="kills resume"` runs some of them again. `make test` runs a short form of each.

| Check | What it does | Found | When, and on what |
|---|---|---|---|
"""
_LINE = re.compile(r"^\| (\S+) \| .*\|$", re.MULTILINE)


def record(name: str, title: str, rows: Sequence[Row], seconds: float, file: Path = RESULTS) -> None:
    """Put the line of a check in the place of its last one; lines are sorted by name."""
    text = file.read_text() if file.exists() else ""
    lines = {found[1]: found[0] for found in _LINE.finditer(text) if found[1] != "Check"}
    broken = [f"{row.what}: {row.figure} {row.detail}".strip()[:200] for row in rows if not row.passed]
    found = f"{len(rows) - len(broken)} of {len(rows)} hold" if broken else f"all {len(rows)} hold"
    when = f"{datetime.now(UTC):%Y-%m-%d}, {seconds:.0f} s, {_machine()}"
    cells = (name, title, "; ".join([found, *broken]), when)
    lines[name] = f"| {' | '.join(map(_cell, cells))} |"
    file.write_text(_HEAD + "".join(f"{lines[key]}\n" for key in sorted(lines)))


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _machine() -> str:
    return f"{os.cpu_count()} cores, Python {platform.python_version()}"
