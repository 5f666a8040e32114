"""What exists and how it is wired."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

from aiohttp import TraceConfig, web
from limits import parse
from yarl import URL

from service.api import (
    archives,
    ask,
    auth,
    cors,
    docs,
    downloads,
    errors,
    health,
    jobs,
    limits,
    links,
    middleware,
    new_orders,
    openapi,
    orders,
    page,
    session,
    webhooks,
)
from service.api import metrics as scraped
from service.api.keys import (
    ARCHIVES,
    ASSISTANT,
    ATTEMPTS,
    DELIVERY,
    IMAGES,
    ISSUES,
    JOBS,
    LIFE,
    LIMITER,
    METRICS,
    NEWS,
    ORDERS,
    PATIENCE,
    QUESTIONS,
    SETTINGS,
    STATS,
    TRACES,
    UPLOADS,
)
from service.api.life import Life
from service.api.limits import RateLimiter
from service.api.patience import Patience
from service.api.tracing import trace
from service.archives import catalogue
from service.archives.archives import Archives
from service.archives.builder import Workshop
from service.archives.catalogue import Catalogue
from service.archives.delivery import Delivery
from service.archives.eviction import Eviction
from service.archives.shared import SharedCatalogue
from service.assistant.assistant import open_assistant
from service.database import Database
from service.images import generations, store
from service.images.downloads import Downloads
from service.images.generations import Generations
from service.images.objects import Objects
from service.images.shared import SharedImages
from service.images.store import ImageStore
from service.jobs import records
from service.jobs.callbacks import Callbacks, open_callback_session
from service.jobs.embedded import EmbeddedJobs
from service.jobs.jobs import Jobs
from service.jobs.news import News
from service.jobs.runner import Runner
from service.settings import InvalidSettings, Settings
from service.telemetry.errors import report_errors
from service.telemetry.exporting import export_traces
from service.telemetry.issues import open_issues
from service.telemetry.loop import watch_loop
from service.telemetry.metrics import Circuit, Metrics
from service.telemetry.stats import Stats
from service.upstream.breaker import Breaker
from service.upstream.client import Autoenhance
from service.upstream.concurrency import DownloadSlots
from service.upstream.network import AddressGuard, open_session
from service.upstream.orders import Orders
from service.upstream.retry import RetryPolicy
from service.upstream.transport import Transport

LARGEST_BODY = 64 * 1024
QUESTION_LIMIT = parse("20/minute")


def create_app(settings: Settings) -> web.Application:
    """The service as an aiohttp application. Nothing is opened before it starts."""
    app = web.Application(
        middlewares=[trace, middleware.observe, middleware.explain, auth.require_caller],
        client_max_size=LARGEST_BODY,
    )
    app[SETTINGS] = settings
    app[METRICS] = metrics = Metrics()
    app[STATS] = Stats(metrics)
    app[LIFE] = Life()
    app[PATIENCE] = Patience()
    app[LIMITER] = RateLimiter(settings.rate_limit, metrics, "downloads")
    app[ATTEMPTS] = RateLimiter(settings.rate_limit, metrics, "attempts")
    app[QUESTIONS] = RateLimiter(QUESTION_LIMIT, metrics, "questions")
    app.on_response_prepare.extend([middleware.add_headers, limits.add_headers])
    app.cleanup_ctx.append(rooms)
    app.on_shutdown.append(drain)
    app.add_routes(
        [
            web.post("/v1/orders", new_orders.create),
            web.post("/v1/orders/sample", new_orders.create_sample),
            web.get("/v1/orders/{order_id:[^/]+}/images", downloads.download, allow_head=False),
            web.head("/v1/orders/{order_id:[^/]+}/images", downloads.describe),
            web.get("/v1/orders/{order_id:[^/]+}", orders.overview),
            web.post("/v1/orders/{order_id:[^/]+}/jobs", jobs.create),
            web.get("/v1/jobs/{job_id:[^/]+}", jobs.status, allow_head=False),
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
            web.get("/", page.page),
            web.get("/web/{version:[0-9a-f]{16}}/{name:[^/]+}", page.asset),
            web.get("/openapi.json", openapi.openapi),
            web.get("/docs", docs.reference),
            web.get("/docs/guide", docs.first_page),
            web.get("/docs/guide/{page:[^/]+}", docs.guide),
            web.get("/docs/source", docs.source),
            web.get("/docs/source/{path:.+}", docs.source_file),
            web.get("/docs/files/{version:[0-9a-f]{16}}/{name:[^/]+}", docs.file),
            web.get("/metrics", scraped.metrics),
            # The first generation's paths.
            web.get("/orders/{order_id:[^/]+}/images", downloads.download, allow_head=False),
            web.head("/orders/{order_id:[^/]+}/images", downloads.describe),
            web.post("/orders/{order_id:[^/]+}/jobs", jobs.create),
            web.get("/jobs/{job_id:[^/]+}", jobs.status, allow_head=False),
            web.delete("/jobs/{job_id:[^/]+}", jobs.cancel),
            web.get("/jobs/{job_id:[^/]+}/download", jobs.download, allow_head=False),
            web.head("/jobs/{job_id:[^/]+}/download", jobs.describe),
            web.get("/api/stats", health.stats),
            web.get("/api/sentry/issues", errors.recent),
            web.post("/api/create-order", new_orders.create),
            web.post("/api/create-sample-order", new_orders.create_sample),
        ]
    )
    cors.allow_origins(app, settings.allowed_origins)
    return app


async def rooms(app: web.Application) -> AsyncIterator[None]:
    """Open what the handlers work with, from the disk up; close it in reverse."""
    settings, metrics = app[SETTINGS], app[METRICS]
    async with AsyncExitStack() as stack:
        sinks = await stack.enter_async_context(report_errors(settings))
        exporting = await stack.enter_async_context(export_traces(settings.traces_endpoint, sinks))
        app[TRACES] = exporting.traces
        app[ISSUES] = await stack.enter_async_context(open_issues(settings))
        schemas = [store.SCHEMA, generations.SCHEMA, catalogue.SCHEMA, records.SCHEMA]
        database = await Database.open(settings.data_dir, schemas)
        stack.push_async_callback(database.close)
        objects = await shared_objects(settings)
        shared = SharedImages(objects) if objects else None
        app[IMAGES] = images = await ImageStore.open(
            settings.data_dir / "images", database, settings.store_budget, metrics, shared
        )
        slots = DownloadSlots(settings.download_concurrency, metrics)
        upstream = await stack.enter_async_context(autoenhance(settings, slots, metrics, exporting.client))
        app[UPLOADS] = upstream.uploads
        downloads = Downloads(upstream, images, slots, metrics)
        stack.push_async_callback(downloads.close)
        app[ORDERS] = orders = Orders(upstream, settings.order_freshness)
        stack.push_async_callback(orders.close)
        app[ARCHIVES] = archives = Archives(
            Workshop(downloads, images, shared_catalogue(database, objects, settings.archive_ttl), metrics),
            orders,
            Generations(database, objects),
            window=settings.read_ahead_bytes,
            grace=settings.resume_grace,
            most_images=settings.max_images_per_order,
        )
        stack.push_async_callback(archives.close)
        images.space.make_room = Eviction(images, archives.live, metrics).make_room
        await stack.enter_async_context(running(archives.sweep_regularly()))
        await stack.enter_async_context(running(archives.beat_regularly()))
        app[DELIVERY] = Delivery(images, metrics)
        app[ASSISTANT] = await stack.enter_async_context(open_assistant(settings, app[STATS]))
        app[JOBS] = background = await open_jobs(stack, app, database, archives, orders)
        app[NEWS] = news = News(background, archives, orders, auto_batch=settings.auto_batch)
        stack.push_async_callback(news.close)
        await stack.enter_async_context(running(watch_loop(metrics)))
        app[LIFE].is_ready = True
        yield


async def open_jobs(
    stack: AsyncExitStack, app: web.Application, database: Database, archives: Archives, orders: Orders
) -> Jobs:
    """The background jobs, running."""
    settings, metrics = app[SETTINGS], app[METRICS]
    backend = await EmbeddedJobs.open(database, settings.archive_ttl)
    session = await stack.enter_async_context(open_callback_session(allow_private=settings.callback_allow_private))
    callbacks = Callbacks(backend, session, settings.callback_keys, metrics)
    runner = Runner(backend, archives, orders, callbacks, metrics, app[TRACES], settings.archive_ttl)
    background = Jobs(backend, runner, metrics)
    await stack.enter_async_context(running(background.run()))
    return background


async def drain(app: web.Application) -> None:
    """The instance is told to stop: it wants no more traffic."""
    app[LIFE].is_ready = False
    app[LIFE].stopping.set()


async def shared_objects(settings: Settings) -> Objects | None:
    """The storage that instances share, if there is one. Raises `InvalidSettings` when it cannot serve as such."""
    if settings.store_url is None:
        return None
    try:
        objects = Objects.open(settings.store_url)
        await objects.check()
    except ImportError:
        raise InvalidSettings("STORE_URL: needs the extra s3 (pip install 'autoenhance-batch[s3]')") from None
    except ValueError as error:
        raise InvalidSettings(f"STORE_URL: {error}") from None
    return objects


def shared_catalogue(database: Database, objects: Objects | None, ttl: float) -> Catalogue:
    """The catalogue of archives, with those of other instances where they share a storage."""
    return Catalogue(database, ttl, SharedCatalogue(objects, ttl) if objects else None)


@asynccontextmanager
async def autoenhance(
    settings: Settings, slots: DownloadSlots, metrics: Metrics, traced: list[TraceConfig]
) -> AsyncIterator[Autoenhance]:
    """The upstream client with its session."""
    base = URL(settings.autoenhance_api_base)
    guard = AddressGuard(base)
    key = settings.autoenhance_api_key
    breakers = {
        circuit: Breaker(circuit, failures=settings.breaker_failures, reset=settings.breaker_reset, metrics=metrics)
        for circuit in Circuit
    }
    async with open_session(guard, traced) as session:
        transport = Transport(
            session,
            guard,
            metrics,
            base=base,
            key=key.get_secret_value() if key else "",
            version=settings.autoenhance_api_version,
        )
        yield Autoenhance(
            transport,
            metrics,
            base=base,
            breakers=breakers,
            policy=RetryPolicy(settings.upstream_attempts),
            image_seconds=settings.image_timeout,
            slots=slots,
        )


@asynccontextmanager
async def running(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run background work for the length of the block."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
