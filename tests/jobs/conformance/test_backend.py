"""The promises of `JobBackend`, asked of every backend."""

import asyncio
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, suppress
from pathlib import Path

import pytest

from service.jobs.backend import JobBackend, PutOff, Run, Withdrawn
from service.jobs.job import Change, Job, Status
from service.problems import KeyReused
from tests.jobs.conformance.engines import OPENERS, open_engine
from tests.jobs.conformance.steps import ORDER, OTHER_ORDER, PATIENCE, ended, request, running
from tests.redis_server import RedisServer

_ROOT = Path(__file__).parents[3]
HOUR = 3600


@pytest.fixture(params=list(OPENERS))
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where the backend keeps its jobs; empty at first."""
    if request.param == "embedded":
        yield f"embedded:{tmp_path}"
        return
    server = RedisServer(tmp_path)
    server.start()
    yield f"shared:{server.url}"
    server.stop()


@pytest.fixture
async def backend(address: str) -> AsyncIterator[JobBackend]:
    """An open backend that runs nothing yet."""
    async with open_engine(address) as opened:
        yield opened


async def known(backend: JobBackend, job_id: str) -> Job:
    """The job, which must be there."""
    job = await backend.get(job_id)
    assert job is not None
    return job


async def history(watch: AsyncGenerator[Job, None]) -> list[Job]:
    """Everything that a watcher is told, to the end."""
    async with aclosing(watch), asyncio.timeout(PATIENCE):
        return [job async for job in watch]


async def die_running(address: str, together: int = 1, images: int = 0) -> None:
    """A process of its own begins as many of the jobs that are due, gets to so many images, and is killed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.jobs.conformance.worker", address, str(together), str(images), cwd=_ROOT
    )
    async with asyncio.timeout(PATIENCE):
        assert await process.wait() == -9


async def test_an_accepted_job_is_there_again(address: str) -> None:
    """What was accepted is found, as it was asked for, by the next process."""
    wish = request(callback_url="https://example.com/done")
    async with open_engine(address) as backend:
        accepted, is_new = await backend.submit(wish)

    async with open_engine(address) as backend:
        found = await known(backend, wish.id)

    assert is_new
    assert (found.request, found.status, found.number) == (wish, Status.QUEUED, 1)
    assert found == accepted


async def test_an_unknown_job_is_nobody(backend: JobBackend) -> None:
    """Nothing is told of it, nothing can be done with it."""
    assert await backend.get("0" * 32) is None
    assert await backend.cancel("0" * 32) == (None, False)
    assert await backend.renew("0" * 32, ended()) is None
    assert await history(backend.watch("0" * 32, 0)) == []


async def test_a_key_names_one_job(address: str) -> None:
    """Eight equal submissions at once and one by the next process: one job, told as new once."""
    async with open_engine(address) as backend:
        answers = await asyncio.gather(*(backend.submit(request(), "key") for _ in range(8)))
    async with open_engine(address) as backend:
        later, is_new = await backend.submit(request(), "key")

    assert {job.id for job, _ in answers} == {later.id}
    assert [is_new, *(fresh for _, fresh in answers)].count(True) == 1
    assert not is_new


@pytest.mark.parametrize("other", [request(OTHER_ORDER), request(quality=10), request(callback_url="https://x.com/")])
async def test_a_key_is_not_for_another_wish(backend: JobBackend, other: object) -> None:
    """A key that came with another order, other options or another callback is refused."""
    await backend.submit(request(), "key")

    with pytest.raises(KeyReused):
        await backend.submit(other, "key")  # type: ignore[arg-type]  # parametrised


async def test_without_a_key_equal_wishes_are_two_jobs(backend: JobBackend) -> None:
    """Each can be cancelled without the other."""
    first, _ = await backend.submit(request())
    second, _ = await backend.submit(request())

    assert first.id != second.id


