"""How a job is taken to its end: what counts as a crash, what as progress, and what is tried again."""

import asyncio
import sqlite3
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest

from service.archives.archive import Archive, ImageResult, State
from service.archives.archives import Archives
from service.archives.options import Options
from service.archives.plan import PlannedOrder
from service.archives.readers import Readers
from service.disk import OutOfSpace
from service.jobs.engine import JobEnded, JobEngine
from service.jobs.job import Job, Status
from service.jobs.runner import Attempt, JobRunner
from service.orders.orders import Orders
from service.problems import ArchiveGone, ArchiveNotFound, BreakerOpen, NoImages, Problem
from service.reasons import Reason
from service.telemetry.metrics import CacheResult, Metrics
from service.telemetry.traces import Traces
from service.upstream.client import Autoenhance
from service.upstream.models import Order
from tests.jobs.conformance.work import ORDER, OTHER_ORDER, TIMEOUT, TTL, request


class Records:
    """An engine that only keeps states."""

    def __init__(self) -> None:
        self.states: list[Job] = []
        self.ended = False
        self._changed = asyncio.Event()

    async def save(self, job: Job) -> None:
        if self.ended:
            raise JobEnded
        self.states.append(job)
        self._changed.set()

    async def end(self, job: Job) -> bool:
        is_first, self.ended = not self.ended, True
        self.states.append(job)
        self._changed.set()
        return is_first

    @property
    def last(self) -> Job:
        return self.states[-1]

    async def until(self, condition: Callable[[Job], bool]) -> None:
        async with asyncio.timeout(TIMEOUT):
            while not (self.states and condition(self.last)):
                assert not self.ended
                self._changed.clear()
                await self._changed.wait()


class Builds:
    """Archives that a test fills by hand, or problems, one for each request."""

    def __init__(self, *answers: Archive | Problem | Exception) -> None:
        self.answers = list(answers)
        self.catalogue = self
        self.asked: list[Options] = []
        self.callers: list[str] = []
        self.kept: dict[str, float] = {}
        self.begun = asyncio.Event()
        self.awaited: list[str] = []
        self.is_free = asyncio.Event()
        self.is_free.set()

    async def wait_until_free(self, archive_id: str) -> None:
        self.awaited.append(archive_id)
        await self.is_free.wait()

    async def get_or_start(
        self, order_id: str | tuple[str, ...], options: Options, caller: str = ""
    ) -> tuple[Archive, CacheResult]:
        assert order_id in (ORDER, (ORDER, OTHER_ORDER))
        self.asked.append(options)
        self.callers.append(caller)
        self.begun.set()
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer, CacheResult.MISS

    async def keep(self, archive_id: str, until: float) -> None:
        self.kept[archive_id] = until


def archive(*, total: int = 3, held: int = 0) -> Archive:
    """A building archive that has so many images already."""
    found = Archive("f" * 32, key="k", orders=(PlannedOrder(order_id=ORDER, total=total),), readers=Readers(1, 60))
    for _ in range(held):
        add(found)
    return found


def add(building: Archive, code: Reason | None = Reason.EXPIRED) -> None:
    """One more outcome."""
    image = f"i{len(building.results)}"
    building.add_failure(ImageResult(image, image, None, 0, None, code, 1))


class Polls:
    """Stands in for Autoenhance: every look at an order is answered."""

    async def order(self, order_id: str) -> Order:
        return Order(order_id=order_id)


def some_orders() -> Orders:
    return Orders(cast(Autoenhance, Polls()), 0)


def runner(records: Records, builds: Builds, orders: Orders | None = None) -> JobRunner:
    known = orders or some_orders()
    return JobRunner(cast(JobEngine, records), cast(Archives, builds), known, Metrics(), Traces(), TTL)


def job(crashes: int = 0, **options: Any) -> Job:
    return replace(Job.new(replace(request(), options=options)), crashes=crashes)


async def yield_to_loop() -> None:
    """Let everybody who can go on do so."""
    for _ in range(10):
        await asyncio.sleep(0)


async def stop(running: "asyncio.Task[None]") -> None:
    """Cancel it, as a stop does."""
    running.cancel()
    await asyncio.wait([running], timeout=TIMEOUT)
    assert running.cancelled()


