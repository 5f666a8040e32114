"""A process that runs jobs and dies in the first one: `python -m tests.jobs.conformance.worker ADDRESS`."""

import asyncio
import os
import signal
import sys

from service.jobs.backend import Run
from tests.jobs.conformance.engines import open_engine


async def die(run: Run) -> None:
    """A step that takes its process along."""
    os.kill(os.getpid(), signal.SIGKILL)


async def main(address: str) -> None:
    """Run jobs until one of them kills this process."""
    async with open_engine(address) as backend:
        await backend.run(die)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
