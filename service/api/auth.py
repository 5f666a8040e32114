"""Who may call: a key, a session, a signed link, or an administrator."""

from aiohttp import web
from aiohttp.typedefs import Handler

from service.api import delivery_page, links, session
from service.api.caller import CALLER, Caller, api_key
from service.api.keys import SETTINGS
from service.api.tracing import route_of
from service.problems import Unauthorized

_OPEN = frozenset(
    {"/", "/docs", "/livez", "/readyz", "/health", "/metrics", "/version", "/openapi.json", "/v1/session"}
)
# Their handlers ask for an administrator, so that a key, or none, is told the same: 403.
_ADMINISTRATORS = frozenset(
    {
        "/v1/orders",
        "/v1/orders/sample",
        "/v1/jobs/{job_id}/callback",
        "/v1/errors",
        "/sentry-debug",
        "/api/create-order",
        "/api/create-sample-order",
        "/api/sentry/issues",
    }
)
# The webhook has a secret of its own.
# A share link is its own permission; its handlers look at it.
_OPEN_PREFIXES = ("/web/", "/docs/", "/v1/webhooks/", delivery_page.PREFIX)


@web.middleware
async def require_caller(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Note who calls, and let those pass who may, those who ask for what is open, and all while there are no keys."""
    is_preflight = request.method == "OPTIONS"
    request[CALLER] = caller = Caller() if is_preflight else await _caller(request)
    is_known = caller.key is not None or caller.is_administrator or caller.by_link
    needs_key = not (is_preflight or _is_open(request) or _is_for_administrators(request))
    if request.app[SETTINGS].service_api_key and needs_key and not is_known:
        raise Unauthorized
    return await handler(request)


def _is_open(request: web.Request) -> bool:
    names = {request.path, route_of(request)}  # where no method fits there is a path, but no route
    return not names.isdisjoint(_OPEN) or request.path.startswith(_OPEN_PREFIXES)


def _is_for_administrators(request: web.Request) -> bool:
    return not {request.path, route_of(request)}.isdisjoint(_ADMINISTRATORS)


async def _caller(request: web.Request) -> Caller:
    """Judge what the request carries. Raises `LinkRefused`, `LinksUnavailable`, and `RateLimited` for too many wrong
    keys or tokens."""
    if request.path.startswith(delivery_page.PREFIX):
        return await delivery_page.maker_of(request)
    keys = request.app[SETTINGS].service_keys
    if keys and links.is_link(request):
        return await links.maker_of(request)
    token, given = request.headers.get("X-Admin-Token"), api_key(request)
    browser = await session.session_of(request)
    is_administrator = browser.is_administrator if token is None else await session.is_token(request, token)
    if not given or _is_open(request):
        # Nothing depends on a key where all are let in, and a webhook's secret looks like one.
        return Caller(browser.key, is_administrator)
    return Caller(await session.find_key(request, given) if keys else None, is_administrator)
