"""SQLite for everything that must outlive the process: one file, one connection, one thread, commits in groups.

The thread takes all work that waits and commits it together, so that many small changes cost one transaction. Work that
belongs to files (a rename before its row is committed) runs here too: the order on the disk is the order of the work.
"""

import asyncio
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO, Any, TypeVar

from service.data_dir import data_dir_needed, lock_data_dir, open_database
from service.disk import OutOfSpace, room_needed
from service.telemetry.logs import get_logger

T = TypeVar("T")

log = get_logger(__name__)

# Enough to share a commit, few enough that nobody notices the wait for the others.
_GROUP = 256
# Work that may wait for company waits so long (seconds): a commit costs many times what one more row in it does.
_GATHER_SECONDS = 0.005
# For what small transactions add to the database on a disk that is full, and for their log, which is used again.
_RESERVE_BYTES = 4 << 20
_RENEW_SECONDS = 30.0


class DatabaseClosed(RuntimeError):
    """Work came after the end: nobody would ever do it."""


@dataclass(slots=True)
class _Work:
    """A function to be run within a transaction, and where its result goes."""

    run: Callable[[sqlite3.Connection], Any]
    durable: bool
    future: asyncio.Future[Any] | None
    alone: bool = False
    result: Any = None
    error: BaseException | None = field(default=None)


class Database:
    """Runs functions on the database's own thread, in the sequence they were given.

    WAL with `synchronous=NORMAL`: what was committed survives the death of the process, whatever kills it. A power cut
    may take the last transactions, except `durable` ones.
    """

    def __init__(
        self, connection: sqlite3.Connection, lock: IO[bytes], loop: asyncio.AbstractEventLoop, reserve: "_Reserve"
    ) -> None:
        self._connection = connection
        self._reserve = reserve
        self._lock = lock
        self._loop = loop
        self._queue: SimpleQueue[list[_Work] | None] = SimpleQueue()
        self._gathered: list[_Work] = []
        self._gathering: asyncio.TimerHandle | None = None
        self._is_closed = False
        self._closed: Future[None] = Future()

    @classmethod
    async def open(cls, directory: Path, schemas: Iterable[str]) -> "Database":
        """Open, or create, the database of a data directory and take its lock.

        Raises `DataDirUnusable`, also when another process holds it or newer code has written it.
        """
        loop = asyncio.get_running_loop()
        opened: asyncio.Future[Database] = loop.create_future()

        def serve() -> None:
            try:
                with data_dir_needed(), ExitStack() as opening:
                    lock = opening.enter_context(lock_data_dir(directory))
                    reserve = _Reserve(directory / "reserve")
                    connection = _open(directory, list(schemas), reserve)
                    opening.pop_all()
            except BaseException as error:  # handed to whoever waits
                loop.call_soon_threadsafe(opened.set_exception, error)
                return
            database = cls(connection, lock, loop, reserve)
            loop.call_soon_threadsafe(opened.set_result, database)
            database._serve()

        threading.Thread(target=serve, name="database", daemon=True).start()
        return await opened

    async def run(self, work: Callable[[sqlite3.Connection], T], *, durable: bool = False, gather: bool = False) -> T:
        """Run `work` in a transaction, shared with what else waits: committed when this returns, or rolled back when
        it raises.

        Once given it is carried through, also when the caller is cancelled; when the commit fails, or other work that
        shares it, it is run once more by itself. `durable`: on the disk itself when this returns, for what cannot be
        had again. It costs a wait for the disk, too much for every single image. `gather`: it may wait a moment for
        others to share its commit.
        Raises `OutOfSpace`, what `work` raises, or `DatabaseClosed` after `close`.
        """
        return await self.give(work, durable=durable, gather=gather)

    def give(
        self,
        work: Callable[[sqlite3.Connection], T],
        *,
        durable: bool = False,
        gather: bool = False,
        alone: bool = False,
    ) -> asyncio.Future[T]:
        """As `run`; what is returned is to be awaited, shielded where others wait for it too.

        `alone`: it shares no transaction, for it removes files. Others that failed with it would be run again, and what
        it does when it is run again itself could concern a file that one of them has put there.
        """
        future: asyncio.Future[T] = self._loop.create_future()
        self._add(_Work(work, durable, future, alone), gather=gather)
        return future

    def note(self, statement: str, values: Sequence[object]) -> None:
        """Execute a statement soon, after what was given before; nobody waits for it, and a full disk may forget it."""
        if not self._is_closed:
            work = _Work(lambda connection: connection.execute(statement, values), durable=False, future=None)
            self._add(work, gather=True)

    async def close(self) -> None:
        """Finish what was given, then close and release the lock."""
        self._hand_over()
        self._is_closed = True
        self._queue.put(None)
        await asyncio.wrap_future(self._closed)

    def _add(self, work: _Work, *, gather: bool) -> None:
        if self._is_closed:
            raise DatabaseClosed
        self._gathered.append(work)
        if not gather or len(self._gathered) >= _GROUP:
            self._hand_over()
        elif self._gathering is None:
            self._gathering = self._loop.call_later(_GATHER_SECONDS, self._hand_over)

    def _hand_over(self) -> None:
        """Give the thread what was gathered."""
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None
        if self._gathered:
            group, self._gathered = self._gathered, []
            self._queue.put(group)

    def _serve(self) -> None:
        is_open = True
        while is_open:
            group: list[_Work] = []
            waiting = self._queue.get()
            while waiting is not None:
                group += waiting
                if len(group) >= _GROUP:
                    break
                try:
                    waiting = self._queue.get_nowait()
                except Empty:
                    break
            is_open = waiting is not None
            if group:
                for part in _transactions(group):
                    self._commit(part)
                with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                    self._loop.call_soon_threadsafe(_resolve, group)
        self._connection.close()
        self._lock.close()
        self._closed.set_result(None)

    def _commit(self, group: list[_Work]) -> None:
        """Run the group in one transaction; when one fails, or the commit does, each in its own."""
        error = self._attempt(group)
        for make_room in (self._checkpoint, self._reserve.give):
            # What is not the database's own would take the reserve, and leave it without.
            if isinstance(error, OutOfSpace) and isinstance(error.__cause__, sqlite3.Error) and make_room():
                error = self._attempt(group)
        if error is None:
            self._reserve.renew()
            if self._reserve.is_short:
                # Whatever grows next, the log or the database itself, has all the room that is left.
                self._checkpoint()
        elif len(group) == 1:
            group[0].error = error
        else:
            for work in group:
                self._commit([work])

    def _attempt(self, group: list[_Work]) -> Exception | None:
        """Run the group in one transaction; returns why it failed."""
        try:
            with room_needed():
                self._transact(group)
        except Exception as error:  # handed to whoever waits
            return error
        return None

    def _checkpoint(self) -> bool:
        """Write what is in the log into the database, so that the log's room is used again; False if that fails."""
        try:
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        except sqlite3.Error:
            return False
        return True

    def _transact(self, group: list[_Work]) -> None:
        connection = self._connection
        is_durable = any(work.durable for work in group)
        if is_durable:
            connection.execute("PRAGMA synchronous=FULL")
        try:
            connection.execute("BEGIN")
            for work in group:
                work.result = work.run(connection)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        finally:
            if is_durable:
                connection.execute("PRAGMA synchronous=NORMAL")


