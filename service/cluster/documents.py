"""Archives in S3: `archives/ID` is the list of a settled one, or says who may go on with one that is not."""

import json
from dataclasses import dataclass
from typing import Any

from service.archives.archive import SETTLED, State
from service.archives.plan import Plan
from service.archives.record import GONE, Record, decode_member, decode_result, encode_member, encode_result
from service.cluster.objects import ObjectChanged, Objects


@dataclass(frozen=True)
class Document:
    """What S3 says of an archive."""

    owner: str
    """Who wrote it."""
    tag: str
    is_alone: bool
    """Its owner goes on without a list in Redis: nobody else can."""
    record: Record | None
    """Of a settled archive, or one that was dropped by who went on with it alone."""


class Documents:
    """Everything raises `Unavailable` when S3 does not answer."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    @property
    def is_up(self) -> bool:
        """Whether S3 answered when it was last asked."""
        return self._objects.link.is_up

    async def get(self, archive_id: str) -> Document | None:
        """What is there."""
        found = await self._objects.get(_name(archive_id))
        if found is None:
            return None
        body = json.loads(found[0])
        is_over = body["state"] in SETTLED or body["state"] == GONE
        is_alone, record = bool(body.get("alone")), _record(body) if is_over else None
        return Document(body["owner"], found[1], is_alone, record)

    async def claim(self, archive_id: str, owner: str, *, alone: bool, tag: str | None) -> str:
        """Say that `owner` goes on, if nobody wrote since `tag` (None: ever); returns the new tag.

        Raises `ObjectChanged`.
        """
        return await self._write(archive_id, {"state": State.BUILDING, "owner": owner, "alone": alone}, tag)

    async def publish(self, record: Record, owner: str) -> None:
        """Write the list of an archive that is settled, or gone, in the eyes of all, over whoever wanted to go on."""
        body = {
            "id": record.id,
            "owner": owner,
            "state": record.state,
            "layout": record.layout,
            "plan": record.plan.model_dump(mode="json"),
            "members": [encode_member(*member) for member in record.members],
            "results": [encode_result(result) for result in record.results],
            "comment": record.comment,
            "created": record.created,
            "settled": record.settled,
        }
        tag: str | None = None
        while True:
            try:
                await self._write(record.id, body, tag)
            except ObjectChanged:
                document = await self.get(record.id)
                if document is not None and document.record is not None:
                    return
                tag = document.tag if document else None
            else:
                return

    async def _write(self, archive_id: str, body: dict[str, Any], tag: str | None) -> str:
        return await self._objects.write(_name(archive_id), json.dumps(body, separators=(",", ":")).encode(), tag)


def _record(body: dict[str, Any]) -> Record:
    return Record(
        body["id"],
        body["state"],
        body["layout"],
        Plan.model_validate(body["plan"]),
        tuple(decode_result(line) for line in body["results"]),
        body["comment"],
        body["created"],
        body["settled"],
        tuple(decode_member(line) for line in body["members"]),
    )


def _name(archive_id: str) -> str:
    return f"archives/{archive_id}"
