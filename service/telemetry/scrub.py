"""Takes secrets out of what leaves the process by a side door: logs and error reports."""

import json
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote, quote_plus

MASK = "***"
# A shorter secret would mask half of every sentence.
_MIN_LENGTH = 4
# Signed addresses carry their secret in the query.
# (A match takes in a URL without a query too: else each of many such is searched to its end for one.)
_URL = re.compile(r"""\bhttps?://[^\s"'<>\\]+""")
_NAMES = r"(?:x-amz-|x-goog-)?(?:signature|sig|security-token|token|secret|api[_-]?key)"
_PAIR = re.compile(rf"""(?i)\b({_NAMES}=)[^&\s"'<>\\]+""")
# The token of a share link is the whole of its secret.
_SHARED = re.compile(r"(/s/)[A-Za-z0-9_-]{16,}")


class Scrubber:
    """Knows the service's own secrets, and what those of signed URLs look like."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known = {form for secret in secrets if len(secret) >= _MIN_LENGTH for form in _forms(secret)}
        longest_first = sorted(known, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def __call__(self, text: str) -> str:
        """The text without them."""
        if self._known is not None:
            text = self._known.sub(MASK, text)
        text = _SHARED.sub(rf"\1{MASK}", text)
        return _PAIR.sub(rf"\1{MASK}", _URL.sub(_without_query, text))

    def document(self, value: Any) -> Any:
        """The same for every string in a document, the names in its dicts too. Sequences and sets become lists."""
        match value:
            case str():
                return self(value)
            case bytes():
                return self(value.decode("utf-8", "replace"))
            case dict():
                return {self.document(name): self.document(part) for name, part in value.items()}
            case list() | tuple() | set() | frozenset():
                return [self.document(part) for part in value]
            case _:
                return value


def _without_query(url: re.Match[str]) -> str:
    base, _, query = url[0].partition("?")
    return f"{base}?{MASK}" if query else url[0]


def _forms(secret: str) -> set[str]:
    """A secret as it may be written: as it is, in JSON with and without escapes, in a URL, in a Python literal."""
    in_json = {json.dumps(secret, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False)}
    return {secret, *in_json, quote(secret, safe=""), quote(secret), quote_plus(secret), repr(secret)[1:-1]}
