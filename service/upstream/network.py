"""The one client session: which addresses it may connect to, through which proxy, and how names are looked up."""

import asyncio
import ipaddress
import socket
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any
from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]

from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector, TraceConfig
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from service.upstream.connection import bound_connections

CONNECT_SECONDS = 10.0
STALL_SECONDS = 30.0

# Per socket, in bytes. With less the loop pauses and resumes reading all the time.
_READ_BUFFER_BYTES = 512 * 1024

# Of one header, a signed address among them. aiohttp's own 8 KiB is less than storage and gateways may send.
_MAX_HEADER_BYTES = 64 * 1024

_DNS_THREADS = 4

# IANA's special-purpose registry and multicast. The list is ours because `ipaddress` changes its mind with every
# release of Python. An entry that IANA calls global is here too if nothing that we could want to fetch is there.
_SPECIAL_IPV4 = tuple(
    map(
        ipaddress.IPv4Network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "168.63.129.16/32",  # Azure's virtual host: metadata, and a public address by its looks
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",  # 192.0.0.192 is Oracle's metadata service
            "192.0.2.0/24",
            "192.31.196.0/24",
            "192.52.193.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "192.175.48.0/24",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/3",
        ),
    )
)

# All other IPv6 is not assigned, or not public: loopback, unique, site and link local, multicast, ...
_GLOBAL_IPV6 = ipaddress.IPv6Network("2000::/3")
_SPECIAL_IPV6 = tuple(
    map(
        ipaddress.IPv6Network,
        (
            "2001::/23",  # protocols: Teredo, ORCHID, benchmarks, ...
            "2001:db8::/32",
            "2002::/16",  # 6to4, given up
            "2620:4f:8000::/48",
            "3fff::/20",
        ),
    )
)
_EMBEDDED_IPV4 = tuple(map(ipaddress.IPv6Network, ("::ffff:0:0/96", "64:ff9b::/96")))
"""Where the last 32 bits are the address that is really reached: mapped by the kernel, and translated by NAT64."""
_ISATAP = (0x00005EFE, 0x02005EFE)


class ForbiddenAddress(ConnectionError):
    """A connection was refused because it would leave the public network."""


class Proxies:
    """The HTTP proxies of the environment: `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`, lower-case forms first."""

    def __init__(self, found: Mapping[str, str] | None = None) -> None:
        """`found` is what `urllib.request.getproxies_environment` gives; None: the process's own.

        Raises `ValueError` for an address that is no HTTP proxy's.
        """
        found = getproxies_environment() if found is None else found
        self._direct = {"no": found.get("no", "")}
        self._urls = {scheme: _proxy_url(scheme, found[scheme]) for scheme in ("http", "https") if found.get(scheme)}
        self.addresses = frozenset((url.host or "", url.port or 0) for url in self._urls.values())
        """Host and port of each."""

    def get(self, url: URL) -> URL | None:
        """The proxy that a request to `url` goes through; loopback is always reached directly."""
        if not self._urls:
            return None
        host = url.host or ""
        if _is_loopback(host) or proxy_bypass_environment(f"{host}:{url.port}", self._direct):
            return None
        return self._urls.get(url.scheme)


class Resolver(AbstractResolver):
    """Looks names up on `threads` of its own, so that a slow name server keeps no other work waiting."""

    def __init__(self, threads: int = _DNS_THREADS) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="dns")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of `host`. Raises `OSError` when there are none."""
        look_up = partial(
            socket.getaddrinfo, host, port, family, type=socket.SOCK_STREAM, flags=int(socket.AI_ADDRCONFIG)
        )
        try:
            entries = await asyncio.get_running_loop().run_in_executor(self._pool, look_up)
        except UnicodeError as error:
            raise OSError("not a name that could have an address") from error
        return [_resolved(host, entry) for entry in entries]

    async def close(self) -> None:
        """Forget the look-ups that have not begun; those that have are not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class AddressGuard(AbstractResolver):
    """Keeps upstream's redirects out of our own network: a connector asks it for addresses and for sockets.

    Checked on the address connected to, so a name that resolves inwards is caught too. Of a request that goes through
    a proxy only the host's own spelling can be checked here. Off when the API itself has no public address, as a
    sandbox has none.
    """

    def __init__(self, api_base: URL, proxies: Proxies | None = None) -> None:
        self._api_base = api_base
        self._proxies = proxies or Proxies()
        self._resolver = Resolver()
        self._private_api: bool | None = None
        # Where a proxy's name led when it was last looked up.
        self._proxy_addresses = {
            (host, port): {(str(_literal(host) or host), port)} for host, port in self._proxies.addresses
        }

    async def learn(self) -> None:
        """Find out, once, whether the API is at a public address. Asked again after a failed look-up."""
        if self._private_api is not None:
            return
        host = self._api_base.host or ""
        # Behind a proxy names may not be known here at all.
        if _literal(host) or self._proxies.get(self._api_base):
            self._private_api = not is_public_host(host)
            return
        try:
            found = await self._resolver.resolve(host, self._api_base.port or 0)
        except OSError:
            return
        self._private_api = not any(is_public_host(entry["host"]) for entry in found)

    def proxy(self, url: URL) -> URL | None:
        """The proxy that a request to `url` goes through. Raises `ForbiddenAddress` for an inward one."""
        proxy = self._proxies.get(url)
        if proxy and not self._private_api and not is_public_host(url.host or ""):
            raise ForbiddenAddress("not a public address")
        return proxy

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        if (host, port) in self._proxy_addresses:
            self._proxy_addresses[host, port] = {(entry["host"], entry["port"]) for entry in found}
        return found

    def open_socket(self, info: tuple[Any, ...]) -> socket.socket:
        """aiohttp's socket factory. `info` is an entry of `getaddrinfo`. Raises `ForbiddenAddress`."""
        is_proxy = any(tuple(info[4][:2]) in addresses for addresses in self._proxy_addresses.values())
        return _open_socket(info) if self._private_api or is_proxy else open_public_socket(info)

    async def close(self) -> None:
        await self._resolver.close()

    aclose = close


