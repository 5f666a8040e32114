"""What only the shared engine promises of jobs, besides the conformance suite."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import cast

import pytest
from docket import Docket, Retry, Worker
from docket.dependencies import ForcedRetry
from redis.exceptions import ConnectionError as RedisConnectionError

from service.archives.archives import Archives
from service.archives.options import Options
from service.cluster.job_records import IncompatibleJobs, JobRecords, call
from service.cluster.jobs import SessionEnd, SharedJobs
from service.jobs.engine import JobEnded, JobFilter, Work
from service.jobs.job import Callback, Delivery, Job, Status
from service.jobs.jobs import Jobs
from service.problems import JobsUnavailable
from service.telemetry.metrics import Metrics
from tests.jobs.conformance.engines import LEASE, open_engine
from tests.jobs.conformance.work import ARRIVED, TIMEOUT, ended, request, running
from tests.support.counted import CountedEvent
from tests.support.redis_server import RedisServer
from tests.support.transport import yield_to_loop

pytestmark = pytest.mark.usefixtures("long_timeouts")

_PAUSE = 0.02
_DAY = 24 * 3600
URL = "https://example.com/"


@pytest.fixture
async def records(redis: RedisServer) -> AsyncIterator[JobRecords]:
    """A way to what is kept in Redis."""
    async with JobRecords.open(redis.url) as opened:
        yield opened


async def test_what_nobody_was_told_of_is_not_run(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis takes the message, and is gone before the record: the caller was refused, so nothing may be bought."""
    monkeypatch.setattr("service.cluster.jobs._RECORD_ATTEMPTS", 2)

    async def fail(records: JobRecords, job: Job) -> bool:
        raise JobsUnavailable

    async with open_engine(f"shared:{redis.url}") as engine, running(engine) as tasks:
        with monkeypatch.context() as patch:
            patch.setattr(JobRecords, "add", fail)
            with pytest.raises(JobsUnavailable):
                await engine.submit(request(), "key")
        other, _ = await engine.submit(request())
        await tasks.until(lambda: tasks.finished == [other.id])
        again, is_new = await engine.submit(request(), "key")
        await tasks.until(lambda: len(tasks.finished) == 2)

    assert is_new
    assert tasks.finished == [other.id, again.id]


