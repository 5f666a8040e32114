"""What exists and how it is wired."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

from aiohttp import TraceConfig, web
from yarl import URL

from service.api import (
    aliases,
    auth,
    base_path,
    cors,
    delivery_page,
    keys,
    limits,
    middleware,
    openapi,
    order_requests,
    origins,
    routes,
    share_links,
)
from service.api.guesses import GUESSES, Guesses
from service.api.lifecycle import Lifecycle
from service.api.share_links import SHARE_LINKS, LocalShareLinks
from service.api.timeouts import Timeouts
from service.archives import archive_index, named
from service.archives.archives import Archives
from service.archives.build import BuildContext
from service.archives.catalogue import Catalogue
from service.archives.delivery import Delivery
from service.archives.eviction import Eviction
from service.archives.named import NamedArchives
from service.archives.planner import Planner
from service.archives.registry import Registry
from service.archives.renditions import Presets, read_presets
from service.archives.single_image import SingleImages
from service.assistant.assistant import open_assistant
from service.background import repeat
from service.cluster import cluster
from service.cluster.cluster import Cluster
from service.database import Database
from service.images import blob_index, spending
from service.images.fetch import ImageFetcher
from service.images.integrity import machine_boot
from service.images.spending import LocalSpending
from service.images.store import ImageStore
from service.jobs import table
from service.jobs.callbacks import Callbacks
from service.jobs.deliveries import Deliveries
from service.jobs.engine import Work
from service.jobs.jobs import Jobs
from service.jobs.receivers import open_receiver_session
from service.jobs.runner import JobRunner
from service.jobs.webhook_events import WebhookEvents
from service.orders import generations
from service.orders.generations import Generations
from service.orders.orders import Orders
from service.settings import InvalidSettings, Settings
from service.telemetry.issues import open_issues
from service.telemetry.logs import get_logger
from service.telemetry.loop import watch_loop
from service.telemetry.metrics import Circuit, Metrics
from service.telemetry.stats import Stats
from service.telemetry.traces import Traces
from service.upstream.breaker import Breaker
from service.upstream.client import Autoenhance
from service.upstream.concurrency import DownloadSlots
from service.upstream.network import AddressGuard, Proxies, open_session
from service.upstream.retry import RetryPolicy
from service.upstream.transport import Transport
from service.upstream.versions import version_needed

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor

log = get_logger(__name__)

LARGEST_BODY = 64 * 1024


def create_app(settings: Settings) -> web.Application:
    """The service as an aiohttp application. Nothing is opened before it starts.

    Raises `InvalidSettings` when an extra is missing, or a setting is wrong that others decide about.
    """
    check(settings)
    app = web.Application(
        middlewares=[
            middleware.trace,
            middleware.observe,
            middleware.handle_errors,
            auth.require_caller,
            origins.refuse_foreign,
        ],
        client_max_size=LARGEST_BODY,
    )
    app[keys.SETTINGS] = settings
    app[keys.PRESETS] = presets(settings)
    app[keys.METRICS] = metrics = Metrics()
    app[keys.STATS] = Stats(metrics)
    app[keys.LIFECYCLE] = Lifecycle()
    app[keys.TIMEOUTS] = Timeouts(send=settings.send_timeout)
    window = cluster.window(settings)
    app[keys.LIMITERS] = limits.limiters(settings.rate_limit, metrics, window)
    app[GUESSES] = Guesses(metrics, window)
    if window is not None:
        app.on_cleanup.append(window.close)
    app.on_response_prepare.extend(
        [middleware.add_headers, limits.add_headers, base_path.complete_headers, aliases.add_headers]
    )
    app.on_response_prepare.append(delivery_page.add_headers)
    app.cleanup_ctx.append(components)
    app.on_shutdown.append(drain)
    metrics.declare_failures(openapi.failures(routes.add_routes(app, settings.role)))
    cors.allow_origins(app, settings.allowed_origins)
    return app


def check(settings: Settings) -> None:
    """What `create_app` refuses, without an application. Raises `InvalidSettings`, as it does."""
    cluster.load_extras(settings)
    presets(settings)
    proxies()
    if settings.has_traces:
        _load_tracing()


def _load_tracing() -> None:
    """Load what takes spans: it takes a sixth of a start's time, so it is done only where there is a use for it.

    Raises `InvalidSettings` for some of the library's own variables.
    """
    try:
        import_module("service.telemetry.exporting")
    except ValueError as error:
        raise InvalidSettings(f"OTEL_*: {error}") from None


def presets(settings: Settings) -> Presets:
    """The renditions that have a name. Raises `InvalidSettings` for an operator's own that cannot be used."""
    try:
        found = read_presets(settings.renditions or {})
    except ValueError as error:
        raise InvalidSettings(f"RENDITIONS: {error}") from None
    for name, preset in found.items():
        if (needed := version_needed(settings.autoenhance_api_version, preset.format)) is not None:
            raise InvalidSettings(f"RENDITIONS: {name}: {needed}")
    return found


