"""What a page of another site, or a browser by itself, must not make the service do: spend credits, or change anything.

A browser sends requests of any page to any address, this machine's included. Where callers send keys that is harmless,
because no page has one. Without keys, and where the browser sends a session's cookie, the service looks at what
browsers say of where a request comes from. Over plain HTTP a page can have its requests say nothing, so for a session
silence is not enough: our own pages let theirs say where they come from (`Referrer-Policy: same-origin`).
"""

from collections.abc import Collection

from aiohttp import web
from aiohttp.typedefs import Handler
from yarl import URL

from service.api.caller import CALLER
from service.api.keys import SETTINGS
from service.api.route import policy_of
from service.hosts import is_loopback
from service.problems import HostRefused, OriginRefused, PrefetchRefused
from service.text import printable

_TRUE = frozenset({"true", "1", "yes", "on", "t", "y"})
_PREFETCH = (("Sec-Purpose", "prefetch"), ("Purpose", "prefetch"), ("X-Moz", "prefetch"))


@web.middleware
async def refuse_foreign(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Raises `PrefetchRefused`, `OriginRefused` or `HostRefused` for what would buy or change something.

    Comes after the caller is known.
    """
    may_buy = _may_buy(request)
    if may_buy and is_prefetch(request):
        raise PrefetchRefused
    settings, caller = request.app[SETTINGS], request[CALLER]
    if may_buy and caller.by_session and not is_from_own_page(request, otherwise=False):
        raise OriginRefused("In a browser's session only this service's own pages buy.")
    is_open = not settings.service_api_key and not caller.is_administrator
    if is_open and (_may_change(request) or may_buy):
        if not is_from_own_page(request) and not _is_allowed(request, settings.allowed_origins):
            raise OriginRefused
        host = request.headers.get("Host")
        if host is not None and _is_on_loopback(request) and not _is_own_host(host, settings.allowed_hosts):
            raise HostRefused(f"It was {printable(host)}.")
    return await handler(request)


def is_from_own_page(request: web.Request, *, otherwise: bool = True) -> bool:
    """What the browser says about who asks; `otherwise` where nothing is said, as by programs that are no browsers."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site in ("same-origin", "none")
    page = request.headers.get("Origin", request.headers.get("Referer"))
    if page is None:
        return otherwise
    try:
        asking = URL(page)
        own = URL(f"{asking.scheme}://{request.host}")
        is_own_scheme = asking.absolute and asking.scheme in ("https", request.scheme)  # a proxy may end the TLS
        return is_own_scheme and (asking.host, asking.port) == (own.host, own.port)
    except ValueError:
        return False


def _may_change(request: web.Request) -> bool:
    is_route = request.match_info.route.resource is not None
    return is_route and request.method != "OPTIONS" and policy_of(request).changes


def _may_buy(request: web.Request) -> bool:
    """Whether it is a download that spends credits where images are not here yet."""
    if not policy_of(request).buys:
        return False
    query = request.query
    is_full_size = any(value.strip().lower() not in _TRUE for value in query.getall("preview", ()))
    is_free = any(value.strip().lower() in _TRUE for value in query.getall("dev_mode", ()))
    return (is_full_size or "rendition" in query) and not is_free


def is_prefetch(request: web.Request) -> bool:
    """Whether a browser asks ahead of its user."""
    return any(word in request.headers.get(name, "").lower() for name, word in _PREFETCH)


def _is_allowed(request: web.Request, allowed: Collection[str]) -> bool:
    """Whether the page's origin may call. Who follows a link there says only where it was (`Referer`)."""
    origin = request.headers.get("Origin")
    if origin is None:
        try:
            origin = str(URL(request.headers.get("Referer", "")).origin())
        except ValueError:
            origin = ""
    return "*" in allowed or origin in allowed


def _is_on_loopback(request: web.Request) -> bool:
    address = request.transport.get_extra_info("sockname") if request.transport else None
    return address is not None and is_loopback(str(address[0]))


def _is_own_host(host: str, allowed: Collection[str]) -> bool:
    """Whether a `Host` names this machine. A name that anybody may give this machine's address is no such name."""
    try:
        name = (URL(f"http://{host}").host or "").lower().rstrip(".")
    except ValueError:
        return False
    return is_loopback(name) or name in allowed or "*" in allowed
