"""Which stored images go when room is needed: what no archive names first, then archives that nobody uses."""

import json
import sqlite3
import time
from collections.abc import Callable, Iterable

from service.archives.archive_index import mark_gone
from service.archives.record import GONE
from service.archives.registry import Registry
from service.images.identity import split_key

# A full store stays full. What no archive loses goes by so much of the store (one in so many) at a time: to find it
# takes a look at every blob, which shall not be taken for each image that arrives.
_PORTION = 200
# But not what was used so late (seconds), unless it is missing: it may be about to be sent, or named by an archive.
_JUST_USED = 60.0


class Eviction:
    """Least recently used first; never what a live archive needs, or a running build is about to have.

    Nor what is kept as the result of a job, up to half of the store; more results than that go last.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def __call__(self, missing: int, *, limit: int, is_cache: bool) -> Callable[[sqlite3.Connection], list[str]]:
        """What chooses blobs of `missing` bytes or more, within a transaction; none if so many cannot be freed.

        More only of what no archive is lost with. `limit`: bytes that the store may take. `is_cache`: images that were
        shared are also elsewhere, so that no archive is lost with them.
        """
        live = json.dumps(list(self._registry.live()))
        needed = json.dumps([split_key(key)[0] for key in self._registry.needed()])

        def choose(connection: sqlite3.Connection) -> list[str]:
            pinned = _pinned(connection, needed)
            connection.execute("SAVEPOINT eviction")
            try:
                wanted = limit // _PORTION
                if is_cache:
                    chosen, freed = _first(_shared(connection, live, pinned), missing, wanted)
                else:
                    chosen, freed = _first(_unnamed(connection, pinned), missing, wanted)
                    if freed < missing:
                        results = _results(connection, limit // 2)
                        more, size = _from_archives(connection, live, pinned, missing - freed, results)
                        chosen, freed = chosen + more, freed + size
                if freed < missing:  # nobody loses anything for nothing
                    connection.execute("ROLLBACK TO eviction")
                    return []
                return chosen
            finally:
                connection.execute("RELEASE eviction")

        return choose


def _pinned(connection: sqlite3.Connection, variants: str) -> str:
    """Blobs that running builds have or are about to have; as JSON, for queries."""
    found = connection.execute(
        "SELECT digest FROM variants WHERE variant IN (SELECT value FROM json_each(?))", [variants]
    )
    return json.dumps([digest for (digest,) in found])


def _results(connection: sqlite3.Connection, max_bytes: int) -> str:
    """Kept archives of at most so many bytes together, those that were used last; as JSON, for queries."""
    kept = connection.execute(
        "SELECT archive_id, sum(size) OVER (ORDER BY used DESC, archive_id) FROM"
        " (SELECT archive_id, archives.used, sum(size) AS size FROM kept JOIN archives ON id = archive_id"
        " JOIN members USING (archive_id) WHERE until > ? GROUP BY archive_id)",
        (time.time(),),
    )
    return json.dumps([archive_id for archive_id, together in kept if together <= max_bytes])


def _first(blobs: Iterable[tuple[str, int, float]], missing: int, wanted: int) -> tuple[list[str], int]:
    """The first of these digests, with their bytes: `missing` bytes, and as long as they were not just used `wanted`.

    Fewer if all of them have no more.
    """
    chosen: list[str] = []
    freed = 0
    just_used = time.time() - _JUST_USED
    for digest, size, used in blobs:
        if freed >= (missing if used > just_used else max(missing, wanted)):
            break
        chosen.append(digest)
        freed += size
    return chosen, freed


def _unnamed(connection: sqlite3.Connection, pinned: str) -> Iterable[tuple[str, int, float]]:
    return connection.execute(
        "SELECT digest, size, used FROM blobs WHERE digest NOT IN (SELECT value FROM json_each(?))"
        " AND NOT EXISTS (SELECT 1 FROM members WHERE members.digest = blobs.digest) ORDER BY used",
        [pinned],
    )


def _shared(connection: sqlite3.Connection, live: str, pinned: str) -> Iterable[tuple[str, int, float]]:
    return connection.execute(
        "SELECT digest, size, used FROM blobs WHERE digest NOT IN (SELECT value FROM json_each(?))"
        " AND digest NOT IN (SELECT digest FROM unshared)"
        " AND digest NOT IN"
        " (SELECT digest FROM members WHERE archive_id IN (SELECT value FROM json_each(?))) ORDER BY used",
        [pinned, live],
    )


def _from_archives(
    connection: sqlite3.Connection, live: str, pinned: str, missing: int, results: str
) -> tuple[list[str], int]:
    """Of as few archives as can be; they are gone."""
    idle = connection.execute(
        "SELECT id FROM archives WHERE state != ? AND id NOT IN (SELECT value FROM json_each(?))"
        " AND id NOT IN (SELECT value FROM json_each(?))"
        " AND EXISTS (SELECT 1 FROM members WHERE archive_id = id AND image_id IS NOT NULL"
        " AND digest NOT IN (SELECT value FROM json_each(?)))"
        " ORDER BY id IN (SELECT archive_id FROM kept WHERE until > ?), used",
        (GONE, live, results, pinned, time.time()),
    ).fetchall()
    chosen: list[str] = []
    freed = 0
    for (archive_id,) in idle:
        if freed >= missing:
            break
        for digest, size in _freed_by(connection, archive_id, pinned):
            chosen.append(digest)
            freed += size
        mark_gone(connection, archive_id, time.time())
    return chosen, freed


def _freed_by(connection: sqlite3.Connection, archive_id: str, pinned: str) -> list[tuple[str, int]]:
    """Blobs that no other archive names, with their sizes."""
    return connection.execute(
        "SELECT DISTINCT digest, blobs.size FROM members JOIN blobs USING (digest) WHERE archive_id = :id"
        " AND digest NOT IN (SELECT value FROM json_each(:pinned)) AND NOT EXISTS"
        " (SELECT 1 FROM members AS other WHERE other.digest = members.digest AND other.archive_id != :id)",
        {"id": archive_id, "pinned": pinned},
    ).fetchall()
