"""The promises of `JobEngine`, asked of every engine."""

import asyncio
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest

from service.jobs.engine import JobEnded, JobEngine, JobFilter
from service.jobs.job import Callback, CallbackState, Delivery, DeliveryState, Job, JobRequest, Status
from service.problems import KeyReused
from tests.jobs.conformance.engines import OPENERS, open_engine
from tests.jobs.conformance.work import ARRIVED, DELIVERED, ORDER, OTHER_ORDER, TIMEOUT, ended, request, running
from tests.support.long_timeouts import BOUNDS
from tests.support.redis_server import RedisServer

_ROOT = Path(__file__).parents[3]
HOUR = 3600
_PAUSE = 0.02
URL = "https://example.com/done"


@pytest.fixture(params=list(OPENERS))
def location(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Where the engine keeps its jobs; empty at first. A busy machine's Redis is waited for."""
    if request.param == "embedded":
        yield f"embedded:{tmp_path}"
        return
    for bound in BOUNDS:
        monkeypatch.setattr(bound, TIMEOUT)
    with RedisServer(tmp_path) as server:
        yield f"shared:{server.url}"


@pytest.fixture
async def engine(location: str) -> AsyncIterator[JobEngine]:
    """An open engine that runs nothing yet."""
    async with open_engine(location) as opened:
        yield opened


async def known(engine: JobEngine, job_id: str) -> Job:
    """The job, which must be there."""
    job = await engine.get(job_id)
    assert job is not None
    return job


async def history(watch: AsyncGenerator[Job, None]) -> list[Job]:
    """Everything that a watcher is told, to the end."""
    async with aclosing(watch), asyncio.timeout(TIMEOUT):
        return [job async for job in watch]


async def when_callback(engine: JobEngine, job_id: str, state: CallbackState) -> Job:
    """The job once its callback is in a state."""
    async with asyncio.timeout(TIMEOUT):
        while True:
            job = await known(engine, job_id)
            if job.callback is not None and job.callback.state is state:
                return job
            await asyncio.sleep(_PAUSE)


async def die_running(location: str, together: int = 1) -> None:
    """A process of its own begins as many jobs, and is killed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.jobs.conformance.worker", location, str(together), cwd=_ROOT
    )
    async with asyncio.timeout(TIMEOUT):
        assert await process.wait() == -9


async def test_an_accepted_job_is_there_again(location: str) -> None:
    """What was accepted is found, as it was asked for, by the next process."""
    wanted = request(callback_url=URL, owner="somebody")
    async with open_engine(location) as engine:
        accepted, is_new = await engine.submit(wanted)

    async with open_engine(location) as engine:
        found = await known(engine, wanted.id)

    assert is_new
    assert (found.request, found.status, found.crashes) == (wanted, Status.QUEUED, 0)
    assert found == accepted


async def test_an_unknown_job_is_nobody(engine: JobEngine) -> None:
    """Nothing is told of it, nothing can be done with it, and it does not come to be by that."""
    nobody = Job.new(request())

    with pytest.raises(JobEnded):
        await engine.save(nobody)
    assert not await engine.cancel(ended(nobody))
    assert not await engine.end(ended(nobody))
    assert await engine.repeat_callback(nobody.id) is None
    assert await history(engine.watch(nobody.id)) == []
    assert await engine.get(nobody.id) is None


async def test_a_key_names_one_job(location: str) -> None:
    """Eight equal submissions at once and one by the next process: one job, told as new once, and run once."""
    async with open_engine(location) as engine:
        answers = await asyncio.gather(*(engine.submit(request(), "key") for _ in range(8)))
    async with open_engine(location) as engine:
        later, is_new = await engine.submit(request(), "key")
        async with running(engine) as tasks:
            last, _ = await engine.submit(request())
            await tasks.until(lambda: len(tasks.finished) == 2)

    assert {job.id for job, _ in answers} == {later.id}
    assert [is_new, *(fresh for _, fresh in answers)].count(True) == 1
    assert sorted(tasks.finished) == sorted([later.id, last.id])


@pytest.mark.parametrize("other", [request(OTHER_ORDER), request(quality=10), request(callback_url="https://x.com/")])
async def test_a_key_is_not_for_another_request(engine: JobEngine, other: JobRequest) -> None:
    """A key that came with another order, other options or another callback is refused."""
    await engine.submit(request(), "key")

    with pytest.raises(KeyReused):
        await engine.submit(other, "key")


async def test_without_a_key_equal_requests_are_two_jobs(engine: JobEngine) -> None:
    """Each can be cancelled without the other."""
    first, _ = await engine.submit(request())
    second, _ = await engine.submit(request())

    assert first.id != second.id


async def test_every_job_is_run_once(engine: JobEngine) -> None:
    """Fifty jobs, some submitted before the engine runs: each is run once, to its end."""
    before = [(await engine.submit(request()))[0].id for _ in range(25)]
    async with running(engine) as tasks:
        after = [(await engine.submit(request()))[0].id for _ in range(25)]
        await tasks.until(lambda: len(tasks.finished) >= 50)

    assert sorted(job.id for job in tasks.runs) == sorted(before + after)
    assert not any((await engine.counts()).values())
    assert len(await engine.find(JobFilter(status=Status.COMPLETE), 99)) == 50


async def test_every_job_begins_at_once(engine: JobEngine) -> None:
    """A hundred that wait keep no other one waiting."""
    async with running(engine) as tasks:
        tasks.gate.clear()
        for _ in range(100):
            await engine.submit(request())
        last, _ = await engine.submit(request(OTHER_ORDER))
        await tasks.until(lambda: last.id in {job.id for job in tasks.runs})
        tasks.gate.set()
        await tasks.until(lambda: len(tasks.finished) == 101)


async def test_jobs_are_listed_newest_first(engine: JobEngine) -> None:
    """By owner, order and state, page by page, and none twice."""
    now = time.time()
    jobs = [
        (await engine.submit(replace(request(ORDER if at % 2 else OTHER_ORDER, owner=owner), created=now + at)))[0]
        for at, owner in enumerate(["a", "b", "a", "a", "b", "a"])
    ]
    await engine.cancel(ended(jobs[0], Status.CANCELLED))
    everything = JobFilter()

    first = await engine.find(everything, 4)
    second = await engine.find(replace(everything, before=(first[-1].request.created, first[-1].id)), 4)

    def ids(*at: int) -> list[str]:
        return [jobs[index].id for index in at]

    assert [job.id for job in (*first, *second)] == ids(5, 4, 3, 2, 1, 0)
    assert [job.id for job in await engine.find(JobFilter(owner="a"), 9)] == ids(5, 3, 2, 0)
    assert [job.id for job in await engine.find(JobFilter(owner="a", order_id=ORDER), 9)] == ids(5, 3)
    assert [job.id for job in await engine.find(JobFilter(status=Status.CANCELLED), 9)] == ids(0)
    assert await engine.find(JobFilter(owner="c"), 9) == []


async def test_a_job_of_several_orders_is_found_by_each(engine: JobEngine) -> None:
    """Beside those of that order alone; it comes back with all of them."""
    alone, _ = await engine.submit(request(OTHER_ORDER))
    several, is_new = await engine.submit(replace(request(), order_id=None, order_ids=(ORDER, OTHER_ORDER)), "key")

    assert is_new
    assert [job.id for job in await engine.find(JobFilter(order_id=OTHER_ORDER), 9)] == [several.id, alone.id]
    (found,) = await engine.find(JobFilter(order_id=ORDER), 9)
    assert (found.request.order_id, found.request.order_ids) == (None, (ORDER, OTHER_ORDER))
    with pytest.raises(KeyReused):
        await engine.submit(replace(request(), order_id=None, order_ids=(ORDER,)), "key")


async def test_jobs_of_one_moment_are_not_lost_between_pages(engine: JobEngine) -> None:
    """The cursor tells them apart."""
    now = time.time()
    expected = {(await engine.submit(replace(request(), created=now)))[0].id for _ in range(5)}
    found: list[Job] = []
    while page := await engine.find(JobFilter(before=(found[-1].request.created, found[-1].id) if found else None), 2):
        found += page

    assert len(found) == 5
    assert {job.id for job in found} == expected


async def test_counts_follow_the_states(engine: JobEngine) -> None:
    """Queued and processing, each job once; what has ended in no state."""
    jobs = [(await engine.submit(request()))[0] for _ in range(4)]
    await engine.save(replace(jobs[1], status=Status.PROCESSING))
    await engine.end(ended(jobs[2]))
    await engine.end(ended(jobs[3], Status.ERROR, expires=time.time() - 1))

    assert await engine.counts() == {Status.QUEUED: 1, Status.PROCESSING: 1}


async def test_a_watcher_is_told_of_changes(engine: JobEngine) -> None:
    """How the job stands, what it comes to meanwhile, and its end, which is the last; also when all is over."""
    job, _ = await engine.submit(request())
    watch = engine.watch(job.id)
    processing = replace(job, status=Status.PROCESSING, archive_id="a" * 32)
    async with asyncio.timeout(TIMEOUT):
        first = await anext(watch)
        await engine.save(processing)
        second = await anext(watch)
        end = ended(processing)
        await engine.end(end)
        rest = await history(watch)

    assert [first, second, *rest] == [job, processing, end]
    assert await history(engine.watch(job.id)) == [end]


async def test_a_cancelled_job_never_runs(engine: JobEngine) -> None:
    """It is cancelled while nobody runs it."""
    job, _ = await engine.submit(request())
    done = await engine.cancel(ended(job, Status.CANCELLED))
    async with running(engine) as tasks:
        other, _ = await engine.submit(request())
        await tasks.until(lambda: other.id in tasks.finished)

    assert done
    assert (await known(engine, job.id)).status is Status.CANCELLED
    assert [run.id for run in tasks.runs] == [other.id]


async def test_cancelling_stops_the_run(engine: JobEngine) -> None:
    """The run is cancelled, can change nothing any more, and the job stays cancelled."""
    async with running(engine) as tasks:
        tasks.gate.clear()
        job, _ = await engine.submit(request())
        await tasks.until(lambda: len(tasks.runs) == 1)
        await engine.cancel(ended(job, Status.CANCELLED))
        await tasks.until(lambda: tasks.cancelled == [job.id])

        with pytest.raises(JobEnded):
            await engine.save(replace(job, status=Status.PROCESSING))
        assert not await engine.end(ended(job))

    assert (await known(engine, job.id)).status is Status.CANCELLED


async def test_the_first_end_is_right(engine: JobEngine) -> None:
    """Of ends at the same moment one is kept, whole, and only who gave it is told so."""
    job, _ = await engine.submit(request())
    ends = [replace(ended(job, status), archive_id=str(status)) for status in (Status.COMPLETE, Status.ERROR)]

    answers = await asyncio.gather(*(engine.end(end) for end in (*ends, *ends)))

    kept = await known(engine, job.id)
    assert kept in ends
    assert not await engine.cancel(ended(job, Status.CANCELLED))
    assert True in answers
    assert not [ok for ok, end in zip(answers, (*ends, *ends), strict=True) if ok and end != kept]


async def test_the_receiver_is_told_of_an_end(engine: JobEngine) -> None:
    """Of a job that has run and of one that was cancelled; what came of it is on record."""
    async with running(engine) as tasks:
        run, _ = await engine.submit(request(callback_url=URL))
        await when_callback(engine, run.id, CallbackState.DELIVERED)
        tasks.gate.clear()
        cancelled, _ = await engine.submit(request(callback_url=URL))
        await tasks.until(lambda: len(tasks.runs) == 2)
        await engine.cancel(ended(cancelled, Status.CANCELLED))
        done = await when_callback(engine, cancelled.id, CallbackState.DELIVERED)

    assert [(job.id, job.status) for job in tasks.callbacks] == [
        (run.id, Status.COMPLETE),
        (cancelled.id, Status.CANCELLED),
    ]
    assert done.callback == DELIVERED


async def test_a_callback_is_attempted_when_it_says_so(engine: JobEngine) -> None:
    """Each attempt knows of the one before; a job without a receiver has none."""
    async with running(engine) as tasks:
        tasks.answers = [Callback(attempts=at, last_status=500, next_at=time.time()) for at in (1, 2)]
        await engine.submit(request())
        job, _ = await engine.submit(request(callback_url=URL))
        await when_callback(engine, job.id, CallbackState.DELIVERED)

    assert [(called.id, called.callback and called.callback.attempts) for called in tasks.callbacks] == [
        (job.id, 0),
        (job.id, 1),
        (job.id, 2),
    ]


async def test_a_callback_can_be_repeated(engine: JobEngine) -> None:
    """Also when the next attempt would be in an hour. For a job that has not ended there is nothing to repeat."""
    waiting, _ = await engine.submit(request(OTHER_ORDER, callback_url=URL))
    assert (await engine.repeat_callback(waiting.id)) == waiting
    await engine.cancel(ended(waiting, Status.CANCELLED))
    async with running(engine) as tasks:
        await when_callback(engine, waiting.id, CallbackState.DELIVERED)
        tasks.answers = [Callback(attempts=1, next_at=time.time() + HOUR)]
        job, _ = await engine.submit(request(callback_url=URL))
        await tasks.until(lambda: len(tasks.callbacks) == 2)
        async with asyncio.timeout(TIMEOUT):
            while (await known(engine, job.id)).callback == Callback():  # noqa: ASYNC110  # engines know of no event
                await asyncio.sleep(_PAUSE)

        renewed = await engine.repeat_callback(job.id)
        await when_callback(engine, job.id, CallbackState.DELIVERED)

    assert renewed is not None
    assert renewed.callback is not None
    assert renewed.callback.attempts == 0
    assert [called.id for called in tasks.callbacks] == [waiting.id, job.id, job.id]


async def test_a_callback_is_repeated_also_while_its_last_attempt_is_made(engine: JobEngine) -> None:
    """What comes of that one is not what comes of the repetition."""
    async with running(engine) as tasks:
        tasks.answers = [before := Callback(attempts=9, next_at=time.time())]
        tasks.held_answer = Callback(state=CallbackState.FAILED, attempts=10)
        job, _ = await engine.submit(request(callback_url=URL))
        await tasks.until(lambda: len(tasks.callbacks) == 2)

        renewed = await engine.repeat_callback(job.id)
        await tasks.until(lambda: len(tasks.callbacks) == 3)
        tasks.callback_gate.set()
        await when_callback(engine, job.id, CallbackState.DELIVERED)

    assert renewed is not None
    assert [called.callback for called in tasks.callbacks] == [Callback(), before, renewed.callback]


async def test_a_callback_is_repeated_also_while_its_first_attempt_is_made(engine: JobEngine) -> None:
    """Its receiver wants no more: it does not answer for the repetition, which an administrator asked for."""
    async with running(engine) as tasks:
        tasks.held_answer = Callback(state=CallbackState.STOPPED, attempts=1)
        job, _ = await engine.submit(request(callback_url=URL))
        await tasks.until(lambda: len(tasks.callbacks) == 1)

        renewed = await engine.repeat_callback(job.id)
        tasks.callback_gate.set()
        await tasks.until(lambda: len(tasks.callbacks) == 2)
        await when_callback(engine, job.id, CallbackState.DELIVERED)

    assert renewed is not None
    assert [called.callback for called in tasks.callbacks] == [Callback(), renewed.callback]


async def test_a_callback_is_repeated_also_while_its_last_attempt_ends(engine: JobEngine) -> None:
    """What comes of that one is about to be written as the repetition is."""
    async with running(engine) as tasks:
        tasks.answers = [Callback(attempts=9, next_at=time.time())]
        tasks.held_answer = Callback(state=CallbackState.FAILED, attempts=10)
        job, _ = await engine.submit(request(callback_url=URL))
        await tasks.until(lambda: len(tasks.callbacks) == 2)

        repeating = asyncio.create_task(engine.repeat_callback(job.id))
        await asyncio.sleep(0)  # it has begun to write
        tasks.callback_gate.set()
        await repeating
        await tasks.until(lambda: len(tasks.callbacks) == 3)
        await when_callback(engine, job.id, CallbackState.DELIVERED)

    assert tasks.callbacks[-1].callback is not None
    assert tasks.callbacks[-1].callback.attempts == 0


async def test_callbacks_outlive_the_process(location: str) -> None:
    """An attempt that is due after a stop is made by the next one; however long ago the job expired."""
    async with open_engine(location) as engine:
        job, _ = await engine.submit(request(callback_url=URL))
        assert await engine.cancel(ended(job, Status.CANCELLED, expires=time.time() - 48 * HOUR))

    async with open_engine(location) as engine, running(engine) as tasks:
        await tasks.until(lambda: len(tasks.callbacks) == 1)

    assert tasks.callbacks[0].id == job.id


async def test_what_a_stop_interrupts_runs_again(location: str) -> None:
    """Its run is cancelled; the next process begins it anew, with what the first one had kept."""
    async with open_engine(location) as engine:
        job, _ = await engine.submit(request())
        async with running(engine) as before:
            before.gate.clear()
            await before.until(lambda: len(before.runs) == 1)
            await engine.save(replace(job, crashes=3, reached=7))

    async with open_engine(location) as engine, running(engine) as after:
        await after.until(lambda: after.finished == [job.id])

    assert before.cancelled == [job.id]
    assert (after.runs[0].crashes, after.runs[0].reached) == (3, 7)


async def test_what_a_dead_process_had_runs_again(location: str) -> None:
    """All that it ran, once each."""
    async with open_engine(location) as engine:
        jobs = [(await engine.submit(request()))[0].id for _ in range(3)]
    await die_running(location, together=3)

    async with open_engine(location) as engine, running(engine) as tasks:
        await tasks.until(lambda: len(tasks.finished) == 3)

    assert sorted(tasks.finished) == sorted(jobs)


async def test_work_that_fails_does_not_take_others_along(engine: JobEngine) -> None:
    """The engine goes on, and the job is not forgotten."""

    def fail(job: Job) -> None:
        if job.id == failing.id:
            raise RuntimeError("a fault of ours")

    async with running(engine) as tasks:
        tasks.then = fail
        failing, _ = await engine.submit(request())
        await tasks.until(lambda: len(tasks.runs) == 1)
        other, _ = await engine.submit(request())
        await tasks.until(lambda: tasks.finished == [other.id])

    assert (await known(engine, failing.id)).status is Status.QUEUED


async def test_a_job_is_delivered_before_its_receiver_is_told(engine: JobEngine) -> None:
    """The callback comes when the delivery has ended, and tells of it."""
    async with running(engine) as tasks:
        tasks.delivery_gate.clear()
        job, _ = await engine.submit(request(callback_url=URL, deliver_to=URL))
        await tasks.until(lambda: bool(tasks.deliveries))
        during = await known(engine, job.id)
        called_too_early = list(tasks.callbacks)
        tasks.delivery_gate.set()
        await when_callback(engine, job.id, CallbackState.DELIVERED)

    assert (during.status, during.delivery, called_too_early) == (Status.COMPLETE, Delivery(), [])
    assert [called.delivery for called in tasks.callbacks] == [ARRIVED]
    assert (await known(engine, job.id)).delivery == ARRIVED


async def test_a_delivery_is_attempted_again_when_it_says_so(engine: JobEngine) -> None:
    """Each attempt knows of the one before; one that is given up ends it, and the receiver is told."""
    again = Delivery(attempts=1, error="timeout", next_at=time.time() + 0.5)
    given_up = Delivery(status=DeliveryState.FAILED, attempts=2, error="status_403")
    async with running(engine) as tasks:
        tasks.delivered = [again, given_up]
        job, _ = await engine.submit(request(callback_url=URL, deliver_to=URL))
        await when_callback(engine, job.id, CallbackState.DELIVERED)

    assert [one.delivery for one in tasks.deliveries] == [Delivery(), again]
    assert [one.delivery for one in tasks.callbacks] == [given_up]


async def test_only_what_is_complete_is_delivered(engine: JobEngine) -> None:
    """The receiver of a cancelled job is told at once."""
    async with running(engine) as tasks:
        tasks.gate.clear()
        job, _ = await engine.submit(request(callback_url=URL, deliver_to=URL))
        await tasks.until(lambda: bool(tasks.runs))
        await engine.cancel(ended(job, Status.CANCELLED))
        await when_callback(engine, job.id, CallbackState.DELIVERED)

    assert tasks.deliveries == []


async def test_deliveries_outlive_the_process(location: str) -> None:
    """What was being delivered when the process stopped is delivered by the next."""
    async with open_engine(location) as engine, running(engine) as tasks:
        tasks.delivery_gate.clear()
        job, _ = await engine.submit(request(deliver_to=URL))
        await tasks.until(lambda: bool(tasks.deliveries))
    async with open_engine(location) as engine, running(engine) as tasks:
        await tasks.until(lambda: bool(tasks.deliveries))
        async with asyncio.timeout(TIMEOUT):
            while (await known(engine, job.id)).delivery != ARRIVED:  # noqa: ASYNC110  # engines know of no event
                await asyncio.sleep(_PAUSE)

    assert [one.id for one in tasks.deliveries] == [job.id]


async def test_a_key_is_not_for_another_storage(engine: JobEngine) -> None:
    """Another place to deliver to is another request."""
    await engine.submit(request(deliver_to=URL), "key")

    with pytest.raises(KeyReused):
        await engine.submit(request(deliver_to="https://example.com/other"), "key")
