"""Work for an engine that tests can watch and hold up."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

from service.jobs.engine import JobEnded, JobEngine, Work
from service.jobs.job import Callback, CallbackState, Delivery, DeliveryState, Job, JobRequest, Status

TIMEOUT = 30.0
TTL = 3600.0
ORDER = "0b9f7c1e-4a57-4d6e-9d51-2f3c8a7be001"
OTHER_ORDER = "0b9f7c1e-4a57-4d6e-9d51-2f3c8a7be002"
ARRIVED = Delivery(status=DeliveryState.DELIVERED, attempts=1)
DELIVERED = Callback(state=CallbackState.DELIVERED, attempts=1, last_status=204)

_numbers = itertools.count(1)


def request(
    order_id: str = ORDER,
    *,
    quality: int = 80,
    callback_url: str | None = None,
    deliver_to: str | None = None,
    owner: str | None = None,
) -> JobRequest:
    """A request under a new id."""
    return JobRequest(
        id=f"{next(_numbers):032x}",
        order_id=order_id,
        options={"quality": quality},
        callback_url=callback_url,
        deliver_to=deliver_to,
        created=time.time(),
        owner=owner,
    )


def ended(job: Job, status: Status = Status.COMPLETE, *, expires: float | None = None) -> Job:
    """The job in a final state, now."""
    now = time.time()
    return replace(job, status=status, finished=now, expires=expires or now + TTL)


class Tasks:
    """Records every run and every callback. A run waits for `gate`, does what `then` says, and ends the job."""

    def __init__(self, engine: JobEngine) -> None:
        self.engine = engine
        self.runs: list[Job] = []
        self.finished: list[str] = []
        self.cancelled: list[str] = []
        self.callbacks: list[Job] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.then: Callable[[Job], None] | None = None
        self.answers: list[Callback] = []
        """What attempts at callbacks come to, one after the other; then all are delivered."""
        self.held_answer: Callback | None = None
        """What the attempt of its number comes to, the first time, once `callback_gate` is set."""
        self.callback_gate = asyncio.Event()
        self.deliveries: list[Job] = []
        self.delivered: list[Delivery] = []
        """What attempts at deliveries come to, one after the other; then all arrive."""
        self.delivery_gate = asyncio.Event()
        self.delivery_gate.set()
        self._changed = asyncio.Event()
        self.work = Work(self._run, self._call_back, self._deliver)

    async def _run(self, job: Job) -> None:
        self.runs.append(job)
        self._changed.set()
        try:
            await self.gate.wait()
            if self.then:
                self.then(job)
            with suppress(JobEnded):
                await self.engine.save(replace(job, status=Status.PROCESSING, archive_id="a" * 32))
                await self.engine.end(ended(replace(job, archive_id="a" * 32)))
            self.finished.append(job.id)
        except asyncio.CancelledError:
            self.cancelled.append(job.id)
            raise
        finally:
            self._changed.set()

    async def _call_back(self, job: Job) -> Callback:
        self.callbacks.append(job)
        self._changed.set()
        held = self.held_answer
        if held is not None and job.callback is not None and job.callback.attempts == held.attempts - 1:
            self.held_answer = None
            await self.callback_gate.wait()
            return held
        return self.answers.pop(0) if self.answers else DELIVERED

    async def _deliver(self, job: Job) -> Delivery:
        self.deliveries.append(job)
        self._changed.set()
        await self.delivery_gate.wait()
        return self.delivered.pop(0) if self.delivered else ARRIVED

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition on what was seen. Raises `TimeoutError`."""
        async with asyncio.timeout(TIMEOUT):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


@asynccontextmanager
async def running(engine: JobEngine) -> AsyncIterator[Tasks]:
    """Run jobs for the length of the block, then stop in order."""
    tasks = Tasks(engine)
    task = asyncio.create_task(engine.run(tasks.work))
    try:
        yield tasks
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
