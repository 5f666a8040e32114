"""A collector of traces: takes OTLP over HTTP with the official messages, and keeps the spans."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

PATIENCE = 20


@dataclass(frozen=True)
class Received:
    """One span as it arrived."""

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    attributes: dict[str, Any]
    is_failed: bool
    links: list[str]
    """Trace ids."""
    events: list[str]
    seconds: float


@dataclass
class Collector:
    """Listens on loopback. `url` is what `OTEL_EXPORTER_OTLP_ENDPOINT` takes."""

    spans: list[Received] = field(default_factory=list)
    resource: dict[str, Any] = field(default_factory=dict)
    headers: list[dict[str, str]] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    """Bodies as received: whatever is in no body did not leave the service."""
    url: str = ""
    gate: asyncio.Event | None = None
    """While it is there and not set, requests are taken and never answered."""

    def __post_init__(self) -> None:
        self._changed = asyncio.Event()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition on what has arrived. Raises `TimeoutError`."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def named(self, name: str, trace_id: str | None = None) -> list[Received]:
        """The spans of this name."""
        return [span for span in self.spans if span.name == name and trace_id in (None, span.trace_id)]

    def children(self, parent: Received) -> list[Received]:
        """The spans right below one."""
        return [span for span in self.spans if span.parent_id == parent.span_id]

    def path(self, span: Received) -> list[str]:
        """Names from the root to a span. An ancestor that never arrived is `?`."""
        names, by_id = [span.name], {one.span_id: one for one in self.spans}
        while span.parent_id:
            if (above := by_id.get(span.parent_id)) is None:
                return ["?", *names]
            span = above
            names.insert(0, span.name)
        return names

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=64 << 20)
        app.router.add_post("/v1/traces", self._take)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.gate is not None:
            self.gate.set()
        await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        if request.content_type != "application/x-protobuf":
            raise web.HTTPUnsupportedMediaType
        body = await request.read()
        self.headers.append(dict(request.headers))
        self._changed.set()
        if self.gate is not None:
            await self.gate.wait()
        self.raw.append(body)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.resource = _plain(resource.resource.attributes)
            for scope in resource.scope_spans:
                self.spans.extend(map(_received, scope.spans))
        self._changed.set()
        return web.Response(content_type="application/x-protobuf")


def _received(span: Span) -> Received:
    return Received(
        name=span.name,
        kind=Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        attributes=_plain(span.attributes),
        is_failed=span.status.code == Status.STATUS_CODE_ERROR,
        links=[link.trace_id.hex() for link in span.links],
        events=[f"{event.name} {_plain(event.attributes)}" for event in span.events],
        seconds=(span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
    )


def _plain(attributes: Iterable[KeyValue]) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in attributes}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    return getattr(value, kind) if kind else None
