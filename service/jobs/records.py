"""Jobs in SQLite. Each function is part of a transaction."""

import sqlite3
from dataclasses import dataclass

from service.jobs.backend import DEATHS_TO_BE_ALONE, Ending, Run
from service.jobs.job import FINAL, Change, Job, JobRequest, Status, add_up

SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, key TEXT UNIQUE, order_id TEXT NOT NULL, request TEXT NOT NULL, status TEXT NOT NULL,
    -- When the next step may begin; null: there is none, or a run has the job.
    due REAL,
    -- The run that has the job now.
    run TEXT,
    -- Deaths of its process in a row, and those of them that nobody else can have caused.
    deaths INTEGER NOT NULL DEFAULT 0, blamed INTEGER NOT NULL DEFAULT 0,
    -- The most images that any run got to.
    reached INTEGER NOT NULL DEFAULT 0,
    expires REAL
);
CREATE INDEX IF NOT EXISTS jobs_by_due ON jobs (due) WHERE due IS NOT NULL;
CREATE INDEX IF NOT EXISTS jobs_that_run ON jobs (id) WHERE run IS NOT NULL;
CREATE INDEX IF NOT EXISTS jobs_by_order ON jobs (order_id);
CREATE INDEX IF NOT EXISTS jobs_by_expiry ON jobs (expires);
CREATE TABLE IF NOT EXISTS job_changes (
    job_id TEXT NOT NULL REFERENCES jobs ON DELETE CASCADE, number INTEGER NOT NULL, change TEXT NOT NULL,
    PRIMARY KEY (job_id, number)
) WITHOUT ROWID;
"""

# Interrupted jobs go before all that have not begun.
FIRST = 0.0

_COUNTS = {
    Ending.DONE: "deaths = 0, blamed = 0",
    Ending.INTERRUPTED: "deaths = deaths",
    Ending.BROKEN: "deaths = deaths + 1, blamed = blamed + 1",
}
_ALONE = f"deaths >= {DEATHS_TO_BE_ALONE}"
_ENDED = f"status IN ({', '.join(f'{status.value!r}' for status in sorted(FINAL))})"


@dataclass(frozen=True)
class Lane:
    """Jobs of one kind, and how many of them have a step running at once."""

    condition: str
    slots: int


# Running builds share the download slots fairly, so many at once are better than few: a small order is not stuck
# behind large ones.
BUILDS = Lane(f"NOT {_ENDED}", 16)
# A lane of its own, so that receivers that hang keep no build waiting.
CALLBACKS = Lane(_ENDED, 16)


def take_over(connection: sqlite3.Connection) -> None:
    """Let go of the jobs that a dead process had, and count its death: against the one that ran, if it ran alone."""
    connection.execute(
        "UPDATE jobs SET run = NULL, due = ?, deaths = deaths + 1,"
        " blamed = blamed + ((SELECT count(*) FROM jobs WHERE run IS NOT NULL) = 1) WHERE run IS NOT NULL",
        (FIRST,),
    )


def hand_back(connection: sqlite3.Connection) -> None:
    """Let go of all jobs in order: no death is counted."""
    connection.execute("UPDATE jobs SET run = NULL, due = ? WHERE run IS NOT NULL", (FIRST,))


def insert(connection: sqlite3.Connection, request: JobRequest, key: str | None, queued: Change) -> Job | None:
    """Record a new job; or return the one that `key` names already."""
    found = connection.execute("SELECT id FROM jobs WHERE key = ?", (key,)).fetchone()
    if found is not None:
        return read(connection, found[0])
    connection.execute(
        "INSERT INTO jobs (id, key, order_id, request, status, due) VALUES (?, ?, ?, ?, ?, ?)",
        (request.id, key, request.order_id, request.dump(), Status.QUEUED, request.created),
    )
    append(connection, request.id, queued)
    return None


def append(connection: sqlite3.Connection, job_id: str, *changes: Change) -> None:
    """Add to a job's history."""
    for change in changes:
        connection.execute(
            "INSERT INTO job_changes SELECT ?, coalesce(max(number), 0) + 1, ? FROM job_changes WHERE job_id = ?",
            (job_id, change.dump(), job_id),
        )
        if change.status is not None:
            connection.execute(
                "UPDATE jobs SET status = ?, expires = ? WHERE id = ?", (change.status, change.expires, job_id)
            )
        if change.status in FINAL:
            connection.execute("UPDATE jobs SET due = NULL WHERE id = ?", (job_id,))  # whatever woke it is met


