"""Jobs in SQLite: one table. Each function is part of a transaction."""

import json
import sqlite3
from typing import Any

from service.jobs.engine import JobFilter
from service.jobs.job import FINAL, Callback, FollowUp, Job, JobRequest, Status

SCHEMA = """
CREATE TABLE IF NOT EXISTS job_records (
    id TEXT PRIMARY KEY, idempotency_key TEXT UNIQUE, order_id TEXT NOT NULL, owner TEXT, created REAL NOT NULL,
    request TEXT NOT NULL, status TEXT NOT NULL, state TEXT NOT NULL, expires REAL,
    callback TEXT,
    -- When the next attempt at the delivery or the callback is due; null: there is none to make.
    callback_due REAL,
    delivery TEXT
);
-- The orders of each job that has several; its own order_id is empty.
CREATE TABLE IF NOT EXISTS job_orders (
    order_id TEXT NOT NULL, job_id TEXT NOT NULL REFERENCES job_records ON DELETE CASCADE,
    PRIMARY KEY (order_id, job_id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS job_orders_by_job ON job_orders (job_id);
CREATE INDEX IF NOT EXISTS job_records_by_created ON job_records (created, id);
CREATE INDEX IF NOT EXISTS job_records_by_order ON job_records (order_id);
CREATE INDEX IF NOT EXISTS job_records_by_status ON job_records (status);
CREATE INDEX IF NOT EXISTS job_records_by_expiry ON job_records (expires);
CREATE INDEX IF NOT EXISTS job_records_by_callback ON job_records (callback_due) WHERE callback_due IS NOT NULL;
"""

_OF_ORDER = "(order_id = ? OR id IN (SELECT job_id FROM job_orders WHERE job_orders.order_id = ?))"
_COLUMNS = "request, state, callback, delivery"
_OPEN = f"status NOT IN ({', '.join(f'{status.value!r}' for status in sorted(FINAL))})"


def insert(connection: sqlite3.Connection, job: Job, key: str | None) -> Job | None:
    """Record a new job; or return the one that `key` names already."""
    query = f"SELECT {_COLUMNS} FROM job_records WHERE idempotency_key = ?"  # noqa: S608  # our own words
    found = connection.execute(query, (key,)).fetchone()
    if found is not None:
        return Job.load(*found)
    request = job.request
    connection.execute(
        "INSERT INTO job_records (id, idempotency_key, order_id, owner, created, request, status, state)"
        " VALUES (?, ?, ?, ?, ?, ?, '', '')",
        (request.id, key, request.order_id or "", request.owner, request.created, request.dump()),
    )
    orders = [(order_id, request.id) for order_id in request.order_ids]
    connection.executemany("INSERT INTO job_orders VALUES (?, ?)", orders)
    _write(connection, job)
    return None


def save(connection: sqlite3.Connection, job: Job) -> bool:
    """Write the state of a job that has not ended; whether that is so."""
    query = f"SELECT 1 FROM job_records WHERE id = ? AND {_OPEN}"  # noqa: S608  # our own words
    if connection.execute(query, (job.id,)).fetchone() is None:
        return False
    _write(connection, job)
    return True


def save_follow_up(
    connection: sqlite3.Connection, job_id: str, by: FollowUp, before: FollowUp | None = None
) -> Job | None:
    """Write the state of a job's callback or delivery; the job, if it is known and has ended.

    With `before` only if that is on record: else it was begun anew.
    """
    job = read(connection, job_id)
    if job is None or not job.is_final or before not in (None, job.follow_up):
        return None
    column = "callback" if isinstance(by, Callback) else "delivery"
    connection.execute(f"UPDATE job_records SET {column} = ? WHERE id = ?", (by.dump(), job_id))  # noqa: S608  # our own words
    job = job.followed_up(by)
    _write(connection, job)
    return job


def read(connection: sqlite3.Connection, job_id: str) -> Job | None:
    query = f"SELECT {_COLUMNS} FROM job_records WHERE id = ?"  # noqa: S608  # our own words
    found = connection.execute(query, (job_id,)).fetchone()
    return Job.load(*found) if found else None


