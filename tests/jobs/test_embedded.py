"""What only the embedded engine promises."""

import asyncio
import json
import sqlite3
import time
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest

from service.database import Database
from service.disk import OutOfSpace
from service.jobs import table
from service.jobs.embedded import EmbeddedJobs
from service.jobs.job import Callback, CallbackState, Delivery, Job, Status
from service.problems import JobsUnavailable
from tests.jobs.conformance.work import ORDER, OTHER_ORDER, TIMEOUT, Tasks, ended, request, running
from tests.support.transport import yield_to_loop

_HISTORIES = """
CREATE TABLE jobs (
    id TEXT PRIMARY KEY, key TEXT UNIQUE, order_id TEXT NOT NULL, request TEXT NOT NULL, status TEXT NOT NULL,
    due REAL, run TEXT, deaths INTEGER NOT NULL DEFAULT 0, blamed INTEGER NOT NULL DEFAULT 0,
    reached INTEGER NOT NULL DEFAULT 0, expires REAL
);
CREATE INDEX jobs_by_order ON jobs (order_id);
CREATE TABLE job_changes (
    job_id TEXT NOT NULL REFERENCES jobs ON DELETE CASCADE, number INTEGER NOT NULL, change TEXT NOT NULL,
    PRIMARY KEY (job_id, number)
) WITHOUT ROWID;
"""
"""The tables of the versions that kept a history of each job."""


async def test_durable_transactions_are_synchronous(tmp_path: Path) -> None:
    """What must outlive a power cut is forced to the disk by its commit (2 = FULL); the rest is not (1 = NORMAL)."""

    def mode(connection: sqlite3.Connection) -> int:
        return int(connection.execute("PRAGMA synchronous").fetchone()[0])

    database = await Database.open(tmp_path, [])
    modes = [await database.run(mode), await database.run(mode, durable=True), await database.run(mode)]
    await database.close()

    assert modes == [1, 2, 1]


async def test_accepting_and_cancelling_are_durable(tmp_path: Path) -> None:
    """Both are on the disk before their caller is told."""
    database = await Database.open(tmp_path, [table.SCHEMA])
    engine = await EmbeddedJobs.open(database)
    modes: list[int] = []

    def note_commits(connection: sqlite3.Connection) -> None:
        def note(statement: str) -> None:
            if statement == "COMMIT":
                connection.set_trace_callback(None)
                modes.append(connection.execute("PRAGMA synchronous").fetchone()[0])
                connection.set_trace_callback(note)

        connection.set_trace_callback(note)

    await database.run(note_commits)
    job, _ = await engine.submit(request())
    await engine.cancel(ended(job, Status.CANCELLED))
    await database.close()

    assert modes[1:] == [2, 2]  # the first is that of the note-taking itself


def earlier_job(connection: sqlite3.Connection, job_id: str, *changes: dict[str, Any], callback: bool = False) -> None:
    """A job as a version with histories kept it."""
    asked = {"id": job_id, "order_id": ORDER, "options": {"quality": 80}, "created": 1.0, "trace": None}
    asked["callback_url"] = "https://example.com/" if callback else None
    status = [change["status"] for change in changes if "status" in change][-1]
    connection.execute(
        "INSERT INTO jobs (id, key, order_id, request, status) VALUES (?, ?, ?, ?, ?)",
        (job_id, f"key of {job_id}", ORDER, json.dumps(asked), status),
    )
    for number, change in enumerate(changes, 1):
        connection.execute("INSERT INTO job_changes VALUES (?, ?, ?)", (job_id, number, json.dumps(change)))


