"""Steps that tests can watch and hold up."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from service.jobs.backend import JobBackend, Run
from service.jobs.job import Change, JobRequest, Status

PATIENCE = 30.0
ORDER = "0b9f7c1e-4a57-4d6e-9d51-2f3c8a7be001"
OTHER_ORDER = "0b9f7c1e-4a57-4d6e-9d51-2f3c8a7be002"

_numbers = itertools.count(1)


def request(order_id: str = ORDER, *, quality: int = 80, callback_url: str | None = None) -> JobRequest:
    """A wish under a new id."""
    options = {"quality": quality}
    return JobRequest(
        id=f"{next(_numbers):032x}", order_id=order_id, options=options, callback_url=callback_url, created=time.time()
    )


def ended(status: Status = Status.COMPLETE) -> Change:
    """A final state, now."""
    return Change(at=time.time(), status=status, expires=time.time() + 3600)


class Steps:
    """Records every run, waits for `gate`, then does what `then` says (default: completes the job)."""

    def __init__(self, backend: JobBackend) -> None:
        self.backend = backend
        self.runs: list[Run] = []
        self.finished: list[str] = []
        self.cancelled: list[str] = []
        self.at_once: list[int] = []
        """How many were running when each of `finished` ended."""
        self.gate = asyncio.Event()
        self.gate.set()
        self.then: Callable[[Run], float | None] | None = None
        self._now = 0
        self._changed = asyncio.Event()

    async def __call__(self, run: Run) -> float | None:
        """The step."""
        self.runs.append(run)
        self._now += 1
        self._changed.set()
        try:
            await self.gate.wait()
            due = self.then(run) if self.then else None
            if due is None and not run.job.is_final:
                await self.backend.progress(run, ended())
            self.finished.append(run.job.id)
            self.at_once.append(self._now)
            return due
        except asyncio.CancelledError:
            self.cancelled.append(run.job.id)
            raise
        finally:
            self._now -= 1
            self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition on what the steps have seen. Raises `TimeoutError`."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


@asynccontextmanager
async def running(backend: JobBackend) -> AsyncIterator[Steps]:
    """Run jobs for the length of the block, then stop in order."""
    steps = Steps(backend)
    task = asyncio.create_task(backend.run(steps))
    try:
        yield steps
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
