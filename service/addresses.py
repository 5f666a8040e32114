"""Addresses that somebody typed: whether they are any."""

from contextlib import suppress
from urllib.parse import SplitResult, urlsplit


def split(url: str) -> SplitResult | None:
    """The parts of a URL; None when it is not one. The library's own error would quote what may hold a secret."""
    with suppress(ValueError):
        parts = urlsplit(url)
        if parts.scheme and parts.hostname and parts.port != 0:  # looking at the port raises for one that cannot be
            return parts
    return None
