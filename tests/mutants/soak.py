"""The list of changes as a long check: each change is a promise, kept by the test that notices it."""

import asyncio
import sys
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path

from tests.faults.findings import Findings
from tests.mutants.mutant import ROOT


async def notice_changes(folder: Path) -> Findings:
    """Apply every change of the list to a copy of the project, and run the tests for it; `folder` stays empty."""
    found = Findings()
    command = (sys.executable, "-m", "tests.mutants")
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=PIPE, stderr=STDOUT)
    assert process.stdout is not None
    said = ""
    async for line in process.stdout:
        said = line.decode().strip()
        level, _, change = said.partition(" ")
        if level in ("unit", "beyond", "SURVIVED", "STALE"):
            found.hold("Changes that a test notices", level in ("unit", "beyond"), change.strip())
    found.figure("Changes", said, passed=await process.wait() == 0)
    return found
