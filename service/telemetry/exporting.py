"""Sends spans on: to a collector over OTLP/HTTP, to Sentry, or to both."""

import asyncio
import re
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.aiohttp_client import create_trace_config
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from yarl import URL

from service import __version__
from service.telemetry.traces import Traces

# The last spans get so long at the end; a collector that is gone must not hold a shutdown.
_LAST_SECONDS = 3.0


@asynccontextmanager
async def export_traces(
    endpoint: str | None, api_base: URL, sinks: Sequence[SpanProcessor] = ()
) -> AsyncIterator[Traces]:
    """Spans go to `endpoint` (where OTLP/HTTP takes traces) and `sinks`.

    Sampler, limits, resource, batches and headers follow the standard `OTEL_*` variables of the environment.
    """
    provider = await asyncio.to_thread(_provider, endpoint, sinks)  # it looks around on the machine
    try:
        client = create_trace_config(url_filter=url_filter(api_base), tracer_provider=provider)
        yield Traces(provider.get_tracer("service", __version__), [client])
    finally:
        # A daemon thread: whatever it still waits for then, the process may end.
        last = threading.Thread(target=provider.shutdown, name="last spans", daemon=True)
        last.start()
        await asyncio.to_thread(last.join, _LAST_SECONDS)


def url_filter(api_base: URL) -> Callable[[URL], str]:
    """Makes what a client span tells of the URL it calls: its origin, and the route at Autoenhance's API.

    An id in a route is `{id}`. Other paths are left out, since they may be secrets: a callback's, a signed address's.
    """
    base = f"{api_base.origin()}{api_base.raw_path.rstrip('/')}"
    route = re.compile(rf"({re.escape(base)}/(?:orders|images))(?:/([^/]*)(/enhanced|/original|/process)?)?")

    def filtered(url: URL) -> str:
        origin = str(url.origin())
        if (found := route.fullmatch(f"{origin}{url.raw_path}")) is None:
            return origin
        collection, item, action = found.groups(default="")
        return f"{collection}{'/{id}' if item else ''}{action}"

    return filtered


def _provider(endpoint: str | None, sinks: Sequence[SpanProcessor]) -> TracerProvider:
    own = Resource.create({SERVICE_NAME: "autoenhance-batch", SERVICE_VERSION: __version__})
    provider = TracerProvider(
        resource=own.merge(OTELResourceDetector().detect()),
        shutdown_on_exit=False,
        # The only events are exceptions, whose messages may hold an address; their class is in the span's status.
        span_limits=SpanLimits(max_events=0),
    )
    for processor in sinks:
        provider.add_span_processor(processor)
    if endpoint is not None:
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint)))
    return provider
