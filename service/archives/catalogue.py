"""The record of archives on disk: which there are, of what they are made, and what became of them."""

import json
import sqlite3
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any, Protocol
from uuid import uuid4

from service.archives.archive import Archive, State
from service.archives.layout import LAYOUT_VERSION, Member
from service.archives.plan import Plan
from service.archives.record import GONE, Record, decode_member, decode_result, encode_member, encode_result
from service.database import Database
from service.images.identity import key_digest

SCHEMA = """
CREATE TABLE IF NOT EXISTS archives (
    id TEXT PRIMARY KEY, key TEXT NOT NULL, options_key TEXT NOT NULL, state TEXT NOT NULL, layout INTEGER NOT NULL,
    plan TEXT NOT NULL, results TEXT, comment TEXT, created REAL NOT NULL, settled REAL, used REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS archives_by_key ON archives (key, state);
DROP INDEX IF EXISTS archives_by_family;  -- its name in the first edition
CREATE INDEX IF NOT EXISTS archives_by_options ON archives (options_key, state);
CREATE TABLE IF NOT EXISTS members (
    archive_id TEXT NOT NULL REFERENCES archives ON DELETE CASCADE, position INTEGER NOT NULL,
    image_id TEXT, name TEXT NOT NULL, digest TEXT NOT NULL, size INTEGER NOT NULL, crc INTEGER NOT NULL,
    extension TEXT NOT NULL, modified TEXT NOT NULL, attempts INTEGER NOT NULL,
    is_incomplete INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (archive_id, position)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS members_by_digest ON members (digest);
-- Which images an archive held, long after it is gone.
CREATE TABLE IF NOT EXISTS held (
    archive_id TEXT PRIMARY KEY, order_id TEXT NOT NULL, keys BLOB NOT NULL, settled REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS held_by_age ON held (settled);
-- Archives that are the result of something which lives until then.
CREATE TABLE IF NOT EXISTS kept (
    archive_id TEXT PRIMARY KEY REFERENCES archives ON DELETE CASCADE, until REAL NOT NULL
);
"""

_SELECT = (
    "SELECT id, state, layout, plan, results, comment, created, settled, coalesce(until, 0)"
    " FROM archives LEFT JOIN kept ON archive_id = id "
)
_BY_ID = _SELECT + "WHERE id = ?"
_COMPLETE_BY_KEY = _SELECT + "WHERE key = ? AND state = 'complete' ORDER BY settled DESC"
_COMPLETE_BY_OPTIONS = _SELECT + "WHERE options_key = ? AND state = 'complete' ORDER BY settled DESC"
_INTO_MEMBERS = (
    "INSERT INTO members"
    " (archive_id, position, name, digest, size, crc, extension, modified, image_id, attempts, is_incomplete) "
)
_INSERT_MEMBER = _INTO_MEMBERS + "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
# Only if its blob is in the store.
_INSERT_MEMBER_OF_STORE = (
    _INTO_MEMBERS + "SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ? WHERE EXISTS (SELECT 1 FROM blobs WHERE digest = ?)"  # noqa: S608  # our own columns
)
_UNFINISHED_BY_KEY = _SELECT + "WHERE key = ? AND state = 'building' ORDER BY created DESC LIMIT 1"

_SETTLED = (State.COMPLETE, State.PARTIAL)
# How long an id that is no longer kept answers 410 instead of 404.
_REMEMBERED_SECONDS = 24 * 3600.0
# How long it is remembered which images an archive held, by so many bytes for each.
_HELD_SECONDS = 30 * 24 * 3600.0
_KEY_BYTES = 8


class TakenOver(Exception):
    """Another instance goes on with this archive."""