def unfinished(connection: sqlite3.Connection) -> list[Job]:
    """All jobs that have not ended, the oldest first, then those with a pending delivery or callback."""
    where = f"{_OPEN} OR callback_due IS NOT NULL ORDER BY callback_due IS NOT NULL, created"
    query = f"SELECT {_COLUMNS} FROM job_records WHERE {where}"  # noqa: S608  # our own words
    return [Job.load(*row) for row in connection.execute(query)]


def find(connection: sqlite3.Connection, wanted: JobFilter, limit: int) -> list[Job]:
    """At most `limit` jobs that fit, newest first."""
    conditions: dict[str, tuple[Any, ...]] = {"1": ()}
    for column in ("owner", "status"):
        if (value := getattr(wanted, column)) is not None:
            conditions[f"{column} = ?"] = (value,)
    if wanted.order_id is not None:
        conditions[_OF_ORDER] = (wanted.order_id, wanted.order_id)
    if wanted.before is not None:
        conditions["(created, id) < (?, ?)"] = wanted.before
    where = f"{' AND '.join(conditions)} ORDER BY created DESC, id DESC LIMIT ?"
    query = f"SELECT {_COLUMNS} FROM job_records WHERE {where}"  # noqa: S608  # our own words
    values = [value for values in conditions.values() for value in values]
    return [Job.load(*row) for row in connection.execute(query, (*values, limit))]


def counts(connection: sqlite3.Connection) -> dict[Status, int]:
    """Jobs that have not ended, by state."""
    query = f"SELECT status, count(*) FROM job_records WHERE {_OPEN} GROUP BY status"  # noqa: S608  # our own words
    return {Status(status): count for status, count in connection.execute(query)}


def sweep(connection: sqlite3.Connection, expired_before: float) -> None:
    """Forget jobs that expired long ago and have nothing left to do."""
    connection.execute("DELETE FROM job_records WHERE expires < ? AND callback_due IS NULL", (expired_before,))


def _write(connection: sqlite3.Connection, job: Job) -> None:
    callback, delivery = (one and one.dump() for one in (job.callback, job.delivery))
    connection.execute(
        "UPDATE job_records SET status = ?, state = ?, expires = ?, callback = coalesce(callback, ?),"
        " delivery = coalesce(delivery, ?), callback_due = ? WHERE id = ?",
        (job.status, job.dump(), job.expires, callback, delivery, job.follow_up_due, job.id),
    )


def migrate(connection: sqlite3.Connection) -> None:
    """Take over the tables of earlier versions, which kept a history of each job; they are gone then.

    Jobs that had ended stay readable, with what their history adds up to; the others begin anew: what they fetched is
    in the store.
    """
    names = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    if not {"jobs", "job_changes"} <= names:
        return
    for job_id, key, request_text in connection.execute("SELECT id, key, request FROM jobs").fetchall():
        rows = connection.execute("SELECT change FROM job_changes WHERE job_id = ? ORDER BY number", (job_id,))
        insert(
            connection,
            _job_from_history(JobRequest.load(request_text), [json.loads(change) for (change,) in rows]),
            key,
        )
    connection.execute("DROP TABLE job_changes")
    connection.execute("DROP TABLE jobs")


def _job_from_history(request: JobRequest, changes: list[dict[str, Any]]) -> Job:
    values: dict[str, Any] = {}
    summary: dict[str, Any] = {}
    for change in changes:
        status = Status(change["status"]) if "status" in change else None
        if status in FINAL:
            values |= {"status": status, "finished": change["at"], "expires": change.get("expires")}
            values["error"] = change.get("error")
        elif status is Status.PROCESSING:
            values |= {"archive_id": change.get("archive_id"), "started": values.get("started", change["at"])}
            summary = {"total": change.get("total", 0), "downloaded": 0, "bytes": 0, "failures": []}
        if "size" in change:
            summary |= {"downloaded": summary["downloaded"] + 1, "bytes": summary["bytes"] + change["size"]}
        if "failure" in change:
            summary["failures"] = [*summary["failures"], change["failure"]]
        if "callback" in change:
            values["callback"] = Callback.load(json.dumps({**change["callback"], "next_at": None}))
    job = Job.new(request)
    if "status" not in values:
        return job
    if summary:
        values["summary"] = {**summary, "failed": len(summary["failures"])}
    return Job(**{"request": request, "callback": job.callback, **values})
