"""Makes room in the store: what no archive names goes first, then archives that nobody uses."""

import sqlite3
from collections.abc import Callable, Iterable

from service.archives.catalogue import GONE, mark_gone
from service.images.store import ImageStore
from service.telemetry.logs import get_logger
from service.telemetry.metrics import Metrics

log = get_logger(__name__)


class Eviction:
    """Least recently used first; never what a live archive needs. `live` gives the ids of those."""

    def __init__(self, store: ImageStore, live: Callable[[], set[str]], metrics: Metrics) -> None:
        self._store = store
        self._live = live
        self._evictions = metrics.store_evictions

    async def make_room(self, missing: int) -> None:
        """Free at least `missing` bytes, if that can be done."""
        live = self._live()
        evicted = 0

        def choose(connection: sqlite3.Connection) -> Iterable[str]:
            nonlocal evicted
            digests = _choose(connection, live, missing)
            evicted = len(digests)
            return digests

        freed = await self._store.delete(choose)
        self._evictions.inc(evicted)
        log.info("store evicted images", images=evicted, freed_bytes=freed, missing_bytes=missing)


def _choose(connection: sqlite3.Connection, live: set[str], missing: int) -> list[str]:
    idle = [
        row[0]
        for row in connection.execute("SELECT id FROM archives WHERE state != ? ORDER BY used", (GONE,))
        if row[0] not in live
    ]
    while True:
        chosen, freed = [], 0
        for digest, size in connection.execute(
            "SELECT digest, size FROM blobs WHERE NOT EXISTS"
            " (SELECT 1 FROM members WHERE members.digest = blobs.digest) ORDER BY used"
        ):
            if freed >= missing:
                break
            chosen.append(digest)
            freed += size
        if freed >= missing or not idle:
            return chosen
        mark_gone(connection, idle.pop(0))