class SharedArchives(Protocol):
    """The record of archives that several instances share."""

    async def announce(self, plan: Plan, created: float, *, anyway: bool = False) -> tuple[str, Record | None]:
        """The id for a new archive, or that of the one which some instance builds for the plan's build key, or has
        built, and its record.

        `anyway`: a new one, which later requests are then given.
        """

    async def append(self, archive_id: str, members: Sequence[tuple[Member, int]]) -> None:
        """Announce the next members, with the attempts each took. Raises `TakenOver`, or `StillBuilding`."""

    async def settle(self, archive: Archive, state: State, comment: str) -> None:
        """Announce that the archive is whole. Raises as `append`."""

    def mark(self, connection: sqlite3.Connection, archive_id: str) -> None:
        """Within the transaction that keeps a settled archive: it is to be shared."""

    def wake(self) -> None:
        """Something was marked."""

    async def drop(self, archive_id: str) -> None:
        """An archive that was built here is gone."""

    async def release(self, archive_id: str) -> None:
        """Nobody here wants what is built here: another instance may go on with it at once."""

    async def load(self, archive_id: str) -> Record | None:
        """An archive as its builder last announced it, if any. Raises `StillBuilding` when it cannot be told."""

    async def keep(self, archive_id: str, until: float) -> None:
        """Let no instance take the archive for expired before `until` (epoch seconds). Raises `StillBuilding`."""

    async def kept_until(self, archive_id: str) -> float:
        """Until when some instance keeps the archive; 0 when none does, or when it cannot be told."""

    async def find_complete(self, key: str) -> Record | None:
        """The complete archive for a plan's key or its options; None also when it cannot be told."""

    async def follow(self, archive: Archive, plan: Plan, adopt: Callable[[Record], Awaitable[None]]) -> bool:
        """Let an unfinished archive grow as its builder announces; True once this instance is to go on with it.

        False when it was settled meanwhile; `adopt` records what was announced. Raises `ArchiveGone`, `Abandoned`, or
        `StillBuilding` when it cannot be told.
        """


