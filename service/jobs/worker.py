"""Runs the steps that docket brings to this instance."""

import asyncio
import math
import time
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import uuid4

from docket import Worker

from service.jobs.alone import Turns
from service.jobs.backend import DEATHS_TO_BE_ALONE, Ending, PutOff, Run, Step, Withdrawn
from service.jobs.broker import Broker
from service.jobs.job import add_up
from service.problems import JobsUnavailable
from service.telemetry.logs import get_logger

log = get_logger(__name__)

# The fewer run at once, the fewer must run alone for one that kills its process; downloads have five slots anyway.
_AT_ONCE = 12
_CHECK = timedelta(milliseconds=50)
_RECONNECT = timedelta(seconds=1)
# Whatever takes or ends a run is done in the end: between its message and its record a job would be lost.
_ALWAYS = math.inf
_BROKEN_SECONDS = 30.0
# Messages that were lost between our record and docket's queue are sent again.
_SWEEP_SECONDS = 5.0
_OVERDUE_SECONDS = 10.0
# Runs that do not end within this time of a stop are handed to others by their lease.
_STOP_SECONDS = 10.0
_CANCEL_AGAIN_SECONDS = 5.0


class _Stopped(Exception):
    """The worker stops before a step has ended."""


class SharedWorker:
    """One of many. After a `lease` without a sign of life, another one is given what it had."""

    def __init__(self, broker: Broker, lease: timedelta, step: Step) -> None:
        self._broker = broker
        self._lease = lease
        self._step = step
        self._name = uuid4().hex
        self._turns = Turns()
        self._runs: set[asyncio.Task[float | None]] = set()
        self._messages: set[asyncio.Task[Any]] = set()
        self._is_stopping = False
        self._handed_back: list[tuple[str, int, float]] = []

    async def run(self) -> None:
        """Take steps until cancelled; then hand back what is running. Redis may come and go meanwhile."""
        worker = Worker(
            self._broker.docket,
            name=f"batch-{self._name}",
            concurrency=_AT_ONCE,
            redelivery_timeout=self._lease,
            reconnection_delay=_RECONNECT,
            minimum_check_interval=_CHECK,
            scheduling_resolution=_CHECK * 2,
            schedule_automatic_tasks=False,
        )
        async with worker:
            working = asyncio.create_task(worker.run_forever(), name="jobs")
            sweeping = asyncio.create_task(self._sweep_regularly(), name="sweep jobs")
            try:
                await asyncio.wait((working, sweeping), return_when=asyncio.FIRST_COMPLETED)
                raise RuntimeError("the worker ended")
            finally:
                await self._stop_runs()
                await end(sweeping)
                # docket first: a message that is cancelled before docket stops counts as done, and its job is lost.
                await end(working)
                await asyncio.gather(*map(end, self._messages))
                await self._hand_back()

    async def take(self, job_id: str, sequence: int) -> None:
        """Take one step of a job, if the message is not void."""
        if (task := asyncio.current_task()) is not None:
            self._messages.add(task)
            task.add_done_callback(self._messages.discard)
        if self._is_stopping:
            self._handed_back.append((job_id, sequence, time.time()))
            return
        # Claimed when its turn has come: whoever only waits must not be charged for the death of this process.
        async with self._turns.turn(alone=await self._must_be_alone(job_id)):
            token = uuid4().hex
            due: float | None = time.time()
            ending = Ending.INTERRUPTED
            try:
                due, ending = await self._end_of(job_id, sequence, token)
            finally:  # also when the answer to a claim did not come
                await self._release(job_id, token, due, ending)

    async def _must_be_alone(self, job_id: str) -> bool:
        async def look() -> tuple[int, bytes | None]:
            async with self._broker.redis.pipeline(transaction=False) as pipeline:
                pipeline.hlen(f"batch:job:{job_id}:dead")
                pipeline.hget(f"batch:job:{job_id}", "run")
                deaths, running = await pipeline.execute()
                return deaths, running

        deaths, running = await self._broker.insist(look, _ALWAYS)
        return deaths + bool(running) >= DEATHS_TO_BE_ALONE

    async def _end_of(self, job_id: str, sequence: int, token: str) -> tuple[float | None, Ending]:
        """Claim a step and run it; returns when the next is due, and how this one ended."""
        try:
            run = await self._begin(job_id, sequence, token)
            return None if run is None else await self._due_after(run), Ending.DONE
        except Withdrawn:
            log.info("job withdrawn", job_id=job_id)
            return None, Ending.INTERRUPTED
        except PutOff as obstacle:
            return obstacle.due, Ending.INTERRUPTED
        except (JobsUnavailable, _Stopped):
            log.warning("job interrupted", job_id=job_id)
            return time.time(), Ending.INTERRUPTED
        except Exception:
            log.exception("step of a job failed", job_id=job_id)
            return time.time() + _BROKEN_SECONDS, Ending.BROKEN

    async def _begin(self, job_id: str, sequence: int, token: str) -> Run | None:
        """Claim a step; None when it is void."""
        arguments = [job_id, sequence, token, self._name]
        deaths = await self._broker.insist(lambda: self._broker.claim(args=arguments), _ALWAYS)
        request, changes = (None, []) if deaths is None else await self._broker.read_changes(job_id, 0, _ALWAYS)
        return None if request is None else Run(add_up(request, changes), deaths, token)

    async def _due_after(self, run: Run) -> float | None:
        """Run a step; returns when the next is due. Raises `_Stopped` when this worker stops first."""
        task: asyncio.Task[float | None] = asyncio.ensure_future(self._step(run))
        self._runs.add(task)
        if self._is_stopping:
            task.cancel()
        try:
            return await task
        except asyncio.CancelledError:
            await end(task)
            if self._is_stopping:
                raise _Stopped from None
            raise
        finally:
            self._runs.discard(task)

    async def _release(self, job_id: str, token: str, due: float | None, ending: Ending) -> None:
        arguments = [job_id, token, self._name, "" if due is None else due, ending, time.time()]
        following = await self._broker.insist(lambda: self._broker.let_go(args=arguments), _ALWAYS)
        if following is None:
            return
        step = (job_id, following[0], float(following[1]))
        if self._is_stopping:  # this worker must not get it
            self._handed_back.append(step)
            return
        with suppress(JobsUnavailable):  # the sweep sends it then
            await self._broker.send(*step)

    async def _stop_runs(self) -> None:
        """Hand back what is running; nobody counts a death for it."""
        self._is_stopping = True
        for task in self._runs:
            task.cancel()
        if self._messages:
            await asyncio.wait(self._messages, timeout=_STOP_SECONDS)

    async def _hand_back(self) -> None:
        """Let other instances have what this one was told to do and did not, and what follows the steps it ended."""
        with suppress(JobsUnavailable):  # the sweep of another instance sends the rest
            for step in self._handed_back:
                await self._broker.send(*step)

    async def _sweep_regularly(self) -> None:
        call, redis = self._broker.call, self._broker.redis
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            with suppress(JobsUnavailable):
                now = time.time()
                for job_id in await call(redis.zrangebyscore("batch:due", "-inf", now - _OVERDUE_SECONDS)):
                    sequence = await call(redis.hget(f"batch:job:{job_id.decode()}", "seq"))
                    if sequence is None:
                        await call(redis.zrem("batch:due", job_id))
                    else:
                        await self._broker.send(job_id.decode(), int(sequence), now)


async def end(task: "asyncio.Task[Any]") -> None:
    """Cancel a task and wait for its end, whatever it is. A library may swallow a cancellation, but not every one."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=_CANCEL_AGAIN_SECONDS)
    if not task.cancelled():
        task.exception()  # seen: whoever ends it does not mind