class _Reserve:
    """Room on the disk for the database alone: a file that is removed when there is no other."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_there = False
        self.is_short = False
        """Whether there is no room for it."""
        self._renew_at = 0.0
        self.renew()

    def give(self) -> bool:
        """Give the room up; False when that was done already."""
        if not self._is_there:
            return False
        self._is_there, self.is_short = False, True
        self._renew_at = time.monotonic() + _RENEW_SECONDS
        with suppress(OSError):
            self._path.unlink(missing_ok=True)
        return True

    def renew(self) -> None:
        """Take the room again, when it was given up a while ago and can be had."""
        if self._is_there or time.monotonic() < self._renew_at:
            return
        self._renew_at = time.monotonic() + _RENEW_SECONDS
        try:
            with room_needed():
                # To be read as well, and not appended to: else the C library cannot do it where the file system cannot.
                file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                try:
                    os.posix_fallocate(file, 0, _RESERVE_BYTES)
                finally:
                    os.close(file)
            self._is_there, self.is_short = True, False
        except (OSError, OutOfSpace) as error:
            self.is_short = isinstance(error, OutOfSpace)
            with suppress(OSError):
                self._path.unlink(missing_ok=True)


def _open(directory: Path, schemas: Sequence[str], reserve: _Reserve) -> sqlite3.Connection:
    """As `open_database`; a full disk costs the reserve: even what reads the database needs an index of its log."""
    try:
        with room_needed():
            return open_database(directory, schemas)
    except OutOfSpace:
        if not reserve.give():
            raise
        return open_database(directory, schemas)


def _transactions(group: list[_Work]) -> Iterator[list[_Work]]:
    """The group in parts that may share a transaction."""
    for is_alone, part in groupby(group, key=lambda work: work.alone):
        if is_alone:
            yield from ([work] for work in part)
        else:
            yield list(part)


def _resolve(group: list[_Work]) -> None:
    for work in group:
        if work.future is None:
            if work.error is not None:
                log.info("last use could not be noted", reason=str(work.error))
        elif not work.future.done():
            if work.error is not None:
                work.future.set_exception(work.error)
            else:
                work.future.set_result(work.result)
