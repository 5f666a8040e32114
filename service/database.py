"""SQLite for everything that must outlive the process: one file, one connection, one thread."""

import asyncio
import fcntl
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, TypeVar

from service.disk import OutOfSpace, room_needed
from service.telemetry.logs import get_logger

T = TypeVar("T")

log = get_logger(__name__)


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


class Database:
    """Runs functions on the database's own thread, each in a transaction of its own, in the sequence they were given.

    WAL with `synchronous=NORMAL`: what was committed survives the death of the process, whatever kills it. A power cut
    may take the last transactions, except `durable` ones.
    """

    def __init__(self, connection: sqlite3.Connection, thread: ThreadPoolExecutor, lock: IO[bytes]) -> None:
        self._connection = connection
        self._thread = thread
        self._lock = lock

    @classmethod
    async def open(cls, directory: Path, schemas: Iterable[str]) -> "Database":
        """Open, or create, the database of a data directory and take its lock.

        Raises `DataDirUnusable`, also when another process holds it.
        """
        thread = ThreadPoolExecutor(1, thread_name_prefix="database")
        loop = asyncio.get_running_loop()
        try:
            with data_dir_needed():
                connection, lock = await loop.run_in_executor(thread, _open, directory, list(schemas))
        except BaseException:
            thread.shutdown(wait=False)
            raise
        return cls(connection, thread, lock)

    async def run(self, work: Callable[[sqlite3.Connection], T], *, durable: bool = False) -> T:
        """Run `work` in a transaction: committed when it returns, rolled back when it raises.

        Once begun it is carried through, also when the caller is cancelled. `durable`: on the disk itself when this
        returns, for what cannot be had again. It costs a wait for the disk, too much for every single image.
        Raises `OutOfSpace`, or what `work` raises.
        """
        transact = self._transact_durably if durable else self._transact
        return await asyncio.get_running_loop().run_in_executor(self._thread, transact, work)

    def note(self, statement: str, values: Sequence[object]) -> None:
        """Execute a statement soon, after what was given before; nobody waits for it, and a full disk may forget it."""

        def execute() -> None:
            try:
                self._transact(lambda connection: connection.execute(statement, values))
            except (OutOfSpace, sqlite3.Error) as error:
                log.info("not noted", reason=str(error))

        self._thread.submit(execute)

    def _transact(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with room_needed(), self._connection:
            return work(self._connection)

    def _transact_durably(self, work: Callable[[sqlite3.Connection], T]) -> T:
        self._connection.execute("PRAGMA synchronous=FULL")
        try:
            return self._transact(work)
        finally:
            self._connection.execute("PRAGMA synchronous=NORMAL")

    async def close(self) -> None:
        """Finish what was given, then close and let go of the lock."""

        def close() -> None:
            self._connection.close()
            self._lock.close()

        await asyncio.get_running_loop().run_in_executor(self._thread, close)
        self._thread.shutdown(wait=False)


def _open(directory: Path, schemas: list[str]) -> tuple[sqlite3.Connection, IO[bytes]]:
    directory.mkdir(parents=True, exist_ok=True)
    lock = (directory / "lock").open("ab")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        connection = sqlite3.connect(directory / "batch.sqlite3", check_same_thread=False)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA foreign_keys=ON")
        _add_new_columns(connection, schemas)
        for schema in schemas:
            connection.executescript(schema)
    except BlockingIOError:
        lock.close()
        raise DataDirUnusable(f"{directory} is in use by another process") from None
    except BaseException:
        lock.close()
        raise
    return connection, lock


def _add_new_columns(connection: sqlite3.Connection, schemas: list[str]) -> None:
    """Give tables that an earlier version made the columns which came since, with their defaults."""
    with closing(sqlite3.connect(":memory:")) as model:
        for schema in schemas:
            model.executescript(schema)
        for (table,) in model.execute("SELECT name FROM sqlite_schema WHERE type = 'table'"):
            there = {name for _, name, *_ in connection.execute(f"PRAGMA table_info({table})")}
            for _, name, kind, not_null, default, _ in model.execute(f"PRAGMA table_info({table})"):
                if there and name not in there:
                    rule = f"NOT NULL DEFAULT {default}" if not_null else ""
                    connection.execute(f"ALTER TABLE {table} ADD COLUMN {name} {kind} {rule}")
