"""The database says what is the matter, and is whole again when it is over."""

import asyncio
import errno
import fcntl
import os
import sqlite3
import stat
import threading
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from service import data_dir
from service import database as database_module
from service.archives import archive_index
from service.cluster import cluster
from service.data_dir import DataDirUnusable
from service.database import Database, DatabaseClosed, _Reserve
from service.disk import OutOfSpace
from service.images import blob_index
from tests.support.transport import TIMEOUT, FakeClock

_SCHEMA = "CREATE TABLE IF NOT EXISTS notes (text TEXT NOT NULL);"


def write_much(connection: sqlite3.Connection) -> None:
    """More than the database of these tests has room for."""
    connection.execute("INSERT INTO notes VALUES ('first')")
    connection.execute("INSERT INTO notes VALUES (?)", ("x" * 1_000_000,))


def count(connection: sqlite3.Connection) -> int:
    """Rows that are there."""
    return int(connection.execute("SELECT count(*) FROM notes").fetchone()[0])


async def test_want_of_room_is_distinguished_and_leaves_nothing(tmp_path: Path) -> None:
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


async def test_what_removes_files_is_not_run_again_for_others(tmp_path: Path) -> None:
    """Given a file that goes, comes anew, and work behind both that fails: the new file stays."""
    database = await Database.open(tmp_path, [_SCHEMA])
    file, incoming, held = tmp_path / "file", tmp_path / "incoming", threading.Event()
    file.write_text("old")
    incoming.write_text("new")

    def put(_: sqlite3.Connection) -> None:
        if incoming.exists():
            incoming.replace(file)

    def fail(_: sqlite3.Connection) -> None:
        raise KeyError

    blocked = asyncio.ensure_future(database.run(lambda _: held.wait()))
    await asyncio.sleep(0)
    group = [database.give(lambda _: file.unlink(), alone=True), database.give(put), database.give(fail)]
    held.set()
    results = await asyncio.gather(*group, return_exceptions=True)
    await blocked

    assert isinstance(results[2], KeyError)
    assert file.read_text() == "new"
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


async def test_names_of_an_earlier_version_become_those_of_today(tmp_path: Path) -> None:
    """Given a data directory in which tables and columns are called as they were, with rows: the rows are kept."""
    schemas = [blob_index.SCHEMA, archive_index.SCHEMA, cluster.SCHEMA]
    database = await Database.open(tmp_path, schemas)
    await database.close()
    with closing(sqlite3.connect(tmp_path / "batch.sqlite3")) as connection:
        connection.executescript(
            "INSERT INTO blobs VALUES ('b', 1, 2, 'jpg', 3, 'boot', 4, 1);"
            "INSERT INTO archives VALUES ('a', 'k', 'o', 'complete', 1, '{}', NULL, NULL, 1, 2, 3);"
            "INSERT INTO members VALUES ('a', 0, 'i', 'n', 'b', 1, 2, 'jpg', 'm', 1, 1);"
            "INSERT INTO unshared_observations VALUES ('o', '[]');"
            "ALTER TABLE archives RENAME COLUMN options_key TO family;"
            "ALTER TABLE blobs RENAME COLUMN is_incomplete TO is_cut;"
            "ALTER TABLE members RENAME COLUMN is_incomplete TO is_cut;"
            "ALTER TABLE unshared_observations RENAME TO unshared_sightings;"
            "DROP INDEX archives_by_options; CREATE INDEX archives_by_family ON archives (family, state);"
            "PRAGMA user_version = 2;"
        )

    def read(connection: sqlite3.Connection) -> list[list[Any]]:
        queries = (
            "SELECT options_key FROM archives",
            "SELECT is_incomplete FROM blobs UNION ALL SELECT is_incomplete FROM members",
            "SELECT order_id FROM unshared_observations",
            "SELECT name FROM sqlite_schema WHERE name LIKE 'archives_by_%' ORDER BY name",
        )
        return [connection.execute(query).fetchall() for query in queries]

    database = await Database.open(tmp_path, schemas)
    kept = await database.run(read)
    await database.close()

    assert kept == [[("o",)], [(1,), (1,)], [("o",)], [("archives_by_key",), ("archives_by_options",)]]


async def test_nothing_is_given_to_a_closed_database(tmp_path: Path) -> None:
    """Work that comes after the end is refused at once; a note is forgotten."""
    database = await Database.open(tmp_path, [_SCHEMA])
    await database.close()

    with pytest.raises(DatabaseClosed):
        await database.run(count)
    database.note("INSERT INTO notes VALUES (?)", ("late",))