class Catalogue:
    """Archives by id, by key and by options. Every change is committed before it is told to anybody.

    With `shared`, it is also told to the other instances, and what they have told is found here.
    """

    def __init__(self, database: Database, ttl: float, shared: SharedArchives | None = None) -> None:
        self._database = database
        self._ttl = ttl
        self.shared = shared

    async def begin(self, archive: Archive, plan: Plan) -> None:
        """Record a new archive, without members."""
        row = (
            archive.id,
            plan.key,
            plan.options_key,
            State.BUILDING,
            LAYOUT_VERSION,
            plan.model_dump_json(exclude_defaults=True),
        )
        await self._database.run(
            lambda connection: connection.execute(
                "INSERT INTO archives (id, key, options_key, state, layout, plan, created, used)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (*row, archive.created, archive.created),
            )
        )

    async def announce(self, plan: Plan, created: float, *, anyway: bool = False) -> tuple[str, Record | None]:
        """As `SharedArchives`; of one machine always a new id."""
        if self.shared is None:
            return uuid4().hex, None
        return await self.shared.announce(plan, created, anyway=anyway)

    async def append(self, archive: Archive, members: Sequence[tuple[Member, int]]) -> bool:
        """Record the next members, each with the attempts its image took; False, and nothing recorded, when the blob
        of one is no longer in the store.

        Raises as `SharedArchives.append`.
        """
        if self.shared is not None:
            await self.shared.append(archive.id, members)
        first = len(archive.members)
        rows = [
            (archive.id, first + at, *encode_member(*member), member[0].blob.digest)
            for at, member in enumerate(members)
        ]

        def insert(connection: sqlite3.Connection) -> bool:
            return connection.executemany(_INSERT_MEMBER_OF_STORE, rows).rowcount == len(rows)

        return await self._database.run(_all_or_none(insert), gather=True)

    async def settle(self, archive: Archive, state: State, comment: str) -> None:
        """Record that the archive is whole; from now on its key finds it, if it is complete.

        Raises as `SharedArchives.append`.
        """
        results = json.dumps([encode_result(result) for result in archive.results])
        held = held_keys(result.key for result in archive.results if result.code is None and result.key)
        now = time.time()
        if self.shared is not None:
            await self.shared.settle(archive, state, comment)

        def update(connection: sqlite3.Connection) -> None:
            connection.execute(
                "UPDATE archives SET key = ?, state = ?, results = ?, comment = ?, settled = ?, used = ? WHERE id = ?",
                (archive.key, state, results, comment, now, now, archive.id),
            )
            connection.execute(
                "INSERT OR REPLACE INTO held VALUES (?, ?, ?, ?)", (archive.id, archive.order_id, b"".join(held), now)
            )
            if self.shared is not None:
                self.shared.mark(connection, archive.id)

        await self._database.run(update)
        if self.shared is not None:
            self.shared.wake()

    async def held(self, archive_id: str) -> tuple[str, Collection[bytes]] | None:
        """The order of an archive that was settled in the last 30 days, and the keys (as `key_digest`) of the images
        that it holds.

        Raises `StillBuilding` when it cannot be told.
        """
        query = "SELECT order_id, keys FROM held WHERE archive_id = ?"
        row = await self._database.run(lambda connection: connection.execute(query, (archive_id,)).fetchone())
        if row is not None:
            return row[0], {row[1][at : at + _KEY_BYTES] for at in range(0, len(row[1]), _KEY_BYTES)}
        record = await self.load(archive_id)
        if record is None or record.state not in _SETTLED:
            return None
        known = [result.key for result in record.results if result.code is None and result.key]
        return record.plan.order_id, held_keys(known or record.keys)

    async def forget(self, archive_id: str) -> None:
        """Remove every trace of an archive whose id nobody was told."""
        if self.shared is not None:
            await self.shared.drop(archive_id)
        await self._database.run(
            lambda connection: connection.execute("DELETE FROM archives WHERE id = ?", (archive_id,))
        )

    async def drop(self, archive_id: str) -> None:
        """Let an archive go; its id is remembered as gone."""
        if self.shared is not None:
            await self.shared.drop(archive_id)
        await self._database.run(lambda connection: mark_gone(connection, archive_id))

    async def keep(self, archive_id: str, until: float) -> None:
        """Let neither age nor want of room take an archive before `until`."""
        await self._database.run(
            lambda connection: connection.execute(
                "INSERT INTO kept VALUES (?, ?) ON CONFLICT DO UPDATE SET until = max(until, excluded.until)",
                (archive_id, until),
            )
        )
        if self.shared is not None:
            await self.shared.keep(archive_id, until)

    async def load(self, archive_id: str) -> Record | None:
        """An archive by id, `GONE` ones included; notes that it is used."""
        record = await self._database.run(lambda connection: _read(connection, _BY_ID, archive_id))
        self.note_used(archive_id)
        if self.shared is None:
            return record
        if record is None or record.state not in _SETTLED:
            record = await self._adopt_settled(await self.shared.load(archive_id)) or record
        if record is not None and self._is_old(record):
            record = replace(record, kept=max(record.kept, await self.shared.kept_until(archive_id)))
        return record

    async def find_complete(self, key: str) -> list[Record]:
        """The complete archives for `key` that are not too old to be used again, the newest first."""
        return await self._find_complete(_COMPLETE_BY_KEY, key)

    async def find_unfinished(self, key: str) -> Record | None:
        """The newest build for `key` that was left unfinished."""
        return await self._database.run(lambda connection: _read(connection, _UNFINISHED_BY_KEY, key))

    async def find_stale(self, options_key: str) -> list[Record]:
        """The complete archives for the same options, whatever their images are now, the newest first."""
        return await self._find_complete(_COMPLETE_BY_OPTIONS, options_key)

    async def _find_complete(self, query: str, key: str) -> list[Record]:
        records = await self._database.run(lambda connection: _read_all(connection, query, key))
        records = [record for record in records if not (self.is_expired(record) or self._is_old(record))]
        if not records and self.shared is not None:
            record = await self._adopt_settled(await self.shared.find_complete(key))
            return [] if record is None or self.is_expired(record) else [record]
        return records

    async def adopt(self, record: Record) -> None:
        """Record what another instance told of an archive, in place of what was known of it here."""
        plan = record.plan
        results = json.dumps([encode_result(result) for result in record.results])
        columns = (
            record.id,
            plan.key,
            plan.options_key,
            record.state,
            record.layout,
            plan.model_dump_json(exclude_defaults=True),
        )

        def replace(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM archives WHERE id = ?", (record.id,))
            connection.execute(
                "INSERT INTO archives"
                " (id, key, options_key, state, layout, plan, results, comment, created, settled, used)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*columns, results, record.comment, record.created, record.settled, time.time()),
            )
            connection.executemany(
                _INSERT_MEMBER,
                [(record.id, at, *encode_member(*member)) for at, member in enumerate(record.members)],
            )

        await self._database.run(replace)

    async def _adopt_settled(self, record: Record | None) -> Record | None:
        if record is not None and record.state in _SETTLED:
            await self.adopt(record)
        return record

    async def continue_here(self, archive: Archive, plan: Plan) -> bool:
        """Whether this instance is to go on with an unfinished archive; while another builds it, the archive follows.

        Raises as `SharedArchives.follow`.
        """
        return self.shared is None or await self.shared.follow(archive, plan, self.adopt)

    async def release(self, archive_id: str) -> None:
        """Let another instance go on with what is built here."""
        if self.shared is not None:
            await self.shared.release(archive_id)

    async def sweep(self, running: set[str], orphaned_before: float) -> None:
        """Let go what is past its time: old archives, and builds from before a restart that nobody came back for."""
        now = time.time()

        def clean(connection: sqlite3.Connection) -> None:
            rows = connection.execute(
                "SELECT id FROM archives WHERE settled < ? AND state != ?"
                " AND id NOT IN (SELECT archive_id FROM kept WHERE until > ?) UNION ALL"
                " SELECT id FROM archives WHERE state = ? AND used < ?",
                (now - self._ttl, GONE, now, State.BUILDING, orphaned_before),
            ).fetchall()
            for (archive_id,) in rows:
                if archive_id not in running:
                    mark_gone(connection, archive_id)
            connection.execute("DELETE FROM archives WHERE state = ? AND used < ?", (GONE, now - _REMEMBERED_SECONDS))
            connection.execute("DELETE FROM held WHERE settled < ?", (now - _HELD_SECONDS,))

        await self._database.run(clean)

    def is_expired(self, record: Record) -> bool:
        """Whether the archive's time is over, or its bytes would no longer be the same."""
        too_old = self._is_old(record) and record.kept < time.time()
        return record.state == GONE or too_old or record.layout != LAYOUT_VERSION

    def _is_old(self, record: Record) -> bool:
        """Whether it is too old to answer a new request."""
        return record.settled is not None and record.settled < time.time() - self._ttl

    def note_used(self, archive_id: str) -> None:
        """It is not the first to go when room is needed."""
        self._database.note("UPDATE archives SET used = ? WHERE id = ?", (time.time(), archive_id))


def held_keys(keys: Iterable[str]) -> set[bytes]:
    """Keys of images as they are remembered."""
    return set(map(key_digest, keys))


def read_record(connection: sqlite3.Connection, archive_id: str) -> Record | None:
    """Within a transaction: an archive by its id."""
    return _read(connection, _BY_ID, archive_id)


def _read(connection: sqlite3.Connection, query: str, value: str) -> Record | None:
    return next(iter(_read_all(connection, query, value)), None)


def _read_all(connection: sqlite3.Connection, query: str, value: str) -> list[Record]:
    return [_record(connection, row) for row in connection.execute(query, (value,)).fetchall()]


def _record(connection: sqlite3.Connection, row: tuple[Any, ...]) -> Record:
    archive_id, state, layout, plan, results, comment, created, settled, kept = row
    members = connection.execute(
        "SELECT name, digest, size, crc, extension, modified, image_id, attempts, is_incomplete FROM members"
        " WHERE archive_id = ? ORDER BY position",
        (archive_id,),
    )
    return Record(
        archive_id,
        state,
        layout,
        Plan.model_validate_json(plan),
        tuple(decode_result(line) for line in json.loads(results or "[]")),
        comment,
        created,
        settled,
        tuple(decode_member(columns) for columns in members),
        kept,
    )


def _all_or_none(work: Callable[[sqlite3.Connection], bool]) -> Callable[[sqlite3.Connection], bool]:
    """Takes back what `work` did when it was not all of it."""

    def run(connection: sqlite3.Connection) -> bool:
        connection.execute("SAVEPOINT members")
        done = work(connection)
        if not done:
            connection.execute("ROLLBACK TO members")
        connection.execute("RELEASE members")
        return done

    return run


def mark_gone(connection: sqlite3.Connection, archive_id: str) -> None:
    """Within a transaction: remove an archive's members and images, and remember its id as gone."""
    connection.execute("DELETE FROM members WHERE archive_id = ?", (archive_id,))
    connection.execute(
        "UPDATE archives SET state = ?, used = ?, results = NULL, plan = json_set(plan, '$.images', json('[]'))"
        " WHERE id = ?",
        (GONE, time.time(), archive_id),
    )
