"""URLs and hosts that somebody typed: whether they are any, and where they lead."""

import ipaddress
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import SplitResult, urlsplit


def split(url: str) -> SplitResult | None:
    """The parts of a URL; None when it is not one. The library's own error would quote what may hold a secret."""
    with suppress(ValueError):
        parts = urlsplit(url)
        if parts.scheme and parts.hostname and parts.port != 0:  # looking at the port raises for one that cannot be
            return parts
    return None


def is_loopback(host: str) -> bool:
    """Whether a host, by name or address, is this machine and nothing else."""
    host = host.lower().strip("[]")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    address = address_of(host)
    return address is not None and address.is_loopback


def address_of(host: str) -> IPv4Address | IPv6Address | None:
    """The address that a host is, without its zone; an IPv4 address within IPv6 is that. None for a name."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
