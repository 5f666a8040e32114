"""Who is calling: the address behind trusted proxies, the key, and whether it is an administrator."""

import hmac
import ipaddress
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address

import xxhash
from aiohttp import web
from pydantic import SecretStr

from service.api.keys import SETTINGS
from service.problems import AdministratorsOnly

# One household or host usually holds a whole network of this length.
_IPV6_PREFIX = 64


def address(request: web.Request) -> IPv4Address | IPv6Address | None:
    """The caller's address: the peer's, or what trusted proxies say of whom they serve.

    `X-Forwarded-For` is read from the right, as far as the proxies that added to it are trusted; what an untrusted
    caller wrote into it is never reached.
    """
    trusted = request.app[SETTINGS].trusted_proxies
    claimed = ",".join(request.headers.getall("X-Forwarded-For", [])).split(",")
    found = _parse(request.remote or "")
    while claimed and found is not None and any(found in network for network in trusted):
        before = _parse(claimed.pop())
        if before is None:
            break
        found = before
    return found


def identity(request: web.Request) -> str:
    """What limits count by: the key, if one is configured and sent, else the address (IPv6: its /64)."""
    if (key := tenant(request)) is not None:
        return key
    caller = address(request)
    if isinstance(caller, IPv6Address):
        return f"address:{ipaddress.ip_network((caller, _IPV6_PREFIX), strict=False)}"
    return f"address:{caller}"


def tenant(request: web.Request) -> str | None:
    """Whose things these are: a name for the caller's key; None for everybody while the service is open."""
    key = request.headers.get("X-API-Key")
    if not key or not request.app[SETTINGS].service_api_key:
        return None
    return f"key:{xxhash.xxh3_128_hexdigest(key.encode('utf-8', 'surrogateescape'))}"


def is_administrator(request: web.Request) -> bool:
    """Whether the request carries the administrator's token. Nobody is one while there is no token."""
    token = request.app[SETTINGS].admin_token
    return token is not None and is_one_of(request.headers.get("X-Admin-Token", ""), [token])


def require_administrator(request: web.Request) -> None:
    """Raises `AdministratorsOnly` unless the caller is one."""
    if not is_administrator(request):
        raise AdministratorsOnly


def is_one_of(given: str, keys: Iterable[SecretStr]) -> bool:
    """Compare in constant time. Every key is compared, so that the time does not tell which was nearly right."""
    sent = given.encode("utf-8", "surrogateescape")
    return sum(hmac.compare_digest(sent, key.get_secret_value().encode()) for key in keys) > 0


def _parse(text: str) -> IPv4Address | IPv6Address | None:
    """An address, without the port some proxies add."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found
