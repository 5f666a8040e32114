"""A process that runs jobs and dies of them: `python -m tests.jobs.conformance.worker ADDRESS [TOGETHER [IMAGES]]`.

It dies once so many jobs run TOGETHER (1), each after so many IMAGES (0).
"""

import asyncio
import os
import signal
import sys

from service.jobs.backend import Run
from service.jobs.job import Change, Status
from tests.jobs.conformance.engines import open_engine


async def main(address: str, together: int = 1, images: int = 0) -> None:
    """Run jobs until they kill this process."""
    running = 0
    async with open_engine(address) as backend:

        async def die(run: Run) -> None:
            nonlocal running
            await backend.progress(run, Change(at=1, status=Status.PROCESSING), *[Change(at=1, size=10)] * images)
            running += 1
            if running == together:
                os.kill(os.getpid(), signal.SIGKILL)
            await asyncio.Event().wait()

        await backend.run(die)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], *map(int, sys.argv[2:])))
