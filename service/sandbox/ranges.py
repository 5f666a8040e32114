"""Byte ranges of the storage (RFC 9110, one range at a time)."""

import re
from collections.abc import Mapping

from .errors import StorageError

RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def wanted_range(headers: Mapping[str, str], size: int, etag: str | None) -> range | None:
    """The part of a body of `size` bytes to send; None means all of it. Raises StorageError 416.

    A malformed range, several ranges, or an `If-Range` that is not the strong entity tag mean all of it.
    """
    match = RANGE.fullmatch(headers.get("Range", ""))
    condition = headers.get("If-Range")
    if condition is not None and (condition != etag or condition.startswith("W/")):
        return None
    first, last = match.groups() if match else ("", "")
    if first:
        part = range(int(first), min(int(last) + 1, size) if last else size)
    elif last:
        part = range(max(0, size - int(last)), size)
    else:
        return None
    if first and last and int(last) < int(first):
        return None
    if not part:
        refusal = {"Content-Range": f"bytes */{size}"}
        raise StorageError(416, "InvalidRange", "The requested range is not satisfiable", refusal)
    return part
