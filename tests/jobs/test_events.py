"""What a job's stream says: each outcome once, with its number, and the end."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import cast

import pytest

from service.archives.archive import Archive, ImageResult, State
from service.archives.archives import Archives
from service.archives.plan import PlannedOrder
from service.archives.readers import Readers
from service.jobs.engine import JobEngine
from service.jobs.events import JobEvent, events, outcomes_of
from service.jobs.job import Job, Status
from service.problems import ArchiveNotFound, StillBuilding
from service.reasons import Reason
from tests.jobs.conformance.work import ORDER, TIMEOUT, request
from tests.jobs.test_runner import add
from tests.support.transport import yield_to_loop

SUMMARY = {"total": 3, "downloaded": 1, "failed": 2, "bytes": 9, "failures": []}


class Records:
    """An engine whose job changes when the test says so."""

    def __init__(self, job: Job) -> None:
        self._states: asyncio.Queue[Job] = asyncio.Queue()
        self._states.put_nowait(job)
        self.watches = 0

    def become(self, job: Job) -> None:
        self._states.put_nowait(job)

    async def watch(self, job_id: str) -> AsyncGenerator[Job, None]:
        self.watches += 1
        try:
            while True:
                job = await self._states.get()
                yield job
                if job.is_final:
                    return
        finally:
            self.watches -= 1


class Kept:
    """Knows some archives, once it can tell: the first so many times it cannot."""

    def __init__(self, *archives: Archive, silent: int = 0) -> None:
        self._archives = {archive.id: archive for archive in archives}
        self._silent = silent
        self.begun: list[bool] = []

    async def by_id(self, archive_id: str, *, begin: bool = True) -> Archive:
        self.begun.append(begin)
        if self._silent > 0:
            self._silent -= 1
            raise StillBuilding
        if archive_id not in self._archives:
            raise ArchiveNotFound
        return self._archives[archive_id]


def running(archive: Archive) -> Job:
    return replace(Job.new(request()), status=Status.PROCESSING, archive_id=archive.id)


def ended(job: Job) -> Job:
    return replace(job, status=Status.COMPLETE, summary=SUMMARY)


def building(letter: str = "f") -> Archive:
    return Archive(letter * 32, key="k", orders=(PlannedOrder(order_id=ORDER, total=3),), readers=Readers(1, 60))


def stream(records: Records, *archives: Archive, after: int = 0) -> AsyncGenerator[JobEvent, None]:
    return events(cast(JobEngine, records), cast(Archives, Kept(*archives)), "j", after)


async def rest(found: AsyncGenerator[JobEvent, None]) -> list[JobEvent]:
    async with asyncio.timeout(TIMEOUT):
        return [event async for event in found]


async def test_each_outcome_is_sent_once_with_its_number_and_the_end_has_one_more() -> None:
    """So a caller that reconnects with the last number is sent nothing twice, and knows the end from the last image."""
    archive = building()
    records = Records(running(archive))
    found = stream(records, archive)
    async with asyncio.timeout(TIMEOUT):
        first = await anext(found)
        seen = []
        for code in (None, Reason.TIMEOUT, Reason.EXPIRED):
            add(archive, code)
            seen.append(await anext(found))
    records.become(ended(running(archive)))

    last = await rest(found)

    assert (first.name, first.number) == ("status", 0)
    assert [(event.name, event.number) for event in seen] == [("image", 1), ("image", 2), ("image", 3)]
    assert [event.data["failed"] for event in seen] == [0, 1, 2]
    assert [len(event.data["failures"]) for event in seen] == [0, 1, 1]
    assert [(event.name, event.number) for event in last] == [("status", 4)]


async def test_the_end_waits_for_outcomes_that_cannot_be_told_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given an S3 that does not answer for a moment: nobody who counts images is short of some."""
    monkeypatch.setattr("service.jobs.events._LOOK_AGAIN_SECONDS", 0.01)
    archive = building()
    for code in (None, Reason.TIMEOUT, Reason.EXPIRED):
        add(archive, code)
    archive.settle(State.PARTIAL, "")
    kept = Kept(archive, silent=3)
    records = Records(ended(running(archive)))

    found = await rest(events(cast(JobEngine, records), cast(Archives, kept), "j", 1))

    assert [(event.name, event.number) for event in found] == [("image", 2), ("image", 3), ("status", 4)]


