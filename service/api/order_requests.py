"""`Idempotency-Key` of requests that make an order: the same key gives the same answer, once.

An answer is kept for a day. A request that failed, or broke off, is not: its key may be used again.
"""

import json
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol

from service.database import Database
from service.disk import OutOfSpace
from service.problems import RequestUnfinished
from service.telemetry.logs import get_logger

log = get_logger(__name__)

SCHEMA = """
CREATE TABLE IF NOT EXISTS order_requests (
    key TEXT PRIMARY KEY, answer TEXT NOT NULL, made REAL NOT NULL
) WITHOUT ROWID;
"""

KEPT_SECONDS = 24 * 3600

Document = dict[str, Any]


class OrderRequests(Protocol):
    """The requests that carry a key, by the key's digest."""

    async def begin(self, key: str) -> Document | None:
        """The answer that this key has had; None: there is none, and the caller is the one who works on it.

        Raises `RequestUnfinished` while another works on it, `RequestsUnavailable` when that cannot be told.
        """

    async def finish(self, key: str, answer: Document) -> None:
        """Keep the answer, on the disk when this returns.

        The order was made: where that fails it is kept as well as can be, and no error.
        """

    async def release(self, key: str) -> None:
        """There is no answer: the next request with this key begins anew."""


@asynccontextmanager
async def working_on(requests: OrderRequests, key: str | None) -> AsyncIterator[Document | None]:
    """`begin` for the block, if there is a key; released when the block fails."""
    answer = None if key is None else await requests.begin(key)
    try:
        yield answer
    except BaseException:
        if key is not None and answer is None:
            await requests.release(key)
        raise


class LocalOrderRequests:
    """Those of an instance that stands alone."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._unfinished: set[str] = set()
        self._unkept: dict[str, tuple[float, Document]] = {}
        """When they were made, and answers that the database could not take."""

    async def begin(self, key: str) -> Document | None:
        if key in self._unfinished:
            raise RequestUnfinished
        oldest = time.time() - KEPT_SECONDS
        self._unkept = {known: unkept for known, unkept in self._unkept.items() if unkept[0] > oldest}
        if key in self._unkept:
            return self._unkept[key][1]
        self._unfinished.add(key)
        try:
            answer = await self._database.run(lambda connection: _find(connection, key))
        except BaseException:
            self._unfinished.discard(key)
            raise
        if answer is not None:
            self._unfinished.discard(key)
        return answer

    async def finish(self, key: str, answer: Document) -> None:
        """As `OrderRequests.finish`; where the database cannot take it, as long as this process lives."""
        try:
            await self._database.run(lambda connection: _keep(connection, key, answer), durable=True)
        except (OutOfSpace, sqlite3.Error) as error:
            log.warning("answer is kept in memory only", order_id=answer.get("order_id"), error=str(error))
            self._unkept[key] = time.time(), answer
        self._unfinished.discard(key)

    async def release(self, key: str) -> None:
        self._unfinished.discard(key)


def _find(connection: sqlite3.Connection, key: str) -> Document | None:
    query = "SELECT answer FROM order_requests WHERE key = ? AND made > ?"
    row = connection.execute(query, (key, time.time() - KEPT_SECONDS)).fetchone()
    if row is None:
        return None
    answer: Document = json.loads(row[0])
    return answer


def _keep(connection: sqlite3.Connection, key: str, answer: Document) -> None:
    now = time.time()
    connection.execute("DELETE FROM order_requests WHERE made <= ?", (now - KEPT_SECONDS,))
    connection.execute("INSERT OR REPLACE INTO order_requests VALUES (?, ?, ?)", (key, json.dumps(answer), now))