def append_if_held(connection: sqlite3.Connection, run: Run, changes: tuple[Change, ...], reached: int) -> bool:
    """Add to a job's history, if the run has the job; whether it has. It got to so many images now."""
    held = connection.execute("SELECT 1 FROM jobs WHERE id = ? AND run = ?", (run.job.id, run.token)).fetchone()
    if held is not None:
        append(connection, run.job.id, *changes)
        connection.execute(
            "UPDATE jobs SET reached = :reached, deaths = 0, blamed = 0 WHERE id = :id AND reached < :reached",
            {"id": run.job.id, "reached": reached},
        )
    return held is not None


def cancel(connection: sqlite3.Connection, job_id: str, end: Change) -> tuple[Job | None, bool]:
    """End a job, whoever has it; whether that was to be done."""
    job = read(connection, job_id)
    if job is None or job.is_final:
        return job, False
    append(connection, job_id, end)
    connection.execute("UPDATE jobs SET run = NULL, deaths = 0, blamed = 0, due = ? WHERE id = ?", (end.at, job_id))
    return job.after(end), True


def renew(connection: sqlite3.Connection, job_id: str, change: Change) -> Job | None:
    """Give a job that has ended another step."""
    job = read(connection, job_id)
    if job is None or not job.is_final:
        return job
    append(connection, job_id, change)
    connection.execute("UPDATE jobs SET due = ? WHERE id = ?", (change.at, job_id))
    return job.after(change)


def wake(connection: sqlite3.Connection, order_id: str, now: float) -> None:
    """Let the next steps of an order's jobs be due, after the present one where there is one."""
    connection.execute(
        f"UPDATE jobs SET due = min(coalesce(due, :now), :now) WHERE order_id = :order AND {BUILDS.condition}",  # noqa: S608  # our own words
        {"now": now, "order": order_id},
    )


def claim(connection: sqlite3.Connection, lane: Lane, now: float, token: str) -> tuple[Run | None, float | None]:
    """The job whose turn it is; else when one will be due.

    A job that must run alone, of whatever lane, waits for the others to end, and they for it.
    """
    running, is_alone = connection.execute(
        f"SELECT count(*), coalesce(max({_ALONE}), 0) FROM jobs WHERE run IS NOT NULL"  # noqa: S608  # our own words
    ).fetchone()
    next_of = "SELECT id, due, blamed FROM jobs WHERE due IS NOT NULL AND run IS NULL AND {} ORDER BY due LIMIT 1"
    suspect = connection.execute(next_of.format(f"{_ALONE} AND due <= ?"), (now,)).fetchone()
    if is_alone or (suspect and running):
        return None, None
    found = suspect or connection.execute(next_of.format(lane.condition)).fetchone()
    if found is None:
        return None, None
    job_id, due, blamed = found
    if due > now:
        return None, due
    connection.execute("UPDATE jobs SET run = ?, due = NULL WHERE id = ?", (token, job_id))
    job = read(connection, job_id)
    return (Run(job, blamed, token), None) if job else (None, None)


def let_go(connection: sqlite3.Connection, run: Run, due: float | None, ending: Ending) -> None:
    """End a run, if it still has the job. A job that was woken or renewed meanwhile is due at once."""
    connection.execute(
        f"UPDATE jobs SET run = NULL, {_COUNTS[ending]}, due = coalesce(min(due, :due), due, :due)"  # noqa: S608  # our own words
        " WHERE id = :id AND run = :run",
        {"id": run.job.id, "run": run.token, "due": due},
    )


def counts(connection: sqlite3.Connection, now: float) -> dict[Status, int]:
    """Jobs that are not expired, by state."""
    rows = connection.execute(
        "SELECT status, count(*) FROM jobs WHERE expires IS NULL OR expires > ? GROUP BY status", (now,)
    )
    return dict.fromkeys(Status, 0) | {Status(status): count for status, count in rows}


def sweep(connection: sqlite3.Connection, expired_before: float) -> None:
    """Forget jobs that expired long ago and have nothing left to do."""
    connection.execute("DELETE FROM jobs WHERE expires < ? AND due IS NULL AND run IS NULL", (expired_before,))


def read(connection: sqlite3.Connection, job_id: str) -> Job | None:
    """A job as it stands."""
    request, changes = read_changes(connection, job_id, 0)
    return add_up(request, changes) if request else None


def read_changes(connection: sqlite3.Connection, job_id: str, after: int) -> tuple[JobRequest | None, list[Change]]:
    """What happened to a job after change number `after`."""
    found = connection.execute("SELECT request FROM jobs WHERE id = ?", (job_id,)).fetchone()
    rows = connection.execute(
        "SELECT change FROM job_changes WHERE job_id = ? AND number > ? ORDER BY number", (job_id, after)
    )
    return JobRequest.load(found[0]) if found else None, [Change.load(change) for (change,) in rows]
