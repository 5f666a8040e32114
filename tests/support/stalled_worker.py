"""A process whose loop stands still in its first job until it reads a line, and that then tries to end the job.

python -m tests.support.stalled_worker ADDRESS
"""

import asyncio
import sys

from service.jobs.engine import Work
from service.jobs.job import Callback, Delivery, Job, Status
from tests.jobs.conformance.engines import open_engine
from tests.jobs.conformance.work import ended


async def main(address: str) -> None:
    """Run jobs; tell on standard output when the first begins, and what came of it."""
    done = asyncio.Event()
    async with open_engine(address) as engine:

        async def run(job: Job) -> None:
            print("begun", flush=True)
            sys.stdin.readline()
            print("ended" if await engine.end(ended(job, Status.ERROR)) else "refused", flush=True)
            done.set()

        async def call_back(job: Job) -> Callback:
            raise AssertionError(job)

        async def deliver(job: Job) -> Delivery:
            raise AssertionError(job)

        running = asyncio.create_task(engine.run(Work(run, call_back, deliver)))
        await done.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
