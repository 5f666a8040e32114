"""A process whose loop stands still in its first job until it reads a line, and that then tries to end the job.

python -m tests.shared.stalled_worker ADDRESS
"""

import asyncio
import sys
import time

from service.jobs.backend import Run, Withdrawn
from service.jobs.job import Change, Status
from tests.jobs.conformance.engines import open_engine


async def main(address: str) -> None:
    """Run jobs; tell on standard output when the first begins, and what came of it."""
    done = asyncio.Event()
    async with open_engine(address) as backend:

        async def step(run: Run) -> None:
            print("begun", flush=True)
            sys.stdin.readline()
            try:
                await backend.progress(run, Change(at=time.time(), status=Status.ERROR))
                print("ended", flush=True)
            except Withdrawn:
                print("withdrawn", flush=True)
            done.set()

        running = asyncio.create_task(backend.run(step))
        await done.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