@pytest.mark.parametrize("status", [Status.COMPLETE, Status.ERROR])
async def test_the_end_waits_for_a_list_that_is_behind(status: Status) -> None:
    """Given an instance that has heard of the end, an error with `strict`, and not yet of the last images."""
    archive = building()
    add(archive)
    records = Records(running(archive))
    found = stream(records, archive)
    async with asyncio.timeout(TIMEOUT):
        before = [await anext(found), await anext(found)]
        records.become(replace(ended(running(archive)), status=status))
        upcoming = asyncio.ensure_future(anext(found))
        await yield_to_loop()
        for code in (Reason.TIMEOUT, Reason.EXPIRED):
            add(archive, code)
        after = [await upcoming, *await rest(found)]

    assert [(event.name, event.number) for event in before] == [("status", 0), ("image", 1)]
    assert [(event.name, event.number) for event in after] == [("image", 2), ("image", 3), ("status", 4)]


async def test_the_end_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """What can be told by nobody is left out: the end has it."""
    monkeypatch.setattr("service.jobs.events._LOOK_AGAIN_SECONDS", 0.01)
    monkeypatch.setattr("service.jobs.events._LAST_OUTCOMES_SECONDS", 0.05)
    records = Records(ended(running(building())))

    found = await rest(events(cast(JobEngine, records), cast(Archives, Kept(silent=1_000_000)), "j", 0))

    assert [(event.name, event.number) for event in found] == [("status", 4)]


async def test_what_was_sent_before_is_passed_over() -> None:
    """After a reconnect only the outcomes behind the last number are sent."""
    archive = building()
    for code in (None, Reason.TIMEOUT, Reason.EXPIRED):
        add(archive, code)
    records = Records(running(archive))
    records.become(ended(running(archive)))

    found = await rest(stream(records, archive, after=2))

    assert [(event.name, event.number) for event in found if event.name == "image"] == [("image", 3)]


async def test_an_instance_that_is_behind_sends_nothing_again() -> None:
    """Given a caller who has heard more elsewhere: its numbers do not go back, whenever the rest is heard here."""
    archive = building()
    add(archive)
    records = Records(running(archive))
    found = stream(records, archive, after=3)
    async with asyncio.timeout(TIMEOUT):
        seen = [await anext(found)]
        for _ in range(3):
            add(archive)
        seen.append(await anext(found))
    records.become(ended(running(archive)))
    await rest(found)

    assert [(event.name, event.number) for event in seen] == [("status", 3), ("image", 4)]


async def test_who_reconnects_hears_the_rest_as_it_came_though_the_list_was_sorted_meanwhile() -> None:
    """The list of a settled archive has the sequence of the order; the numbers that were sent are those of arrival."""
    archive = building()
    for code in (Reason.TIMEOUT, Reason.EXPIRED, Reason.TOO_LARGE):
        add(archive, code)
    archive.results = archive.results[::-1]
    archive.settle(State.PARTIAL, "")
    records = Records(running(archive))
    records.become(ended(running(archive)))

    found = await rest(stream(records, archive, after=1))

    told = [event.data["failures"][0]["code"] for event in found if event.name == "image"]
    assert told == [Reason.EXPIRED, Reason.TOO_LARGE]


async def test_a_failure_that_only_the_settled_list_has_is_told() -> None:
    """An instance that follows another's archive learns of failures in the end."""
    archive = building()
    add(archive, None)
    archive.results = [*archive.results, ImageResult("z", "z", code=Reason.EXPIRED)]
    archive.settle(State.PARTIAL, "")
    records = Records(running(archive))
    records.become(ended(running(archive)))

    found = await rest(stream(records, archive))

    assert [(event.number, event.data["failed"]) for event in found if event.name == "image"] == [(1, 0), (2, 1)]


