"""URLs that a person typed: whether they are any."""

from contextlib import suppress
from urllib.parse import SplitResult, urlsplit


def split(url: str) -> SplitResult | None:
    """Its parts; None when it is not a URL. The library's own error would quote what may hold a secret."""
    with suppress(ValueError):
        parts = urlsplit(url)
        if parts.scheme and parts.hostname and parts.port != 0:  # reading an impossible port raises
            return parts
    return None
