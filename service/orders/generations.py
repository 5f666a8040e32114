"""Images that were made anew: each time one is, it is a new generation of itself.

An image counts as made anew when it is seen unfinished after it was finished, or when one of its marks of change
differs, except for a change that comes with its purchase: that says nothing about the picture.
"""

import json
import sqlite3
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from service.computing import MANY_IMAGES, compute
from service.database import Database
from service.images.identity import digest
from service.upstream.models import ImageRecord, ImageState, Order

SCHEMA = """
CREATE TABLE IF NOT EXISTS generations (
    image_id TEXT PRIMARY KEY, finished INTEGER NOT NULL, generation INTEGER NOT NULL,
    -- What the record said of the image's last change, and whether the image was bought then; null: not known.
    marks TEXT, bought INTEGER,
    -- Since when it looks like this, and when it was last seen unfinished for the first time.
    seen REAL NOT NULL DEFAULT 0, refreshed REAL NOT NULL DEFAULT 0, unfinished REAL NOT NULL DEFAULT 0
);
"""

# Requests to fetch anew that come within so many seconds want the same.
_REFRESH_SECONDS = 10.0
# What is seen after another look is later than that by at least so much.
_NEXT_SECONDS = 0.001
# How long an image that is neither seen nor stored is remembered.
_REMEMBERED_SECONDS = 30 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Observation:
    """An image as it was last seen."""

    finished: bool
    generation: int
    marks: str | None = None
    bought: bool | None = None
    refreshed: float = 0.0
    since: float = 0.0
    """When it was first seen like this (epoch seconds)."""
    unfinished: float = 0.0
    """When it was last seen to have become unfinished."""

    def next(self, record: ImageRecord, now: float, *, refresh: bool) -> "Observation":
        """The image as it is seen now."""
        seen = Observation(
            record.state is ImageState.READY,
            self.generation,
            digest(record.marks()),
            record.downloaded,
            now if refresh and self._may_refresh(now) else self.refreshed,
            self.since,
            self.unfinished,
        )
        if seen == self:
            return self
        is_new = self.finished and (not seen.finished or seen._is_another(self))
        generation = self.generation + is_new + (seen.refreshed != self.refreshed)
        since = self._later(now)
        return replace(seen, generation=generation, since=since, unfinished=self.unfinished if seen.finished else since)

    def anew(self, now: float) -> "Observation":
        """The image once it is to be fetched anew, when nothing else is known of it now."""
        if not self._may_refresh(now):
            return self
        return replace(self, generation=self.generation + 1, refreshed=now, since=self._later(now))

    def _may_refresh(self, now: float) -> bool:
        return abs(now - self.refreshed) > _REFRESH_SECONDS

    def _later(self, now: float) -> float:
        """Later than before, also where who saw it before has a clock that is ahead of ours: see `merged`."""
        return max(now, self.since + _NEXT_SECONDS)

    def merged(self, other: "Observation") -> "Observation":
        """What two instances know that have each seen the image without hearing of the other."""
        if self.generation != other.generation:
            return max(self, other, key=lambda one: one.generation)
        earlier, later = sorted((self, other), key=lambda one: one.since)
        is_new = earlier.finished and (later.unfinished > earlier.since or later._is_another(earlier))
        return replace(later, generation=later.generation + is_new)

    def _is_another(self, before: "Observation") -> bool:
        """Whether its marks say that the picture is no longer what it was before."""
        was_bought_now = self.bought and not before.bought
        return before.marks is not None and self.marks != before.marks and not was_bought_now


class SharedGenerations(Protocol):
    """Where several instances note what any of them has seen."""

    async def observe(
        self, order_id: str, records: Mapping[str, ImageRecord], refresh: set[str]
    ) -> dict[str, Observation]:
        """The observations as of now; empty when they cannot be told."""

    def mark(self, connection: sqlite3.Connection, order_id: str, image_ids: Iterable[str]) -> None:
        """Within the transaction that keeps observations which could not be told: others are to know of them."""


