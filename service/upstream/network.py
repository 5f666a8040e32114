"""The one client session, and the addresses it may connect to."""

import asyncio
import ipaddress
import socket
from typing import Any

from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector, TraceConfig
from yarl import URL

# Bytes per socket that wait for their reader. Fewer make the loop pause and resume reading all the time.
_READ_BUFFER = 512 * 1024

CONNECT_SECONDS = 10.0
STALL_SECONDS = 30.0


class ForbiddenAddress(OSError):
    """A connection was refused because it would leave the public network."""


class AddressGuard:
    """Keeps upstream's redirects out of our own network.

    Checked on the address connected to, so a name that resolves inwards is caught too. Off when the API itself has
    an address that is not public, as a sandbox has.
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
        self._private_api = any(not _is_public(entry[4]) for entry in found)

    def open_socket(self, info: tuple[Any, ...]) -> socket.socket:
        """aiohttp's socket factory. `info` is an entry of `getaddrinfo`. Raises `ForbiddenAddress`."""
        family, kind, protocol, _, address = info
        if not self._private_api and not _is_public(address):
            raise ForbiddenAddress("not a public address")
        return socket.socket(family, kind, protocol)


def _is_public(address: tuple[Any, ...]) -> bool:
    ip = ipaddress.ip_address(str(address[0]).partition("%")[0])
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return (mapped or ip).is_global and not ip.is_multicast


def open_session(guard: AddressGuard, trace_configs: list[TraceConfig]) -> ClientSession:
    """The process's session to upstream. How many calls run at once is not decided here."""
    return ClientSession(
        connector=TCPConnector(limit=0, keepalive_timeout=30, socket_factory=guard.open_socket),
        timeout=ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=STALL_SECONDS),
        cookie_jar=DummyCookieJar(),
        read_bufsize=_READ_BUFFER,
        trace_configs=trace_configs,
        headers={"Accept": "*/*", "User-Agent": "autoenhance-batch"},
    )
