"""Byte ranges (RFC 9110 14): what a `Range` header asks for, once the archive's length is known, or before."""

import re
from dataclasses import dataclass

from service.problems import RangeNotSatisfiable

# ASCII digits only, and fewer than Python refuses to convert.
_SPEC = re.compile(r"bytes[ \t]*=[ \t]*([0-9]{0,4000})[ \t]*-[ \t]*([0-9]{0,4000})[ \t]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ByteRange:
    """One range: `first` to `last` (inclusive; None: to the end), or the last `suffix` bytes."""

    first: int = 0
    last: int | None = None
    suffix: int | None = None

    @property
    def needs_end(self) -> bool:
        """Whether it can only be answered when the whole length is known."""
        return self.last is None

    @property
    def starts_at_zero(self) -> bool:
        return self.suffix is None and self.first == 0

    def resolve(self, length: int) -> tuple[int, int]:
        """Start and stop (exclusive) within an archive of `length` bytes. Raises `RangeNotSatisfiable`."""
        if self.suffix is not None:
            start, stop = max(0, length - self.suffix), length
        else:
            start, stop = self.first, length if self.last is None else min(self.last + 1, length)
        if start >= stop:
            raise RangeNotSatisfiable(length)
        return start, stop


def parse_range(header: str | None) -> ByteRange | None:
    """The one range asked for; None for none, several, another unit or nonsense, which all mean: the whole."""
    match = _SPEC.fullmatch((header or "").strip())
    if match is None or match[1] == match[2] == "":
        return None
    if match[1] == "":
        return ByteRange(suffix=int(match[2]))
    first = int(match[1])
    if match[2] == "":
        return ByteRange(first)
    last = int(match[2])
    return ByteRange(first, last) if first <= last else None