class Generations:
    """Remembers how each image was last seen, and counts how often it was made anew."""

    def __init__(self, database: Database, shared: SharedGenerations | None = None) -> None:
        self._database = database
        self._shared = shared

    async def observe(self, order_id: str, order: Order, refresh: Iterable[str] = ()) -> dict[str, int]:
        """Take note of the order's images; returns the generation of each image that anything is known of, by image id.

        Those of `refresh` are to be fetched anew: they count as made anew now.
        """
        records = observable(order)
        anew = set(refresh)
        known = await self._database.run(lambda connection: read_observations(connection, records))
        shared = await self._shared.observe(order_id, records, anew) if self._shared is not None and records else {}

        def look() -> tuple[dict[str, Observation], dict[str, Observation]]:
            now = shared or observed(records, known, anew)
            return now, {image_id: seen for image_id, seen in now.items() if seen != known.get(image_id)}

        now, new = await compute(look, is_short=len(records) <= MANY_IMAGES)
        is_unshared = self._shared is not None and bool(now) and not shared

        def update(connection: sqlite3.Connection) -> dict[str, Observation]:
            latest = read_observations(connection, new)
            # Those that somebody else has noted meanwhile.
            later = [image_id for image_id in new if latest.get(image_id) != known.get(image_id)]
            if shared:
                written = new | {one: new[one].merged(latest[one]) for one in later if one in latest}
            else:  # they were seen after that
                written = new | observed({one: records[one] for one in later}, latest, anew)
            write_observations(connection, written)
            if self._shared is not None and is_unshared:
                self._shared.mark(connection, order_id, now)
            return written

        if new or is_unshared:
            now = now | await self._database.run(update)
        return {image_id: observation.generation for image_id, observation in now.items()}

    async def sweep(self) -> None:
        """Forget images that were not seen for long and are not stored.

        None while images of version 0 are here: their keys do not tell whose they are.
        """

        def clean(connection: sqlite3.Connection) -> None:
            connection.execute(
                "DELETE FROM generations WHERE seen < ? AND image_id NOT IN (SELECT image_id FROM variants)"
                " AND NOT EXISTS (SELECT 1 FROM images)",
                (time.time() - _REMEMBERED_SECONDS,),
            )

        await self._database.run(clean)


def observable(order: Order) -> dict[str, ImageRecord]:
    """The images of an order by id, and those that its images were made from: their originals are downloaded with it.

    Of one that is not listed nothing is known.
    """
    parents = {image.parent_image_id for image in order.images if image.parent_image_id}
    listed = {image.image_id: image for image in order.images if image.image_id}
    return {parent: ImageRecord(image_id=parent) for parent in parents} | listed


def observed(
    records: Mapping[str, ImageRecord], known: Mapping[str, Observation], refresh: set[str]
) -> dict[str, Observation]:
    """The images as they are seen now, after how they were seen last.

    One whose state says nothing of the picture is what it was, if it was seen. One that expired is no longer kept at
    Autoenhance: it was not made anew, and cannot be fetched anew.
    """
    now = time.time()
    seen = {}
    for image_id, record in records.items():
        before, state = known.get(image_id, Observation(finished=False, generation=0)), record.state
        if state not in (ImageState.UNKNOWN, ImageState.EXPIRED):
            seen[image_id] = before.next(record, now, refresh=image_id in refresh)
        elif state is ImageState.UNKNOWN and image_id in refresh:
            seen[image_id] = before.anew(now)
        elif image_id in known:
            seen[image_id] = before
    return seen


def read_observations(connection: sqlite3.Connection, image_ids: Iterable[str]) -> dict[str, Observation]:
    """Within a transaction: how images were last seen, by this instance's account."""
    rows = connection.execute(
        "SELECT image_id, finished, generation, marks, bought, refreshed, seen, unfinished FROM generations"
        " WHERE image_id IN (SELECT value FROM json_each(?))",
        [json.dumps(list(image_ids))],
    )
    return {
        image_id: Observation(bool(finished), generation, marks, None if bought is None else bool(bought), *times)
        for image_id, finished, generation, marks, bought, *times in rows
    }


def write_observations(connection: sqlite3.Connection, observations: Mapping[str, Observation]) -> None:
    """Within a transaction: images were seen like this."""
    connection.executemany(
        "INSERT OR REPLACE INTO generations"
        " (image_id, finished, generation, marks, bought, refreshed, seen, unfinished) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (image_id, one.finished, one.generation, one.marks, one.bought, one.refreshed, one.since, one.unfinished)
            for image_id, one in observations.items()
        ],
    )
