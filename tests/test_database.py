"""The database says what is the matter, and is whole again when it is over."""

import asyncio
import sqlite3
import stat
import threading
from pathlib import Path

import pytest

from service.database import Database, DataDirUnusable
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


async def test_an_error_takes_back_only_its_own_changes(tmp_path: Path) -> None:
    """Given several pieces of work that share a transaction, the one that fails leaves nothing, the others stay."""
    database = await Database.open(tmp_path, [_SCHEMA])
    held = threading.Event()

    def write_and_fail(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO notes VALUES ('lost')")
        raise KeyError("lost")

    blocked = asyncio.ensure_future(database.run(lambda _: held.wait()))
    group = [
        asyncio.ensure_future(database.run(lambda connection: connection.execute("INSERT INTO notes VALUES ('a')"))),
        asyncio.ensure_future(database.run(write_and_fail)),
        asyncio.ensure_future(database.run(lambda connection: connection.execute("INSERT INTO notes VALUES ('b')"))),
    ]
    await asyncio.sleep(0)
    held.set()
    await blocked
    results = await asyncio.gather(*group, return_exceptions=True)

    assert [isinstance(result, KeyError) for result in results] == [False, True, False]
    assert await database.run(lambda c: [row[0] for row in c.execute("SELECT text FROM notes")]) == ["a", "b"]
    await database.close()


async def test_work_that_waits_is_committed_together(tmp_path: Path) -> None:
    """Given pieces of work that wait while another runs, they share one transaction."""
    database = await Database.open(tmp_path, [_SCHEMA])
    held = threading.Event()
    transactions: list[str] = []
    database._connection.set_trace_callback(lambda sql: transactions.append(sql) if sql == "COMMIT" else None)

    blocked = asyncio.ensure_future(database.run(lambda _: held.wait()))
    group = [
        asyncio.ensure_future(database.run(lambda connection: connection.execute("INSERT INTO notes VALUES ('x')")))
        for _ in range(10)
    ]
    await asyncio.sleep(0)
    held.set()
    await asyncio.gather(blocked, *group)

    assert (len(transactions) <= 2, await database.run(count)) == (True, 10)
    await database.close()


async def test_want_of_room_of_one_does_not_fail_the_others(tmp_path: Path) -> None:
    """Given a group of which one finds no room, the others are committed all the same."""
    database = await Database.open(tmp_path, [_SCHEMA])
    await database.run(lambda connection: connection.execute("PRAGMA max_page_count = 20"))
    held = threading.Event()

    blocked = asyncio.ensure_future(database.run(lambda _: held.wait()))
    large = asyncio.ensure_future(database.run(write_much))
    small = asyncio.ensure_future(
        database.run(lambda connection: connection.execute("INSERT INTO notes VALUES ('small')"))
    )
    await asyncio.sleep(0)
    held.set()
    results = await asyncio.gather(blocked, large, small, return_exceptions=True)

    assert isinstance(results[1], OutOfSpace)
    assert not isinstance(results[2], BaseException)
    assert await database.run(count) == 1
    await database.close()


async def test_a_layout_of_newer_code_is_refused(tmp_path: Path) -> None:
    """Given a data directory that a newer version wrote, the start says so and changes nothing."""
    database = await Database.open(tmp_path, [_SCHEMA])
    await database.run(lambda connection: connection.execute("PRAGMA user_version = 1000"))
    await database.close()

    with pytest.raises(DataDirUnusable, match="newer version"):
        await Database.open(tmp_path, [_SCHEMA])


async def test_the_database_is_for_its_owner_only(tmp_path: Path) -> None:
    """Whatever the umask, nobody else can read it, nor the folder where that was made for it."""
    directory = tmp_path / "data"
    database = await Database.open(directory, [_SCHEMA])

    assert stat.S_IMODE((directory / "batch.sqlite3").stat().st_mode) == 0o600
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    await database.close()