async def test_a_data_directory_is_for_one_at_a_time(tmp_path: Path) -> None:
    """The second is refused, and keeps nothing from the next one once the first has ended."""
    database = await Database.open(tmp_path, [_SCHEMA])
    with pytest.raises(DataDirUnusable, match="in use by another process"):
        await Database.open(tmp_path, [_SCHEMA])
    assert await database.run(count) == 0
    await database.close()

    await (await Database.open(tmp_path, [_SCHEMA])).close()


async def test_a_layout_of_newer_code_is_refused(tmp_path: Path) -> None:
    """Given a data directory that a newer version wrote, the start says so and changes nothing."""
    database = await Database.open(tmp_path, [_SCHEMA])
    layout = await database.run(lambda connection: connection.execute("PRAGMA user_version").fetchone()[0])
    assert layout == data_dir._LAYOUT
    await database.run(lambda connection: connection.execute(f"PRAGMA user_version = {layout + 1}"))
    await database.close()

    with pytest.raises(DataDirUnusable, match="newer version"):
        await Database.open(tmp_path, [_SCHEMA])


async def test_a_start_that_finds_all_as_it_is_to_be_writes_nothing(tmp_path: Path) -> None:
    """It needs no room then."""
    await (await Database.open(tmp_path, [_SCHEMA])).close()

    database = await Database.open(tmp_path, [_SCHEMA])

    assert (tmp_path / "batch.sqlite3-wal").stat().st_size == 0
    await database.close()


async def test_the_database_is_for_its_owner_only(tmp_path: Path) -> None:
    """Whatever the umask, nobody else can read it, nor the folder where that was made for it."""
    directory = tmp_path / "data"
    database = await Database.open(directory, [_SCHEMA])
    await database.close()
    (directory / "batch.sqlite3").chmod(0o644)  # as an earlier version, or a restored copy, may have left it
    database = await Database.open(directory, [_SCHEMA])

    assert stat.S_IMODE((directory / "batch.sqlite3").stat().st_mode) == 0o600
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    await database.close()


async def test_what_waits_for_company_is_committed_before_the_end(tmp_path: Path) -> None:
    """Given work that may wait for others, and a close before any came."""
    database = await Database.open(tmp_path, [_SCHEMA])
    given = database.give(lambda connection: connection.execute("INSERT INTO notes VALUES ('x')"), gather=True)
    database.note("INSERT INTO notes VALUES (?)", ("y",))
    async with asyncio.timeout(TIMEOUT):
        await database.close()
        await given

    again = await Database.open(tmp_path, [_SCHEMA])
    assert await again.run(count) == 2
    await again.close()


async def test_what_waits_for_company_does_not_wait_for_long(tmp_path: Path) -> None:
    """Each time anew."""
    database = await Database.open(tmp_path, [_SCHEMA])

    async with asyncio.timeout(TIMEOUT):
        found = [await database.run(count, gather=True) for _ in range(3)]

    assert found == [0] * 3
    await database.close()