async def test_every_job_is_run_once(backend: JobBackend) -> None:
    """Fifty jobs, some submitted before the backend runs: each is run once, to its end, with no death behind it."""
    before = [(await backend.submit(request()))[0].id for _ in range(25)]
    async with running(backend) as steps:
        after = [(await backend.submit(request()))[0].id for _ in range(25)]
        await steps.until(lambda: len(steps.finished) >= 50)

    assert sorted(run.job.id for run in steps.runs) == sorted(before + after)
    assert {run.deaths for run in steps.runs} == {0}
    assert (await backend.counts())[Status.COMPLETE] == 50


async def test_jobs_run_side_by_side(backend: JobBackend) -> None:
    """One that takes long does not keep the next one waiting."""
    async with running(backend) as steps:
        steps.gate.clear()
        for _ in range(4):
            await backend.submit(request())
        await steps.until(lambda: len(steps.runs) == 4)
        steps.gate.set()


async def test_a_job_comes_again_when_its_step_says_so(backend: JobBackend) -> None:
    """What an earlier step noted is known to the later one."""
    async with running(backend) as steps:
        steps.then = lambda run: time.time() if len(steps.runs) < 3 else None
        job, _ = await backend.submit(request())
        await steps.until(lambda: len(steps.finished) == 3)

    assert [run.job.id for run in steps.runs] == [job.id] * 3
    assert {run.deaths for run in steps.runs} == {0}


async def test_waking_an_order_lets_its_jobs_run_now(backend: JobBackend) -> None:
    """A job that would come again in an hour runs at once; that of another order does not."""
    async with running(backend) as steps:
        steps.then = lambda run: time.time() + HOUR if len(steps.runs) <= 2 else None
        woken, _ = await backend.submit(request())
        await backend.submit(request(OTHER_ORDER))
        await steps.until(lambda: len(steps.finished) == 2)

        await backend.wake(ORDER)
        await steps.until(lambda: len(steps.finished) == 3)

    assert steps.finished[2] == woken.id
    assert len(steps.runs) == 3


async def test_waking_in_the_middle_of_a_step_is_not_missed(backend: JobBackend) -> None:
    """The step may have looked too early; so it is followed by another at once."""
    async with running(backend) as steps:
        steps.gate.clear()
        steps.then = lambda run: time.time() + HOUR if len(steps.runs) == 1 else None
        await backend.submit(request())
        await steps.until(lambda: len(steps.runs) == 1)

        await backend.wake(ORDER)
        steps.gate.set()

        await steps.until(lambda: len(steps.finished) == 2)


async def test_a_watcher_is_told_every_change_in_its_sequence(backend: JobBackend) -> None:
    """From the number that it names on, each once, to the final state; also when all is over."""

    async def step(run: Run) -> None:
        await backend.progress(run, Change(at=1, status=Status.PROCESSING, archive_id="a" * 32, total=2))
        await backend.progress(run, Change(at=2, size=100), Change(at=3, failure={"image_id": "x"}))
        await backend.progress(run, Change(at=4, status=Status.COMPLETE, expires=time.time() + HOUR))

    job, _ = await backend.submit(request())
    watcher = asyncio.create_task(history(backend.watch(job.id, 0)))
    running_jobs = asyncio.create_task(backend.run(step))
    seen = await watcher
    resumed = await history(backend.watch(job.id, 3))
    running_jobs.cancel()
    await asyncio.gather(running_jobs, return_exceptions=True)

    assert [one.number for one in seen] == [1, 2, 3, 4, 5]
    assert [one.status for one in seen] == ["queued", "processing", "processing", "processing", "complete"]
    counts = [(one.downloaded, one.bytes, len(one.failures)) for one in seen]
    assert counts == [(0, 0, 0), (0, 0, 0), (1, 100, 0), (1, 100, 1), (1, 100, 1)]
    assert resumed == seen[3:]
    assert await history(backend.watch(job.id, 5)) == []
    assert await known(backend, job.id) == seen[-1]


