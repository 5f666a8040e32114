"""How images were last seen, by any of the instances that share a storage: one document per order."""

import asyncio
import json
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import astuple

from service.cluster.link import Unavailable
from service.cluster.objects import ObjectChanged, Objects
from service.orders.generations import Sighting, look
from service.telemetry.logs import get_logger
from service.upstream.models import ImageRecord

log = get_logger(__name__)

_TRIES = 10
_PATIENCE_SECONDS = 0.25
_REMEMBERED = 10_000


class ClusterGenerations:
    """Written only over the version its writer has read, so that no sighting is lost."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
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

    async def _merge(self, name: str, records: Mapping[str, ImageRecord], refresh: set[str]) -> dict[str, Sighting]:
        found = await self._objects.get(name)
        known = {image_id: Sighting(*values) for image_id, values in json.loads(found[0]).items()} if found else {}
        now = look(records, known, refresh)
        if any(sighting != known.get(image_id) for image_id, sighting in now.items()):
            document = {image_id: astuple(sighting) for image_id, sighting in {**known, **now}.items()}
            body = json.dumps(document).encode()
            await (self._objects.replace(name, body, found[1]) if found else self._objects.create(name, body))
        return now