async def test_a_message_waits_for_its_record(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker may be told of a job before the job is on record; it is run then."""
    add, may_write = JobRecords.add, asyncio.Event()

    async def write_late(records: JobRecords, job: Job) -> bool:
        await may_write.wait()
        return await add(records, job)

    monkeypatch.setattr(JobRecords, "add", write_late)
    monkeypatch.setattr("service.cluster.jobs._SUBMIT_SECONDS", TIMEOUT)
    looked: list[str] = []
    get = JobRecords.get

    async def note(records: JobRecords, job_id: str) -> Job | None:
        looked.append(job_id)
        return await get(records, job_id)

    monkeypatch.setattr(JobRecords, "get", note)
    async with open_engine(f"shared:{redis.url}") as engine, running(engine) as tasks:
        submitting = asyncio.create_task(engine.submit(request()))
        async with asyncio.timeout(TIMEOUT):
            while len(looked) < 2:  # noqa: ASYNC110  # the first is that of the submission
                await asyncio.sleep(_PAUSE)
        may_write.set()
        job, _ = await submitting
        await tasks.until(lambda: tasks.finished == [job.id])


async def test_an_outage_in_the_middle_of_a_run_is_waited_out(redis: RedisServer) -> None:
    """For longer than the lease: the run goes on where it is, and it is one run."""
    async with open_engine(f"shared:{redis.url}") as engine, running(engine) as tasks:
        tasks.gate.clear()
        job, _ = await engine.submit(request(callback_url=URL))
        await tasks.until(lambda: len(tasks.runs) == 1)
        redis.kill()
        tasks.gate.set()
        await asyncio.sleep(LEASE.total_seconds())
        unfinished = list(tasks.finished)
        redis.start()
        await tasks.until(lambda: len(tasks.callbacks) == 1)

    assert unfinished == []
    assert [run.id for run in tasks.runs] == [job.id]
    assert tasks.finished == [job.id]


async def test_a_cancelling_on_record_is_told_as_done(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis hangs right after it: the caller hears that the job was ended, once; its receiver is told later."""
    end = JobRecords.end

    async def freeze_after(records: JobRecords, job: Job) -> bool:
        try:
            return await end(records, job)
        finally:
            redis.freeze()
            patch.setattr("service.cluster.job_records._CALL_SECONDS", _PAUSE)

    async with open_engine(f"shared:{redis.url}") as engine:
        job, _ = await engine.submit(request(callback_url=URL))
        cancelled = ended(job, Status.CANCELLED)
        with monkeypatch.context() as patch:
            patch.setattr(JobRecords, "end", freeze_after)
            is_first = await engine.cancel(cancelled)
        redis.thaw()
        again = await engine.cancel(ended(job, Status.CANCELLED, expires=1.0))
        async with running(engine) as tasks:
            await tasks.until(lambda: len(tasks.callbacks) == 1)

    assert (is_first, again) == (True, False)
    assert tasks.runs == []


async def test_a_job_stops_though_who_cancelled_it_has_left(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it is on record that it has ended: else it would buy on."""
    end, begun, may_end = JobRecords.end, asyncio.Event(), asyncio.Event()

    async def end_late(records: JobRecords, job: Job) -> bool:
        begun.set()
        await may_end.wait()
        return await end(records, job)

    async with open_engine(f"shared:{redis.url}") as engine, running(engine) as tasks:
        tasks.gate.clear()
        jobs = Jobs(engine, cast(Archives, None), Metrics(), ttl=3_600)
        job, _ = await jobs.submit("o", Options())
        await tasks.until(lambda: len(tasks.runs) == 1)
        monkeypatch.setattr(JobRecords, "end", end_late)
        caller = asyncio.create_task(jobs.cancel(job))
        async with asyncio.timeout(TIMEOUT):
            await begun.wait()
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        may_end.set()

        await tasks.until(lambda: tasks.cancelled == [job.id])
        assert (await jobs.get(job.id)).status is Status.CANCELLED


async def test_a_job_stops_though_its_cancelling_was_not_heard(
    redis: RedisServer, records: JobRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given who runs it, whose connection broke at that moment: it would buy on. The receiver is told."""
    monkeypatch.setattr("service.cluster.jobs._CANCELLED_SECONDS", _PAUSE)
    async with open_engine(f"shared:{redis.url}") as engine, running(engine) as tasks:
        tasks.gate.clear()
        job, other = [(await engine.submit(request(callback_url=URL)))[0] for _ in range(2)]
        await tasks.until(lambda: len(tasks.runs) == 2)

        await records.end(ended(job, Status.CANCELLED))

        await tasks.until(lambda: tasks.cancelled == [job.id] and len(tasks.callbacks) == 1)
        tasks.gate.set()
        await tasks.until(lambda: tasks.finished == [other.id])

    assert tasks.callbacks[0].id == job.id


async def test_a_job_that_is_cancelled_right_after_its_end_is_delivered(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cancelling comes too late, and must not take the job from who is about to have it delivered."""
    schedule, is_ending, may_go_on = SharedJobs._schedule_callback, asyncio.Event(), asyncio.Event()

    async def schedule_late(engine: SharedJobs, job: Job) -> None:
        if job.status is Status.COMPLETE:
            is_ending.set()
            await may_go_on.wait()
        await schedule(engine, job)

    monkeypatch.setattr(SharedJobs, "_schedule_callback", schedule_late)
    async with open_engine(f"shared:{redis.url}") as engine, running(engine) as tasks:
        job, _ = await engine.submit(request(deliver_to=URL))
        async with asyncio.timeout(TIMEOUT):
            await is_ending.wait()
        is_first = await engine.cancel(ended(job, Status.CANCELLED))
        await asyncio.sleep(_PAUSE)  # a cancelling would be heard by then
        may_go_on.set()
        await tasks.until(lambda: len(tasks.deliveries) == 1)

    assert not is_first


async def test_an_end_whose_answer_was_lost_is_the_end(redis: RedisServer, records: JobRecords) -> None:
    """Told twice, it is on record once, and both times whoever told it is right; another end is not."""
    async with open_engine(f"shared:{redis.url}") as engine:
        job, _ = await engine.submit(request())
        end = ended(job)
        answers = [await engine.end(end), await engine.end(end), await engine.end(ended(job, Status.ERROR))]

        with pytest.raises(JobEnded):
            await engine.save(replace(job, status=Status.PROCESSING))
        assert await engine.get(job.id) == end

    assert answers == [True, True, False]


@pytest.mark.parametrize(("callback_url", "days"), [(None, 1), (URL, 4)])
async def test_a_record_goes_by_itself(
    redis: RedisServer, records: JobRecords, callback_url: str | None, days: int
) -> None:
    """A day after it expired, or once its receiver can have been told; lists drop it then."""
    async with open_engine(f"shared:{redis.url}") as engine:
        job, _ = await engine.submit(request(callback_url=callback_url, owner="somebody"))
        while_open = await records.redis.ttl(f"batch:jobs:record:{job.id}")
        await engine.end(ended(job, expires=time.time() + 100))
        left = await records.redis.ttl(f"batch:jobs:record:{job.id}")
        await records.redis.delete(f"batch:jobs:record:{job.id}")

        assert await engine.find(JobFilter(), 9) == []
        assert await engine.find(JobFilter(owner="somebody"), 9) == []

    assert while_open > 7 * _DAY
    assert days * _DAY < left <= days * _DAY + 100
    assert await records.redis.zcard("batch:jobs:all") == await records.redis.zcard("batch:jobs:of:somebody") == 0


async def test_of_what_has_ended_nothing_is_open(records: JobRecords) -> None:
    """Nothing is left of it but its record, which has a TTL, and its place in the list of all."""
    old, new = Job.new(request()), Job.new(request())
    for job in (old, new):
        await records.add(job)
    assert await records.redis.hlen("batch:jobs:open") == 2

    await records.end(ended(old, expires=time.time() - 1))
    await records.end(ended(new))

    assert await records.redis.hlen("batch:jobs:open") == 0
    kept = {name.decode() for name in await records.redis.keys("*")}
    assert kept == {"batch:jobs:all", *(f"batch:jobs:record:{job.id}" for job in (old, new))}


async def test_what_version_1_1_0_kept_of_ended_jobs_is_dropped(redis: RedisServer, records: JobRecords) -> None:
    """Its sorted sets have no TTL."""
    for status in ("complete", "error", "cancelled"):
        await records.redis.zadd(f"batch:jobs:ended:{status}", {"0" * 32: 1.0})

    async with open_engine(f"shared:{redis.url}"):
        assert await records.redis.keys("batch:jobs:ended:*") == []


@pytest.mark.parametrize(("expires_in", "days"), [(100, 4), (30 * _DAY, 31)], ids=["soon", "in a month"])
async def test_a_callback_makes_no_record_go_earlier(records: JobRecords, expires_in: int, days: int) -> None:
    """It is known for four days more, or until a day after its ZIP has expired: whichever is later."""
    job = Job.new(request())
    await records.add(job)
    await records.end(ended(job, expires=time.time() + expires_in))

    await records.write_follow_up(job.id, Callback())

    left = await records.redis.ttl(f"batch:jobs:record:{job.id}")
    assert (days - 1) * _DAY < left <= days * _DAY


async def test_what_becomes_of_a_callback_makes_no_record(records: JobRecords) -> None:
    """Given a Redis that has lost its data during the attempt: nothing would ever remove what was written there."""
    for before in (None, Callback()):
        assert not await records.write_follow_up("lost", Callback(attempts=1), before)

    assert await records.redis.keys() == []


async def test_what_becomes_of_a_callback_may_be_written_twice(records: JobRecords) -> None:
    """Given an answer of Redis that was lost; what was begun anew meanwhile is not written over."""
    job = Job.new(request(callback_url=URL))
    await records.add(job)
    attempted, anew = Callback(attempts=1, next_at=5.0), Callback.begun_anew()

    written = [await records.write_follow_up(job.id, attempted, Callback()) for _ in range(2)]
    await records.write_follow_up(job.id, anew)
    late = [await records.write_follow_up(job.id, Callback(attempts=2), one) for one in (attempted, Callback())]

    assert (written, late) == ([True, True], [False, False])
    known = await records.get(job.id)
    assert known is not None
    assert known.callback == anew


async def test_the_index_does_not_grow_with_jobs_that_have_gone(records: JobRecords) -> None:
    """Although nobody lists them."""
    lasting, *gone = [Job.new(replace(request(owner="somebody"), created=float(number))) for number in range(9)]
    for job in (lasting, *gone):
        await records.add(job)
    for job in gone:
        await records.redis.delete(f"batch:jobs:record:{job.id}")

    newer = [Job.new(replace(request(owner="somebody"), created=float(number))) for number in range(10, 13)]
    for job in newer:
        await records.add(job)

    left = [job.id.encode() for job in (lasting, *newer)]
    for index in ("batch:jobs:all", "batch:jobs:of:somebody"):
        assert await records.redis.zrange(index, 0, -1) == left


async def test_jobs_behind_one_whose_record_has_gone_are_listed(
    records: JobRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its id is dropped from the index, and what follows moves up: the next page begins earlier by as much."""
    monkeypatch.setattr("service.cluster.job_records._PAGE", 2)
    oldest, older, newest = (Job.new(replace(request(), created=float(number))) for number in (1, 2, 3))
    for job in (oldest, older, newest):
        await records.add(job)
    await records.redis.delete(f"batch:jobs:record:{newest.id}")

    found = await records.find(JobFilter(), 9)

    assert [job.id for job in found] == [older.id, oldest.id]
    assert [job.id for job in await records.find(JobFilter(), 1)] == [older.id]


@pytest.mark.parametrize("is_coming", [True, False])
async def test_each_job_is_listed_once_while_another_comes_or_goes(
    records: JobRecords, monkeypatch: pytest.MonkeyPatch, is_coming: bool
) -> None:
    """Given more than a page of them, and a change of the index between two pages."""
    monkeypatch.setattr("service.cluster.job_records._PAGE", 2)
    jobs = [Job.new(replace(request(), created=float(number))) for number in range(5, 0, -1)]
    for job in jobs:
        await records.add(job)
    read, changes = JobRecords.read, [True]

    async def read_while_it_changes(self: JobRecords, ids: Sequence[str]) -> list[Job | None]:
        if changes:
            changes.pop()
            if is_coming:
                await records.add(Job.new(replace(request(), created=6.0)))
            else:
                await records.redis.zrem("batch:jobs:all", jobs[0].id)
        return await read(self, ids)

    monkeypatch.setattr(JobRecords, "read", read_while_it_changes)

    found = await records.find(JobFilter(), 9)

    assert (changes, [job.id for job in found]) == ([], [job.id for job in jobs])


async def test_jobs_of_the_same_moment_are_all_listed(records: JobRecords, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given more of them than a page has, between others; the record of one has gone."""
    monkeypatch.setattr("service.cluster.job_records._PAGE", 2)
    jobs = [Job.new(replace(request(), created=created)) for created in (4.0, *[3.0] * 6, 2.0, 1.0)]
    for job in jobs:
        await records.add(job)
    await records.redis.delete(f"batch:jobs:record:{jobs.pop(3).id}")

    found = await records.find(JobFilter(), 20)

    assert sorted(job.id for job in found) == sorted(job.id for job in jobs)
    assert [job.request.created for job in found] == [job.request.created for job in jobs]


async def test_a_job_that_is_recorded_again_stays_as_it_is(records: JobRecords) -> None:
    """Given a submission whose answer was lost, and a run that has begun meanwhile."""
    job = Job.new(request())
    begun = replace(job, status=Status.PROCESSING)
    assert await records.add(job)
    await records.save(begun)

    assert not await records.add(job)

    assert await records.get(job.id) == begun
    await records.end(ended(begun))
    left = await records.redis.ttl(f"batch:jobs:record:{job.id}")
    await records.add(job)
    assert await records.redis.ttl(f"batch:jobs:record:{job.id}") <= left
    assert (await records.counts())[Status.QUEUED] == 0


async def test_another_request_with_its_key_leaves_nothing_in_its_record(records: JobRecords) -> None:
    """Neither a callback nor a delivery that the first one did not ask for."""
    job = Job.new(request())
    other = replace(
        Job.new(replace(job.request, callback_url=URL, deliver_to=URL)), callback=Callback(), delivery=Delivery()
    )

    assert [await records.add(job), await records.add(other)] == [True, False]

    assert await records.get(job.id) == job


async def test_a_key_names_a_job_for_two_days(records: JobRecords) -> None:
    """The first that came with it; from then on it may name another."""
    assert [await records.claim_key("k", name) for name in ("a", "b")] == ["a", "a"]

    assert 0 < await records.redis.ttl("batch:jobs:key:k") <= 2 * _DAY


@pytest.mark.parametrize("error", [RedisConnectionError, OSError, TimeoutError])
async def test_a_command_that_fails_is_tried_again(monkeypatch: pytest.MonkeyPatch, error: type[Exception]) -> None:
    """That a connection was broken only its use tells; what fails for longer says that jobs cannot be had."""
    monkeypatch.setattr("service.cluster.job_records._PAUSE_SECONDS", 0.01)
    answers: list[str] = []

    async def ask() -> str:
        if not answers:
            answers.append("answer")
            raise error
        return answers[0]

    async def fail() -> str:
        raise error

    assert await call(ask) == "answer"
    monkeypatch.setattr("service.cluster.job_records._CALL_SECONDS", 0.05)
    with pytest.raises(JobsUnavailable):
        await call(fail)


async def test_a_loop_that_was_held_up_is_no_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer was there in time; nobody had time to read it."""
    monkeypatch.setattr("service.cluster.job_records._CALL_SECONDS", 0.1)

    async def ask() -> str:
        asyncio.get_running_loop().call_soon(time.sleep, 0.3)
        await asyncio.sleep(_PAUSE)
        return "answer"

    assert await call(ask) == "answer"


async def test_what_nobody_would_run_is_not_on_record(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis is gone before the message: the caller is refused, and no job waits for ever."""

    async def fail(_: object) -> None:
        raise JobsUnavailable

    async with open_engine(f"shared:{redis.url}") as engine:
        with monkeypatch.context() as patch:
            patch.setattr("service.cluster.jobs.call", fail)
            with pytest.raises(JobsUnavailable):
                await engine.submit(request())

        assert await engine.find(JobFilter(), 9) == []


async def test_a_run_that_has_ended_waits_for_no_end_of_its_session() -> None:
    """Which may be weeks away. The work's answer is the run's."""
    docket = SimpleNamespace(register=lambda *_, **__: None)
    jobs, session = SharedJobs(cast(JobRecords, None), cast(Docket, docket), LEASE), CountedEvent()

    async def work() -> str:
        await asyncio.sleep(0)
        return "done"

    assert await jobs._within(session, "a-job", work()) == "done"

    await yield_to_loop()
    assert (session.waiting, jobs._runs) == (0, {})


async def test_a_run_that_is_cancelled_has_ended_before_its_message() -> None:
    """Nothing is bought behind the back of who cancelled it."""
    jobs, done = told_by([], []), list[str]()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await yield_to_loop()
            done.append("ended")

    message = asyncio.create_task(jobs._within(CountedEvent(), "a-job", work()))
    await yield_to_loop()
    message.cancel()
    await asyncio.wait([message])

    assert (message.cancelled(), done) == (True, ["ended"])


async def test_runs_are_told_when_their_session_ends() -> None:
    """Of one that has ended nothing is kept."""
    worker = cast(Worker, SimpleNamespace(name="a-worker"))
    async with SessionEnd.worker_lifecycle(cast(Docket, None), worker):
        end = SessionEnd._events["a-worker"]
        assert not end.is_set()

    assert end.is_set()
    assert "a-worker" not in SessionEnd._events


async def test_a_run_goes_on_when_its_session_ends() -> None:
    """For the next one, which is given the same message: it is one run."""
    docket = SimpleNamespace(register=lambda *_, **__: None)
    jobs, session, gate = (
        SharedJobs(cast(JobRecords, None), cast(Docket, docket), LEASE),
        CountedEvent(),
        asyncio.Event(),
    )
    begun: list[int] = []

    async def work() -> str:
        begun.append(len(begun))
        await gate.wait()
        return "done"

    first = asyncio.create_task(jobs._within(session, "a-job", work()))
    await yield_to_loop()
    session.set()
    with pytest.raises(asyncio.CancelledError):
        await first
    second = asyncio.create_task(jobs._within(CountedEvent(), "a-job", work()))
    await yield_to_loop()
    gate.set()

    assert await second == "done"
    assert begun == [0]


def told_by(answers: Sequence[Job | Exception | None], steps: list[object]) -> SharedJobs:
    """An engine whose records answer so, one after the other. `steps`: what else was asked of it."""
    left = iter(answers)

    async def run(job: Job) -> None:
        steps.append(("run", job.id))

    async def deliver(_: Job) -> Delivery:
        steps.append("delivered")
        return ARRIVED

    async def call_back(job: Job) -> Callback:
        steps.append("called back")
        return Callback(attempts=1, next_at=job.request.created + _DAY)

    async def get(_: str) -> Job | None:
        answer = next(left)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def write_follow_up(_: str, by: object, before: object = None) -> bool:
        steps.append(by)
        return True

    def add(_: str, *, key: str, when: datetime | None = None) -> Callable[[str], Awaitable[None]]:
        async def send(job_id: str) -> None:
            steps.append((key, job_id))

        return send

    async def cancel(key: str) -> None:
        steps.append(("cancelled", key))

    async def end(job: Job) -> bool:
        steps.append("ended")
        return next(left) == job

    docket = SimpleNamespace(register=lambda *_, **__: None, add=add, replace=add, cancel=cancel)
    records = SimpleNamespace(get=get, end=end, write_follow_up=write_follow_up)
    jobs = SharedJobs(cast(JobRecords, records), cast(Docket, docket), LEASE)
    jobs._work = Work(run, call_back, deliver)
    return jobs


async def test_a_watcher_is_told_of_each_state_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often it is looked for; while Redis is away nothing is told, and after the end nothing is asked."""
    monkeypatch.setattr("service.cluster.jobs._LOOK_SECONDS", 0.0)
    job = Job.new(request())
    begun = replace(job, status=Status.PROCESSING)
    jobs = told_by([job, job, JobsUnavailable(), job, begun, begun, ended(begun)], [])

    told = [each async for each in jobs.watch(job.id)]

    assert [each.status for each in told] == [Status.QUEUED, Status.PROCESSING, Status.COMPLETE]


@pytest.mark.parametrize("is_ended", [True, False])
async def test_only_the_receiver_of_a_job_that_has_ended_is_told_again(is_ended: bool) -> None:
    """From the first attempt on. Any other will be told when it has ended."""
    steps: list[object] = []
    job = Job.new(request(callback_url=URL))
    known = replace(ended(job), callback=Callback(attempts=9)) if is_ended else job

    again = await told_by([known], steps).repeat_callback(job.id)

    assert again is not None
    assert again == replace(known, callback=again.callback)
    assert steps == ([again.callback, (f"callback:{job.id}", job.id)] if is_ended else [])
    assert (again.callback != known.callback) is is_ended


@pytest.mark.parametrize("is_first", [True, False])
async def test_a_cancelled_job_is_taken_from_who_runs_it(is_first: bool) -> None:
    """Once its end is on record, and somebody will tell its receiver; not where it had ended before."""
    steps: list[object] = []
    end = ended(Job.new(request(callback_url=URL)), Status.CANCELLED)

    assert await told_by([end if is_first else None], steps).cancel(end) is is_first

    assert steps == ["ended", *([(f"callback:{end.id}", end.id), ("cancelled", end.id)] if is_first else [])]


@pytest.mark.parametrize("is_ended", [True, False])
async def test_a_message_runs_its_job_once(is_ended: bool) -> None:
    """One that has ended, say by a cancel, is not run; either way its receiver is told."""
    steps: list[object] = []
    job = Job.new(request(callback_url=URL))
    end = ended(job)

    await told_by([end if is_ended else job, end], steps)._run_job(job.id, Retry(), CountedEvent())

    assert steps == [*([] if is_ended else [("run", job.id)]), (f"callback:{job.id}", job.id)]


@pytest.mark.parametrize(("attempt", "is_last"), [(1, False), (9, False), (10, True)])
async def test_a_message_without_a_record_comes_again_for_some_seconds(attempt: int, is_last: bool) -> None:
    """Its record is written right after it, or never."""
    retry = Retry(None)
    retry.attempt = attempt

    with nullcontext() if is_last else pytest.raises(ForcedRetry):
        await told_by([None], [])._run_job("a-job", retry, CountedEvent())

    assert retry.delay.total_seconds() == (0 if is_last else 1)


async def test_a_job_is_delivered_and_then_its_receiver_is_told() -> None:
    """The next attempt is made by the same message, when it is due."""
    steps: list[object] = []
    job = Job.new(request(callback_url=URL, deliver_to=URL))
    attempted = Callback(attempts=1, next_at=job.request.created + _DAY)

    with pytest.raises(ForcedRetry):
        await told_by([ended(job)], steps)._call_back(job.id, Retry(None), CountedEvent())

    assert steps == ["delivered", ARRIVED, "called back", attempted]


async def test_an_attempt_that_comes_again_too_early_waits_until_it_is_due() -> None:
    """Given a process that was killed between an attempt and the scheduling of the next one."""
    steps: list[object] = []
    due = datetime.now(UTC) + timedelta(hours=10)
    job = replace(ended(Job.new(request(callback_url=URL))), callback=Callback(attempts=1, next_at=due.timestamp()))
    retry = Retry(None)

    with pytest.raises(ForcedRetry):
        await told_by([job], steps)._call_back(job.id, retry, CountedEvent())

    assert steps == []
    assert abs(retry.delay - timedelta(hours=10)) < timedelta(minutes=1)


@pytest.mark.parametrize("thaw_after", [1.0, None])
async def test_a_stop_while_redis_hangs_loses_nothing(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch, thaw_after: float | None
) -> None:
    """It ends, whether Redis goes on in the middle of it or later; another one runs what it interrupted."""
    monkeypatch.setattr("service.cluster.jobs._STOP_SECONDS", 0.2)
    monkeypatch.setattr("service.cluster.jobs._CANCEL_AGAIN_SECONDS", 0.2)
    async with asyncio.timeout(TIMEOUT):
        async with open_engine(f"shared:{redis.url}") as engine:
            job, _ = await engine.submit(request())
            async with running(engine) as tasks:
                tasks.gate.clear()
                await tasks.until(lambda: len(tasks.runs) == 1)
                redis.freeze()
                if thaw_after is not None:
                    asyncio.get_running_loop().call_later(thaw_after, redis.thaw)
        redis.thaw()
    async with open_engine(f"shared:{redis.url}") as engine, running(engine) as tasks:
        await tasks.until(lambda: tasks.finished == [job.id])


async def test_hundreds_of_jobs_begin_and_end_at_once(redis: RedisServer) -> None:
    """More than docket has connections: all begin, and all end when what they wait for comes; each once, as no lease
    runs out meanwhile."""
    async with SharedJobs.open(redis.url, timedelta(minutes=1)) as engine, running(engine) as tasks:
        tasks.gate.clear()
        jobs = [(await engine.submit(request(callback_url=URL)))[0].id for _ in range(300)]
        await tasks.until(lambda: len(tasks.runs) == 300)
        tasks.gate.set()
        await tasks.until(lambda: len(tasks.finished) == len(tasks.callbacks) == 300)

    assert sorted(tasks.finished) == sorted(jobs)
    assert sorted(job.id for job in tasks.callbacks) == sorted(jobs)


async def test_jobs_of_an_earlier_version_are_not_lost_silently(redis: RedisServer, records: JobRecords) -> None:
    """While it has left unfinished ones, this version does not start; once they have ended, it does."""
    await records.redis.zadd("batch:status:processing", {"a" * 32: "+inf"})
    with pytest.raises(IncompatibleJobs, match="1 jobs of an earlier version"):
        async with open_engine(f"shared:{redis.url}"):
            pass

    await records.redis.zrem("batch:status:processing", "a" * 32)
    async with open_engine(f"shared:{redis.url}") as engine, running(engine) as tasks:
        job, _ = await engine.submit(request())
        await tasks.until(lambda: tasks.finished == [job.id])
