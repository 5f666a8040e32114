"""Which archives an order's URL has named: a bare `Range` may be honoured only while it has named just one.

Download managers join what they have with what a bare range brings, whatever it is a part of.
"""

import sqlite3
import time
from dataclasses import dataclass

from service.archives.options import Options
from service.database import Database
from service.disk import OutOfSpace
from service.images.identity import digest

SCHEMA = """
CREATE TABLE IF NOT EXISTS named (
    url_key TEXT PRIMARY KEY, archive_id TEXT NOT NULL, is_only INTEGER NOT NULL, seen REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS named_by_seen ON named (seen);
"""

_REMEMBERED_SECONDS = 30 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Named:
    """The archive that a URL named last, and whether it has named no other."""

    archive_id: str
    is_only: bool


class NamedArchives:
    """Remembers for 30 days what each order's path and query have named."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, order_id: str, options: Options) -> Named | None:
        """What this order's path with these options has named; None for nothing."""
        key = _key(order_id, options)

        def read(connection: sqlite3.Connection) -> Named | None:
            query = "SELECT archive_id, is_only FROM named WHERE url_key = ? AND seen > ?"
            row = connection.execute(query, (key, time.time() - _REMEMBERED_SECONDS)).fetchone()
            return Named(row[0], bool(row[1])) if row else None

        return await self._database.run(read)

    async def add(self, order_id: str, options: Options, archive_id: str) -> bool:
        """It names this archive now; whether it has named no other. False too when there is no room to note it."""
        key, now = _key(order_id, options), time.time()

        def write(connection: sqlite3.Connection) -> bool:
            connection.execute("DELETE FROM named WHERE seen <= ?", (now - _REMEMBERED_SECONDS,))
            row = connection.execute(
                "INSERT INTO named (url_key, archive_id, is_only, seen) VALUES (?, ?, 1, ?) ON CONFLICT (url_key)"
                " DO UPDATE SET is_only = is_only AND archive_id = excluded.archive_id,"
                " archive_id = excluded.archive_id, seen = excluded.seen RETURNING is_only",
                (key, archive_id, now),
            ).fetchone()
            return bool(row[0])

        try:
            return await self._database.run(write)
        except OutOfSpace:
            return False


def _key(order_id: str, options: Options) -> str:
    return digest(order_id, options.model_dump(mode="json", exclude_defaults=True))
