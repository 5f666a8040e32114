"""Where every byte of an archive comes from: an append-only list of segments."""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from service.archives.zip_format import ZipFormat
from service.images.blobs import Blob

# Part of a stored archive's identity: a change in the bytes that a list of members stands for needs a new number.
LAYOUT_VERSION = 1


@dataclass(frozen=True, slots=True)
class Member:
    """One file in the archive."""

    name: str
    blob: Blob
    modified: datetime
    image_id: str | None
    """None for the report and the manifest."""

    @property
    def entry(self) -> tuple[str | None, str]:
        """Which entry of the archive it is: its image and its folder; an image may be there in several renditions."""
        return self.image_id, self.name.rpartition("/")[0]


@dataclass(frozen=True, slots=True)
class BlobSlice:
    """`count` bytes of a stored image from `offset` on."""

    blob: Blob
    offset: int
    count: int


class Layout:
    """The segments so far: a header and an image per member, at last the directory."""

    def __init__(self) -> None:
        self._format = ZipFormat()
        self._starts: list[int] = []
        self._segments: list[bytes | Blob] = []
        self.length = 0

    def append(self, member: Member) -> None:
        """Add a member; its bytes never change after this."""
        blob = member.blob
        self._add(self._format.header(member.name, size=blob.size, crc=blob.crc, modified=member.modified))
        self._add(blob)

    def close(self, comment: str) -> None:
        """Add the directory. Nothing can follow it."""
        self._add(self._format.directory(comment))

    def slices(self, start: int, stop: int) -> Iterator[bytes | BlobSlice]:
        """The bytes from `start` to before `stop`, as far as they are known. None is copied from an image here."""
        index = max(0, bisect_right(self._starts, start) - 1)
        while start < min(stop, self.length):
            segment, begin = self._segments[index], self._starts[index]
            offset = start - begin
            count = min(_size(segment) - offset, stop - start)
            if count > 0:
                yield (
                    BlobSlice(segment, offset, count) if isinstance(segment, Blob) else segment[offset : offset + count]
                )
            start += count
            index += 1

    def _add(self, segment: bytes | Blob) -> None:
        self._starts.append(self.length)
        self._segments.append(segment)
        self.length += _size(segment)


def _size(segment: bytes | Blob) -> int:
    return segment.size if isinstance(segment, Blob) else len(segment)