def proxies() -> Proxies:
    """The proxies of the environment. Raises `InvalidSettings` for one that is none."""
    try:
        return Proxies()
    except ValueError as error:
        raise InvalidSettings(str(error)) from None


async def components(app: web.Application) -> AsyncIterator[None]:
    """Open what the handlers work with, from the disk up; close it in reverse.

    Raises `InvalidSettings` for what only shows then.
    """
    settings, metrics = app[keys.SETTINGS], app[keys.METRICS]
    async with AsyncExitStack() as stack:
        app[keys.TRACES] = await _open_traces(stack, settings)
        app[keys.ISSUES] = await stack.enter_async_context(open_issues(settings, app[keys.TRACES].client))
        kept = (blob_index, spending, generations, archive_index, named, table, order_requests, share_links, cluster)
        database = await Database.open(settings.data_dir, [module.SCHEMA for module in kept])
        stack.push_async_callback(database.close)
        shared = await Cluster.open(stack, settings, database, metrics)
        registry = Registry()
        app[keys.IMAGES] = images = await ImageStore.open(
            settings.data_dir / "images",
            database,
            settings.store_budget,
            metrics,
            evict=Eviction(registry),
            max_image_bytes=settings.max_image_bytes,
            shared=shared.images,
        )
        stack.push_async_callback(images.close)
        shared.share(stack, images)
        upstream = await stack.enter_async_context(autoenhance(settings, metrics, app[keys.TRACES].client, shared))
        app[keys.UPSTREAM], app[keys.UPLOADS] = upstream, upstream.uploads
        app[keys.ORDER_REQUESTS] = shared.order_requests
        slots = DownloadSlots(settings.download_concurrency, metrics)
        app[keys.SPENDING] = spent = shared.spending or LocalSpending(database, settings.max_credits_per_day)
        fetcher = ImageFetcher(upstream, images, slots, metrics, spent, shared.leases)
        stack.push_async_callback(fetcher.close)
        app[keys.ORDERS] = orders = Orders(upstream, settings.order_freshness)
        stack.push_async_callback(orders.close)
        shared.listen(orders)
        catalogue = Catalogue(database, settings.archive_ttl, shared.archives)
        await stack.enter_async_context(catalogue.building_in(await asyncio.to_thread(machine_boot)))
        context = BuildContext(
            fetcher,
            images,
            catalogue,
            orders,
            Generations(database, shared.generations),
            Planner(settings.max_images_per_order, images.has_legacy),
            metrics,
        )
        app[keys.ARCHIVES] = archives = Archives(
            context, registry, window=settings.read_ahead_bytes, grace=settings.resume_grace
        )
        stack.push_async_callback(archives.close)
        await stack.enter_async_context(running(repeat("sweep archives", archives.sweep, every=30)))
        await stack.enter_async_context(running(repeat("release builds", archives.release_unwanted, every=2)))
        app[keys.DELIVERY] = Delivery(images, metrics)
        app[keys.NAMED] = NamedArchives(database, shared.names)
        app[keys.SINGLE_IMAGES] = SingleImages(context)
        app[SHARE_LINKS] = shared.share_links or LocalShareLinks(database)
        app[keys.ASSISTANT] = await stack.enter_async_context(
            open_assistant(settings, app[keys.STATS], app[keys.TRACES].client)
        )
        app[keys.JOBS] = background = await open_jobs(stack, app, database, archives, orders)
        app[keys.WEBHOOK_EVENTS] = webhook_events = WebhookEvents(
            background, archives, orders, shared.notify, auto_batch=settings.auto_batch
        )
        stack.push_async_callback(webhook_events.close)
        await stack.enter_async_context(running(watch_loop(metrics)))
        app[keys.LIFECYCLE].is_ready = True
        yield


