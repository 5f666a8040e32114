"""Probes, the first generation's health document, live counters."""

from aiohttp import web

from service import __version__
from service.api.caller import is_administrator
from service.api.keys import IMAGES, LIFECYCLE, METRICS, SETTINGS, SPENDING, STATS

# As `breaker_state` has them.
_CIRCUITS = ("closed", "half-open", "open")


async def livez(request: web.Request) -> web.Response:
    """200 while the loop turns, whatever upstream does."""
    return web.Response(text="ok\n")


async def readyz(request: web.Request) -> web.Response:
    """503 while starting or draining, or when nothing can be stored or looked up.

    An open breaker is no reason: what is stored can still be served.
    """
    if request.app[LIFECYCLE].is_ready and await request.app[IMAGES].is_usable():
        return web.Response(text="ok\n")
    return web.Response(status=503, text="not ready\n")


async def health(request: web.Request) -> web.Response:
    """The first generation's document, and how the parts stand: the store, each circuit, and what instances share."""
    settings, metrics = request.app[SETTINGS], request.app[METRICS]
    states = metrics.values(metrics.breaker_state)
    document: dict[str, object] = {
        "status": "ok",
        "api_key_configured": settings.autoenhance_api_key is not None,
        "version": __version__,
        "store": "ok" if await request.app[IMAGES].is_usable() else "unusable",
        "circuits": {circuit: _CIRCUITS[int(state)] for circuit, state in states.items()},
    }
    if settings.shared_url is not None:
        shared = metrics.values(metrics.shared_up)
        document |= {what: "ok" if is_up else "unavailable" for what, is_up in shared.items()}
    return web.json_response(document)


async def version(request: web.Request) -> web.Response:
    """Which version runs."""
    return web.json_response({"version": __version__}, headers={"Cache-Control": "no-store"})


async def stats(request: web.Request) -> web.Response:
    """Counters since the start; for administrators the last errors too."""
    settings = request.app[SETTINGS]
    limits = {
        "max_concurrent_downloads": settings.download_concurrency,
        "max_images_per_order": settings.max_images_per_order,
    }
    document = {**request.app[STATS].snapshot(), "limits": limits}
    if is_administrator(request):
        document["recent_errors"] = request.app[STATS].recent_errors()
        limit, spent = request.app[SPENDING].limit, await request.app[SPENDING].spent()
        left = None if limit is None or spent is None else max(0, limit - spent)
        document["credits"] = {"spent_today": spent, "limit": limit, "left": left}
    return web.json_response(document, headers={"Cache-Control": "no-store"})
