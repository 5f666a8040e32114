"""The job engine of several instances: docket over Redis or Valkey.

docket carries one message per step of a job, and gives it to another worker when the one that had it is gone for ten
seconds. What is known of a job is kept beside it (`scripts`): a message only says which job to look at.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import uuid4
from weakref import WeakValueDictionary

from docket import Docket, Worker
from redis import DriverInfo
from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import RedisError

from service.archives.signal import Signal
from service.jobs import scripts
from service.jobs.alone import Turns
from service.jobs.backend import Run, Step, Withdrawn
from service.jobs.job import Change, Job, JobRequest, Status, add_up
from service.jobs.records import DEATHS_TO_BE_ALONE
from service.problems import JobsUnavailable, KeyReused
from service.telemetry.logs import get_logger

log = get_logger(__name__)

T = TypeVar("T")

LEASE = timedelta(seconds=10)
# The fewer run at once, the fewer are charged for one that kills its process; downloads have five slots anyway.
_AT_ONCE = 12
_CHECK = timedelta(milliseconds=50)
_RECONNECT = timedelta(seconds=1)
# A call that takes longer says that jobs cannot be had at the moment.
_CALL_SECONDS = 1.0
_CONNECTIONS = 20
# A run outlives a short outage, but not its lease.
_INSIST_SECONDS = 8.0
_PAUSE_SECONDS = 0.5
# Connections that a restart of Redis has broken show only when they are used.
_ONCE_MORE = 0.4
_BROKEN_SECONDS = 30.0
# Messages that were lost between our record and docket's queue are sent again.
_SWEEP_SECONDS = 5.0
_OVERDUE_SECONDS = 10.0
# A watcher looks for itself so often, should a notification be lost.
_LOOK_SECONDS = 2.0
# Runs that do not end within this time of a stop are handed to others by their lease.
_STOP_SECONDS = 10.0
_KEY_SECONDS = 48 * 3600
_STEP = "job_step"
# Made once: otherwise every connection reads the library's version from the disk.
_DRIVER = DriverInfo()


class SharedJobs:
    """`JobBackend` for any number of instances. A job is kept as safe as Redis keeps what it has acknowledged."""

    def __init__(self, redis: Any, docket: Docket, ttl: float, lease: timedelta) -> None:
        self._redis = redis  # typed by the library as if it could be the blocking one
        self._docket = docket
        self._ttl = ttl
        self._lease = lease
        self._submit = redis.register_script(scripts.SUBMIT)
        self._claim = redis.register_script(scripts.CLAIM)
        self._progress = redis.register_script(scripts.PROGRESS)
        self._let_go = redis.register_script(scripts.LET_GO)
        self._cancel = redis.register_script(scripts.CANCEL)
        self._renew = redis.register_script(scripts.RENEW)
        self._wake = redis.register_script(scripts.WAKE)
        self._turns = Turns()
        self._runs: set[asyncio.Task[float | None]] = set()
        self._messages: set[asyncio.Task[Any]] = set()
        self._is_stopping = False
        self._handed_back: list[tuple[str, int]] = []
        self._step: Step | None = None
        self._histories: WeakValueDictionary[str, Signal] = WeakValueDictionary()

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, ttl: float, lease: timedelta = LEASE) -> AsyncIterator["SharedJobs"]:
        """Jobs at a Redis or Valkey, which need not be there yet. `ttl`: seconds for which an ended job is kept.

        After a `lease` without a sign of life, another worker is given what a worker had.
        """
        logging.getLogger("docket").setLevel(logging.ERROR)
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=_CONNECTIONS,
            timeout=_CALL_SECONDS,
            socket_timeout=_CALL_SECONDS,
            socket_connect_timeout=_CALL_SECONDS / 2,
            driver_info=_DRIVER,
        )
        async with AsyncExitStack() as stack:
            redis = Redis.from_pool(pool)
            stack.push_async_callback(redis.aclose)
            docket = await stack.enter_async_context(Docket(name="batch", url=url))
            jobs = cls(redis, docket, ttl, lease)
            docket.register(jobs._on_message, names=[_STEP])
            listening = asyncio.create_task(jobs._listen(url))
            stack.push_async_callback(_end, listening)
            yield jobs

    async def submit(self, request: JobRequest, key: str | None = None) -> tuple[Job, bool]:
        """As `JobBackend`."""
        queued = Change(at=request.created, status=Status.QUEUED)
        arguments: list[Any] = [request.id, request.order_id, request.dump(), queued.dump(), request.created, key or ""]
        arguments.append(int(time.time()) + _KEY_SECONDS)
        known: bytes = await self._insist(lambda: self._submit(args=arguments), _ONCE_MORE)
        if not known:
            with suppress(JobsUnavailable):  # it is on record: the sweep sends it then
                await self._send(request.id, 1, request.created)
            return add_up(request, [queued]), True
        job = await self.get(known.decode())
        if job is None or not job.request.asks_for_the_same(request):
            raise KeyReused
        return job, False

    async def get(self, job_id: str) -> Job | None:
        """As `JobBackend`. Raises `JobsUnavailable`."""
        request, changes = await self._read_changes(job_id, 0)
        return add_up(request, changes) if request else None

    async def watch(self, job_id: str, after: int) -> AsyncGenerator[Job, None]:
        """As `JobBackend`."""
        history = self._histories.setdefault(job_id, Signal())
        job: Job | None = None
        while True:
            news = history.next()
            with suppress(JobsUnavailable):
                request, changes = await self._read_changes(job_id, job.number if job else 0)
                if request is None:
                    return
                job = job or add_up(request, [])
                for change in changes:
                    job = job.after(change)
                    if job.number > after:
                        yield job
                    if job.is_final:
                        return
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await news.wait()

    async def progress(self, run: Run, *changes: Change) -> None:
        """As `JobBackend`. Raises `JobsUnavailable` when Redis is away for longer than the run's lease."""
        arguments = [run.job.id, run.token, *(change.dump() for change in changes)]
        if not await self._insist(lambda: self._progress(args=arguments), _INSIST_SECONDS):
            raise Withdrawn
        run.job = run.job.after(*changes)

    async def cancel(self, job_id: str) -> tuple[Job | None, bool]:
        """As `JobBackend`."""
        now = time.time()
        end = Change(at=now, status=Status.CANCELLED, expires=now + self._ttl)
        sequence: int | None = await self._call(self._cancel(args=[job_id, end.dump(), now]))
        if sequence is not None:
            await self._call(self._docket.cancel(_message_key(job_id, sequence - 1)))
            await self._send(job_id, sequence, now)
        return await self.get(job_id), sequence is not None

    async def renew(self, job_id: str, change: Change) -> Job | None:
        """As `JobBackend`."""
        sequence: int | None = await self._call(self._renew(args=[job_id, change.dump(), change.at]))
        if sequence is not None:
            await self._send(job_id, sequence, change.at)
        return await self.get(job_id)

    async def wake(self, order_id: str) -> None:
        """As `JobBackend`."""
        now = time.time()
        steps: list[Any] = await self._call(self._wake(args=[order_id, now]))
        for job_id, sequence in zip(steps[::2], steps[1::2], strict=True):
            await self._send(job_id.decode(), sequence, now)

    async def counts(self) -> Mapping[Status, int]:
        """As `JobBackend`. Raises `JobsUnavailable`."""
        now = time.time()
        async with self._redis.pipeline(transaction=False) as pipeline:
            for status in Status:
                pipeline.zremrangebyscore(f"batch:status:{status}", "-inf", now)
                pipeline.zcard(f"batch:status:{status}")
            found = await self._call(pipeline.execute())
        return dict(zip(Status, found[1::2], strict=True))

    async def run(self, step: Step) -> None:
        """As `JobBackend`. Redis may come and go meanwhile."""
        self._step, self._is_stopping = step, False
        worker = Worker(
            self._docket,
            name=f"batch-{uuid4().hex}",
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
                await _end(sweeping)
                await _end(working)
                await self._hand_back()

    async def _on_message(self, job_id: str, sequence: int) -> None:
        """Take one step of a job, if the message is not void."""
        if (task := asyncio.current_task()) is not None:
            self._messages.add(task)
            task.add_done_callback(self._messages.discard)
        if self._is_stopping or self._step is None:
            self._handed_back.append((job_id, sequence))
            return
        known = await self._insist(lambda: self._redis.hget(f"batch:job:{job_id}", "deaths"), _INSIST_SECONDS)
        # Claimed when its turn has come: whoever only waits must not be charged for the death of this process.
        async with self._turns.turn(alone=int(known or 0) >= DEATHS_TO_BE_ALONE):
            run = await self._begin(job_id, sequence)
            if run is None:
                return
            due, deaths = await self._take(run, self._step)
        await self._release(run, due, deaths)

    async def _begin(self, job_id: str, sequence: int) -> Run | None:
        """Claim a step and count a death in advance; None when the step is void."""
        token = uuid4().hex
        deaths = await self._insist(lambda: self._claim(args=[job_id, sequence, token]), _INSIST_SECONDS)
        request, changes = (None, []) if deaths is None else await self._read_changes(job_id, 0)
        return None if request is None else Run(add_up(request, changes), deaths, token)

    async def _take(self, run: Run, step: Step) -> tuple[float | None, int]:
        """Run a step; returns when the next is due, and the deaths it then has behind it."""
        if self._is_stopping:
            return time.time(), run.deaths
        task: asyncio.Task[float | None] = asyncio.ensure_future(step(run))
        self._runs.add(task)
        try:
            return await task, 0
        except asyncio.CancelledError:
            if not self._is_stopping:
                await _end(task)
                raise
            return time.time(), run.deaths
        except Withdrawn:
            log.info("job withdrawn", job_id=run.job.id)
            return None, run.deaths
        except JobsUnavailable:
            log.warning("job interrupted", job_id=run.job.id)
            return time.time(), run.deaths
        except Exception:
            log.exception("step of a job failed", job_id=run.job.id)
            return time.time() + _BROKEN_SECONDS, run.deaths + 1
        finally:
            self._runs.discard(task)

    async def _release(self, run: Run, due: float | None, deaths: int) -> None:
        arguments = [run.job.id, run.token, "" if due is None else due, deaths, time.time()]
        following = await self._insist(lambda: self._let_go(args=arguments), _INSIST_SECONDS)
        if following is None:
            return
        if self._is_stopping:  # this worker must not get it
            self._handed_back.append((run.job.id, following[0]))
            return
        with suppress(JobsUnavailable):  # the sweep sends it then
            await self._send(run.job.id, following[0], float(following[1]))

    async def _stop_runs(self) -> None:
        """Hand back what is running; nobody counts a death for it."""
        self._is_stopping = True
        for task in self._runs:
            task.cancel()
        if self._messages:
            _, late = await asyncio.wait(self._messages, timeout=_STOP_SECONDS)
            for message in late:
                message.cancel()

    async def _hand_back(self) -> None:
        """Let other instances have at once what this one was told to do and did not."""
        steps, self._handed_back = self._handed_back, []
        with suppress(JobsUnavailable):  # the sweep of another instance sends the rest
            for job_id, sequence in steps:
                await self._send(job_id, sequence, time.time())

    async def _send(self, job_id: str, sequence: int, due: float) -> None:
        when = datetime.fromtimestamp(due, UTC)
        key = _message_key(job_id, sequence)
        await self._call(self._docket.add(_STEP, when=when, key=key)(job_id=job_id, sequence=sequence))

    async def _sweep_regularly(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            with suppress(JobsUnavailable):
                now = time.time()
                late = await self._call(self._redis.zrangebyscore("batch:due", "-inf", now - _OVERDUE_SECONDS))
                for job_id in late:
                    sequence = await self._call(self._redis.hget(f"batch:job:{job_id.decode()}", "seq"))
                    if sequence is None:
                        await self._call(self._redis.zrem("batch:due", job_id))
                    else:
                        await self._send(job_id.decode(), int(sequence), now)

    async def _read_changes(self, job_id: str, after: int) -> tuple[JobRequest | None, list[Change]]:
        async def read() -> tuple[bytes | None, list[bytes]]:
            async with self._redis.pipeline(transaction=False) as pipeline:
                pipeline.hget(f"batch:job:{job_id}", "request")
                pipeline.lrange(f"batch:job:{job_id}:log", after, -1)
                request, changes = await pipeline.execute()
                return request, changes

        request, changes = await self._insist(read, _ONCE_MORE)
        if request is None:
            return None, []
        return JobRequest.load(request.decode()), [Change.load(change.decode()) for change in changes]

    async def _listen(self, url: str) -> None:
        """Tell watchers here of changes anywhere."""
        while True:
            with suppress(RedisError, OSError):
                async with Redis.from_url(url, driver_info=_DRIVER) as redis, redis.pubsub() as channel:
                    await channel.subscribe("batch:changed")
                    async for message in channel.listen():
                        if message["type"] == "message":
                            self._tell(message["data"].decode())
            await asyncio.sleep(_PAUSE_SECONDS)

    def _tell(self, job_id: str) -> None:
        if (history := self._histories.get(job_id)) is not None:
            history.fire()

    async def _call(self, call: Awaitable[T]) -> T:
        """Raises `JobsUnavailable` when Redis does not do it in time."""
        try:
            async with asyncio.timeout(_CALL_SECONDS):
                return await call
        except (RedisError, OSError, TimeoutError) as error:
            raise JobsUnavailable from error

    async def _insist(self, call: Callable[[], Awaitable[T]], seconds: float) -> T:
        """Call until it is done, for so many seconds."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                return await self._call(call())
            except JobsUnavailable:
                if time.monotonic() > deadline:
                    raise
            await asyncio.sleep(_PAUSE_SECONDS)


def _message_key(job_id: str, sequence: int) -> str:
    return f"{job_id}:{sequence}"


async def _end(task: "asyncio.Task[Any]") -> None:
    task.cancel()
    with suppress(asyncio.CancelledError, Exception):
        await task