async def test_a_job_ends_with_its_archives_summary() -> None:
    """Processing while it is built, with somebody who wants all of it; then complete, and kept."""
    building, records = archive(total=2), Records()
    builds = Builds(building)
    running = asyncio.create_task(runner(records, builds).run(job()))
    await records.until(lambda now: now.status is Status.PROCESSING)
    wanted = building.readers.want_more(1 << 40)
    add(building)
    add(building, None)
    building.settle(State.PARTIAL, "")
    await running

    end = records.last
    assert wanted
    assert not building.readers.count
    assert (end.status, end.archive_id, list(builds.kept)) == (Status.COMPLETE, building.id, [building.id])
    assert end.summary is not None
    assert (end.summary["downloaded"], end.summary["failed"], len(end.summary["failures"])) == (1, 1, 1)


async def test_an_archive_is_kept_for_its_time_from_the_end_of_its_job() -> None:
    """However long the job took, or waited; it began when its first attempt did."""
    building, records = archive(total=0), Records()
    builds = Builds(building)
    building.settle(State.COMPLETE, "")
    old = replace(job(), started=5.0, retry_at=time.time(), retrying_since=time.time())
    before = time.time()

    await runner(records, builds).run(replace(old, request=replace(old.request, created=4.0)))

    first, end = records.states[-2:]
    assert end.expires is not None
    assert before + TTL <= builds.kept[building.id] <= end.expires <= time.time() + TTL
    assert (end.started, first.retry_at, end.retry_at) == (5.0, None, None)


async def test_an_archive_is_read_until_it_is_kept() -> None:
    """Want of room would take it in between, before the results of older jobs."""
    building, kept = archive(total=0), []
    building.settle(State.COMPLETE, "")

    class Watched(Builds):
        async def keep(self, archive_id: str, until: float) -> None:
            kept.append((archive_id, building.readers.count))

    await runner(Records(), Watched(building)).run(job(wait=True))

    assert kept == [(building.id, 1)]


async def test_a_strict_job_without_all_images_fails_and_keeps_nothing() -> None:
    """With what is missing."""
    building, records = archive(total=1), Records()
    builds = Builds(building)
    add(building)
    building.settle(State.PARTIAL, "")

    await runner(records, builds).run(job(on_failure="strict"))

    assert (records.last.status, records.last.error and records.last.error["code"]) == (Status.ERROR, "images_missing")
    assert records.last.summary is not None
    assert (records.last.summary["failed"], builds.kept) == (1, {})