async def test_a_cancelled_job_never_runs(backend: JobBackend) -> None:
    """It is cancelled while it waits for its turn."""
    job, _ = await backend.submit(request())
    cancelled, done = await backend.cancel(job.id)
    async with running(backend) as steps:
        other, _ = await backend.submit(request())
        await steps.until(lambda: other.id in steps.finished)

    assert done
    assert cancelled is not None
    assert cancelled.status is Status.CANCELLED
    assert cancelled.expires is not None
    assert not [run for run in steps.runs if not run.job.is_final and run.job.id == job.id]


async def test_cancelling_stops_the_run(backend: JobBackend) -> None:
    """The run is cancelled, cannot add to the history, and the job stays cancelled."""
    async with running(backend) as steps:
        steps.gate.clear()
        job, _ = await backend.submit(request())
        await steps.until(lambda: len(steps.runs) == 1)
        await backend.cancel(job.id)
        await steps.until(lambda: steps.cancelled == [job.id])

        with pytest.raises(Withdrawn):
            await backend.progress(steps.runs[0], ended())

    assert (await known(backend, job.id)).status is Status.CANCELLED


async def test_a_run_that_lost_its_job_does_not_disturb_the_next(backend: JobBackend) -> None:
    """It takes its time to end after the cancelling; the run that has the job meanwhile keeps it."""
    runs: list[Run] = []
    begun = [asyncio.Event(), asyncio.Event()]
    first_may_end, first_has_ended, never = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def step(run: Run) -> None:
        runs.append(run)
        begun[len(runs) - 1].set()
        try:
            await never.wait()
        finally:
            if run is runs[0]:
                await first_may_end.wait()
                first_has_ended.set()

    job, _ = await backend.submit(request(callback_url="https://example.com/"))
    task = asyncio.create_task(backend.run(step))
    try:
        async with asyncio.timeout(PATIENCE):
            await begun[0].wait()
            await backend.cancel(job.id)
            await begun[1].wait()
            first_may_end.set()
            await first_has_ended.wait()
            for _ in range(5):
                await known(backend, job.id)
            await backend.progress(runs[1], Change(at=time.time(), callback={"state": "pending"}))
    finally:
        first_may_end.set()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    assert [run.job.id for run in runs] == [job.id, job.id]


async def test_cancelling_an_ended_job_changes_nothing(backend: JobBackend) -> None:
    """It stays as it ended."""
    async with running(backend) as steps:
        job, _ = await backend.submit(request())
        await steps.until(lambda: steps.finished == [job.id])

        assert await backend.cancel(job.id) == (await known(backend, job.id), False)

    assert (await known(backend, job.id)).status is Status.COMPLETE


async def test_an_ended_job_can_be_given_another_step(backend: JobBackend) -> None:
    """As a callback that is sent once more; one that has not ended is left alone."""
    note = Change(at=time.time(), callback={"state": "pending"})
    waiting, _ = await backend.submit(request(OTHER_ORDER))
    assert (await backend.renew(waiting.id, note)) == waiting
    await backend.cancel(waiting.id)
    async with running(backend) as steps:
        job, _ = await backend.submit(request())
        await steps.until(lambda: job.id in steps.finished)

        renewed = await backend.renew(job.id, note)
        await steps.until(lambda: steps.finished.count(job.id) == 2)

    assert renewed is not None
    assert renewed.callback == {"state": "pending"}
    assert steps.runs[-1].job.callback == {"state": "pending"}


async def test_a_job_with_a_step_to_come_is_kept(backend: JobBackend) -> None:
    """However long ago it expired: callbacks are attempted for days."""
    seen = asyncio.Event()

    async def step(run: Run) -> float | None:
        if run.job.is_final:
            seen.set()
            return None
        expired = Change(at=time.time(), status=Status.COMPLETE, expires=time.time() - 48 * HOUR)
        await backend.progress(run, expired)
        return time.time()

    await backend.submit(request(callback_url="https://x.com/"))
    task = asyncio.create_task(backend.run(step))
    try:
        async with asyncio.timeout(PATIENCE):
            await seen.wait()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_an_orderly_stop_is_no_death(address: str) -> None:
    """The run that it interrupts is begun again by the next process, as if for the first time."""
    async with open_engine(address) as backend:
        job, _ = await backend.submit(request())
        async with running(backend) as steps:
            steps.gate.clear()
            await steps.until(lambda: len(steps.runs) == 1)

    async with open_engine(address) as backend, running(backend) as steps:
        await steps.until(lambda: steps.finished == [job.id])

    assert steps.runs[0].deaths == 0


