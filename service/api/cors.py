"""Browser pages of other origins: aiohttp-cors, and the `Vary` that it leaves out."""

import aiohttp_cors
from aiohttp import web
from aiohttp.typedefs import Handler

from service.api.openapi import HEADERS
from service.problems import OriginRefused

_ALLOW_ORIGIN = "Access-Control-Allow-Origin"
_REPEATED = ("Origin", "Access-Control-Request-Method", "Access-Control-Request-Headers")
# Browsers show no page a cookie, and what is missing is in the problem document.
_EXPOSED = tuple(name for name in HEADERS if name not in ("Set-Cookie", "WWW-Authenticate"))
_ALLOWED = (
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "If-Match",
    "If-None-Match",
    "If-Range",
    "Last-Event-ID",
    "Range",
    "Traceparent",
    "Tracestate",
    "X-API-Key",
    "X-Request-Id",
)


def allow_origins(app: web.Application, origins: tuple[str, ...]) -> None:
    """Let pages of `origins` call every route. Call after the last route was added."""
    if not origins:
        return
    options = aiohttp_cors.ResourceOptions(  # type: ignore[no-untyped-call]
        allow_credentials=False, expose_headers=_EXPOSED, allow_headers=_ALLOWED, max_age=600
    )
    cors = aiohttp_cors.setup(app, defaults=dict.fromkeys(origins, options))
    for route in list(app.router.routes()):
        if route.method != "OPTIONS":
            cors.add(route)
    allowed = frozenset(origins)

    async def complete(request: web.Request, response: web.StreamResponse) -> None:
        """What aiohttp-cors leaves out: errors of addresses that have no route, and what a cache must know."""
        response.headers["Vary"] = ", ".join((*response.headers.getall("Vary", ()), "Origin"))
        origin = request.headers.get("Origin")
        if origin is not None and not origin.isascii():  # no header that could be sent, though `*` allows it
            response.headers.popall(_ALLOW_ORIGIN, None)
            return
        is_simple = origin is not None and request.method != "OPTIONS" and _ALLOW_ORIGIN not in response.headers
        if is_simple and (origin in allowed or "*" in allowed):
            response.headers[_ALLOW_ORIGIN] = str(origin)
            response.headers["Access-Control-Expose-Headers"] = ",".join(_EXPOSED)

    app.on_response_prepare.append(complete)
    app.middlewares.append(refuse_odd_preflights)


@web.middleware
async def refuse_odd_preflights(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Raises `OriginRefused` for what aiohttp-cors cannot answer: it repeats what was sent, be it text or not."""
    if request.method == "OPTIONS" and not all(request.headers.get(name, "").isascii() for name in _REPEATED):
        raise OriginRefused
    return await handler(request)
