"""Who may call: `X-API-Key` against the configured keys."""

from aiohttp import web
from aiohttp.typedefs import Handler

from service.api.caller import is_one_of
from service.api.keys import SETTINGS
from service.problems import Unauthorized

_OPEN = frozenset({"/", "/docs", "/livez", "/readyz", "/health", "/metrics", "/openapi.json"})
# The webhook has a secret of its own.
_OPEN_PREFIXES = ("/web/", "/docs/", "/v1/webhooks/")


@web.middleware
async def require_caller(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let a request pass that carries one of the keys, is a probe, or asks a service without keys."""
    keys = request.app[SETTINGS].service_api_key
    exempt = request.path in _OPEN or request.path.startswith(_OPEN_PREFIXES) or request.method == "OPTIONS"
    if keys and not exempt and not is_one_of(request.headers.get("X-API-Key", ""), keys):
        raise Unauthorized
    return await handler(request)