async def test_a_failure_that_was_taken_back_is_not_told() -> None:
    """Given an archive that another instance took over, which tries again what failed here."""
    archive = building()
    add(archive, Reason.TIMEOUT)
    records = Records(running(archive))
    before = stream(records, archive)
    async with asyncio.timeout(TIMEOUT):
        told = [await anext(before) for _ in range(2)]
        archive.results = archive.arrived = []
        add(archive, None)
        add(archive, None)
        told.append(await anext(before))
    archive.settle(State.PARTIAL, "")
    records.become(ended(running(archive)))
    await rest(before)
    again = Records(running(archive))
    again.become(ended(running(archive)))

    after = await rest(stream(again, archive))

    assert [event.number for event in told] == [0, 1, 2]
    assert [event.data["failed"] for event in after if event.name == "image"] == [0, 0]


async def test_another_archive_of_the_job_is_told_from_its_start() -> None:
    """Given one that was begun anew: its outcomes are others, though they are of the same images."""
    first, second = building(), building("e")
    records = Records(running(first))
    found = stream(records, first, second)
    async with asyncio.timeout(TIMEOUT):
        await anext(found)
        for archive in (first, first, second):
            add(archive)
        seen = [await anext(found) for _ in range(2)]
        records.become(replace(running(first), archive_id=second.id))
        seen += [await anext(found) for _ in range(2)]
    wanted = [archive.readers.count for archive in (first, second)]
    second.settle(State.PARTIAL, "")
    records.become(ended(running(second)))
    await rest(found)

    assert [(event.name, event.number) for event in seen] == [("image", 1), ("image", 2), ("status", 0), ("image", 1)]
    assert wanted == [0, 1]


async def test_another_archive_is_told_from_its_start_after_a_reconnect_too() -> None:
    """The last number that the caller has seen is of the archive before: it passes over nothing of this one."""
    first, second = building(), building("e")
    for archive in (first, first, second):
        add(archive)
    second.settle(State.PARTIAL, "")
    records = Records(running(first))
    records.become(running(second))
    records.become(ended(running(second)))

    found = await rest(stream(records, first, second, after=2))

    assert [(event.name, event.number) for event in found] == [
        ("status", 2),
        ("status", 0),
        ("image", 1),
        ("status", 4),
    ]


async def test_what_changes_for_callers_is_told_once() -> None:
    """Its state, its archive, and when it is tried again; not what only the service notes of it."""
    first, second = building(), building("e")
    queued = Job.new(request())
    waits = replace(queued, retry_at=1_000.0)
    states = [
        queued,
        replace(queued, crashes=1),
        waits,
        replace(waits, retry_at=2_000.0),
        running(first),
        replace(running(first), started=5.0),
        running(second),
    ]
    second.settle(State.PARTIAL, "")
    records = Records(states[0])
    for state in (*states[1:], ended(running(second))):
        records.become(state)

    found = await rest(stream(records, first, second))

    told = [(event.data["status"], event.data["archive_id"], event.data["retry_at"]) for event in found]
    assert told == [
        ("queued", None, None),
        ("queued", None, "1970-01-01T00:16:40.000+00:00"),
        ("queued", None, "1970-01-01T00:33:20.000+00:00"),
        ("processing", first.id, None),
        ("processing", second.id, None),
        ("complete", second.id, None),
    ]


@pytest.mark.parametrize("status", [Status.QUEUED, Status.COMPLETE])
async def test_an_outcome_is_told_of_a_job_that_is_built(status: Status) -> None:
    """Also late, when the job waits to be tried again, or has ended: its end is an event by itself."""
    archive = building()
    add(archive)
    records = Records(replace(running(archive), status=status, finished=5.0 if status is Status.COMPLETE else None))
    async with asyncio.timeout(TIMEOUT), aclosing(stream(records, archive)) as found:
        image = await anext(event async for event in found if event.name == "image")

    assert (image.data["status"], image.data["failed"], image.data["finished_at"]) == ("processing", 1, None)


