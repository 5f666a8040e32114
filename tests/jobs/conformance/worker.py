"""A process that begins a job and is killed: `python -m tests.jobs.conformance.worker ADDRESS [TOGETHER]`.

It dies once so many jobs run TOGETHER (1).
"""

import asyncio
import os
import signal
import sys

from service.jobs.engine import Work
from service.jobs.job import Callback, Delivery, Job
from tests.jobs.conformance.engines import open_engine


async def main(address: str, together: int = 1) -> None:
    """Run jobs until they kill this process."""
    running: list[str] = []
    async with open_engine(address) as engine:

        async def die(job: Job) -> None:
            running.append(job.id)
            if len(running) == together:
                os.kill(os.getpid(), signal.SIGKILL)
            await asyncio.Event().wait()

        async def call_back(job: Job) -> Callback:
            raise AssertionError(job)

        async def deliver(job: Job) -> Delivery:
            raise AssertionError(job)

        await engine.run(Work(die, call_back, deliver))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], *map(int, sys.argv[2:])))
