"""`GET /metrics`, in Prometheus's text format or as OpenMetrics (which has the exemplars)."""

import asyncio

from aiohttp import hdrs, web
from prometheus_client.exposition import choose_encoder

from service.api.keys import METRICS
from service.api.route import EVERY_ROLE, Answer, Route, Who, text


async def metrics(request: web.Request) -> web.Response:
    """Every series, in the format that the scraper prefers."""
    encode, content_type = choose_encoder(",".join(request.headers.getall(hdrs.ACCEPT, [])))
    # On a thread: it reads /proc, and formats some thousand lines.
    body = await asyncio.to_thread(encode, request.app[METRICS].registry)
    response = web.Response(body=body, headers={hdrs.CONTENT_TYPE: content_type, hdrs.VARY: hdrs.ACCEPT})
    response.enable_compression()
    return response


ROUTES = (
    Route(
        "GET",
        "/metrics",
        metrics,
        name="metrics",
        summary="Metrics for Prometheus",
        tag="State",
        who=Who.OPEN,
        traced=False,
        routine=True,
        roles=EVERY_ROLE,
        answers=(Answer(200, "Every series.", text("text/plain", "application/openmetrics-text")),),
    ),
)
