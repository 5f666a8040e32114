"""The one client session, and the addresses it may connect to."""

import asyncio
import ipaddress
import socket
from typing import Any

from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector, TraceConfig
from yarl import URL

# Bytes per socket that wait for their reader. Fewer make the loop pause and resume reading all the time.
_READ_BUFFER = 512 * 1024

# Of one header, a signed address among them, in bytes. aiohttp's own 8 KiB is less than storage and gateways may send.
_LONGEST_HEADER = 64 * 1024

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")

CONNECT_SECONDS = 10.0
STALL_SECONDS = 30.0


class ForbiddenAddress(OSError):
    """A connection was refused because it would leave the public network."""


class AddressGuard:
    """Keeps upstream's redirects out of our own network.

    Checked on the address connected to, so a name that resolves inwards is caught too. Off when the API itself has
    no public address, as a sandbox has none.
    """

    def __init__(self, api_base: URL) -> None:
        self._api_base = api_base
        self._private_api: bool | None = None

    async def learn(self) -> None:
        """Find out, once, whether the API is at a public address. Asked again after a failed look-up."""
        if self._private_api is not None:
            return
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(self._api_base.host, self._api_base.port, type=socket.SOCK_STREAM)
        except OSError:
            return
        self._private_api = not any(_is_public(entry[4]) for entry in found)

    def open_socket(self, info: tuple[Any, ...]) -> socket.socket:
        """aiohttp's socket factory. `info` is an entry of `getaddrinfo`. Raises `ForbiddenAddress`."""
        return _open_socket(info) if self._private_api else open_public_socket(info)


def open_public_socket(info: tuple[Any, ...]) -> socket.socket:
    """aiohttp's socket factory that connects to public addresses only. Raises `ForbiddenAddress`."""
    if not _is_public(info[4]):
        raise ForbiddenAddress("not a public address")
    return _open_socket(info)


def is_public_host(host: str) -> bool:
    """Whether a host can be public: a public address, or a name (judged by its address when that is known)."""
    try:
        return _is_public((host,))
    except ValueError:
        return host.rstrip(".").lower() != "localhost"


def _open_socket(info: tuple[Any, ...]) -> socket.socket:
    family, kind, protocol, _, _ = info
    return socket.socket(family, kind, protocol)


def _is_public(address: tuple[Any, ...]) -> bool:
    ip = ipaddress.ip_address(str(address[0]).partition("%")[0])
    inner = _inner(ip) if isinstance(ip, ipaddress.IPv6Address) else None
    return ip.is_global and not ip.is_multicast if inner is None else inner.is_global and not inner.is_multicast


def _inner(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 address leads to: mapped, through 6to4, or through NAT64."""
    if ip in _NAT64:
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour


def open_session(
    guard: AddressGuard, trace_configs: list[TraceConfig] | None = None, *, keep_connections: bool = True
) -> ClientSession:
    """A session to upstream. How many calls run at once is not decided here."""
    keepalive = {"keepalive_timeout": 30} if keep_connections else {"force_close": True}
    return ClientSession(
        connector=TCPConnector(limit=0, socket_factory=guard.open_socket, **keepalive),
        timeout=ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=STALL_SECONDS),
        cookie_jar=DummyCookieJar(),
        read_bufsize=_READ_BUFFER,
        max_line_size=_LONGEST_HEADER,
        max_field_size=_LONGEST_HEADER,
        headers={"Accept": "*/*", "User-Agent": "autoenhance-batch"},
        trace_configs=trace_configs,
    )
