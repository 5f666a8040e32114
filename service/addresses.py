"""Addresses that somebody typed: whether they are any."""

from contextlib import suppress
from urllib.parse import SplitResult, urlsplit


def split(address: str) -> SplitResult | None:
    """Its parts; None for what is no address. The library's own words on it would quote what may be a secret."""
    with suppress(ValueError):
        parts = urlsplit(address)
        if parts.scheme and parts.hostname and parts.port != 0:  # looking at the port raises for one that cannot be
            return parts
    return None
