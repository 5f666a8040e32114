"""How many credits are spent in a day: each is reserved before the image that it buys is asked for."""

import sqlite3
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

from service.database import Database

SCHEMA = """
-- The images that were bought in a day (UTC), or may have been: their download has begun, or ended without an answer.
CREATE TABLE IF NOT EXISTS credits (
    day TEXT NOT NULL, key TEXT NOT NULL, is_bought INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (day, key)
) WITHOUT ROWID;
"""


class Spending(Protocol):
    """What is spent on images, by what is bought and day (UTC). It counts once a day, however often it is fetched."""

    limit: int | None
    """Credits that may be spent in a day; None: any number."""

    async def reserve(self, key: str) -> str | None:
        """Count a credit for an image that is about to be bought; returns the day that it is counted on.

        None, and nothing is counted, when the day's limit is reached, or when it cannot be told whether it is.
        """

    async def confirm(self, day: str, key: str) -> bool:
        """The image is bought; True the first time."""

    async def release(self, day: str, key: str) -> None:
        """Autoenhance has refused: nothing was bought. What was confirmed stays."""

    async def spent(self) -> int | None:
        """Credits that are counted today; None when it cannot be told."""


class LocalSpending:
    """`Spending` of one instance, kept in its database."""

    def __init__(self, database: Database, limit: int | None) -> None:
        self.limit = limit
        self._database = database

    async def reserve(self, key: str) -> str | None:
        """As `Spending`. With a limit, on the disk itself when this returns."""
        day, limit = today(), self.limit

        def count(connection: sqlite3.Connection) -> bool:
            connection.execute("DELETE FROM credits WHERE day < ?", (_before(day),))
            if limit is not None:
                known = connection.execute("SELECT 1 FROM credits WHERE day = ? AND key = ?", (day, key)).fetchone()
                if known is None and _spent(connection, day) >= limit:
                    return False
            connection.execute("INSERT OR IGNORE INTO credits (day, key) VALUES (?, ?)", (day, key))
            return True

        return day if await self._database.run(count, durable=limit is not None) else None

    async def confirm(self, day: str, key: str) -> bool:
        """As `Spending`."""

        def confirm(connection: sqlite3.Connection) -> bool:
            # Another download of the image, in another rendition, may have been refused and have released it.
            upsert = (
                "INSERT INTO credits (day, key, is_bought) VALUES (?, ?, 1)"
                " ON CONFLICT (day, key) DO UPDATE SET is_bought = 1 WHERE NOT is_bought"
            )
            return connection.execute(upsert, (day, key)).rowcount > 0

        return await self._database.run(confirm, gather=True)

    async def release(self, day: str, key: str) -> None:
        """As `Spending`."""
        self._database.note("DELETE FROM credits WHERE day = ? AND key = ? AND NOT is_bought", (day, key))

    async def spent(self) -> int | None:
        """As `Spending`."""
        day = today()
        return await self._database.run(lambda connection: _spent(connection, day))


def today() -> str:
    """The day (UTC) whose credits are spent now."""
    return datetime.fromtimestamp(time.time(), UTC).date().isoformat()


def until_tomorrow() -> float:
    """Seconds until the next day's credits may be spent."""
    now = datetime.fromtimestamp(time.time(), UTC)
    midnight = datetime(now.year, now.month, now.day, tzinfo=UTC) + timedelta(days=1)
    return (midnight - now).total_seconds()


def _before(day: str) -> str:
    """The day before: a download may outlast midnight."""
    return (datetime.fromisoformat(day) - timedelta(days=1)).date().isoformat()


def _spent(connection: sqlite3.Connection, day: str) -> int:
    (count,) = connection.execute("SELECT count(*) FROM credits WHERE day = ?", (day,)).fetchone()
    return int(count)
