"""Our own commands as a person runs them: a process each, in a folder of its own."""

import asyncio
import sys
from asyncio.subprocess import Process
from dataclasses import dataclass
from pathlib import Path

from tests.support.forked import Forked, can_fork, start
from tests.support.process import CHECKOUT, clean_environment, end_of

_TIMEOUT = 60


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
    given = clean_environment(PYTHONPATH=str(CHECKOUT), **environment)
    process: Process | Forked
    if can_fork(CHECKOUT, given):
        process = await start(arguments, given, folder)
    else:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "service", *arguments),
            cwd=folder,
            env=given,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    output, errors = await end_of(process, _TIMEOUT)
    assert process.returncode is not None
    return Outcome(process.returncode, output.decode(), errors.decode())
