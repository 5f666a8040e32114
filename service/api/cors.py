"""Browser pages of other origins: aiohttp-cors, and the `Vary` that it leaves out."""

import aiohttp_cors
from aiohttp import web

_EXPOSED = (
    "Accept-Ranges",
    "Content-Disposition",
    "Content-Length",
    "Content-Range",
    "ETag",
    "Link",
    "Location",
    "Retry-After",
    "X-Archive-Id",
    "X-Archive-Stale",
    "X-Downloaded",
    "X-Failed",
    "X-Request-Id",
    "X-Total-Images",
)
_ALLOWED = (
    "Content-Type",
    "Idempotency-Key",
    "If-Match",
    "If-None-Match",
    "If-Range",
    "Last-Event-ID",
    "Range",
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
    app.on_response_prepare.append(_vary)


async def _vary(request: web.BaseRequest, response: web.StreamResponse) -> None:
    given = response.headers.get("Vary")
    response.headers["Vary"] = f"{given}, Origin" if given else "Origin"