@pytest.mark.parametrize("fails", [False, True])
async def test_a_transaction_is_on_the_disk_if_one_of_its_parts_is_to_be(tmp_path: Path, fails: bool) -> None:
    """Only that one waits for it, also when it fails."""
    database = await Database.open(tmp_path, [_SCHEMA])
    begun, held, said = threading.Event(), threading.Event(), list[str]()

    def wait(_: sqlite3.Connection) -> None:
        begun.set()
        held.wait()

    def write(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO notes VALUES ('x')")
        if fails:
            raise KeyError

    blocked = database.give(wait)
    await asyncio.to_thread(begun.wait)
    group = [database.give(count), database.give(write, durable=True)]
    database._connection.set_trace_callback(said.append)
    held.set()
    await asyncio.gather(blocked, *group, return_exceptions=True)
    await database.run(count)
    database._connection.set_trace_callback(None)

    on_disk, ends = False, list[bool]()
    for text in said:
        on_disk = text.endswith("FULL") if text.startswith("PRAGMA") else on_disk
        if text in ("COMMIT", "ROLLBACK"):
            ends.append(on_disk)
    # Of what held the others up; of the two together, and then of each; of the last one.
    assert ends == ([False, True, False, True, False] if fails else [False, True, False])
    await database.close()


async def test_who_left_keeps_no_other_from_his_answer(tmp_path: Path) -> None:
    """Given a group of which one does not wait any more."""
    database = await Database.open(tmp_path, [_SCHEMA])
    held = threading.Event()
    blocked = asyncio.ensure_future(database.run(lambda _: held.wait()))
    await asyncio.sleep(0)
    left, stays = database.give(count), database.give(count)
    left.cancel()
    held.set()

    async with asyncio.timeout(TIMEOUT):
        assert await stays == 0
        await blocked
    await database.close()


async def test_a_full_disk_gives_the_database_its_reserve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What finds no room in the log either is done once more with it; the next want of room is told."""
    database = await Database.open(tmp_path, [_SCHEMA])
    wants = iter([True, True, False, True, True])

    def work(connection: sqlite3.Connection) -> int:
        if next(wants):
            raise OutOfSpace("full") from sqlite3.OperationalError("full")
        return count(connection)

    there = (tmp_path / "reserve").stat().st_blocks
    assert await database.run(work) == 0
    with pytest.raises(OutOfSpace):
        await database.run(work)

    assert (there * 512 >= 4 << 20, (tmp_path / "reserve").exists()) == (True, False)
    await database.close()


async def test_the_reserve_is_for_the_database_alone(tmp_path: Path) -> None:
    """Files for which there is no room do not take it: it could not even be noted that they are gone."""
    database = await Database.open(tmp_path, [_SCHEMA])

    def write_a_file(_: sqlite3.Connection) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OutOfSpace):
        await database.run(write_a_file)

    assert (tmp_path / "reserve").exists()
    await database.close()


def test_the_reserve_is_taken_again_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not at once: the disk that was full a moment ago would be full again. It is given once at a time."""
    clock = FakeClock()
    monkeypatch.setattr(database_module, "time", clock)
    path = tmp_path / "reserve"
    reserve = _Reserve(path)

    given = [reserve.give(), reserve.give()]
    clock.advance(29)
    reserve.renew()
    early = path.exists()
    clock.advance(1)
    reserve.renew()

    assert (given, early, path.stat().st_size, reserve.give()) == ([True, False], False, 4 << 20, True)


def test_a_reserve_that_was_held_for_long_is_not_taken_again_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wait counts from when it was given, however long it lay there before."""
    clock = FakeClock()
    monkeypatch.setattr(database_module, "time", clock)
    path = tmp_path / "reserve"
    reserve = _Reserve(path)
    clock.advance(3_600)

    given = reserve.give()
    reserve.renew()

    assert (given, path.exists()) == (True, False)


def test_half_a_reserve_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be had whole holds no room."""

    def full(file: int, start: int, size: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)

    assert (_Reserve(tmp_path / "reserve").give(), list(tmp_path.iterdir())) == (False, [])


@pytest.mark.parametrize(("code", "is_short"), [(errno.EOPNOTSUPP, False), (errno.EBADF, False), (errno.EDQUOT, True)])
def test_a_reserve_that_cannot_be_made_says_whether_room_is_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, is_short: bool
) -> None:
    """Only then is the log used again after each commit, which costs a wait for the disk. The C library needs a file
    that can be read, and is not appended to, where the file system cannot do it."""
    modes: list[int] = []

    def refuse(file: int, _start: int, _size: int) -> None:
        modes.append(fcntl.fcntl(file, fcntl.F_GETFL) & (os.O_ACCMODE | os.O_APPEND))
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "posix_fallocate", refuse)

    reserve = _Reserve(tmp_path / "reserve")

    assert (reserve.is_short, modes, list(tmp_path.iterdir())) == (is_short, [os.O_RDWR], [])


async def test_the_log_is_used_again_at_once_only_where_room_is_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a file system on which room cannot be reserved."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    monkeypatch.setattr(Database, "_checkpoint", checkpoint := Mock())
    database = await Database.open(tmp_path, ["CREATE TABLE IF NOT EXISTS t (a)"])
    try:
        await database.run(lambda connection: connection.execute("INSERT INTO t VALUES (1)"))
    finally:
        await database.close()

    checkpoint.assert_not_called()


def test_a_reserve_that_is_there_is_held_by_the_next_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else can take its room meanwhile."""
    _Reserve(tmp_path / "reserve")
    held: list[int] = []
    monkeypatch.setattr(os, "posix_fallocate", lambda file, *_: held.append(os.fstat(file).st_size))

    _Reserve(tmp_path / "reserve")

    assert held == [4 << 20]


async def test_a_note_that_a_full_disk_forgot_is_only_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waited for it."""
    told: list[str] = []
    monkeypatch.setattr(database_module.log, "info", lambda event, **_: told.append(event))
    database = await Database.open(tmp_path, [_SCHEMA])

    database.note("INSERT INTO nowhere VALUES (?)", ("x",))
    await database.run(count)
    await database.close()
    await asyncio.sleep(0)

    assert told == ["last use could not be noted"]


async def test_a_directory_that_cannot_be_made_is_told_as_that(tmp_path: Path) -> None:
    """To whoever starts the service."""
    (tmp_path / "file").touch()

    with pytest.raises(DataDirUnusable, match="file"):
        await Database.open(tmp_path / "file" / "data", [_SCHEMA])