@pytest.mark.parametrize(
    ("status", "begins"), [(Status.COMPLETE, True), (Status.CANCELLED, False), (Status.ERROR, False)]
)
async def test_nothing_is_begun_for_a_job_that_nobody_wants(status: Status, begins: bool) -> None:
    """Its archive is left as it stands by who looks at its events."""
    archive = building()
    kept = Kept(archive)
    records = Records(replace(ended(running(archive)), status=status))
    archive.settle(State.COMPLETE, "")

    await rest(events(cast(JobEngine, records), cast(Archives, kept), "j", 0))

    assert kept.begun == [begins]


async def test_a_job_that_may_end_the_process_is_begun_by_its_attempts_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else another job is charged for a crash that somebody who looks has brought about. Once it gets on it is told
    of as any other."""
    monkeypatch.setattr("service.jobs.events._LOOK_AGAIN_SECONDS", 0)
    archive = building()
    kept = Kept(archive)
    suspect = replace(running(archive), crashes=2)
    records = Records(suspect)
    found = events(cast(JobEngine, records), cast(Archives, kept), "j", 0)
    async with asyncio.timeout(TIMEOUT):
        await anext(found)
        following = asyncio.ensure_future(anext(found))
        await yield_to_loop()
        before = list(kept.begun)
        records.become(replace(suspect, crashes=1))
        add(archive)
        event = await following
    await found.aclose()

    assert before == []
    assert (event.name, event.number) == ("image", 1)


async def test_an_archive_that_failed_is_looked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given one that was lost here, and goes on at another instance."""
    monkeypatch.setattr("service.jobs.events._LOOK_AGAIN_SECONDS", 0)
    lost, goes_on = building(), building()
    records, kept = Records(running(lost)), Kept(lost)
    found = events(cast(JobEngine, records), cast(Archives, kept), "j", 0)
    async with asyncio.timeout(TIMEOUT):
        await anext(found)
        lost.fail(ArchiveNotFound())
        kept._archives[lost.id] = goes_on
        add(goes_on)
        event = await anext(found)
    await found.aclose()

    assert (event.name, event.number, goes_on.readers.count) == ("image", 1, 0)


async def test_a_job_that_is_not_known_any_more_ends_its_stream() -> None:
    """Given one that is forgotten while it is followed, and one that never was."""

    class Forgetful:
        def __init__(self, *known: Job) -> None:
            self._known = known

        async def watch(self, _: str) -> AsyncGenerator[Job, None]:
            for job in self._known:
                yield job

    archive = building()
    for known in ((), (running(archive),)):
        found = await rest(events(cast(JobEngine, Forgetful(*known)), cast(Archives, Kept(archive)), "j", 0))
        assert [event.name for event in found] == ["status"] * len(known)
    assert archive.readers.count == 0


async def test_who_leaves_leaves_nothing_behind() -> None:
    """Given a job that goes on, whose next change is waited for: nobody watches it any more, and nobody reads."""
    archive = building()
    records = Records(running(archive))
    found = stream(records, archive)
    async with asyncio.timeout(TIMEOUT):
        await anext(found)
        following = asyncio.ensure_future(anext(found))
        await yield_to_loop()
        add(archive)
        await following

        before = records.watches, archive.readers.count
        await found.aclose()

    assert before == (1, 1)
    assert (records.watches, archive.readers.count) == (0, 0)


async def test_a_job_that_has_ended_says_only_so() -> None:
    """With all that is missing in one document, when its archive is gone."""
    records = Records(ended(running(building())))

    found = await rest(stream(records))

    assert [(event.name, event.number) for event in found] == [("status", 4)]
    assert found[0].data["status"] == Status.COMPLETE


async def test_the_end_of_a_cancelled_job_waits_for_nothing() -> None:
    """Nobody may build its archive any more."""
    kept = Kept(silent=2)
    records = Records(replace(ended(running(building())), status=Status.CANCELLED))

    found = await rest(events(cast(JobEngine, records), cast(Archives, kept), "j", 0))

    assert [(event.name, event.number) for event in found] == [("status", 4)]
    assert kept._silent == 1


def test_the_outcomes_of_a_job_that_never_began_are_none() -> None:
    """It has no summary."""
    assert outcomes_of(Job.new(request())) == 0
