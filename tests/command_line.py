"""Our own commands as a person runs them: a process each, in a folder of its own."""

import asyncio
import os
import sys
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path(__file__).parent.parent
_PATIENCE = 60


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    output: str
    """Standard output."""
    errors: str
    """Standard error."""


async def run(*arguments: str, folder: Path, **environment: str) -> Outcome:
    """Run `python -m service` with these arguments and environment variables in `folder`, to its end."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "VIRTUAL_ENV")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "service",
        *arguments,
        cwd=folder,
        env={**kept, "PYTHONPATH": str(_ROOT), **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_PATIENCE):
            output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Outcome(process.returncode, output.decode(), errors.decode())
