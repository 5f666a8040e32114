"""Who may call: a key, a signed link, or an administrator."""

from aiohttp import web
from aiohttp.typedefs import Handler

from service.api import links, session
from service.api.caller import CALLER, Caller, matching
from service.api.keys import SETTINGS
from service.api.tracing import route_of
from service.problems import Unauthorized

_OPEN = frozenset({"/", "/docs", "/livez", "/readyz", "/health", "/metrics", "/openapi.json", "/v1/session"})
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
_OPEN_PREFIXES = ("/web/", "/docs/", "/v1/webhooks/")


@web.middleware
async def require_caller(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Note who calls, and let those pass who may, those who ask for what is open, and all while there are no keys."""
    is_preflight = request.method == "OPTIONS"
    request[CALLER] = caller = Caller() if is_preflight else await _caller(request)
    is_known = caller.key is not None or caller.is_administrator
    if request.app[SETTINGS].service_api_key and not (is_known or is_preflight or _is_open(request)):
        raise Unauthorized
    return await handler(request)


def _is_open(request: web.Request) -> bool:
    names = {request.path, route_of(request)}  # where no method fits there is a path, but no route
    return not names.isdisjoint(_OPEN | _ADMINISTRATORS) or request.path.startswith(_OPEN_PREFIXES)


async def _caller(request: web.Request) -> Caller:
    """Judge what the request carries. Raises `LinkRefused`, and `RateLimited` for too many wrong tokens."""
    keys = request.app[SETTINGS].service_api_key
    if keys and links.is_link(request):
        return Caller(links.key_of(request, keys), by_link=True)
    token = request.headers.get("X-Admin-Token")
    is_administrator = session.has_session(request) if token is None else await session.is_token(request, token)
    return Caller(matching(request.headers.get("X-API-Key", ""), keys), is_administrator)
