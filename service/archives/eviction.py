"""Makes room in the store: what no archive names goes first, then archives that nobody uses."""

import json
import sqlite3
import time
from collections.abc import Callable, Iterable

from service.archives.catalogue import mark_gone
from service.archives.record import GONE
from service.images.store import ImageStore
from service.telemetry.logs import get_logger
from service.telemetry.metrics import Metrics

log = get_logger(__name__)


class _NotEnough(Exception):
    """Raised within a transaction, so that nobody loses anything for nothing."""


class Eviction:
    """Least recently used first; never what a live or kept archive needs.

    `live` gives the ids of live ones, `needed` the keys of the images that running builds have or are about to have.
    A store that is a cache of a shared one loses images without losing archives.
    """

    def __init__(
        self, store: ImageStore, live: Callable[[], set[str]], needed: Callable[[], set[str]], metrics: Metrics
    ) -> None:
        self._store = store
        self._live = live
        self._needed = needed
        self._evictions = metrics.store_evictions

    async def make_room(self, missing: int) -> None:
        """Free at least `missing` bytes, or none if that cannot be done."""
        live, needed = self._live(), self._needed()
        evicted = 0

        def choose(connection: sqlite3.Connection) -> Iterable[str]:
            nonlocal evicted
            pinned = _digests(connection, needed)
            digests = (_choose_cached if self._store.is_cache else _choose)(connection, live, pinned, missing)
            evicted = len(digests)
            return digests

        try:
            freed = await self._store.delete(choose)
        except _NotEnough:
            log.info("store has nothing left to evict", missing_bytes=missing)
            return
        self._evictions.inc(evicted)
        log.info("store evicted images", images=evicted, freed_bytes=freed, missing_bytes=missing)


def _digests(connection: sqlite3.Connection, keys: set[str]) -> str:
    """Of the images that are here under these keys; as JSON, for queries."""
    found = connection.execute(
        "SELECT digest FROM images WHERE key IN (SELECT value FROM json_each(?))", [json.dumps(list(keys))]
    )
    return json.dumps([digest for (digest,) in found])


def _choose(connection: sqlite3.Connection, live: set[str], pinned: str, missing: int) -> list[str]:
    idle = [
        row[0]
        for row in connection.execute(
            "SELECT id FROM archives WHERE state != ?"
            " AND id NOT IN (SELECT archive_id FROM kept WHERE until > ?)"
            " AND EXISTS (SELECT 1 FROM members WHERE archive_id = id AND image_id IS NOT NULL"
            " AND digest NOT IN (SELECT value FROM json_each(?))) ORDER BY used",
            (GONE, time.time(), pinned),
        )
        if row[0] not in live
    ]
    while True:
        chosen, freed = _until(
            missing,
            connection.execute(
                "SELECT digest, size FROM blobs WHERE digest NOT IN (SELECT value FROM json_each(?))"
                " AND NOT EXISTS (SELECT 1 FROM members WHERE members.digest = blobs.digest) ORDER BY used",
                [pinned],
            ),
        )
        if freed >= missing:
            return chosen
        if not idle:
            raise _NotEnough
        mark_gone(connection, idle.pop(0))


def _choose_cached(connection: sqlite3.Connection, live: set[str], pinned: str, missing: int) -> list[str]:
    chosen, freed = _until(
        missing,
        connection.execute(
            "SELECT digest, size FROM blobs WHERE digest NOT IN (SELECT value FROM json_each(?))"
            " AND digest NOT IN (SELECT digest FROM members WHERE archive_id IN (SELECT value FROM json_each(?)))"
            " ORDER BY used",
            [pinned, json.dumps(list(live))],
        ),
    )
    if freed < missing:
        raise _NotEnough
    return chosen


def _until(missing: int, candidates: Iterable[tuple[str, int]]) -> tuple[list[str], int]:
    """The first of `candidates` that free `missing` bytes together, and how much they free."""
    chosen, freed = [], 0
    for digest, size in candidates:
        if freed >= missing:
            break
        chosen.append(digest)
        freed += size
    return chosen, freed
