"""Single fields of Autoenhance's records, read tolerantly: each may be absent, null, or as another version has it."""

import re
import sys
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from service.text import one_line

_MAX_NAME = 1_000
_MAX_ID = 255
_MAX_WORD = 100
_MAX_REASON = 200

# A number of seconds beyond this (the year 5138) counts thousandths, one beyond a thousand times as much millionths.
_MAX_SECONDS = 1e11


def as_text(value: object) -> str | None:
    """What a field says, without spaces around it; None for nothing."""
    if type(value) is str:
        return value.strip() or None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return str(value).strip() or None


def _clean(text: str | None, limit: int) -> str | None:
    """A text that can be written everywhere: JSON can hold half a surrogate pair, UTF-8 cannot."""
    if text is None or text.isascii():
        return text and text[:limit]
    return text[:limit].encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def as_name(value: object) -> str | None:
    """A name of any length that makes sense."""
    return _clean(as_text(value), _MAX_NAME)


def as_word(value: object) -> str | None:
    """A word that many records share, kept once."""
    text = _clean(as_text(value), _MAX_WORD)
    return None if text is None else sys.intern(text)


def as_reason(value: object) -> str | None:
    """One printable line."""
    text = _clean(as_text(value), 10 * _MAX_REASON) or ""
    line = " ".join(one_line(text).split())
    return line[:_MAX_REASON].rstrip() or None


def as_identifier(value: object) -> str | None:
    """An id as it was given: one that no URL can hold is none, since a cleaned one would be another's."""
    text = as_text(value)
    return text if text is not None and text == _clean(text, _MAX_ID) else None


def as_flag(value: object) -> bool:
    """A flag may come as a boolean, a number, or the words of an error."""
    if isinstance(value, str):
        return value.strip().lower() not in ("", "false", "0", "no", "none", "null")
    return bool(value)


def as_count(value: object) -> int | None:
    """A whole number from 0 on, however it is written."""
    text = as_text(value)
    found = re.fullmatch(r"(\d{1,15})(\.0+)?", text, re.ASCII) if text else None
    return int(found[1]) if found else None


_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?", re.ASCII)
_UTC = re.compile(r"\s*(utc|gmt|z)$", re.IGNORECASE)
_GAP = re.compile(r"\s+(?=[+-]\d)")


def as_moment(value: object) -> datetime | None:
    """An epoch in seconds, milli-, micro- or nanoseconds, an ISO date or one of RFC 2822; without a zone it is UTC.

    Anything else is nothing.
    """
    try:
        if isinstance(value, str):
            text = value.strip()
            if len(text) > _MAX_WORD:
                return None
            if not _NUMBER.fullmatch(text):
                moment = _written_date(text)
                return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
            value = text
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            return None
        seconds = float(value)
        for _ in range(3):
            if abs(seconds) > _MAX_SECONDS:
                seconds /= 1000
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, TypeError, IndexError, OverflowError, OSError):
        return None


def _written_date(text: str) -> datetime:
    try:
        return datetime.fromisoformat(_GAP.sub("", _UTC.sub("+00:00", text)))
    except ValueError:
        return parsedate_to_datetime(text)


def as_mark(value: object) -> str | None:
    """A date in one form, or whatever text stands in its place."""
    moment = as_moment(value)
    return _clean(as_text(value), _MAX_WORD) if moment is None else moment.isoformat()
