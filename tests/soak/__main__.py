"""`python -m tests.soak [NAME ...]`: runs the long checks, all or by name, and writes tests/RESULTS.md."""

import asyncio
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests.faults.findings import Findings
from tests.soak.checks import CHECKS, Check
from tests.soak.results import record


def main(names: list[str]) -> int:
    """Run the checks one after the other; returns the exit code."""
    unknown = [name for name in names if name not in CHECKS]
    if unknown:
        print(f"no such check: {', '.join(unknown)}; there are: {', '.join(CHECKS)}", file=sys.stderr)
        return 2
    passed = [_run(name, *CHECKS[name]) for name in names or CHECKS]
    return 0 if all(passed) else 1


def _run(name: str, title: str, check: Check) -> bool:
    print(f"{name}: {title} ...", flush=True)
    started = time.monotonic()
    findings = asyncio.run(_find(check))
    record(name, title, findings.rows, time.monotonic() - started)
    findings.print()
    return findings.passed


async def _find(check: Check) -> Findings:
    """What the check finds; one that breaks off has failed, and the others run on."""
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        try:
            return await check(Path(folder))
        except Exception as error:
            traceback.print_exc()
            findings = Findings()
            findings.hold("the check came to its end", False, f"{type(error).__name__}: {error}")
            return findings


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
