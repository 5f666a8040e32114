"""Which archives there are and of what they are made: their tables. All functions run within a transaction."""

import json
import sqlite3
from collections.abc import Callable, Container, Iterable, Sequence
from typing import Any

from service.archives.archive import Archive, ImageResult, State
from service.archives.layout import LAYOUT_VERSION, Member
from service.archives.plan import Plan
from service.archives.record import GONE, Record, decode_member, decode_result, encode_member, encode_result
from service.images.blobs import BlobLost
from service.images.identity import key_digest
from service.problems import ArchiveGone

SCHEMA = """
CREATE TABLE IF NOT EXISTS archives (
    id TEXT PRIMARY KEY, key TEXT NOT NULL, options_key TEXT NOT NULL, state TEXT NOT NULL, layout INTEGER NOT NULL,
    plan TEXT NOT NULL,
    results TEXT,  -- all of them, where version 0 or 1.0.0 settled the archive
    comment TEXT, created REAL NOT NULL, settled REAL, used REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS archives_by_key ON archives (key, state);
DROP INDEX IF EXISTS archives_by_family;  -- its name in version 0
CREATE INDEX IF NOT EXISTS archives_by_options ON archives (options_key, state);
CREATE TABLE IF NOT EXISTS members (
    archive_id TEXT NOT NULL REFERENCES archives ON DELETE CASCADE, position INTEGER NOT NULL,
    image_id TEXT, name TEXT NOT NULL, digest TEXT NOT NULL, size INTEGER NOT NULL, crc INTEGER NOT NULL,
    extension TEXT NOT NULL, modified TEXT NOT NULL, attempts INTEGER NOT NULL,
    is_incomplete INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (archive_id, position)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS members_by_digest ON members (digest);
-- Lines of the report of a settled archive.
CREATE TABLE IF NOT EXISTS results (
    archive_id TEXT NOT NULL REFERENCES archives ON DELETE CASCADE, position INTEGER NOT NULL, line TEXT NOT NULL,
    PRIMARY KEY (archive_id, position)
) WITHOUT ROWID;
-- Which images an archive held, long after it is gone.
CREATE TABLE IF NOT EXISTS held (
    archive_id TEXT PRIMARY KEY, order_id TEXT NOT NULL, keys BLOB NOT NULL, settled REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS held_by_age ON held (settled);
-- Archives that are the result of something which lives until then.
CREATE TABLE IF NOT EXISTS kept (
    archive_id TEXT PRIMARY KEY REFERENCES archives ON DELETE CASCADE, until REAL NOT NULL
);
-- Of the machine, in which archives are being built. There is none after a stop in order.
CREATE TABLE IF NOT EXISTS boots (boot TEXT PRIMARY KEY);
"""

