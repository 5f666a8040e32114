"""The record of archives on disk: which there are, of what they are made, and what became of them."""

import json
import sqlite3
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from service.archives.archive import Archive, ImageResult, State
from service.archives.layout import LAYOUT_VERSION, Member
from service.archives.plan import Plan
from service.database import Database
from service.images.blobs import Blob
from service.problems import Reason

SCHEMA = """
CREATE TABLE IF NOT EXISTS archives (
    id TEXT PRIMARY KEY, key TEXT NOT NULL, family TEXT NOT NULL, state TEXT NOT NULL, layout INTEGER NOT NULL,
    plan TEXT NOT NULL, results TEXT, comment TEXT, created REAL NOT NULL, settled REAL, used REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS archives_by_key ON archives (key, state);
CREATE INDEX IF NOT EXISTS archives_by_family ON archives (family, state);
CREATE TABLE IF NOT EXISTS members (
    archive_id TEXT NOT NULL REFERENCES archives ON DELETE CASCADE, position INTEGER NOT NULL,
    image_id TEXT, name TEXT NOT NULL, digest TEXT NOT NULL, size INTEGER NOT NULL, crc INTEGER NOT NULL,
    extension TEXT NOT NULL, modified TEXT NOT NULL, attempts INTEGER NOT NULL,
    PRIMARY KEY (archive_id, position)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS members_by_digest ON members (digest);
"""

_SELECT = "SELECT id, state, layout, plan, results, comment, created, settled FROM archives "
_BY_ID = _SELECT + "WHERE id = ?"
_COMPLETE_BY_KEY = _SELECT + "WHERE key = ? AND state = 'complete' ORDER BY settled DESC LIMIT 1"
_COMPLETE_BY_FAMILY = _SELECT + "WHERE family = ? AND state = 'complete' ORDER BY settled DESC LIMIT 1"
_UNFINISHED_BY_KEY = _SELECT + "WHERE key = ? AND state = 'building' ORDER BY created DESC LIMIT 1"

GONE = "gone"
# How long an id that is no longer kept answers 410 instead of 404.
_REMEMBERED_SECONDS = 24 * 3600.0


@dataclass(frozen=True)
class Record:
    """An archive as it stands on disk."""

    id: str
    state: str
    layout: int
    plan: Plan
    results: tuple[ImageResult, ...]
    comment: str | None
    created: float
    settled: float | None
    members: tuple[tuple[Member, int], ...]
    """With the attempts each image took."""