async def test_a_stop_does_not_wait_for_a_record_that_cannot_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next process takes the attempt for a crash then."""
    monkeypatch.setattr("service.jobs.runner._STOP_SECONDS", 0)
    records = Records()
    running = asyncio.create_task(runner(records, Builds(archive())).run(job()))
    await records.until(lambda now: now.status is Status.PROCESSING)

    async def hang(_: Job) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(records, "save", hang)
    running.cancel()
    await yield_to_loop()
    has_ended = running.done()
    running.cancel()
    await asyncio.wait([running], timeout=TIMEOUT)

    assert has_ended


async def test_an_attempt_counts_as_a_crash_until_it_is_stopped() -> None:
    """On record while it runs, should the process die; taken back by an orderly stop."""
    records = Records()
    running = asyncio.create_task(runner(records, Builds(archive())).run(job(crashes=1)))
    await records.until(lambda now: now.status is Status.PROCESSING)
    during = records.last.crashes
    await stop(running)

    assert (during, records.last.crashes) == (2, 1)


async def test_a_job_with_five_crashes_is_given_up() -> None:
    """Without another attempt."""
    records, builds = Records(), Builds()
    await runner(records, builds).run(job(crashes=5))

    assert (records.last.status, records.last.error and records.last.error["code"]) == (Status.ERROR, "job_crashed")
    assert builds.asked == []


async def test_an_outcome_begins_the_count_anew() -> None:
    """One more than any attempt before had; what the archive had already is none."""
    building, records = archive(held=1), Records()
    running = asyncio.create_task(runner(records, Builds(building)).run(job(crashes=4)))
    await records.until(lambda now: now.status is Status.PROCESSING)
    at_first = records.last.crashes
    add(building)
    await records.until(lambda now: now.crashes == 1)
    reached = records.last.reached
    await stop(running)

    assert (at_first, reached, records.last.crashes) == (5, 2, 0)


@pytest.mark.parametrize("crashes", [4, 0])
async def test_an_outcome_that_was_reached_before_is_no_progress(crashes: int) -> None:
    """An image that fails each time does not hide that the next one is what kills the process."""
    building, records = archive(), Records()
    running = asyncio.create_task(runner(records, Builds(building)).run(replace(job(crashes), reached=1)))
    await records.until(lambda now: now.status is Status.PROCESSING)
    add(building)
    await yield_to_loop()
    unmoved = records.last.crashes
    add(building)
    await yield_to_loop()
    moved = records.last
    await stop(running)

    assert unmoved == crashes + 1
    assert (moved.crashes, moved.reached) == (1, 2)


@pytest.mark.parametrize(("crashes", "awaited"), [(0, []), (4, ["f" * 32])])
async def test_what_another_instance_builds_is_no_attempt_of_this_one(crashes: int, awaited: list[str]) -> None:
    """Once a job has crashed: this process may end while it waits, and is not charged for it."""
    building, records = archive(), Records()
    builds = Builds(building)
    builds.is_free.clear()
    known = replace(job(crashes), archive_id=building.id)
    running = asyncio.create_task(runner(records, builds).run(known))
    await yield_to_loop()
    written, is_waiting = len(records.states), not builds.asked
    builds.is_free.set()
    await records.until(lambda now: now.status is Status.PROCESSING and now.crashes == crashes + 1)
    await stop(running)

    assert builds.awaited == awaited
    assert (written == 0) == is_waiting == bool(crashes)


async def test_a_job_that_has_no_archive_yet_waits_for_none() -> None:
    """It ended with its process before there was one."""
    records, builds = Records(), Builds(archive())
    running = asyncio.create_task(runner(records, builds).run(job(crashes=1)))
    await records.until(lambda now: now.status is Status.PROCESSING)
    await stop(running)

    assert builds.awaited == []


@pytest.mark.parametrize(("options", "expected"), [({"wait": True}, 1), ({}, 5)])
async def test_an_answer_that_a_job_waited_for_begins_the_count_anew(options: dict[str, Any], expected: int) -> None:
    """Not the first one, which every attempt gets; and none for a job that does not wait."""
    records, orders = Records(), some_orders()
    running = asyncio.create_task(runner(records, Builds(archive()), orders).run(job(crashes=4, **options)))
    await records.until(lambda now: now.status is Status.PROCESSING)
    counts = []
    await yield_to_loop()
    for _ in range(2):
        await orders.refresh(ORDER)
        await yield_to_loop()
        counts.append(records.last.crashes)
    await stop(running)

    assert counts == [5, expected]


@pytest.mark.parametrize("order_id", [ORDER, OTHER_ORDER])
async def test_an_answer_of_any_of_its_orders_is_one(order_id: str) -> None:
    """A job of several waits for all of them."""
    records, orders, waiting = Records(), some_orders(), job(crashes=4, wait=True)
    several = replace(waiting, request=replace(waiting.request, order_id=None, order_ids=(ORDER, OTHER_ORDER)))
    running = asyncio.create_task(runner(records, Builds(archive()), orders).run(several))
    await records.until(lambda now: now.status is Status.PROCESSING)
    await yield_to_loop()
    for _ in range(2):
        await orders.refresh(order_id)
        await yield_to_loop()
    count = records.last.crashes
    await stop(running)

    assert count == 1


async def test_jobs_that_may_have_crashed_take_turns() -> None:
    """The second one begins when the first one gets on; a job without such a past waits for nobody."""
    first, second, records = archive(), archive(), [Records() for _ in range(3)]
    builds = Builds(first, archive(), second)
    run = runner(records[0], builds)
    runs = []
    for each in range(3):
        shared = JobRunner(
            cast(JobEngine, records[each]), cast(Archives, builds), some_orders(), Metrics(), Traces(), TTL
        )
        shared._suspects = run._suspects
        runs.append(asyncio.create_task(shared.run(job(crashes=(2, 2, 0)[each]))))
        await yield_to_loop()
    begun = [bool(each.states) for each in records]
    add(first)
    await records[1].until(lambda now: now.status is Status.PROCESSING)
    await asyncio.gather(*map(stop, runs))

    assert begun == [True, False, True]


@pytest.mark.parametrize("crashes", [0, 1, 2, 4])
async def test_one_that_may_have_crashed_waits_for_no_other_job_of_its_owner(crashes: int) -> None:
    """Its downloads take turns as a caller's of its own: its first outcome comes soon, whatever else is wanted."""
    builds, records = Builds(archive()), Records()
    owned = job(crashes)
    owned = replace(owned, request=replace(owned.request, owner="studio"))
    running = asyncio.create_task(runner(records, builds).run(owned))

    await records.until(lambda now: now.status is Status.PROCESSING)
    await stop(running)

    assert builds.callers == ["studio" if crashes < 2 else owned.id]