async def test_jobs_of_versions_with_histories_are_carried_on(tmp_path: Path) -> None:
    """What had ended is read as it ended; what had not is run; a callback goes on; keys name what they named."""
    failure = {"image_id": "b", "name": "b.jpg", "code": "expired", "reason": "It is gone."}
    begun = ({"at": 1.0, "status": "queued"}, {"at": 2.0, "status": "processing", "archive_id": "f" * 32, "total": 2})
    complete = {"at": 4.0, "status": "complete", "expires": time.time() + 3600}
    pending = {"state": "pending", "attempts": 2, "last_status": 500, "last_error": None, "next_at": "2026-11-28T10:00"}
    with sqlite3.connect(tmp_path / "batch.sqlite3") as connection:
        connection.executescript(_HISTORIES)
        outcomes = ({"at": 3.0, "size": 70}, {"at": 3.0, "failure": failure})
        earlier_job(connection, "complete", *begun, {**begun[1], "at": 2.5}, *outcomes, complete)
        earlier_job(connection, "queued", begun[0])
        earlier_job(connection, "running", *begun, {"at": 3.0, "size": 70})
        earlier_job(connection, "untold", *begun, complete, {"at": 5.0, "callback": pending}, callback=True)
    connection.close()

    first = await Database.open(tmp_path, [table.SCHEMA])
    await EmbeddedJobs.open(first)
    await first.close()
    database = await Database.open(tmp_path, [table.SCHEMA])  # the second start finds nothing to carry on
    engine = await EmbeddedJobs.open(database)
    tables = await database.run(lambda c: {name for (name,) in c.execute("SELECT name FROM sqlite_schema")})
    done = await engine.get("complete")
    known, is_new = await engine.submit(request(), "key of complete")
    async with running(engine) as tasks:
        await tasks.until(lambda: len(tasks.finished) == 2 and len(tasks.callbacks) == 1)
    await database.close()

    assert {"jobs", "job_changes"}.isdisjoint(tables)
    assert done is not None
    assert (done.status, done.archive_id, done.started, done.finished) == (Status.COMPLETE, "f" * 32, 2.0, 4.0)
    assert done.summary == {"total": 2, "downloaded": 1, "failed": 1, "bytes": 70, "failures": [failure]}
    assert (known.id, is_new) == ("complete", False)
    assert sorted(tasks.finished) == ["queued", "running"]
    assert {job.archive_id for job in tasks.runs} == {None}
    called = tasks.callbacks[0].callback
    assert (tasks.callbacks[0].id, called and called.attempts) == ("untold", 2)


async def test_an_expired_job_is_forgotten_a_day_later(tmp_path: Path) -> None:
    """Not before, and not while its receiver is still to be told."""
    database = await Database.open(tmp_path, [table.SCHEMA])
    engine = await EmbeddedJobs.open(database)
    now = time.time()

    async def expired(hours: float, **asked: Any) -> Job:
        job, _ = await engine.submit(replace(request(), **asked))
        await engine.end(ended(job, expires=now - hours * 3600))
        return job

    async def call_back(_: Job) -> Callback:
        await asyncio.Event().wait()
        raise AssertionError

    kept, untold = await expired(23), await expired(25, callback_url="https://example.com/")
    gone = await expired(25, order_id=None, order_ids=(ORDER, OTHER_ORDER))
    working = asyncio.create_task(engine.run(replace(Tasks(engine).work, call_back=call_back)))
    async with asyncio.timeout(TIMEOUT):
        while await engine.get(gone.id) is not None:  # noqa: ASYNC110
            await asyncio.sleep(0)

    found = [await engine.get(job.id) is not None for job in (kept, untold)]
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    await database.close()
    assert found == [True, True]


async def test_what_has_not_ended_begins_before_what_has_only_to_be_told(tmp_path: Path) -> None:
    """After a start: the oldest first, however old the others are."""
    database = await Database.open(tmp_path, [table.SCHEMA])
    engine = await EmbeddedJobs.open(database)
    untold, first, second = [
        (await engine.submit(replace(request(callback_url="https://a.example/"), created=float(at))))[0]
        for at in range(3)
    ]
    await engine.end(ended(untold))

    found = await database.run(table.unfinished)
    await database.close()

    assert [job.id for job in found] == [first.id, second.id, untold.id]


async def test_a_job_is_no_part_of_the_request_that_it_was_accepted_by(tmp_path: Path) -> None:
    """Its log lines and its trace are its own."""
    asked_by = ContextVar("asked_by", default="nobody")
    database = await Database.open(tmp_path, [table.SCHEMA])
    engine = await EmbeddedJobs.open(database)
    seen: list[str] = []
    async with running(engine) as tasks:
        tasks.then = lambda _: seen.append(asked_by.get())
        await yield_to_loop()
        asked_by.set("a caller")
        await engine.submit(request())
        await tasks.until(lambda: len(tasks.finished) == 1)
    await database.close()

    assert seen == ["nobody"]


async def test_what_is_accepted_during_a_stop_is_run_by_the_next_process(tmp_path: Path) -> None:
    """No run is begun that nobody would stop."""
    database = await Database.open(tmp_path, [table.SCHEMA])
    engine = await EmbeddedJobs.open(database)
    async with running(engine) as stopped:
        await yield_to_loop()
    job, _ = await engine.submit(request())
    assert (engine._tasks, stopped.runs) == ({}, [])

    async with running(engine) as tasks:
        await tasks.until(lambda: tasks.finished == [job.id])
    await database.close()


