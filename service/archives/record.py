"""An archive as it is kept: in the catalogue's tables, and in the documents that instances share."""

from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

from service.archives.archive import SETTLED, Archive, ImageResult, State
from service.archives.layout import Member
from service.archives.plan import Plan, PlannedImage
from service.images.blobs import Blob
from service.images.legacy import has_legacy_name
from service.problems import ArchiveGone
from service.reasons import Reason

GONE = "gone"
"""The state of an archive that is no longer kept, and whose id is remembered as such."""

_DEFAULTS = {field.name: field.default for field in fields(ImageResult)}
# Version 1.0.0, beside which this one may run while replicas are replaced, cannot do without them.
_ALWAYS = frozenset({"image_id", "original_name", "name", "bytes", "crc", "code", "attempts"})


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

    @property
    def keys(self) -> list[str]:
        """Of the images that it holds, and that are whole."""
        planned = self.plan.entries
        return [
            planned[member.entry].key
            for member, _ in self.members
            if member.entry in planned and not member.blob.is_incomplete
        ]


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
        blob.is_incomplete,
    ]


def decode_member(values: list[Any] | tuple[Any, ...]) -> tuple[Member, int]:
    """The member, and the attempts its image took."""
    name, digest, size, crc, extension, modified, image_id, attempts, *more = values
    is_incomplete = bool(more and more[0])  # what version 0 shared ends before it
    moment = datetime.fromisoformat(modified).astimezone(UTC)
    return Member(name, Blob(digest, size, crc, extension, is_incomplete), moment, image_id), attempts


def encode_result(result: ImageResult) -> dict[str, Any]:
    """A line of the report as plain values, without most that are as usual: what `decode_result` takes."""
    values = {name: getattr(result, name) for name in _DEFAULTS}
    return {name: value for name, value in values.items() if name in _ALWAYS or value != _DEFAULTS[name]}


def decode_result(line: dict[str, Any]) -> ImageResult:
    return ImageResult(**{**line, "code": Reason(line["code"]) if line.get("code") else None})


def extend(archive: Archive, record: Record) -> None:
    """Append the members that `record` has beyond the archive's own, and settle it if the record is settled.

    Raises `ArchiveGone` when it has another one in place of the archive's last: its bytes can no longer be told.
    """
    there = record.members[: len(archive.members)][-1:]
    if [_content(one) for one in archive.members[-1:]] != [_content(one) for one, _ in there]:
        raise ArchiveGone(f"Archive {archive.id} was gone on with from an earlier image.")
    planned = record.plan.entries
    for member, attempts in record.members[len(archive.members) :]:
        image = planned.get(member.entry)
        archive.append(member, result_of(image, member, attempts) if image else None)
    if record.state in SETTLED:
        archive.results = list(record.results)
        own = {result.identity: result for result in archive.results}
        archive.arrived = [own.get(result.identity, result) for result in archive.arrived]
        archive.settle(State(record.state), record.comment or "")


def _content(member: Member) -> tuple[str, str]:
    return member.name, member.blob.digest


def result_of(image: PlannedImage, member: Member, attempts: int) -> ImageResult:
    """The result of an image that is in the archive."""
    blob = member.blob
    code = Reason.INCOMPLETE if blob.is_incomplete else None
    return ImageResult(
        image.image_id,
        image.name,
        member.name,
        blob.size,
        blob.crc,
        code,
        attempts,
        rendition=image.rendition or None,
        blake3=None if has_legacy_name(blob.digest) else blob.digest,
        key=image.key,
        order=image.order,
    )
