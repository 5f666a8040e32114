"""Which stored images go when room is needed: what no archive names first, then archives that nobody uses."""

import json
import sqlite3
import time
from collections.abc import Callable

from service.archives.catalogue import mark_gone
from service.archives.record import GONE
from service.archives.registry import Registry
from service.images.identity import split_key


class _NotEnough(Exception):
    """Raised within a transaction, so that nobody loses anything for nothing."""


class Eviction:
    """Least recently used first; never what a live or kept archive needs, or a running build is about to have."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def __call__(self, missing: int, *, is_cache: bool) -> Callable[[sqlite3.Connection], list[str]]:
        """What chooses blobs of `missing` bytes together, within a transaction; none if so many cannot be freed.

        `is_cache`: images that were shared are also elsewhere, so that no archive is lost with them.
        """
        live = json.dumps(list(self._registry.live()))
        needed = json.dumps([split_key(key)[0] for key in self._registry.needed()])

        def choose(connection: sqlite3.Connection) -> list[str]:
            pinned = _pinned(connection, needed)
            try:
                connection.execute("SAVEPOINT eviction")
                return (_from_cache if is_cache else _from_archives)(connection, live, pinned, missing)
            except _NotEnough:
                connection.execute("ROLLBACK TO eviction")
                return []
            finally:
                connection.execute("RELEASE eviction")

        return choose


def _pinned(connection: sqlite3.Connection, variants: str) -> str:
    """Blobs that running builds have or are about to have; as JSON, for queries."""
    found = connection.execute(
        "SELECT digest FROM variants WHERE variant IN (SELECT value FROM json_each(?))", [variants]
    )
    return json.dumps([digest for (digest,) in found])


def _from_archives(connection: sqlite3.Connection, live: str, pinned: str, missing: int) -> list[str]:
    chosen: list[str] = []
    freed = 0
    unnamed = connection.execute(
        "SELECT digest, size FROM blobs WHERE digest NOT IN (SELECT value FROM json_each(?))"
        " AND NOT EXISTS (SELECT 1 FROM members WHERE members.digest = blobs.digest) ORDER BY used",
        [pinned],
    )
    for digest, size in unnamed:
        if freed >= missing:
            return chosen
        chosen.append(digest)
        freed += size
    idle = connection.execute(
        "SELECT id FROM archives WHERE state != ? AND id NOT IN (SELECT value FROM json_each(?))"
        " AND id NOT IN (SELECT archive_id FROM kept WHERE until > ?)"
        " AND EXISTS (SELECT 1 FROM members WHERE archive_id = id AND image_id IS NOT NULL"
        " AND digest NOT IN (SELECT value FROM json_each(?))) ORDER BY used",
        (GONE, live, time.time(), pinned),
    ).fetchall()
    for (archive_id,) in idle:
        if freed >= missing:
            return chosen
        for digest, size in _freed_by(connection, archive_id, pinned):
            chosen.append(digest)
            freed += size
        mark_gone(connection, archive_id)
    if freed < missing:
        raise _NotEnough
    return chosen


def _freed_by(connection: sqlite3.Connection, archive_id: str, pinned: str) -> list[tuple[str, int]]:
    """Blobs that no other archive names, with their sizes."""
    return connection.execute(
        "SELECT DISTINCT digest, blobs.size FROM members JOIN blobs USING (digest) WHERE archive_id = :id"
        " AND digest NOT IN (SELECT value FROM json_each(:pinned)) AND NOT EXISTS"
        " (SELECT 1 FROM members AS other WHERE other.digest = members.digest AND other.archive_id != :id)",
        {"id": archive_id, "pinned": pinned},
    ).fetchall()


def _from_cache(connection: sqlite3.Connection, live: str, pinned: str, missing: int) -> list[str]:
    chosen: list[str] = []
    freed = 0
    idle = connection.execute(
        "SELECT digest, size FROM blobs WHERE digest NOT IN (SELECT value FROM json_each(?))"
        " AND digest NOT IN (SELECT digest FROM unshared)"
        " AND digest NOT IN"
        " (SELECT digest FROM members WHERE archive_id IN (SELECT value FROM json_each(?))) ORDER BY used",
        [pinned, live],
    )
    for digest, size in idle:
        if freed >= missing:
            break
        chosen.append(digest)
        freed += size
    if freed < missing:
        raise _NotEnough
    return chosen
