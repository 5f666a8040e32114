"""Who is calling: the address behind trusted proxies, the key, and whether it is an administrator."""

import hashlib
import hmac
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from aiohttp import web
from pydantic import SecretStr

from service.api.admission import Network, peer_group
from service.api.keys import SETTINGS
from service.hosts import address_of
from service.settings import ServiceKey, Settings


@dataclass(frozen=True, slots=True)
class Caller:
    """What a request proved about who sent it."""

    key: ServiceKey | None = None
    """The configured key it carries, or that of who made the link it comes by; None for an administrator's link."""
    is_administrator: bool = False
    by_link: bool = False
    by_session: bool = False
    """A browser's cookie is all that it carries."""


CALLER = web.RequestKey("CALLER", Caller)
"""Set before any handler runs."""


def caller_ip(request: web.Request) -> IPv4Address | IPv6Address | None:
    """The caller's address: the peer's, or what trusted proxies say of whom they serve."""
    claims = request.headers.getall("X-Forwarded-For", [])
    return behind_proxies(request.remote or "", claims, request.app[SETTINGS].trusted_proxies)


def behind_proxies(peer: str, claims: Iterable[str], trusted: Collection[Network]) -> IPv4Address | IPv6Address | None:
    """Whom the peer speaks for, by the values of `X-Forwarded-For`.

    They are read from the right, as far as the proxies that added to them are trusted: what an untrusted caller wrote
    there is never reached.
    """
    claimed = ",".join(claims).split(",")
    found = _parse(peer)
    while claimed and found is not None and _is_within(found, trusted):
        before = _parse(claimed.pop())
        if before is None:
            break
        found = before
    return found


def is_from_trusted_proxy(request: web.Request) -> bool:
    """Whether the connection is that of a proxy whose word is believed."""
    peer = _parse(request.remote or "")
    return peer is not None and _is_within(peer, request.app[SETTINGS].trusted_proxies)


def is_https(request: web.Request) -> bool:
    """Whether the caller's own connection is encrypted, be it only as far as a trusted proxy."""
    if not is_from_trusted_proxy(request):
        return request.secure
    said = request.headers.get("X-Forwarded-Proto", request.scheme)
    return said.partition(",")[0].strip().lower() == "https"


def identity(request: web.Request) -> str:
    """What limits count by: the key, if one is configured and sent, else the address."""
    return tenant(request) or peer_identity(request)


def peer_identity(request: web.Request) -> str:
    """What limits count by while there is no key: the address (IPv6: its /64)."""
    return f"address:{peer_group(str(caller_ip(request)))}"


def tenant(request: web.Request) -> str | None:
    """Whose things these are: the name of the caller's key, else a name for it; None for everybody while the service is
    open. What comes by a link is of who made the link."""
    caller = request[CALLER]
    if caller.key is None:
        return "administrator" if caller.by_link else None
    return tenant_of(caller.key)


def tenant_of(key: ServiceKey) -> str:
    """Whose things those of a key's caller are."""
    if key.name is not None:
        return f"caller:{key.name}"
    return f"key:{hashlib.sha256(key.secret.get_secret_value().encode()).hexdigest()[:32]}"


def is_administrator(request: web.Request) -> bool:
    """Whether the caller is one. Nobody is while there is no `ADMIN_TOKEN`."""
    return request[CALLER].is_administrator


def may_call(settings: Settings, caller: Caller) -> bool:
    """Whether the caller may have what callers may: it has a key, or none is needed."""
    return not settings.service_api_key or caller.key is not None or caller.is_administrator


def api_key(request: web.Request) -> str:
    """The key that the request carries, right or wrong; empty when it carries none."""
    if key := request.headers.get("X-API-Key"):
        return key
    scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
    return credentials.strip() if scheme.lower() == "bearer" else ""


def matching(given: str, keys: Iterable[SecretStr]) -> SecretStr | None:
    """The key that was given, if it is one.

    Compares in constant time, and with every key, so that the time does not tell which was nearly right.
    """
    sent = given.encode("utf-8", "surrogateescape")
    found = [key for key in keys if hmac.compare_digest(sent, key.get_secret_value().encode())]
    return found[0] if found else None


def _is_within(address: IPv4Address | IPv6Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)


def _parse(text: str) -> IPv4Address | IPv6Address | None:
    """An address, without the port some proxies add."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    return address_of(text)