async def open_jobs(
    stack: AsyncExitStack, app: web.Application, database: Database, archives: Archives, orders: Orders
) -> Jobs:
    """The background jobs, running."""
    settings, metrics = app[keys.SETTINGS], app[keys.METRICS]
    engine = await cluster.open_engine(stack, settings, database)
    session = await stack.enter_async_context(
        open_receiver_session(allow_private=settings.callback_allow_private, trace_configs=app[keys.TRACES].client)
    )
    runner = JobRunner(engine, archives, orders, metrics, app[keys.TRACES], settings.archive_ttl)
    callbacks = Callbacks(session, settings.callback_keys, metrics)
    work = Work(runner.run, callbacks.attempt, Deliveries(session, archives, app[keys.IMAGES], metrics).attempt)
    background = Jobs(engine, archives, metrics, settings.archive_ttl)
    if settings.role != "web":
        await stack.enter_async_context(running(background.run(work)))
    return background


async def drain(app: web.Application) -> None:
    """The instance is told to stop: it wants no more traffic."""
    app[keys.LIFECYCLE].stop()


@asynccontextmanager
async def autoenhance(
    settings: Settings, metrics: Metrics, trace_configs: list[TraceConfig], shared: Cluster
) -> AsyncIterator[Autoenhance]:
    """The upstream client with its session. Raises `InvalidSettings` for a proxy that is none."""
    base = URL(settings.autoenhance_api_base)
    guard = AddressGuard(base, proxies())
    key = settings.autoenhance_api_key
    breakers = {
        circuit: Breaker(circuit, failures=settings.breaker_failures, reset=settings.breaker_reset, metrics=metrics)
        for circuit in Circuit
    }
    hints = running(shared.exchange_hints(breakers.values()))
    async with (
        aclosing(guard),
        open_session(guard, trace_configs) as session,
        open_session(guard, trace_configs, keep_connections=False) as fresh,
        hints,
    ):
        transport = Transport(
            session,
            fresh,
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
        )


@asynccontextmanager
async def running(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run background work for the length of the block. It has no end of its own; if it breaks, the log says so."""
    task = asyncio.create_task(work)
    task.add_done_callback(_log_failure)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("background task failed", exc_info=error)


async def _open_traces(stack: AsyncExitStack, settings: Settings) -> Traces:
    """Report errors and spans where the settings say."""
    if not settings.has_traces:
        return Traces()
    from service.telemetry.exporting import export_traces

    sinks: Sequence[SpanProcessor] = ()
    if settings.sentry_dsn is not None:
        from service.telemetry.errors import report_errors

        sinks = [await stack.enter_async_context(report_errors(settings, settings.sentry_dsn.get_secret_value()))]
    traces = export_traces(settings.traces_endpoint, URL(settings.autoenhance_api_base), sinks)
    try:
        return await stack.enter_async_context(traces)
    except ValueError as error:  # the library's own variables, in its own words
        raise InvalidSettings(f"OTEL_*: {error}") from None
