"""Follows a ZIP as its bytes arrive: which member is being received, and how much of it."""

import struct
from collections.abc import Iterator

_LOCAL_HEADER = struct.Struct("<4s5H3L2H")
_SIGNATURE = b"PK\x03\x04"
_IN_EXTRA = 0xFFFF_FFFF
_ZIP64 = 1


class ZipProgress:
    """Reads the local headers of an archive whose members are stored with their sizes, as this service's are."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._left = 0
        self._in_directory = False
        self.name: str | None = None
        self.size = 0
        self.members = 0

    @property
    def received(self) -> int:
        """Bytes received of the current member."""
        return self.size - self._left

    def feed(self, chunk: bytes) -> Iterator[str]:
        """Process the next bytes; yields the name of every member that begins in them."""
        view = memoryview(chunk)
        while view and not self._in_directory:
            taken = min(self._left, len(view))
            self._left -= taken
            view = view[taken:]
            if view:
                before = len(self._head)
                self._head += view
                length = self._read_header()
                if length is None:
                    return
                view = view[length - before :]
                self._head.clear()
                if self.name is not None and not self._in_directory:
                    yield self.name

    def _read_header(self) -> int | None:
        """Length of the header at the start of what was collected; None while it is incomplete."""
        if len(self._head) < _LOCAL_HEADER.size:
            return None
        fields = _LOCAL_HEADER.unpack_from(self._head)
        name_length: int = fields[9]
        extra_length: int = fields[10]
        if fields[0] != _SIGNATURE:
            self._in_directory = True
            return len(self._head)
        end = _LOCAL_HEADER.size + name_length + extra_length
        if len(self._head) < end:
            return None
        self.name = self._head[_LOCAL_HEADER.size : _LOCAL_HEADER.size + name_length].decode("utf-8", "replace")
        self.size = self._left = fields[8]
        if self.size == _IN_EXTRA:
            self.size = self._left = _long_size(bytes(self._head[end - extra_length : end]))
        self.members += 1
        return end


def _long_size(extra: bytes) -> int:
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<2H", extra)
        if kind == _ZIP64:
            size: int = struct.unpack_from("<Q", extra, 4)[0]
            return size
        extra = extra[4 + length :]
    return _IN_EXTRA
