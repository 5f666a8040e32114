"""Addresses that somebody typed: whether they are any."""

import ipaddress
from contextlib import suppress
from urllib.parse import SplitResult, urlsplit


def split(address: str) -> SplitResult | None:
    """Its parts; None for what is no address. The library's own words on it would quote what may be a secret."""
    with suppress(ValueError):
        parts = urlsplit(address)
        if parts.scheme and parts.hostname and parts.port != 0:  # looking at the port raises for one that cannot be
            return parts
    return None


def is_loopback(name: str) -> bool:
    """Whether a host, by name or address, is this machine and nothing else."""
    name = name.lower().strip("[]")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback
