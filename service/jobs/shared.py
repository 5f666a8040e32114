"""The job engine of several instances: docket over Redis or Valkey.

docket carries one message per step of a job, and gives it to another worker when the one that had it is gone for ten
seconds. What is known of a job is kept beside it (`scripts`): a message only says which job to look at.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta
from typing import Any
from uuid import uuid4

from service.archives.signal import Signals, within
from service.jobs.backend import Run, Step, Withdrawn
from service.jobs.broker import STEP, Broker, listen, message_key
from service.jobs.job import Change, Job, JobRequest, Status, add_up
from service.jobs.worker import SharedWorker, end
from service.problems import JobsUnavailable, KeyReused

LEASE = timedelta(seconds=10)
# A run outlives a short outage, but not its lease.
_INSIST_SECONDS = 8.0
# A watcher looks for itself so often, should a notification be lost.
_LOOK_SECONDS = 2.0
_KEY_SECONDS = 48 * 3600


class SharedJobs:
    """`JobBackend` for any number of instances. A job is kept as safe as Redis keeps what it has acknowledged."""

    def __init__(self, broker: Broker, ttl: float, lease: timedelta) -> None:
        self._broker = broker
        self._ttl = ttl
        self._lease = lease
        self._worker: SharedWorker | None = None
        self._histories = Signals()
        self._heard: list[Callable[[str], None]] = []

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, ttl: float, lease: timedelta = LEASE) -> AsyncIterator["SharedJobs"]:
        """Jobs at a Redis or Valkey, which need not be there yet. `ttl`: seconds for which an ended job is kept.

        After a `lease` without a sign of life, another worker is given what a worker had.
        """
        logging.getLogger("docket").setLevel(logging.ERROR)
        async with AsyncExitStack() as stack:
            broker = await stack.enter_async_context(Broker.open(url))
            jobs = cls(broker, ttl, lease)
            broker.docket.register(jobs._on_message, names=[STEP])
            heard = {"batch:changed": jobs._histories.fire, "batch:news": jobs._hear_news}
            listening = asyncio.create_task(listen(url, heard))
            stack.push_async_callback(end, listening)
            yield jobs

    async def submit(self, request: JobRequest, key: str | None = None) -> tuple[Job, bool]:
        """As `JobBackend`."""
        queued = Change(at=request.created, status=Status.QUEUED)
        arguments: list[Any] = [request.id, request.order_id, request.dump(), queued.dump(), request.created, key or ""]
        arguments.append(int(time.time()) + _KEY_SECONDS)
        known: bytes = await self._broker.insist(lambda: self._broker.submit(args=arguments))
        if not known:
            with suppress(JobsUnavailable):  # it is on record: the sweep sends it then
                await self._broker.send(request.id, 1, request.created)
            return add_up(request, [queued]), True
        job = await self.get(known.decode())
        if job is None or not job.request.asks_for_the_same(request):
            raise KeyReused
        return job, False

    async def get(self, job_id: str) -> Job | None:
        """As `JobBackend`. Raises `JobsUnavailable`."""
        request, changes = await self._broker.read_changes(job_id, 0)
        return add_up(request, changes) if request else None

    async def watch(self, job_id: str, after: int) -> AsyncGenerator[Job, None]:
        """As `JobBackend`."""
        history = self._histories.of(job_id)
        job: Job | None = None
        while True:
            news = history.next()
            with suppress(JobsUnavailable):
                request, changes = await self._broker.read_changes(job_id, job.number if job else 0)
                if request is None:
                    return
                job = job or add_up(request, [])
                for change in changes:
                    job = job.after(change)
                    if job.number > after:
                        yield job
                    if job.is_final:
                        return
            await within(_LOOK_SECONDS, news)

    async def progress(self, run: Run, *changes: Change) -> None:
        """As `JobBackend`. Raises `JobsUnavailable` when Redis is away for longer than the run's lease."""
        job = run.job.after(*changes)
        arguments = [job.id, run.token, job.outcomes, uuid4().hex, *(change.dump() for change in changes)]
        if not await self._broker.insist(lambda: self._broker.progress(args=arguments), _INSIST_SECONDS):
            raise Withdrawn
        run.job = job

    async def cancel(self, job_id: str) -> tuple[Job | None, bool]:
        """As `JobBackend`."""
        job = await self.get(job_id)
        now = time.time()
        end = Change(at=now, status=Status.CANCELLED, expires=now + self._ttl)
        sequence: int | None = await self._broker.call(self._broker.cancel(args=[job_id, end.dump(), now]))
        if job is None or sequence is None:
            return await self.get(job_id), False
        with suppress(JobsUnavailable):  # it is on record: the run finds out, the sweep sends what follows
            await self._broker.call(self._broker.docket.cancel(message_key(job_id, sequence - 1)))
            await self._broker.send(job_id, sequence, now)
        return job.after(end), True

    async def renew(self, job_id: str, change: Change) -> Job | None:
        """As `JobBackend`."""
        sequence: int | None = await self._broker.call(self._broker.renew(args=[job_id, change.dump(), change.at]))
        if sequence is not None:
            await self._broker.send(job_id, sequence, change.at)
        return await self.get(job_id)

    async def wake(self, order_id: str) -> None:
        """As `JobBackend`."""
        now = time.time()
        steps: list[Any] = await self._broker.call(self._broker.wake(args=[order_id, now]))
        for job_id, sequence in zip(steps[::2], steps[1::2], strict=True):
            await self._broker.send(job_id.decode(), sequence, now)

    def on_wake(self, heard: Callable[[str], None]) -> None:
        """As `JobBackend`."""
        self._heard.append(heard)

    async def counts(self) -> Mapping[Status, int]:
        """As `JobBackend`. Raises `JobsUnavailable`."""
        now = time.time()
        async with self._broker.redis.pipeline(transaction=False) as pipeline:
            for status in Status:
                pipeline.zremrangebyscore(f"batch:status:{status}", "-inf", now)
                pipeline.zcard(f"batch:status:{status}")
            found = await self._broker.call(pipeline.execute())
        return dict(zip(Status, found[1::2], strict=True))

    async def run(self, step: Step) -> None:
        """As `JobBackend`. Redis may come and go meanwhile."""
        self._worker = SharedWorker(self._broker, self._lease, step)
        await self._worker.run()

    async def _on_message(self, job_id: str, sequence: int) -> None:
        if self._worker is not None:
            await self._worker.take(job_id, sequence)

    def _hear_news(self, order_id: str) -> None:
        for heard in self._heard:
            heard(order_id)
