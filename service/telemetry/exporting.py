"""Sends spans on: to a collector over OTLP/HTTP, to Sentry, to both, or to nobody."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import cast

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.aiohttp_client import create_trace_config
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanProcessor, Tracer, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from service import __version__
from service.telemetry.traces import Traces, without_secrets

# The last spans get so long at the end; a collector that is gone must not hold a shutdown.
_LAST_SECONDS = 3.0


@asynccontextmanager
async def export_traces(endpoint: str | None, sinks: Sequence[SpanProcessor] = ()) -> AsyncIterator[Traces]:
    """Spans go to `endpoint` (where OTLP/HTTP takes traces) and `sinks`; none are made when there is neither.

    Sampler, resource, batches and headers follow the standard `OTEL_*` variables of the environment.
    """
    if endpoint is None and not sinks:
        yield Traces()
        return
    provider = await asyncio.to_thread(_provider, endpoint, sinks)  # it looks around on the machine
    try:
        client = create_trace_config(url_filter=without_secrets, tracer_provider=provider)
        yield Traces(cast(Tracer, provider.get_tracer("service", __version__)), [client])
    finally:
        # A daemon thread: whatever it still waits for then, the process may end.
        last = threading.Thread(target=provider.shutdown, name="last spans", daemon=True)
        last.start()
        await asyncio.to_thread(last.join, _LAST_SECONDS)


def _provider(endpoint: str | None, sinks: Sequence[SpanProcessor]) -> TracerProvider:
    own = Resource.create({SERVICE_NAME: "autoenhance-batch", SERVICE_VERSION: __version__})
    provider = TracerProvider(resource=own.merge(OTELResourceDetector().detect()), shutdown_on_exit=False)
    for processor in sinks:
        provider.add_span_processor(processor)
    if endpoint is not None:
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint)))
    return provider
