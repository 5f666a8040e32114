"""For administrators: recent errors, and a way to see one arrive."""

from aiohttp import web

from service.api.caller import require_administrator
from service.api.keys import ISSUES


class TestError(RuntimeError):
    """Raised on purpose."""


async def recent(request: web.Request) -> web.Response:
    """`GET /v1/errors`: unresolved issues, as Sentry has them."""
    require_administrator(request)
    issues = await request.app[ISSUES].recent()
    return web.json_response({"issues": issues}, headers={"Cache-Control": "no-store"})


async def fail(request: web.Request) -> web.Response:
    """`GET /sentry-debug`: an error that nobody handles, to see it arrive."""
    require_administrator(request)
    raise TestError("An administrator asked for this error.")
