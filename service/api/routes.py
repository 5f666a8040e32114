"""Every address of the service."""

from aiohttp import HttpVersion11, hdrs, web

from service.api import (
    archives,
    ask,
    delivery_page,
    docs,
    downloads,
    errors,
    health,
    images,
    jobs,
    link_sharing,
    links,
    metrics,
    new_orders,
    openapi,
    orders,
    page,
    session,
    webhooks,
)

# What an instance answers that only runs jobs.
_WORKER_PATHS = frozenset({"/livez", "/readyz", "/health", "/metrics", "/version"})


def for_role(role: str) -> list[web.RouteDef]:
    """The routes of an instance in this role."""
    routes = [
        web.post("/v1/orders", new_orders.create),
        web.post("/v1/orders/sample", new_orders.create_sample),
        web.get("/v1/orders/{order_id:[^/]+}/images", downloads.download, allow_head=False),
        web.head("/v1/orders/{order_id:[^/]+}/images", downloads.describe),
        web.get("/v1/orders/{order_id:[^/]+}/images/{image_id:[^/]+}", images.image, allow_head=False),
        web.head("/v1/orders/{order_id:[^/]+}/images/{image_id:[^/]+}", images.describe),
        web.get("/v1/orders/{order_id:[^/]+}", orders.overview),
        web.post("/v1/orders/{order_id:[^/]+}/jobs", jobs.create),
        web.get("/v1/jobs", jobs.find),
        web.get("/v1/jobs/{job_id:[^/]+}", jobs.status),
        web.delete("/v1/jobs/{job_id:[^/]+}", jobs.cancel),
        web.get("/v1/jobs/{job_id:[^/]+}/events", jobs.events, allow_head=False),
        web.get("/v1/jobs/{job_id:[^/]+}/download", jobs.download, allow_head=False),
        web.head("/v1/jobs/{job_id:[^/]+}/download", jobs.describe),
        web.post("/v1/jobs/{job_id:[^/]+}/callback", jobs.repeat_callback),
        web.post("/v1/webhooks/autoenhance", webhooks.autoenhance),
        web.get("/v1/archives/{archive_id:[^/]+}", archives.download, allow_head=False),
        web.head("/v1/archives/{archive_id:[^/]+}", archives.describe),
        web.get("/v1/archives/{archive_id:[^/]+}/report", archives.report),
        web.post("/v1/links", links.create),
        web.get("/v1/links", link_sharing.find),
        web.delete("/v1/links/{link_id:[^/]+}", link_sharing.revoke),
        web.get("/s/{token:[^/]+}", delivery_page.show),
        web.get("/s/{token:[^/]+}/images/{image_id:[^/]+}", delivery_page.image, allow_head=False),
        web.head("/s/{token:[^/]+}/images/{image_id:[^/]+}", delivery_page.describe_one),
        web.get("/s/{token:[^/]+}/download", delivery_page.download, allow_head=False),
        web.head("/s/{token:[^/]+}/download", delivery_page.describe),
        web.post("/v1/session", session.create),
        web.get("/v1/session", session.read),
        web.delete("/v1/session", session.delete),
        web.get("/v1/stats", health.stats),
        web.get("/v1/errors", errors.recent),
        web.get("/sentry-debug", errors.fail),
        web.post("/v1/ask", ask.ask),
        web.get("/livez", health.livez),
        web.get("/readyz", health.readyz),
        web.get("/health", health.health),
        web.get("/version", health.version),
        web.get("/", page.page),
        web.get("/web/{version:[0-9a-f]{16}}/{name:[^/]+}", page.asset),
        web.get("/openapi.json", openapi.openapi),
        web.get("/docs", docs.reference),
        web.get("/docs/errors", docs.errors),
        web.get("/docs/guide", docs.first_page),
        web.get("/docs/guide/{page:[^/]+}", docs.guide),
        web.get("/docs/files/{version:[0-9a-f]{16}}/{name:[^/]+}", docs.file),
        web.get("/metrics", metrics.metrics),
        # The first generation's paths.
        web.get("/orders/{order_id:[^/]+}/images", downloads.download, allow_head=False),
        web.head("/orders/{order_id:[^/]+}/images", downloads.describe),
        web.post("/orders/{order_id:[^/]+}/jobs", jobs.create),
        web.get("/jobs/{job_id:[^/]+}", jobs.status),
        web.delete("/jobs/{job_id:[^/]+}", jobs.cancel),
        web.get("/jobs/{job_id:[^/]+}/download", jobs.download, allow_head=False),
        web.head("/jobs/{job_id:[^/]+}/download", jobs.describe),
        web.get("/api/stats", health.stats),
        web.get("/api/sentry/issues", errors.recent),
        web.post("/api/create-order", new_orders.create),
        web.post("/api/create-sample-order", new_orders.create_sample),
    ]
    for route in routes:
        route.kwargs["expect_handler"] = answer_expectation
    return [route for route in routes if role != "worker" or route.path in _WORKER_PATHS]


async def answer_expectation(request: web.Request) -> None:
    """Answer `Expect: 100-continue`. What else is expected is passed over, as RFC 9110 10.1.1 allows: this runs before
    every middleware, so an error would go out without a problem document."""
    if request.version >= HttpVersion11 and request.headers.get(hdrs.EXPECT, "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the answer itself has not begun
