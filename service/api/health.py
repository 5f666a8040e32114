"""Probes, version 0's health document, live counters, `GET /metrics`."""

import asyncio
from typing import Literal

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler
from prometheus_client.exposition import choose_encoder
from pydantic import Field

from service import __version__
from service.api.caller import is_administrator
from service.api.documents import Count, Document, Moment, answer
from service.api.keys import IMAGES, LIFECYCLE, METRICS, SETTINGS, SPENDING, STATS
from service.api.route import EVERY_ROLE, Answer, Route, Who, text

CircuitState = Literal["closed", "half-open", "open"]
Availability = Literal["ok", "unavailable"]

# As `breaker_state` has them.
_CIRCUITS: tuple[CircuitState, ...] = ("closed", "half-open", "open")


class Health(Document):
    """Version 0's document, and how the parts stand."""

    status: Literal["ok"]
    api_key_configured: bool
    version: str
    store: Literal["ok", "unusable"]
    circuits: dict[str, CircuitState]
    redis: Availability = Field("ok", description="Where several instances share.")
    s3: Availability = Field("ok", description="Where several instances share.")


class Version(Document):
    """What runs."""

    version: str


class StatsLimits(Document):
    """What the service keeps to."""

    max_concurrent_downloads: Count
    max_images_per_order: Count


class RecentError(Document):
    """An answer that was our fault or upstream's."""

    time: Moment
    code: str
    route: str
    request_id: str


class StatsCredits(Document):
    """Images that were bought today (UTC), or are being bought."""

    spent_today: int | None = Field(description="Null when it cannot be told.")
    limit: int | None = Field(description="`MAX_CREDITS_PER_DAY`; null: none.")
    left: int | None = Field(description="Of the limit, until midnight UTC.")


class StatsDocument(Document):
    """Counters since the start."""

    uptime_seconds: Count
    orders_processed: Count
    images_downloaded: Count
    images_failed: Count
    zips_served: Count
    limits: StatsLimits
    recent_errors: list[RecentError] = Field([], description="For administrators only.")
    credits: StatsCredits | None = Field(None, description="For administrators only.")


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
    """Version 0's document, and how the parts stand: the store, each circuit, and what instances share."""
    settings, series = request.app[SETTINGS], request.app[METRICS]
    states = series.values(series.breaker_state)
    document = Health(
        status="ok",
        api_key_configured=settings.autoenhance_api_key is not None,
        version=__version__,
        store="ok" if await request.app[IMAGES].is_usable() else "unusable",
        circuits={circuit: _CIRCUITS[int(state)] for circuit, state in states.items()},
    )
    if settings.shared_url is not None:
        is_up = series.values(series.shared_up)
        document.redis = "ok" if is_up["redis"] else "unavailable"
        document.s3 = "ok" if is_up["s3"] else "unavailable"
    return answer(document)


async def version(request: web.Request) -> web.Response:
    return answer(Version(version=__version__))


async def stats(request: web.Request) -> web.Response:
    """Counters since the start; for administrators the last errors too."""
    settings = request.app[SETTINGS]
    limits = {
        "max_concurrent_downloads": settings.download_concurrency,
        "max_images_per_order": settings.max_images_per_order,
    }
    document: dict[str, object] = {**request.app[STATS].snapshot(), "limits": limits}
    if is_administrator(request):
        document["recent_errors"] = request.app[STATS].recent_errors()
        limit, spent = request.app[SPENDING].limit, await request.app[SPENDING].spent()
        left = None if limit is None or spent is None else max(0, limit - spent)
        document["credits"] = {"spent_today": spent, "limit": limit, "left": left}
    return answer(document)


async def metrics(request: web.Request) -> web.Response:
    """Every series, in Prometheus's text format or as OpenMetrics (which has the exemplars), as the scraper prefers."""
    try:
        encode, content_type = choose_encoder(",".join(request.headers.getall(hdrs.ACCEPT, [])))
    except (TypeError, ValueError):  # a version that is no number
        encode, content_type = choose_encoder("")
    # On a thread: it reads /proc, and formats some thousand lines.
    body = await asyncio.to_thread(encode, request.app[METRICS].registry)
    response = web.Response(body=body, headers={hdrs.CONTENT_TYPE: content_type, hdrs.VARY: hdrs.ACCEPT})
    response.enable_compression()
    return response


def _probe(path: str, handler: Handler, summary: str, *answers: Answer) -> Route:
    """What machines ask every few seconds: of every instance, without a key or a trace."""
    return Route(
        "GET",
        path,
        handler,
        name=path.removeprefix("/"),
        summary=summary,
        who=Who.OPEN,
        traced=False,
        routine=True,
        roles=EVERY_ROLE,
        answers=answers,
    )


_TEXT = text("text/plain")

ROUTES = (
    Route(
        "GET",
        "/v1/stats",
        stats,
        name="stats",
        summary="Live counters",
        alias="/api/stats",
        answers=(Answer(200, "Since the start.", StatsDocument),),
    ),
    _probe("/health", health, "The health document", Answer(200, "How the parts stand.", Health)),
    _probe("/version", version, "The version that runs", Answer(200, "The version.", Version)),
    _probe("/livez", livez, "200 while the event loop turns", Answer(200, "It turns.", _TEXT)),
    _probe(
        "/readyz",
        readyz,
        "503 while nothing can be stored or looked up, and while stopping",
        Answer(200, "It takes requests.", _TEXT),
        Answer(503, "It can serve none now.", _TEXT),
    ),
    _probe(
        "/metrics",
        metrics,
        "Metrics for Prometheus",
        Answer(200, "Every series.", text("text/plain", "application/openmetrics-text")),
    ),
)