async def test_one_that_cannot_begin_keeps_no_turn() -> None:
    """Given a job that was cancelled while it waited for its turn: the next one begins."""
    cancelled, records = Records(), Records()
    cancelled.ended = True
    run, builds = runner(cancelled, Builds()), Builds(archive())
    await run.run(job(crashes=2))
    other = JobRunner(cast(JobEngine, records), cast(Archives, builds), some_orders(), Metrics(), Traces(), TTL)
    other._suspects = run._suspects
    running = asyncio.create_task(other.run(job(crashes=2)))

    await records.until(lambda now: now.status is Status.PROCESSING)
    await stop(running)

    assert cancelled.states == []


@pytest.mark.parametrize(
    ("problem", "limit"),
    [
        (BreakerOpen(retry_after=3600), 60),
        (BreakerOpen(retry_after=2), 2),
        (BreakerOpen(retry_after=0), 0.1),
        (ArchiveGone(), 5),
        (ArchiveNotFound("There is none."), 5),
        (OutOfSpace("full"), 5),
        (sqlite3.OperationalError("disk I/O error"), 5),
    ],
)
async def test_what_passes_is_waited_for(problem: Exception, limit: float) -> None:
    """For a minute at most, whatever is said of it; queued meanwhile, without a crash counted."""
    records = Records()
    running = asyncio.create_task(runner(records, Builds(problem)).run(job()))
    await records.until(lambda now: now.retry_at is not None)
    paused = records.last
    await stop(running)

    assert paused.retry_at is not None
    assert paused.retrying_since is not None
    assert (paused.status, paused.crashes) == (Status.QUEUED, 0)
    assert paused.retry_at - paused.retrying_since == pytest.approx(limit, abs=0.01)


async def test_what_passes_is_tried_a_last_time_when_its_time_is_over() -> None:
    """No later, whatever is said of it."""
    records, since = Records(), time.time() - 890
    running = asyncio.create_task(
        runner(records, Builds(BreakerOpen(retry_after=60))).run(replace(job(), retrying_since=since))
    )
    await records.until(lambda now: now.retry_at is not None)
    await stop(running)

    assert records.last.retry_at == pytest.approx(since + 900, rel=0, abs=1)


async def test_after_a_quarter_of_an_hour_what_passes_is_the_error() -> None:
    """Counted from when it was first met, also by another process."""
    records = Records()
    since = time.time() - 901
    await runner(records, Builds(BreakerOpen())).run(replace(job(), retrying_since=since, retry_at=since))

    assert (records.last.status, records.last.error and records.last.error["code"]) == (Status.ERROR, "breaker_open")
    assert records.last.retry_at is None


async def test_what_is_met_before_its_time_has_a_quarter_of_an_hour() -> None:
    """Given a wall clock that was put back since it was first met: it is met now."""
    records, before = Records(), time.time()
    later = replace(job(), retrying_since=before + 3600)
    running = asyncio.create_task(runner(records, Builds(BreakerOpen())).run(later))
    await records.until(lambda now: now.retry_at is not None)
    await stop(running)

    assert records.last.retrying_since is not None
    assert before <= records.last.retrying_since <= time.time()


async def test_an_outcome_ends_the_trouble() -> None:
    """The next one has a quarter of an hour of its own."""
    building, records = archive(), Records()
    begun = replace(job(), retrying_since=time.time() - 800, status=Status.QUEUED)
    running = asyncio.create_task(runner(records, Builds(building)).run(begun))
    await records.until(lambda now: now.status is Status.PROCESSING)
    before = records.last.retrying_since
    add(building)
    await records.until(lambda now: now.retrying_since is None)
    await stop(running)

    assert before is not None


async def test_a_problem_of_the_archive_is_the_jobs() -> None:
    """With what its images came to."""
    building, records = archive(total=1), Records()
    running = asyncio.create_task(runner(records, Builds(building)).run(job()))
    await records.until(lambda now: now.status is Status.PROCESSING)
    add(building)
    building.fail(NoImages([]))
    await running

    assert (records.last.status, records.last.error and records.last.error["code"]) == (Status.ERROR, "no_images")
    assert records.last.summary is not None
    assert records.last.summary["failed"] == 1


