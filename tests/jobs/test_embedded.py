"""What only the embedded engine promises."""

import asyncio
import sqlite3
import threading
from pathlib import Path
from typing import Any, NoReturn

import pytest

from service.database import Database
from service.disk import OutOfSpace
from service.jobs import records
from service.jobs.embedded import EmbeddedJobs
from tests.jobs.conformance.engines import TTL
from tests.jobs.conformance.steps import PATIENCE, Steps, request, running


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
    database = await Database.open(tmp_path, [records.SCHEMA])
    backend = await EmbeddedJobs.open(database, TTL)
    modes: list[int] = []

    def note_commits(connection: sqlite3.Connection) -> None:
        def note(statement: str) -> None:
            if statement == "COMMIT":
                connection.set_trace_callback(None)
                modes.append(connection.execute("PRAGMA synchronous").fetchone()[0])
                connection.set_trace_callback(note)

        connection.set_trace_callback(note)

    await database.run(note_commits)
    job, _ = await backend.submit(request())
    await backend.cancel(job.id)
    await database.close()

    assert modes[1:] == [2, 2]  # the first is that of the note-taking itself


def without_new_columns(connection: sqlite3.Connection) -> None:
    """Make the table as the first version had it."""
    for column in ("blamed", "reached"):
        connection.execute(f"ALTER TABLE jobs DROP {column}")


async def test_jobs_of_an_earlier_version_are_carried_on(tmp_path: Path) -> None:
    """A newer service finds its tables without the columns that came since, and adds them."""
    earlier = await Database.open(tmp_path, [records.SCHEMA])
    job, _ = await (await EmbeddedJobs.open(earlier, TTL)).submit(request())
    await earlier.run(without_new_columns)
    await earlier.close()

    database = await Database.open(tmp_path, [records.SCHEMA])
    async with running(await EmbeddedJobs.open(database, TTL)) as steps:
        await steps.until(lambda: steps.finished == [job.id])
    await database.close()


async def test_a_job_that_may_be_poison_runs_alone(tmp_path: Path) -> None:
    """After two deaths it is run first and by itself, so that nobody else is blamed for a third."""
    database = await Database.open(tmp_path, [records.SCHEMA])
    backend = await EmbeddedJobs.open(database, TTL)
    innocent, _ = await backend.submit(request())
    suspect, _ = await backend.submit(request())
    await database.run(lambda connection: connection.execute("UPDATE jobs SET deaths = 2 WHERE id = ?", (suspect.id,)))

    async with running(backend) as steps:
        steps.gate.clear()
        await steps.until(lambda: len(steps.runs) == 1)
        for _ in range(3):
            await backend.submit(request())
        for _ in range(20):
            await asyncio.sleep(0)
            await backend.counts()
        steps.gate.set()
        await steps.until(lambda: len(steps.finished) == 5)
    await database.close()

    assert steps.finished[0] == suspect.id
    assert steps.runs[1].job.id == innocent.id
    assert steps.at_once[0] == 1


async def test_interrupted_jobs_go_first(tmp_path: Path) -> None:
    """A restart with a long queue does not send them to its end."""
    database = await Database.open(tmp_path, [records.SCHEMA])
    backend = await EmbeddedJobs.open(database, TTL)
    for _ in range(3):
        await backend.submit(request())
    begun, _ = await backend.submit(request())
    await database.run(lambda connection: connection.execute("UPDATE jobs SET run = 'x' WHERE id = ?", (begun.id,)))

    async with running(await EmbeddedJobs.open(database, TTL)) as steps:
        await steps.until(lambda: len(steps.finished) == 4)
    await database.close()

    assert steps.runs[0].job.id == begun.id


async def test_a_job_claimed_while_the_service_stops_is_not_blamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody began it, so nothing died of it."""
    claimed, go_on = threading.Event(), threading.Event()
    really_claim = records.claim

    def claim_slowly(*arguments: Any) -> Any:
        found = really_claim(*arguments)
        if found[0] is not None:
            claimed.set()
            go_on.wait(PATIENCE)
        return found

    database = await Database.open(tmp_path, [records.SCHEMA])
    backend = await EmbeddedJobs.open(database, TTL)
    await backend.submit(request())
    with monkeypatch.context() as patch:
        patch.setattr(records, "claim", claim_slowly)
        stopping = asyncio.create_task(backend.run(Steps(backend)))
        await asyncio.to_thread(claimed.wait, PATIENCE)
        stopping.cancel()
        await asyncio.sleep(0)
        go_on.set()
        await asyncio.gather(stopping, return_exceptions=True)

    async with running(await EmbeddedJobs.open(database, TTL)) as steps:
        await steps.until(lambda: len(steps.finished) == 1)
    await database.close()

    assert steps.runs[0].deaths == 0


async def full(*_: object, **__: object) -> NoReturn:
    """What every transaction comes to on a full disk."""
    raise OutOfSpace("SQLITE_FULL")


async def test_a_full_disk_does_not_keep_the_service_from_stopping(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that cannot be let go of is taken over at the next start."""
    monkeypatch.setattr("service.jobs.embedded._STOP_SECONDS", 0.1)
    database = await Database.open(tmp_path, [records.SCHEMA])
    backend = await EmbeddedJobs.open(database, TTL)
    job, _ = await backend.submit(request())

    before = Steps(backend)
    before.gate.clear()
    stopping = asyncio.create_task(backend.run(before))
    await before.until(lambda: len(before.runs) == 1)
    with monkeypatch.context() as patch:
        patch.setattr(Database, "run", full)
        stopping.cancel()
        _, still_running = await asyncio.wait([stopping], timeout=PATIENCE)

    assert not still_running

    async with running(await EmbeddedJobs.open(database, TTL)) as steps:
        await steps.until(lambda: steps.finished == [job.id])
    await database.close()
