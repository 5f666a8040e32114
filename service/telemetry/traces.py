"""Traces over OTLP/HTTP, when a collector is configured; otherwise nothing, at no cost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import TraceConfig
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.aiohttp_client import create_trace_config
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from yarl import URL

from service import __version__


@asynccontextmanager
async def open_traces(endpoint: str | None) -> AsyncIterator[list[TraceConfig]]:
    """Trace configs for the client session: one span per call upstream, or none at all without an endpoint.

    The last spans are sent on leaving, on a thread: a dead collector must not hold the loop.
    """
    if endpoint is None:
        yield []
        return
    resource = Resource.create({SERVICE_NAME: "autoenhance-batch", SERVICE_VERSION: __version__})
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces")))
    try:
        yield [create_trace_config(url_filter=_without_query, tracer_provider=provider)]
    finally:
        await asyncio.to_thread(provider.shutdown)


def _without_query(url: URL) -> str:
    """Signed addresses carry their secret in the query."""
    return str(url.with_query(None))
