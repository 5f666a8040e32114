"""How often an image was made anew: seen unfinished again after it was finished, it is a new generation of itself."""

import json
import sqlite3
from collections.abc import Mapping
from contextlib import suppress

from service.database import Database
from service.images.objects import ObjectChanged, Objects, ObjectsUnavailable
from service.telemetry.logs import get_logger
from service.upstream.models import ImageState, Order

log = get_logger(__name__)

State = tuple[bool, int]
"""Whether the image was finished when last seen, and its generation."""

_TRIES = 3

SCHEMA = """
CREATE TABLE IF NOT EXISTS generations (
    image_id TEXT PRIMARY KEY, finished INTEGER NOT NULL, generation INTEGER NOT NULL
);
"""


class Generations:
    """Remembers of each image whether it was finished when last seen, and counts how often it went back."""

    def __init__(self, database: Database, objects: Objects | None = None) -> None:
        self._database = database
        self._objects = objects

    async def observe(self, order_id: str, order: Order) -> dict[str, int]:
        """Take note of the order's images; returns the generation of each, by image id.

        With storage that several instances share, what any of them has seen counts.
        """
        seen = {
            image.image_id: image.state is ImageState.READY
            for image in order.images
            if image.image_id and image.state is not ImageState.UNKNOWN
        }

        shared = await self._observe_shared(f"generations/{order_id}", seen)

        def update(connection: sqlite3.Connection) -> dict[str, int]:
            known = shared or {
                image_id: (bool(finished), generation)
                for image_id, finished, generation in connection.execute(
                    "SELECT image_id, finished, generation FROM generations"
                    " WHERE image_id IN (SELECT value FROM json_each(?))",
                    [json.dumps(list(seen))],
                )
            }
            now = {image_id: _next(known.get(image_id), finished) for image_id, finished in seen.items()}
            changed = [(image_id, *state) for image_id, state in now.items() if shared or state != known.get(image_id)]
            connection.executemany("INSERT OR REPLACE INTO generations VALUES (?, ?, ?)", changed)
            return {image_id: generation for image_id, (_, generation) in now.items()}

        return await self._database.run(update)

    async def _observe_shared(self, name: str, seen: Mapping[str, bool]) -> dict[str, State]:
        """What is known of these images after this look at them; empty when there is nobody to share it with."""
        if self._objects is None or not seen:
            return {}
        try:
            for _ in range(_TRIES):
                with suppress(ObjectChanged):
                    return await self._merge(self._objects, name, seen)
        except ObjectsUnavailable as error:
            log.warning("shared storage unavailable", action="observe order", error=str(error))
        return {}

    async def _merge(self, objects: Objects, name: str, seen: Mapping[str, bool]) -> dict[str, State]:
        found = await objects.get(name)
        known: dict[str, State] = {key: tuple(state) for key, state in json.loads(found[0]).items()} if found else {}
        now = {image_id: _next(known.get(image_id), finished) for image_id, finished in seen.items()}
        if any(state != known.get(image_id) for image_id, state in now.items()):
            body = json.dumps({**known, **now}).encode()
            await (objects.replace(name, body, found[1]) if found else objects.create(name, body))
        return now


def _next(known: State | None, finished: bool) -> State:  # noqa: FBT001  # a fact, not a switch
    if known is None:
        return finished, 0
    was_finished, generation = known
    return finished, generation + (was_finished and not finished)