_SELECT = (
    "SELECT id, state, layout, plan, results, comment, created, settled, coalesce(until, 0)"
    " FROM archives LEFT JOIN kept ON archive_id = id "
)
BY_ID = _SELECT + "WHERE id = ?"
COMPLETE_BY_KEY = _SELECT + "WHERE key = ? AND state = 'complete' ORDER BY settled DESC"
COMPLETE_BY_OPTIONS = _SELECT + "WHERE options_key = ? AND state = 'complete' ORDER BY settled DESC"
UNFINISHED_BY_KEY = _SELECT + "WHERE key = ? AND state = 'building' ORDER BY created DESC LIMIT 1"
_INSERT = (
    "INSERT INTO archives (id, key, options_key, state, layout, plan, comment, created, settled, used)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
# Not by removing the row: what else is noted of the archive would go with it.
_REPLACE = _INSERT + (
    " ON CONFLICT (id) DO UPDATE SET (key, options_key, state, layout, plan, results, comment, created, settled, used)"
    " = (excluded.key, excluded.options_key, excluded.state, excluded.layout, excluded.plan, NULL,"
    " excluded.comment, excluded.created, excluded.settled, excluded.used)"
)
_INTO_MEMBERS = (
    "INSERT INTO members"
    " (archive_id, position, name, digest, size, crc, extension, modified, image_id, attempts, is_incomplete) "
)
_INSERT_MEMBER = _INTO_MEMBERS + "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
# Only if its blob is in the store.
_INSERT_MEMBER_OF_STORE = (
    _INTO_MEMBERS + "SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ? WHERE EXISTS (SELECT 1 FROM blobs WHERE digest = ?)"  # noqa: S608  # our own columns
)
# How long an id that is no longer kept answers 410 instead of 404.
_REMEMBERED_SECONDS = 24 * 3600.0
# How long it is remembered which images an archive held, by so many bytes for each.
_KEYS_SECONDS = 30 * 24 * 3600.0
_KEY_BYTES = 8


def insert(connection: sqlite3.Connection, archive: Archive, plan: Plan) -> None:
    """Record a new archive, without members."""
    new = Record(archive.id, State.BUILDING, LAYOUT_VERSION, plan, (), None, archive.created, None, ())
    connection.execute(_INSERT, _row(new, archive.created))


def replace(connection: sqlite3.Connection, record: Record, now: float) -> None:
    """Record an archive and its members in place of what was known of it."""
    connection.execute("DELETE FROM members WHERE archive_id = ?", (record.id,))
    connection.execute(_REPLACE, _row(record, now))
    members = [(record.id, at, *encode_member(*member)) for at, member in enumerate(record.members)]
    connection.executemany(_INSERT_MEMBER, members)
    _write_results(connection, record.id, record.results)


def _row(record: Record, used: float) -> tuple[Any, ...]:
    plan = record.plan
    return (
        record.id,
        plan.key,
        plan.options_key,
        record.state,
        record.layout,
        plan.model_dump_json(exclude_defaults=True),
        record.comment,
        record.created,
        record.settled,
        used,
    )


def _write_results(connection: sqlite3.Connection, archive_id: str, results: Iterable[ImageResult]) -> None:
    """One row each: of thousands, a single text takes several times their memory while it is written."""
    connection.execute("DELETE FROM results WHERE archive_id = ?", (archive_id,))
    rows = ((archive_id, at, json.dumps(encode_result(result))) for at, result in enumerate(results))
    connection.executemany("INSERT INTO results VALUES (?, ?, ?)", rows)


def insert_members(
    connection: sqlite3.Connection, archive_id: str, first: int, members: Sequence[tuple[Member, int]]
) -> None:
    """Record the members from position `first` on.

    Raises `BlobLost` when the blob of one is not in the store, `ArchiveGone` when the archive was dropped meanwhile.
    """
    _require_kept(connection, archive_id)
    rows = [
        (archive_id, first + at, *encode_member(*member), member[0].blob.digest) for at, member in enumerate(members)
    ]
    if connection.executemany(_INSERT_MEMBER_OF_STORE, rows).rowcount != len(rows):
        raise BlobLost(archive_id)


def settle(connection: sqlite3.Connection, archive: Archive, state: State, comment: str, now: float) -> None:
    """Record that an archive is whole, and which images it holds. Raises `ArchiveGone` when it was dropped before."""
    _require_kept(connection, archive.id)
    keys = b"".join(key_digests(result.key for result in archive.results if result.code is None and result.key))
    connection.execute(
        "UPDATE archives SET key = ?, state = ?, results = NULL, comment = ?, settled = ?, used = ? WHERE id = ?",
        (archive.key, state, comment, now, now, archive.id),
    )
    _write_results(connection, archive.id, archive.results)
    row = archive.id, " ".join(archive.order_ids), keys, now
    connection.execute("INSERT OR REPLACE INTO held VALUES (?, ?, ?, ?)", row)


def _require_kept(connection: sqlite3.Connection, archive_id: str) -> None:
    """What was dropped has lost its members: with later ones it would look whole."""
    if connection.execute("SELECT 1 FROM archives WHERE id = ? AND state = ?", (archive_id, GONE)).fetchone():
        raise ArchiveGone


def image_keys(connection: sqlite3.Connection, archive_id: str) -> tuple[list[str], set[bytes]] | None:
    """The orders of an archive that was settled in the last 30 days, and digests of the keys of its images."""
    query = "SELECT order_id, keys FROM held WHERE archive_id = ?"
    row = connection.execute(query, (archive_id,)).fetchone()
    return row and (row[0].split(), {row[1][at : at + _KEY_BYTES] for at in range(0, len(row[1]), _KEY_BYTES)})


def key_digests(keys: Iterable[str]) -> set[bytes]:
    """Keys of images as they are remembered."""
    return set(map(key_digest, keys))


def keep(connection: sqlite3.Connection, archive_id: str, until: float) -> None:
    """Keep an archive at least until then."""
    connection.execute(
        "INSERT INTO kept VALUES (?, ?) ON CONFLICT DO UPDATE SET until = max(until, excluded.until)",
        (archive_id, until),
    )


def remove(connection: sqlite3.Connection, archive_id: str) -> None:
    """Remove every trace of an archive."""
    connection.execute("DELETE FROM archives WHERE id = ?", (archive_id,))


def mark_gone(connection: sqlite3.Connection, archive_id: str, now: float) -> None:
    """Remove an archive's members and results, and remember its id as gone."""
    connection.execute("DELETE FROM members WHERE archive_id = ?", (archive_id,))
    connection.execute("DELETE FROM results WHERE archive_id = ?", (archive_id,))
    connection.execute(
        "UPDATE archives SET state = ?, used = ?, results = NULL, plan = json_set(plan, '$.images', json('[]'))"
        " WHERE id = ?",
        (GONE, now, archive_id),
    )


def begin_boot(connection: sqlite3.Connection, boot: str, now: float, known_elsewhere: Callable[[str], bool]) -> None:
    """From here on archives are built in this boot of the machine.

    Of those that another one left unfinished the last entries may be lost, though their bytes were sent: they are gone,
    unless others know them.
    """
    before = {known for (known,) in connection.execute("SELECT boot FROM boots")}
    if before - {boot}:
        unfinished = connection.execute("SELECT id FROM archives WHERE state = ?", (State.BUILDING,)).fetchall()
        for (archive_id,) in unfinished:
            if not known_elsewhere(archive_id):
                mark_gone(connection, archive_id, now)
    connection.execute("DELETE FROM boots")
    connection.execute("INSERT INTO boots VALUES (?)", (boot,))


def end_boot(connection: sqlite3.Connection) -> None:
    """Nothing is built any more, and all entries are about to be on the disk."""
    connection.execute("DELETE FROM boots")


def sweep(
    connection: sqlite3.Connection,
    running: Container[str],
    now: float,
    *,
    settled_before: float,
    orphaned_before: float,
) -> None:
    """Drop archives that were settled before then and are not kept, and builds that nobody has used since."""
    rows = connection.execute(
        "SELECT id FROM archives WHERE settled < ? AND state != ?"
        " AND id NOT IN (SELECT archive_id FROM kept WHERE until > ?) UNION ALL"
        " SELECT id FROM archives WHERE state = ? AND used < ?",
        (settled_before, GONE, now, State.BUILDING, orphaned_before),
    ).fetchall()
    for (archive_id,) in rows:
        if archive_id not in running:
            mark_gone(connection, archive_id, now)
    connection.execute("DELETE FROM archives WHERE state = ? AND used < ?", (GONE, now - _REMEMBERED_SECONDS))
    connection.execute("DELETE FROM held WHERE settled < ?", (now - _KEYS_SECONDS,))


def read_record(connection: sqlite3.Connection, archive_id: str) -> Record | None:
    return next(iter(read_records(connection, BY_ID, archive_id)), None)


def read_records(connection: sqlite3.Connection, query: str, value: str) -> list[Record]:
    """The archives that one of the queries above finds."""
    return [_record(connection, row) for row in connection.execute(query, (value,)).fetchall()]


def _record(connection: sqlite3.Connection, row: tuple[Any, ...]) -> Record:
    archive_id, state, layout, plan, results, comment, created, settled, kept = row
    members = connection.execute(
        "SELECT name, digest, size, crc, extension, modified, image_id, attempts, is_incomplete FROM members"
        " WHERE archive_id = ? ORDER BY position",
        (archive_id,),
    )
    rows = connection.execute("SELECT line FROM results WHERE archive_id = ? ORDER BY position", (archive_id,))
    lines = json.loads(results) if results else (json.loads(line) for (line,) in rows)
    return Record(
        archive_id,
        state,
        layout,
        Plan.model_validate_json(plan),
        tuple(decode_result(line) for line in lines),
        comment,
        created,
        settled,
        tuple(decode_member(columns) for columns in members),
        kept,
    )
