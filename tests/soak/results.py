"""`tests/RESULTS.md`: the figures of the latest run of each long check."""

import os
import platform
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from tests.faults.findings import Row

RESULTS = Path(__file__).parent.parent / "RESULTS.md"

_HEAD = """# Results of the long checks

What `make soak` found, each check at its latest run. `make soak CHECKS="kills resume"` runs some of them again.
`make test` runs a short form of each.
"""
_SECTION = re.compile(r"^## (\S+): .*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)


def record(name: str, title: str, rows: Sequence[Row], seconds: float, file: Path = RESULTS) -> None:
    """Put the section of a check in the place of its last one; sections are sorted by name."""
    text = file.read_text() if file.exists() else ""
    sections = {found[1]: found[0].strip() for found in _SECTION.finditer(text)}
    sections[name] = _section(name, title, rows, seconds)
    file.write_text("\n\n".join([_HEAD.strip(), *(sections[key] for key in sorted(sections))]) + "\n")


def _section(name: str, title: str, rows: Sequence[Row], seconds: float) -> str:
    verdict = "Passed" if all(row.passed for row in rows) else "**Failed**"
    lines = [
        f"## {name}: {title}",
        "",
        f"{verdict}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {seconds:.0f} s, {_machine()}.",
        "",
        "| Promise or figure | Found | Passed |",
        "|---|---|---|",
        *(f"| {_cell(row.what)} | {_cell(row.figure)} | {_verdict(row)} |" for row in rows),
    ]
    return "\n".join(lines)


def _verdict(row: Row) -> str:
    return "yes" if row.passed else f"**no** {_cell(row.detail)[:200]}".strip()


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    python = f"Python {platform.python_version()}"
    return f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.machine()}, {python}"