def open_public_socket(info: tuple[Any, ...]) -> socket.socket:
    """aiohttp's socket factory that connects to public addresses only. Raises `ForbiddenAddress`."""
    if not _is_public(ipaddress.ip_address(_unscoped(info[4][0]))):
        raise ForbiddenAddress("not a public address")
    return _open_socket(info)


def is_public_host(host: str) -> bool:
    """Whether a host can be public: a public address, or a name (judged by its address when that is known)."""
    ip = _literal(host)
    return _is_public(ip) if ip else not _is_localhost(host)


def open_session(
    guard: AddressGuard, trace_configs: list[TraceConfig] | None = None, *, keep_connections: bool = True
) -> ClientSession:
    """A session to upstream. How many calls run at once is not decided here."""
    if keep_connections:
        connector = TCPConnector(limit=0, keepalive_timeout=30, resolver=guard, socket_factory=guard.open_socket)
    else:
        connector = TCPConnector(limit=0, force_close=True, resolver=guard, socket_factory=guard.open_socket)
    bound_connections(connector)
    session = ClientSession(
        connector=connector,
        timeout=ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
        cookie_jar=DummyCookieJar(),
        read_bufsize=_READ_BUFFER_BYTES,
        max_line_size=_MAX_HEADER_BYTES,
        max_field_size=_MAX_HEADER_BYTES,
        headers={"Accept": "*/*", "User-Agent": "autoenhance-batch"},
        trace_configs=trace_configs,
    )
    # By itself aiohttp sends a request once more where a connection closes without an answer: no attempt of ours, seen
    # by no limit, budget or figure.
    session._retry_connection = False
    return session


def _open_socket(info: tuple[Any, ...]) -> socket.socket:
    family, kind, protocol, _, _ = info
    return socket.socket(family, kind, protocol)


def _resolved(host: str, entry: tuple[Any, ...]) -> ResolveResult:
    family, _, protocol, _, address = entry
    scope = f"%{address[3]}" if family == socket.AF_INET6 and address[3] else ""
    return ResolveResult(
        hostname=host,
        host=f"{address[0]}{scope}",
        port=address[1],
        family=family,
        proto=protocol,
        flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
    )


_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def _is_public(ip: _Address) -> bool:
    if isinstance(ip, ipaddress.IPv4Address):
        return not _is_in(ip, _SPECIAL_IPV4)
    inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    if _is_in(ip, _EMBEDDED_IPV4):
        return _is_public(inner)
    if int(ip) >> 32 & 0xFFFFFFFF in _ISATAP and not _is_public(inner):
        return False
    return ip in _GLOBAL_IPV6 and not _is_in(ip, _SPECIAL_IPV6)


def _is_in(ip: _Address, networks: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    return any(ip in network for network in networks)


def _literal(host: str) -> _Address | None:
    """The address that `host` spells out, in whatever way connecting would read it; None for a name."""
    with suppress(ValueError):
        return ipaddress.ip_address(_unscoped(host))
    with suppress(OSError):
        return ipaddress.IPv4Address(socket.inet_aton(host))
    return None


def _unscoped(address: str) -> str:
    return address.partition("%")[0]


def _is_loopback(host: str) -> bool:
    ip = _literal(host)
    return ip.is_loopback if ip else _is_localhost(host)


def _is_localhost(host: str) -> bool:
    name = host.rstrip(".").lower()
    return name == "localhost" or name.endswith(".localhost")


def _proxy_url(scheme: str, value: str) -> URL:
    """A proxy's URL, which may come without a scheme. Raises `ValueError`, without the password it may hold."""
    try:
        url = URL(value if "://" in value else f"http://{value}")
        if url.scheme == "http" and url.host and url.port:
            return url
    except ValueError:
        pass
    raise ValueError(f"{scheme.upper()}_PROXY must be the URL of an HTTP proxy, such as http://proxy.example:3128")
