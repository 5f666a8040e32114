"""How images were last seen, by any of the instances that share a storage."""

import asyncio
import functools
import json
import sqlite3
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace

from service.cluster.link import Unavailable, bounded
from service.cluster.orders import OrderDocument, OrderDocuments
from service.computing import MANY_IMAGES
from service.database import Database, DatabaseClosed
from service.orders.generations import Observation, observed, read_observations, write_observations
from service.upstream.models import ImageRecord

_WAIT_SECONDS = 0.25
_REMEMBERED = 10_000


class ClusterGenerations:
    """As `SharedGenerations`: written only over the version its writer has read, so that no observation is lost."""

    def __init__(self, documents: OrderDocuments, database: Database) -> None:
        self._documents = documents
        self._database = database
        self._known: OrderedDict[str, None] = OrderedDict()
        self._late: set[asyncio.Task[dict[str, Observation]]] = set()

    async def observe(
        self, order_id: str, records: Mapping[str, ImageRecord], refresh: set[str]
    ) -> dict[str, Observation]:
        """The observations as of now; empty when they cannot be told.

        For an order that is known here, whose images may be on the disk, a storage that is late is not waited for.
        """
        observing = asyncio.create_task(self._observe(order_id, records, refresh))
        self._late.add(observing)
        observing.add_done_callback(self._late.discard)
        if order_id in self._known and not refresh:
            with suppress(TimeoutError):
                async with bounded(_WAIT_SECONDS):
                    return await asyncio.shield(observing)
            observing.add_done_callback(self._keep)
            return {}
        return await asyncio.shield(observing)

    def _keep(self, observing: asyncio.Task[dict[str, Observation]]) -> None:
        """What came late is known from the next look on."""
        if not observing.cancelled() and observing.exception() is None and (late := observing.result()):
            with suppress(DatabaseClosed):
                kept = self._database.give(lambda connection: _merge(connection, late))
                kept.add_done_callback(lambda done: done.cancelled() or done.exception())  # seen: a full disk

    async def _observe(
        self, order_id: str, records: Mapping[str, ImageRecord], refresh: set[str]
    ) -> dict[str, Observation]:
        ours = await self._database.run(lambda connection: read_observations(connection, records))
        now: dict[str, Observation] = {}

        def note(document: OrderDocument) -> OrderDocument:
            nonlocal now
            known = document.observations | _merged(ours, document.observations)  # what is there may have been lost
            now = observed(records, known, refresh)
            return replace(document, observations=known | now)

        try:
            await self._documents.update(order_id, note, is_short=len(records) <= MANY_IMAGES)
        except Unavailable:
            return {}
        self._known[order_id] = None
        self._known.move_to_end(order_id)
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return now

    def mark(self, connection: sqlite3.Connection, order_id: str, image_ids: Iterable[str]) -> None:
        marked = "SELECT image_ids FROM unshared_observations WHERE order_id = ?"
        before = [one for row in connection.execute(marked, (order_id,)) for one in json.loads(row[0])]
        connection.execute(
            "INSERT OR REPLACE INTO unshared_observations VALUES (?, ?)",
            (order_id, json.dumps([*dict.fromkeys([*before, *image_ids])])),
        )

    async def share(self) -> bool:
        """Give others the observations that are marked; whether none is left."""
        marked = "SELECT order_id, image_ids FROM unshared_observations"
        for order_id, image_ids in await self._database.run(lambda connection: connection.execute(marked).fetchall()):
            ours = await self._database.run(
                lambda connection: read_observations(connection, json.loads(image_ids))  # noqa: B023  # awaited at once
            )

            def add(document: OrderDocument, ours: Mapping[str, Observation] = ours) -> OrderDocument:
                return replace(document, observations=document.observations | _merged(ours, document.observations))

            try:
                await self._documents.update(order_id, add, is_short=len(ours) <= MANY_IMAGES)
            except Unavailable:
                return False
            await self._database.run(functools.partial(_unmark, order_id, image_ids, ours))
        return True


def _merged(ours: Mapping[str, Observation], known: Mapping[str, Observation]) -> dict[str, Observation]:
    """Our images, as they are to be seen by all."""
    return {
        image_id: observation.merged(known[image_id]) if image_id in known else observation
        for image_id, observation in ours.items()
    }


def _unmark(order_id: str, image_ids: str, shared: Mapping[str, Observation], connection: sqlite3.Connection) -> None:
    """Unless more was seen meanwhile."""
    if read_observations(connection, shared) == shared:
        connection.execute(
            "DELETE FROM unshared_observations WHERE order_id = ? AND image_ids = ?", (order_id, image_ids)
        )


def _merge(connection: sqlite3.Connection, late: Mapping[str, Observation]) -> None:
    write_observations(connection, dict(late) | _merged(read_observations(connection, late), late))
