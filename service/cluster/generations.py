"""How images were last seen, by any of the instances that share a storage: one document per order."""

import asyncio
import json
import sqlite3
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import astuple

from service.cluster.link import Unavailable
from service.cluster.objects import ObjectChanged, Objects
from service.database import Database
from service.orders.generations import Sighting, look, read_sightings
from service.telemetry.logs import get_logger
from service.upstream.models import ImageRecord

log = get_logger(__name__)

_TRIES = 10
_PATIENCE_SECONDS = 0.25
_REMEMBERED = 10_000


class ClusterGenerations:
    """Written only over the version its writer has read, so that no sighting is lost."""

    def __init__(self, objects: Objects, database: Database) -> None:
        self._objects = objects
        self._database = database
        self._known: OrderedDict[str, None] = OrderedDict()
        self._late: set[asyncio.Task[dict[str, Sighting]]] = set()

    async def observe(
        self, order_id: str, records: Mapping[str, ImageRecord], refresh: set[str]
    ) -> dict[str, Sighting]:
        """The sightings after this look; empty when they cannot be told.

        For an order that is known here, whose images may be on the disk, a storage that is late is not waited for.
        """
        observing = asyncio.create_task(self._observe(order_id, records, refresh))
        self._late.add(observing)
        observing.add_done_callback(self._late.discard)
        is_known = order_id in self._known and not refresh
        await asyncio.wait([observing], timeout=_PATIENCE_SECONDS if is_known else None)
        return observing.result() if observing.done() else {}

    async def _observe(
        self, order_id: str, records: Mapping[str, ImageRecord], refresh: set[str]
    ) -> dict[str, Sighting]:
        self._known[order_id] = None
        self._known.move_to_end(order_id)
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        name = f"generations/{order_id}"
        try:
            for _ in range(_TRIES):
                with suppress(ObjectChanged):
                    return await self._merge(name, records, refresh)
        except Unavailable:
            return {}
        log.warning("an order's images change too fast to be noted", order_id=order_id)
        return {}

    def mark(self, connection: sqlite3.Connection, order_id: str, image_ids: Iterable[str]) -> None:
        """As `SharedGenerations`."""
        connection.execute(
            "INSERT OR REPLACE INTO unshared_sightings VALUES (?, ?)", (order_id, json.dumps([*image_ids]))
        )

    async def share(self) -> bool:
        """Give others the sightings that are marked; whether none is left."""
        marked = "SELECT order_id, image_ids FROM unshared_sightings"
        for order_id, image_ids in await self._database.run(lambda connection: connection.execute(marked).fetchall()):
            ours = await self._database.run(
                lambda connection: read_sightings(connection, json.loads(image_ids))  # noqa: B023  # awaited at once
            )
            try:
                while True:
                    with suppress(ObjectChanged):
                        await self._add(f"generations/{order_id}", ours)
                        break
            except Unavailable:
                return False
            self._database.note(
                "DELETE FROM unshared_sightings WHERE order_id = ? AND image_ids = ?", (order_id, image_ids)
            )
        return True

    async def _add(self, name: str, ours: Mapping[str, Sighting]) -> None:
        """Note what others do not know: images they have not seen, or not in their newest generation."""
        known, tag = await self._read(name)
        newer = {
            image_id: sighting
            for image_id, sighting in ours.items()
            if image_id not in known or sighting.generation > known[image_id].generation
        }
        if newer:
            await self._write(name, known | newer, tag)

    async def _merge(self, name: str, records: Mapping[str, ImageRecord], refresh: set[str]) -> dict[str, Sighting]:
        known, tag = await self._read(name)
        now = look(records, known, refresh)
        if any(sighting != known.get(image_id) for image_id, sighting in now.items()):
            await self._write(name, known | now, tag)
        return now

    async def _read(self, name: str) -> tuple[dict[str, Sighting], str | None]:
        found = await self._objects.get(name)
        if found is None:
            return {}, None
        return {image_id: Sighting(*values) for image_id, values in json.loads(found[0]).items()}, found[1]

    async def _write(self, name: str, sightings: Mapping[str, Sighting], tag: str | None) -> None:
        body = json.dumps({image_id: astuple(sighting) for image_id, sighting in sightings.items()}).encode()
        await (self._objects.create(name, body) if tag is None else self._objects.replace(name, body, tag))