async def test_a_stop_hastens_nothing(address: str) -> None:
    """A step that ends in order because of it, and says when to come again, is not followed by another before."""
    begun = asyncio.Event()

    async def step(run: Run) -> float:
        begun.set()
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return time.time() + HOUR

    async with open_engine(address) as backend:
        await backend.submit(request())
        task = asyncio.create_task(backend.run(step))
        async with asyncio.timeout(PATIENCE):
            await begun.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async with open_engine(address) as backend, running(backend) as steps:
        for _ in range(2):
            other, _ = await backend.submit(request())
            await steps.until(lambda: other.id in steps.finished)  # noqa: B023  # awaited in the same turn

    assert len(steps.runs) == 2


async def test_deaths_are_counted(address: str) -> None:
    """A job whose processes died twice is run again, and its step is told of both; an orderly end clears it."""
    async with open_engine(address) as backend:
        job, _ = await backend.submit(request())
    await die_running(address)
    await die_running(address)

    async with open_engine(address) as backend, running(backend) as steps:
        steps.then = lambda run: time.time() if len(steps.runs) == 1 else None
        await steps.until(lambda: steps.finished == [job.id] * 2)

    assert [run.deaths for run in steps.runs] == [2, 0]


async def test_a_step_that_is_put_off_clears_nothing(address: str) -> None:
    """A job that kills its process whenever nothing else is in the way is found out all the same."""
    async with open_engine(address) as backend:
        job, _ = await backend.submit(request())
    await die_running(address)

    async with open_engine(address) as backend, running(backend) as steps:

        def put_off_once(run: Run) -> float | None:
            if len(steps.runs) == 1:
                raise PutOff(time.time())
            return None

        steps.then = put_off_once
        await steps.until(lambda: steps.finished == [job.id])

    assert [run.deaths for run in steps.runs] == [1, 1]


async def test_nobody_is_blamed_for_a_death_in_company(address: str) -> None:
    """Two that died together twice: each is run once more, by itself, with no death held against it."""
    async with open_engine(address) as backend:
        for _ in range(2):
            await backend.submit(request())
    await die_running(address, together=2)
    await die_running(address, together=2)

    async with open_engine(address) as backend, running(backend) as steps:
        await steps.until(lambda: len(steps.finished) == 2)

    assert [run.deaths for run in steps.runs] == [0, 0]
    assert steps.at_once == [1, 1]


async def test_a_job_that_gets_further_is_not_blamed(address: str) -> None:
    """What it died of before was not its own fault: only the death after the furthest image counts."""
    async with open_engine(address) as backend:
        await backend.submit(request())
    for images in (1, 2):
        await die_running(address, images=images)

    async with open_engine(address) as backend, running(backend) as steps:
        await steps.until(lambda: len(steps.finished) == 1)

    assert [run.deaths for run in steps.runs] == [1]


async def test_a_step_that_breaks_does_not_take_others_along(backend: JobBackend) -> None:
    """The backend goes on, and the job is not forgotten."""

    def broken(run: Run) -> float | None:
        if run.job.id == job.id:
            raise RuntimeError("a fault of ours")
        return None

    async with running(backend) as steps:
        steps.then = broken
        job, _ = await backend.submit(request())
        await steps.until(lambda: len(steps.runs) == 1)
        other, _ = await backend.submit(request())
        await steps.until(lambda: steps.finished == [other.id])

    assert (await known(backend, job.id)).status is Status.QUEUED
