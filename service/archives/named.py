"""Which archives an order's URL has named: a bare `Range` may be honoured only while it has named just one.

Download managers join what they have with what a bare range brings, whatever it is a part of.
"""

import sqlite3
import time
from dataclasses import dataclass
from typing import Protocol

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

REMEMBERED_SECONDS = 30 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Named:
    """The archive that a URL named last, and whether it has named no other."""

    archive_id: str
    is_only: bool


class SharedNames(Protocol):
    """Where several instances note what each of them has named. `url_key` stands for an order's path and query."""

    async def find(self, order_id: str, url_key: str) -> Named | None:
        """What any of them has named; None for nothing. Raises `StillBuilding` when it cannot be told."""

    async def add(self, order_id: str, url_key: str, archive_id: str) -> bool | None:
        """It names this archive now; whether it has named no other, or None when that cannot be told yet."""


class NamedArchives:
    """Remembers for 30 days what each order's path and query have named."""

    def __init__(self, database: Database, shared: SharedNames | None = None) -> None:
        self._database = database
        self._shared = shared

    async def find(self, order_id: str, options: Options) -> Named | None:
        """What this order's path with these options has named; None for nothing.

        Raises `StillBuilding` when what other instances have named cannot be told.
        """
        key = _key(order_id, options)

        def read(connection: sqlite3.Connection) -> Named | None:
            query = "SELECT archive_id, is_only FROM named WHERE url_key = ? AND seen > ?"
            row = connection.execute(query, (key, time.time() - REMEMBERED_SECONDS)).fetchone()
            return Named(row[0], bool(row[1])) if row else None

        here = await self._database.run(read)
        if self._shared is None:
            return here
        anywhere = await self._shared.find(order_id, key)
        if here is None or anywhere is None:
            return anywhere or here
        is_only = here == anywhere and here.is_only
        return Named(anywhere.archive_id, is_only)

    async def add(self, order_id: str, options: Options, archive_id: str) -> bool:
        """It names this archive now; whether it has named no other. False too when that cannot be noted."""
        key, now = _key(order_id, options), time.time()

        def write(connection: sqlite3.Connection) -> bool:
            connection.execute("DELETE FROM named WHERE seen <= ?", (now - REMEMBERED_SECONDS,))
            row = connection.execute(
                "INSERT INTO named (url_key, archive_id, is_only, seen) VALUES (?, ?, 1, ?) ON CONFLICT (url_key)"
                " DO UPDATE SET is_only = is_only AND archive_id = excluded.archive_id,"
                " archive_id = excluded.archive_id, seen = excluded.seen RETURNING is_only",
                (key, archive_id, now),
            ).fetchone()
            return bool(row[0])

        try:
            is_only = await self._database.run(write)
            if self._shared is not None and not await self._shared.add(order_id, key, archive_id):
                return False
        except OutOfSpace:
            return False
        return is_only


def _key(order_id: str, options: Options) -> str:
    return digest(order_id, options.model_dump(mode="json", exclude_defaults=True))