class Catalogue:
    """Archives by id, by key and by family. Every change is committed before it is told to anybody."""

    def __init__(self, database: Database, ttl: float) -> None:
        self._database = database
        self._ttl = ttl

    async def begin(self, archive: Archive, plan: Plan) -> None:
        """Record a new archive, without members."""
        row = (archive.id, plan.key, plan.family, State.BUILDING, LAYOUT_VERSION, plan.model_dump_json())
        await self._database.run(
            lambda connection: connection.execute(
                "INSERT INTO archives (id, key, family, state, layout, plan, created, used)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (*row, archive.created, archive.created),
            )
        )

    async def append(self, archive: Archive, member: Member, attempts: int) -> bool:
        """Record the next member; False, and nothing recorded, when its image is no longer in the store."""
        blob = member.blob
        row = (archive.id, len(archive.members), member.image_id, member.name, blob.digest, blob.size, blob.crc)

        def insert(connection: sqlite3.Connection) -> bool:
            cursor = connection.execute(
                "INSERT INTO members SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, ? WHERE EXISTS"
                " (SELECT 1 FROM blobs WHERE digest = ?)",
                (*row, blob.extension, member.modified.isoformat(), attempts, blob.digest),
            )
            return cursor.rowcount == 1

        return await self._database.run(insert)

    async def settle(self, archive: Archive, state: State, comment: str) -> None:
        """Record that the archive is whole; from now on its key finds it, if it is complete."""
        results = json.dumps([asdict(result) for result in archive.results])
        now = time.time()
        await self._database.run(
            lambda connection: connection.execute(
                "UPDATE archives SET key = ?, state = ?, results = ?, comment = ?, settled = ?, used = ? WHERE id = ?",
                (archive.key, state, results, comment, now, now, archive.id),
            )
        )

    async def forget(self, archive_id: str) -> None:
        """Remove every trace of an archive whose id nobody was told."""
        await self._database.run(
            lambda connection: connection.execute("DELETE FROM archives WHERE id = ?", (archive_id,))
        )

    async def drop(self, archive_id: str) -> None:
        """Let an archive go; its id is remembered as gone."""
        await self._database.run(lambda connection: mark_gone(connection, archive_id))

    async def load(self, archive_id: str) -> Record | None:
        """An archive by id, `GONE` ones included; notes that it is used."""

        def read(connection: sqlite3.Connection) -> Record | None:
            connection.execute("UPDATE archives SET used = ? WHERE id = ?", (time.time(), archive_id))
            return _read(connection, _BY_ID, archive_id)

        return await self._database.run(read)

    async def find_complete(self, key: str) -> Record | None:
        """The newest complete archive for `key` that is not too old to be used again."""
        return await self._database.run(lambda connection: self._newest(connection, _COMPLETE_BY_KEY, key))

    async def find_unfinished(self, key: str) -> Record | None:
        """The newest build for `key` that was left unfinished."""
        return await self._database.run(lambda connection: _read(connection, _UNFINISHED_BY_KEY, key))

    async def find_stale(self, family: str) -> Record | None:
        """The newest complete archive for the same wish, whatever its images are now."""
        return await self._database.run(lambda connection: self._newest(connection, _COMPLETE_BY_FAMILY, family))

    async def sweep(self, running: set[str], orphaned_before: float) -> None:
        """Let go what is past its time: old archives, and builds from before a restart that nobody came back for."""
        now = time.time()

        def clean(connection: sqlite3.Connection) -> None:
            rows = connection.execute(
                "SELECT id FROM archives WHERE settled < ? AND state != ? UNION ALL"
                " SELECT id FROM archives WHERE state = ? AND used < ?",
                (now - self._ttl, GONE, State.BUILDING, orphaned_before),
            ).fetchall()
            for (archive_id,) in rows:
                if archive_id not in running:
                    mark_gone(connection, archive_id)
            connection.execute("DELETE FROM archives WHERE state = ? AND used < ?", (GONE, now - _REMEMBERED_SECONDS))

        await self._database.run(clean)

    def is_expired(self, record: Record) -> bool:
        """Whether the archive's time is over, or its bytes would no longer be the same."""
        too_old = record.settled is not None and record.settled < time.time() - self._ttl
        return record.state == GONE or too_old or record.layout != LAYOUT_VERSION

    def _newest(self, connection: sqlite3.Connection, query: str, value: str) -> Record | None:
        record = _read(connection, query, value)
        if record is None or self.is_expired(record):
            return None
        connection.execute("UPDATE archives SET used = ? WHERE id = ?", (time.time(), record.id))
        return record


def _read(connection: sqlite3.Connection, query: str, value: str) -> Record | None:
    row = connection.execute(query, (value,)).fetchone()
    if row is None:
        return None
    archive_id, state, layout, plan, results, comment, created, settled = row
    members = connection.execute(
        "SELECT name, digest, size, crc, extension, modified, image_id, attempts FROM members"
        " WHERE archive_id = ? ORDER BY position",
        (archive_id,),
    )
    return Record(
        archive_id,
        state,
        layout,
        Plan.model_validate_json(plan),
        tuple(_result(line) for line in json.loads(results or "[]")),
        comment,
        created,
        settled,
        tuple(_member(*columns) for columns in members),
    )


def mark_gone(connection: sqlite3.Connection, archive_id: str) -> None:
    """Within a transaction: remove an archive's members, and remember its id as gone."""
    connection.execute("DELETE FROM members WHERE archive_id = ?", (archive_id,))
    connection.execute("UPDATE archives SET state = ?, used = ? WHERE id = ?", (GONE, time.time(), archive_id))


def _member(
    name: str, digest: str, size: int, crc: int, extension: str, modified: str, image_id: str | None, attempts: int
) -> tuple[Member, int]:
    moment = datetime.fromisoformat(modified).astimezone(UTC)
    return Member(name, Blob(digest, size, crc, extension), moment, image_id), attempts


def _result(line: dict[str, Any]) -> ImageResult:
    return ImageResult(**{**line, "code": Reason(line["code"]) if line["code"] else None})
