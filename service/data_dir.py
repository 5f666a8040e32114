"""The data directory: one process at a time, and a database that earlier versions may have written."""

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import IO

from service.disk import OutOfSpace

_LAYOUT = 4
"""Of the tables: a data directory written by newer code is refused."""
# What earlier versions called them.
_RENAMED_TABLES = {"unshared_sightings": "unshared_observations"}
_RENAMED_COLUMNS = (
    ("archives", "family", "options_key"),
    ("blobs", "is_cut", "is_incomplete"),
    ("members", "is_cut", "is_incomplete"),
)


class DataDirUnusable(RuntimeError):
    """Nothing can be kept in this data directory; the message says why."""


@contextmanager
def data_dir_needed() -> Iterator[None]:
    """Within the block every error of the disk is `DataDirUnusable`."""
    try:
        yield
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise DataDirUnusable(f"{error.strerror or error}{where}") from error
    except (OutOfSpace, sqlite3.Error) as error:
        raise DataDirUnusable(str(error)) from error


def lock_data_dir(directory: Path) -> IO[bytes]:
    """Take the lock of a data directory, which is made if there is none; it lasts until the file is closed.

    Raises `DataDirUnusable` when another process holds it, or `OSError`.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with ExitStack() as opened:
        lock = opened.enter_context((directory / "lock").open("ab"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataDirUnusable(f"{directory} is in use by another process") from None
        opened.pop_all()
    return lock


def open_database(directory: Path, schemas: Sequence[str]) -> sqlite3.Connection:
    """Open, or create, the database of a data directory that is locked, whatever version has written it.

    When it fails it may be called again. Raises `DataDirUnusable` when newer code has written it; `OSError` or
    `sqlite3.Error`.
    """
    path = directory / "batch.sqlite3"
    # Created here, for nobody else's eyes: SQLite would make it readable to all.
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    os.fchmod(file, 0o600)
    os.close(file)
    with ExitStack() as opened:
        connection = opened.enter_context(closing(sqlite3.connect(path, check_same_thread=False, isolation_level=None)))
        layout = connection.execute("PRAGMA user_version").fetchone()[0]
        if layout > _LAYOUT:
            raise DataDirUnusable(f"{directory} was written by a newer version of this service")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA foreign_keys=ON")
        # A checkpoint writes every page once more and waits for the disk: rarely, then (pages of 4 KiB).
        connection.execute("PRAGMA wal_autocheckpoint=4000")
        _rename(connection)
        _add_new_columns(connection, schemas)
        for schema in schemas:
            connection.executescript(schema)
        if layout != _LAYOUT:
            connection.execute(f"PRAGMA user_version = {_LAYOUT}")
        opened.pop_all()
    return connection


def _rename(connection: sqlite3.Connection) -> None:
    """Give tables and columns that an earlier version made their names of today."""
    for old, new in _RENAMED_TABLES.items():
        if _columns(connection, old):
            connection.execute(f"ALTER TABLE {old} RENAME TO {new}")
    for table, old, new in _RENAMED_COLUMNS:
        if old in _columns(connection, table):
            connection.execute(f"ALTER TABLE {table} RENAME COLUMN {old} TO {new}")


def _columns(connection: sqlite3.Connection, table: str) -> set[str]:
    return {name for _, name, *_ in connection.execute(f"PRAGMA table_info({table})")}


def _add_new_columns(connection: sqlite3.Connection, schemas: Sequence[str]) -> None:
    """Give tables that an earlier version made the columns which came since, with their defaults."""
    with closing(sqlite3.connect(":memory:")) as model:
        for schema in schemas:
            model.executescript(schema)
        for (table,) in model.execute("SELECT name FROM sqlite_schema WHERE type = 'table'"):
            there = _columns(connection, table)
            for _, name, kind, not_null, default, _ in model.execute(f"PRAGMA table_info({table})"):
                if there and name not in there:
                    rule = f"NOT NULL DEFAULT {default}" if not_null else ""
                    connection.execute(f"ALTER TABLE {table} ADD COLUMN {name} {kind} {rule}")
