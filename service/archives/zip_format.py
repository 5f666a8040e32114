"""The bytes of a ZIP around its members' data: local headers and the directory.

Sizes and CRCs are known before a header is written, so members carry them there and no data descriptor follows:
readers that work from a stream (Java's `ZipInputStream`, `stream-unzip`) need that. Format: PKWARE APPNOTE 6.3.10.
"""

from datetime import UTC, datetime

import zipstream.ng as ng
from zipstream.ng import ZipStream, ZipStreamInfo

# The format's own limit for a 32-bit field; zipfile, and the library with it, turn to ZIP64 at half of it.
ng.ZIP64_LIMIT = 0xFFFF_FFFE

_EARLIEST = datetime(1980, 1, 1, tzinfo=UTC)
_LATEST = datetime(2107, 12, 31, 23, 59, 58, tzinfo=UTC)
_REGULAR_FILE = 0o100644 << 16


class _DirectoryEntry(bytes):
    """What the directory says of a member. The library's own record of it takes four times the memory."""

    __slots__ = ()

    def _central_directory_header_data(self) -> bytes:
        return self


class ZipFormat(ZipStream):  # type: ignore[misc]  # the library is untyped
    """Headers and directory of one archive, in the order its members are appended; data never passes through.

    Stands on private parts of zipstream-ng: `_pos`, `_track`, `_filelist`, and `FileHeader` and
    `_central_directory_header_data` of `ZipStreamInfo`; `tests/archives/test_zip_format.py` fails when a new version
    moves them.
    """

    def header(self, name: str, *, size: int, crc: int, modified: datetime) -> bytes:
        """The local header of the next member. `size` bytes with that CRC-32 must follow it in the archive."""
        if self._final:
            raise RuntimeError("the directory has ended this archive")
        info = ZipStreamInfo(name, _dos_time(modified))
        info.file_size = info.compress_size = size
        info.CRC = crc
        info.external_attr = _REGULAR_FILE
        info.header_offset = self._pos
        header: bytes = self._track(info.FileHeader(zip64=size > ng.ZIP64_LIMIT))
        self._pos += size
        self._filelist.append(_DirectoryEntry(info._central_directory_header_data()))
        return header

    def directory(self, comment: str = "") -> bytes:
        """The central directory and end records. Nothing can be appended after it."""
        self.comment = comment.encode()
        return b"".join(self.footer())


def _dos_time(moment: datetime) -> tuple[int, int, int, int, int, int]:
    utc = min(max(moment, _EARLIEST), _LATEST).astimezone(UTC)
    return utc.year, utc.month, utc.day, utc.hour, utc.minute, utc.second
