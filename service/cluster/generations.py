"""How images were last seen, by any of the instances that share a storage: one document per order."""

import json
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


class ClusterGenerations:
    """Written only over the version its writer has read, so that no sighting is lost."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    async def observe(
        self, order_id: str, records: Mapping[str, ImageRecord], refresh: set[str]
    ) -> dict[str, Sighting]:
        """The sightings after this look; empty when they cannot be told."""
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
