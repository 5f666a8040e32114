"""Takes secrets out of what leaves the process by a side door: logs and error reports."""

import json
import re
from collections.abc import Iterable
from typing import Any

MASK = "***"
# A secret shorter than this would mask half of every sentence.
_SHORTEST = 4
# Signed addresses carry their secret in the query.
_QUERY = re.compile(r"""(\bhttps?://[^\s?"'<>\\]+)\?[^\s"'<>\\]+""")
_NAMES = r"(?:x-amz-|x-goog-)?(?:signature|sig|security-token|token|secret|api[_-]?key)"
_PAIR = re.compile(rf"""(?i)\b({_NAMES}=)[^&\s"'<>\\]+""")


class Scrubber:
    """Knows the service's own secrets, and what those of signed addresses look like."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known = {secret for secret in secrets if len(secret) >= _SHORTEST}
        known |= {json.dumps(secret)[1:-1] for secret in known}
        longest_first = sorted(known, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def __call__(self, text: str) -> str:
        """The text without them."""
        if self._known is not None:
            text = self._known.sub(MASK, text)
        return _PAIR.sub(rf"\1{MASK}", _QUERY.sub(rf"\1?{MASK}", text))

    def document(self, value: Any) -> Any:
        """The same for every string in a document of dicts and lists."""
        match value:
            case str():
                return self(value)
            case dict():
                return {name: self.document(part) for name, part in value.items()}
            case list() | tuple():
                return [self.document(part) for part in value]
            case _:
                return value
