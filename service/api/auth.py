"""Who may call: `X-API-Key` against the configured keys."""

import hmac

from aiohttp import web
from aiohttp.typedefs import Handler

from service.api.keys import SETTINGS
from service.problems import Unauthorized

_OPEN = frozenset({"/livez", "/readyz", "/health", "/metrics"})


@web.middleware
async def require_caller(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let a request pass that carries one of the keys, is a probe, or asks a service without keys."""
    keys = request.app[SETTINGS].service_api_key
    if keys and request.path not in _OPEN and request.method != "OPTIONS":
        given = request.headers.get("X-API-Key", "").encode("utf-8", "surrogateescape")
        # Every key is compared, so that the time taken does not tell which one was nearly right.
        if not sum(hmac.compare_digest(given, key.get_secret_value().encode()) for key in keys):
            raise Unauthorized
    return await handler(request)
