"""Brings an archive to where its record says it stands."""

from service.archives.archive import Archive, ImageResult, State
from service.archives.layout import Member
from service.archives.plan import PlannedImage
from service.archives.record import Record


def bring_up_to(archive: Archive, record: Record) -> None:
    """Append the members that `record` has beyond the archive's own, and settle it if the record is."""
    planned = {image.image_id: image for image in record.plan.images}
    for member, attempts in record.members[len(archive.members) :]:
        image = planned.get(member.image_id or "")
        archive.append(member, present(image, member, attempts) if image else None)
    if record.state in (State.COMPLETE, State.PARTIAL):
        archive.results = list(record.results)
        archive.settle(State(record.state), record.comment or "")


def present(image: PlannedImage, member: Member, attempts: int) -> ImageResult:
    """The result of an image that is in the archive."""
    return ImageResult(image.image_id, image.name, member.name, member.blob.size, member.blob.crc, None, attempts)
