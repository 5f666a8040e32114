"""An archive as it is kept: in the catalogue's tables, and in the documents that instances share."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from service.archives.archive import ImageResult
from service.archives.layout import Member
from service.archives.plan import Plan
from service.images.blobs import Blob
from service.reasons import Reason

GONE = "gone"
"""The state of an archive that is no longer kept, and whose id is remembered as such."""


@dataclass(frozen=True)
class Record:
    """An archive that can be restored."""

    id: str
    state: str
    layout: int
    plan: Plan
    results: tuple[ImageResult, ...]
    comment: str | None
    created: float
    settled: float | None
    members: tuple[tuple[Member, int], ...]
    """With the attempts each image took."""
    kept: float = 0
    """Until when it is kept, however old it is."""


def encode_member(member: Member, attempts: int) -> list[Any]:
    """A member as a list of plain values: what `decode_member` takes."""
    blob = member.blob
    return [
        member.name,
        blob.digest,
        blob.size,
        blob.crc,
        blob.extension,
        member.modified.isoformat(),
        member.image_id,
        attempts,
    ]


def decode_member(values: list[Any] | tuple[Any, ...]) -> tuple[Member, int]:
    """The member, and the attempts its image took."""
    name, digest, size, crc, extension, modified, image_id, attempts = values
    moment = datetime.fromisoformat(modified).astimezone(UTC)
    return Member(name, Blob(digest, size, crc, extension), moment, image_id), attempts


def decode_result(line: dict[str, Any]) -> ImageResult:
    """A line of the report, as `dataclasses.asdict` gave it."""
    return ImageResult(**{**line, "code": Reason(line["code"]) if line["code"] else None})
