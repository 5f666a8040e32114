"""How many credits are spent in a day: each is reserved before the image that it buys is asked for."""

import asyncio
import sqlite3
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol
from uuid import uuid4

from service.database import Database

SCHEMA = """
-- The images that were bought in a day (UTC), or may have been: downloads of them were begun, in one rendition or
-- several, and so many of these run still, or ended without an answer.
CREATE TABLE IF NOT EXISTS credits (
    day TEXT NOT NULL, key TEXT NOT NULL, is_bought INTEGER NOT NULL DEFAULT 0, unanswered INTEGER NOT NULL DEFAULT 1,
    PRIMARY KEY (day, key)
) WITHOUT ROWID;
"""


class SpendingUnknown(Exception):
    """It cannot be told whether the day's limit is reached."""


@dataclass(frozen=True, slots=True)
class Reservation:
    """The credit of one download, until it is known whether it was spent."""

    key: str
    """What is bought."""
    day: str
    """It counts on this day (UTC)."""
    id: str = field(default_factory=lambda: uuid4().hex)


class Spending(Protocol):
    """What is spent on images, by what is bought and day (UTC). It counts once a day, however often it is fetched."""

    limit: int | None
    """Credits that may be spent in a day; None: any number."""

    async def reserve(self, key: str) -> Reservation | None:
        """Count a credit for an image that is about to be bought.

        None, and nothing is counted, when the day's limit is reached. Nor is anything for who is cancelled meanwhile.
        Raises `SpendingUnknown`.
        """

    async def confirm(self, reservation: Reservation) -> bool:
        """The image is bought; True the first time."""

    async def release(self, reservation: Reservation) -> None:
        """Autoenhance has refused: this download has bought nothing. What others reserved or confirmed stays."""

    async def spent(self) -> int | None:
        """Credits that are counted today; None when it cannot be told."""


class LocalSpending:
    """`Spending` of one instance, kept in its database."""

    def __init__(self, database: Database, limit: int | None) -> None:
        self.limit = limit
        self._database = database

    async def reserve(self, key: str) -> Reservation | None:
        """As `Spending`. With a limit, on the disk itself when this returns."""
        day, limit = today(), self.limit

        def count(connection: sqlite3.Connection) -> bool:
            connection.execute("DELETE FROM credits WHERE day < ?", (_long_before(day),))
            if limit is not None:
                known = connection.execute("SELECT 1 FROM credits WHERE day = ? AND key = ?", (day, key)).fetchone()
                if known is None and _spent(connection, day) >= limit:
                    return False
            upsert = (
                "INSERT INTO credits (day, key) VALUES (?, ?)"
                " ON CONFLICT (day, key) DO UPDATE SET unanswered = unanswered + 1"
            )
            connection.execute(upsert, (day, key))
            return True

        reservation = Reservation(key, day)
        counting = self._database.give(count, durable=limit is not None)
        try:
            await asyncio.wait([counting])
        except BaseException:  # it is carried through, and nobody is there to release it
            counting.add_done_callback(lambda counted: self._release_unless_failed(counted, reservation))
            raise
        return reservation if counting.result() else None

    async def confirm(self, reservation: Reservation) -> bool:
        statement = "UPDATE credits SET is_bought = 1 WHERE day = ? AND key = ? AND NOT is_bought"
        values = (reservation.day, reservation.key)
        return await self._database.run(
            lambda connection: connection.execute(statement, values).rowcount > 0, gather=True
        )

    async def release(self, reservation: Reservation) -> None:
        self._release(reservation)

    async def spent(self) -> int | None:
        day = today()
        return await self._database.run(lambda connection: _spent(connection, day))

    def _release_unless_failed(self, counting: asyncio.Future[bool], reservation: Reservation) -> None:
        if not counting.cancelled() and counting.exception() is None and counting.result():
            self._release(reservation)

    def _release(self, reservation: Reservation) -> None:
        values = (reservation.day, reservation.key)
        self._database.note("UPDATE credits SET unanswered = unanswered - 1 WHERE day = ? AND key = ?", values)
        unused = "DELETE FROM credits WHERE day = ? AND key = ? AND unanswered <= 0 AND NOT is_bought"
        self._database.note(unused, values)


def today() -> str:
    return datetime.fromtimestamp(time.time(), UTC).date().isoformat()


def until_tomorrow() -> float:
    """Seconds until the next day's credits may be spent."""
    now = datetime.fromtimestamp(time.time(), UTC)
    midnight = datetime(now.year, now.month, now.day, tzinfo=UTC) + timedelta(days=1)
    return (midnight - now).total_seconds()


def _long_before(day: str) -> str:
    """A day that no download is of, nor will be once a clock that was set ahead is right again."""
    return (datetime.fromisoformat(day) - timedelta(days=40)).date().isoformat()


def _spent(connection: sqlite3.Connection, day: str) -> int:
    (count,) = connection.execute("SELECT count(*) FROM credits WHERE day = ?", (day,)).fetchone()
    return int(count)