async def test_a_fault_of_ours_counts_as_a_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried again, and given up in the end."""
    monkeypatch.setattr("service.jobs.runner._AFTER_FAULT_SECONDS", 0)
    records, builds = Records(), Builds(*[RuntimeError("a fault") for _ in range(5)])
    await runner(records, builds).run(job())

    assert (len(builds.asked), records.last.status) == (5, Status.ERROR)


async def test_a_run_whose_job_has_ended_leaves_it_as_it_is() -> None:
    """It stops at the next thing that it would say, and nobody hears of it."""
    building, records = archive(), Records()
    running = asyncio.create_task(runner(records, Builds(building)).run(job()))
    await records.until(lambda now: now.status is Status.PROCESSING)
    records.ended = True
    states = len(records.states)
    building.settle(State.COMPLETE, "")
    await asyncio.wait([running], timeout=TIMEOUT)

    assert running.exception() is None
    assert len(records.states) == states + 1  # the end that was refused
    assert not building.readers.count


async def test_a_job_waits_for_what_is_left_of_its_time() -> None:
    """Counted from when it was accepted; after that it does not wait at all."""
    records, builds = Records(), Builds(archive(), archive())
    fresh = job(wait=True, wait_timeout=100)
    late = replace(fresh, request=replace(fresh.request, created=time.time() - 200))
    for each in (fresh, late):
        running = asyncio.create_task(runner(records, builds).run(each))
        await records.until(lambda now: now.status is Status.PROCESSING)
        await stop(running)
        records.states.clear()

    assert (builds.asked[0].wait, 90 < builds.asked[0].wait_timeout <= 100) == (True, True)
    assert (builds.asked[1].wait, builds.asked[1].wait_timeout) == (False, 0)


async def test_a_job_that_goes_on_does_not_refresh_its_images_once_more() -> None:
    """Those that an earlier attempt has fetched anew may have been bought."""
    building, records = archive(total=0), Records()
    builds = Builds(BreakerOpen(retry_after=0), building, building)
    running = asyncio.create_task(runner(records, builds).run(job(refresh=True)))
    await records.until(lambda now: now.status is Status.PROCESSING)
    await stop(running)
    building.settle(State.COMPLETE, "")

    await runner(records, builds).run(records.last)

    assert [options.refresh for options in builds.asked] == [True, True, False]


async def test_a_job_of_the_future_waits_no_longer_than_was_asked_for() -> None:
    """Given a wall clock that was put back since it was accepted."""
    records, builds = Records(), Builds(archive())
    early = job(wait=True, wait_timeout=100)
    early = replace(early, request=replace(early.request, created=time.time() + 3600))
    running = asyncio.create_task(runner(records, builds).run(early))
    await records.until(lambda now: now.status is Status.PROCESSING)
    await stop(running)

    assert (builds.asked[0].wait, builds.asked[0].wait_timeout) == (True, 100)


async def test_a_job_of_an_earlier_version_keeps_what_it_was_accepted_with() -> None:
    """`scale=0` is asked for no more; a job that has it is taken to its end all the same."""
    building, records = archive(total=0), Records()
    builds = Builds(building)
    building.settle(State.COMPLETE, "")

    await runner(records, builds).run(job(scale=0, format="png"))

    assert records.last.status is Status.COMPLETE
    assert (builds.asked[0].scale, builds.asked[0].plain.query()["scale"]) == (0, "0")


@pytest.mark.parametrize(
    ("options", "name"), [({"scale": 7}, "scale"), ({"shape": "round"}, "shape"), ({"part": 1, "image": ["a"]}, "part")]
)
async def test_a_job_that_cannot_be_read_ends_with_what_is_wrong(options: dict[str, Any], name: str) -> None:
    """It was accepted by another version; trying again would change nothing."""
    records, builds = Records(), Builds()

    await runner(records, builds).run(job(**options))

    assert records.last.status is Status.ERROR
    assert records.last.error is not None
    assert records.last.error["code"] == "invalid_parameter"
    assert name in records.last.error["detail"]
    assert builds.asked == []


async def test_a_later_state_is_kept_behind_an_earlier_one() -> None:
    """Given one that is slow to arrive: of two calls at once a shared engine may do the second first."""
    arrived = asyncio.Event()

    class Slow(Records):
        async def save(self, job: Job) -> None:
            if job.reached == 1:
                await arrived.wait()
            await super().save(job)

    records = Slow()
    async with Attempt(cast(JobEngine, records), job(crashes=1), asyncio.Lock()) as attempt:
        noting = [asyncio.create_task(attempt.note_outcomes(reached)) for reached in (1, 2)]
        await yield_to_loop()
        arrived.set()
        await asyncio.gather(*noting)

    assert records.last.reached == 2
