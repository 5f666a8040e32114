"""The database says what is the matter, and is whole again when it is over."""

import sqlite3
from pathlib import Path

import pytest

from service.database import Database
from service.disk import OutOfSpace

_SCHEMA = "CREATE TABLE IF NOT EXISTS notes (text TEXT NOT NULL);"


def write_much(connection: sqlite3.Connection) -> None:
    """More than the database of these tests has room for."""
    connection.execute("INSERT INTO notes VALUES ('first')")
    connection.execute("INSERT INTO notes VALUES (?)", ("x" * 1_000_000,))


def count(connection: sqlite3.Connection) -> int:
    """Rows that are there."""
    return int(connection.execute("SELECT count(*) FROM notes").fetchone()[0])


async def test_want_of_room_is_told_apart_and_leaves_nothing(tmp_path: Path) -> None:
    """A full database is `OutOfSpace`, its transaction leaves no trace, and with room the same one goes through."""
    database = await Database.open(tmp_path, [_SCHEMA])
    await database.run(lambda connection: connection.execute("PRAGMA max_page_count = 20"))

    with pytest.raises(OutOfSpace):
        await database.run(write_much)
    left = await database.run(count)
    await database.run(lambda connection: connection.execute("PRAGMA max_page_count = 10000"))
    await database.run(write_much)

    assert (left, await database.run(count)) == (0, 2)
    await database.close()


async def test_other_errors_pass_as_they_are(tmp_path: Path) -> None:
    """Nobody is told of a full disk because of a broken statement."""
    database = await Database.open(tmp_path, [_SCHEMA])

    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        await database.run(lambda connection: connection.execute("SELECT * FROM nowhere"))

    await database.close()
