"""How often an image was made anew: seen unfinished again after it was finished, it is a new generation of itself."""

import json
import sqlite3

from service.database import Database
from service.upstream.models import ImageState, Order

SCHEMA = """
CREATE TABLE IF NOT EXISTS generations (
    image_id TEXT PRIMARY KEY, finished INTEGER NOT NULL, generation INTEGER NOT NULL
);
"""


class Generations:
    """Remembers of each image whether it was finished when last seen, and counts how often it went back."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def observe(self, order: Order) -> dict[str, int]:
        """Take note of the order's images; returns the generation of each, by image id."""
        seen = {
            image.image_id: image.state is ImageState.READY
            for image in order.images
            if image.image_id and image.state is not ImageState.UNKNOWN
        }

        def update(connection: sqlite3.Connection) -> dict[str, int]:
            known = {
                image_id: (bool(finished), generation)
                for image_id, finished, generation in connection.execute(
                    "SELECT image_id, finished, generation FROM generations"
                    " WHERE image_id IN (SELECT value FROM json_each(?))",
                    [json.dumps(list(seen))],
                )
            }
            now = {image_id: _next(known.get(image_id), finished) for image_id, finished in seen.items()}
            changed = [(image_id, *state) for image_id, state in now.items() if state != known.get(image_id)]
            connection.executemany("INSERT OR REPLACE INTO generations VALUES (?, ?, ?)", changed)
            return {image_id: generation for image_id, (_, generation) in now.items()}

        return await self._database.run(update)


def _next(known: tuple[bool, int] | None, finished: bool) -> tuple[bool, int]:  # noqa: FBT001  # a fact, not a switch
    if known is None:
        return finished, 0
    was_finished, generation = known
    return finished, generation + (was_finished and not finished)