async def test_a_change_while_the_job_is_being_read_is_not_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given one that ends after the table was read, and before who watches it has what was read."""
    database = await Database.open(tmp_path, [table.SCHEMA])
    engine = await EmbeddedJobs.open(database)
    job, _ = await engine.submit(request())
    end, get = ended(job), EmbeddedJobs.get

    async def end_meanwhile(engine: EmbeddedJobs, job_id: str) -> Job | None:
        found = await get(engine, job_id)
        await engine.end(end)
        return found

    monkeypatch.setattr(EmbeddedJobs, "get", end_meanwhile)
    async with asyncio.timeout(TIMEOUT):
        told = [known async for known in engine.watch(job.id)]
    await database.close()

    assert told == [job, end]


async def full(*_: object, **__: object) -> NoReturn:
    """What every transaction comes to on a full disk."""
    raise OutOfSpace("SQLITE_FULL")


async def test_a_full_disk_refuses_jobs_and_waits_with_their_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new job is a clear refusal; a running one ends once there is room."""
    monkeypatch.setattr("service.jobs.embedded._DISK_FULL_SECONDS", 0.01)
    database = await Database.open(tmp_path, [table.SCHEMA])
    engine = await EmbeddedJobs.open(database)
    async with running(engine) as tasks:
        tasks.gate.clear()
        job, _ = await engine.submit(request())
        await tasks.until(lambda: len(tasks.runs) == 1)
        with monkeypatch.context() as patch:
            patch.setattr(Database, "run", full)
            tasks.gate.set()
            with pytest.raises(JobsUnavailable):
                await engine.submit(request())
            with pytest.raises(JobsUnavailable):
                await engine.cancel(ended(job, Status.CANCELLED))
            assert tasks.finished == []
        await tasks.until(lambda: tasks.finished == [job.id])
    await database.close()


async def test_callbacks_of_earlier_attempts_wait_their_time(tmp_path: Path) -> None:
    """A restart does not hasten an attempt that is due in an hour."""
    database = await Database.open(tmp_path, [table.SCHEMA])
    engine = await EmbeddedJobs.open(database)
    job, _ = await engine.submit(request(callback_url="https://example.com/"))
    await engine.end(ended(job))
    later = Tasks(engine)
    await database.run(
        lambda connection: table.save_follow_up(
            connection, job.id, Callback(state=CallbackState.PENDING, next_at=time.time() + 3600)
        )
    )
    task = asyncio.create_task(engine.run(later.work))
    other, _ = await engine.submit(request(callback_url="https://example.com/"))
    await later.until(lambda: len(later.callbacks) == 1)
    task.cancel()
    await asyncio.wait([task], timeout=TIMEOUT)
    await database.close()

    assert [called.id for called in later.callbacks] == [other.id]


async def test_a_follow_up_goes_on_after_a_fault_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a job does: its delivery and its callback are not lost until the next start."""
    monkeypatch.setattr("service.jobs.embedded._AFTER_FAULT_SECONDS", 0)
    database = await Database.open(tmp_path, [table.SCHEMA])
    engine = await EmbeddedJobs.open(database)
    tasks = Tasks(engine)
    faults = ["delivery", "callback"]

    async def deliver(job: Job) -> Delivery:
        if "delivery" in faults:
            faults.remove("delivery")
            raise ZeroDivisionError
        return await tasks._deliver(job)

    async def call_back(job: Job) -> Callback:
        if "callback" in faults:
            faults.remove("callback")
            raise ZeroDivisionError
        return await tasks._call_back(job)

    wanted = replace(request(), callback_url="https://a.example/", deliver_to="https://b.example/")
    working = asyncio.create_task(engine.run(replace(tasks.work, deliver=deliver, call_back=call_back)))
    await engine.submit(wanted)
    await tasks.until(lambda: len(tasks.callbacks) == 1)
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    await database.close()

    assert faults == []
    assert len(tasks.deliveries) == 1


async def test_a_callback_that_is_asked_for_again_and_again_is_made_once_at_a_time(tmp_path: Path) -> None:
    """Given a receiver that takes its time: the attempt that is under way makes room for the new one."""
    database = await Database.open(tmp_path, [table.SCHEMA])
    engine = await EmbeddedJobs.open(database)
    begun: asyncio.Queue[str] = asyncio.Queue()
    under_way: list[str] = []
    kept: list[object] = []

    async def call_back(job: Job) -> Callback:
        kept.append(asyncio.current_task())  # else one that nobody holds would end by itself
        under_way.append(job.id)
        begun.put_nowait(job.id)
        try:
            await asyncio.Event().wait()
            raise AssertionError
        finally:
            under_way.remove(job.id)

    working = asyncio.create_task(engine.run(replace(Tasks(engine).work, call_back=call_back)))
    async with asyncio.timeout(TIMEOUT):
        job, _ = await engine.submit(request(callback_url="https://a.example/"))
        await begun.get()
        for _ in range(3):
            await engine.repeat_callback(job.id)
            await begun.get()
            await yield_to_loop()
    found = list(under_way)
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    await database.close()

    assert found == [job.id]
