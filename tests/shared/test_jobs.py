"""What only the shared engine promises of jobs, besides the conformance suite."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from service.jobs.backend import Run
from service.jobs.broker import Broker, listen
from service.jobs.job import Change, Status
from tests.faults.proxy import FaultProxy
from tests.jobs.conformance.engines import open_engine
from tests.jobs.conformance.steps import ORDER, PATIENCE, ended, request, running
from tests.redis_server import RedisServer

_MOMENTS = 150
_PAUSE = 0.02
# Longer than a call to Redis may take, shorter than a run insists.
_HANG_SECONDS = 1.2


@pytest.fixture
async def broker(redis: RedisServer) -> AsyncIterator[Broker]:
    """A way to what is kept in Redis."""
    async with Broker.open(redis.url) as opened:
        yield opened


async def test_a_job_whose_record_cannot_be_read_is_not_lost(redis: RedisServer, broker: Broker) -> None:
    """It is let go of, and runs when somebody can read it."""
    async with open_engine(f"shared:{redis.url}") as backend:
        job, _ = await backend.submit(request())
        await broker.redis.rpush(f"batch:job:{job.id}:log", '{"from": "the future"}')
        async with running(backend) as steps, asyncio.timeout(PATIENCE):
            while not await broker.redis.hlen(f"batch:job:{job.id}:dead"):  # noqa: ASYNC110  # Redis knows of no event
                await asyncio.sleep(_PAUSE)
            await broker.redis.rpop(f"batch:job:{job.id}:log")
            await backend.wake(ORDER)
            await steps.until(lambda: steps.finished == [job.id])


async def test_a_step_that_has_ended_is_claimed_by_nobody(redis: RedisServer, broker: Broker) -> None:
    """A claim that was on its way for long finds it void, also the last one of a job."""
    async with open_engine(f"shared:{redis.url}") as backend, running(backend) as steps:
        job, _ = await backend.submit(request())
        await steps.until(lambda: steps.finished == [job.id])
    late = await broker.claim(args=[job.id, 1, steps.runs[0].token, "worker"])

    assert late is None


async def test_an_outcome_whose_answer_was_late_counts_once(redis: RedisServer) -> None:
    """Redis does what it was asked before it hung, and is asked again: the job has each image once."""

    async def step(run: Run) -> None:
        await backend.progress(run, Change(at=time.time(), status=Status.PROCESSING, archive_id="a" * 32, total=2))
        redis.freeze()
        asyncio.get_running_loop().call_later(_HANG_SECONDS, redis.thaw)
        await backend.progress(run, Change(at=time.time(), size=10))
        await backend.progress(run, Change(at=time.time(), size=10))
        await backend.progress(run, ended())

    async with open_engine(f"shared:{redis.url}") as backend, asyncio.timeout(PATIENCE):
        job, _ = await backend.submit(request())
        task = asyncio.create_task(backend.run(step))
        *_, last = [seen async for seen in backend.watch(job.id, 0)]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    assert (last.status, last.downloaded, last.bytes) == (Status.COMPLETE, 2, 20)


async def test_a_cancelling_on_record_is_told_as_done(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis hangs right after it: the caller hears that the job was ended, once; and what follows is done later."""
    send = Broker.send

    async def send_to_frozen(broker: Broker, job_id: str, sequence: int, due: float) -> None:
        redis.freeze()
        await send(broker, job_id, sequence, due)

    for name in ("_SWEEP_SECONDS", "_OVERDUE_SECONDS"):
        monkeypatch.setattr(f"service.jobs.worker.{name}", _PAUSE)
    async with open_engine(f"shared:{redis.url}") as backend:
        job, _ = await backend.submit(request())
        with monkeypatch.context() as patch:
            patch.setattr(Broker, "send", send_to_frozen)
            cancelled, done = await backend.cancel(job.id)
        redis.thaw()
        again = await backend.cancel(job.id)
        async with running(backend) as steps:
            await steps.until(lambda: steps.finished == [job.id])

    assert done
    assert cancelled is not None
    assert cancelled.status is Status.CANCELLED
    assert again == (cancelled, False)


async def test_a_job_is_forgotten_once_nothing_is_left_to_do(redis: RedisServer, broker: Broker) -> None:
    """A day after it expired, also when a callback was sent once more."""
    async with open_engine(f"shared:{redis.url}") as backend, running(backend) as steps, asyncio.timeout(PATIENCE):
        job, _ = await backend.submit(request())
        for times in (1, 2):
            await steps.until(lambda: steps.finished.count(job.id) == times)  # noqa: B023  # awaited at once
            for key in (f"batch:job:{job.id}", f"batch:job:{job.id}:log"):
                while not 80_000 < await broker.redis.ttl(key) < 100_000:  # noqa: ASYNC110  # Redis knows of no event
                    await asyncio.sleep(_PAUSE)
            await backend.renew(job.id, Change(at=time.time(), callback={"state": "pending"}))


@pytest.mark.parametrize(("again", "thaw_after"), [(5.0, 1.0), (0.2, None)])
async def test_a_stop_while_redis_hangs_loses_nothing(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch, again: float, thaw_after: float | None
) -> None:
    """It ends in time, whether Redis goes on in the middle of it or later; another one runs what it interrupted."""
    monkeypatch.setattr("service.jobs.worker._STOP_SECONDS", 0.2)
    monkeypatch.setattr("service.jobs.worker._CANCEL_AGAIN_SECONDS", again)
    async with asyncio.timeout(PATIENCE):
        async with open_engine(f"shared:{redis.url}") as backend:
            job, _ = await backend.submit(request())
            async with running(backend) as steps:
                steps.gate.clear()
                await steps.until(lambda: len(steps.runs) == 1)
                redis.freeze()
                if thaw_after is not None:
                    asyncio.get_running_loop().call_later(thaw_after, redis.thaw)
        redis.thaw()
    async with open_engine(f"shared:{redis.url}") as backend, running(backend) as steps:
        await steps.until(lambda: steps.finished == [job.id])


async def test_a_listener_notices_that_redis_is_gone(
    redis: RedisServer, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connection says nothing, neither that it is broken nor anything else: it listens on another one."""
    monkeypatch.setattr("service.jobs.broker._SILENCE_SECONDS", 0.2)
    heard = asyncio.Event()

    async def publish_until_heard() -> None:
        heard.clear()
        async with asyncio.timeout(PATIENCE):
            while not heard.is_set():  # who listens does not say when it begins
                await broker.redis.publish("batch:news", ORDER)
                await asyncio.sleep(_PAUSE)

    async with FaultProxy(redis.url) as proxy:
        listening = asyncio.create_task(
            listen(proxy.url.replace("http:", "redis:"), {"batch:news": lambda order: heard.set()})
        )
        await publish_until_heard()
        proxy.fall_silent()
        await publish_until_heard()
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


async def test_a_listener_stops_at_the_first_word(redis: RedisServer) -> None:
    """In whatever moment it is cancelled; the library may lose a cancellation while it sends."""
    for moment in range(_MOMENTS):
        listening = asyncio.create_task(listen(redis.url, {"batch:news": print}))
        for _ in range(moment):
            await asyncio.sleep(0)
        listening.cancel()
        async with asyncio.timeout(PATIENCE):
            await asyncio.wait([listening])
