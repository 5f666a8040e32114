"""A collector of traces: takes OTLP over HTTP with the official messages, and keeps the spans."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.support.loopback import LoopbackServer


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
    description: str
    """Of its status."""
    links: list[str]
    """Trace ids."""
    events: list[str]
    seconds: float


class Collector(LoopbackServer):
    """`url` is what `OTEL_EXPORTER_OTLP_ENDPOINT` takes."""

    def __init__(self) -> None:
        super().__init__()
        self.spans: list[Received] = []
        self.resource: dict[str, Any] = {}
        self.headers: list[dict[str, str]] = []
        self.raw: list[bytes] = []
        """Bodies as received: whatever is in no body did not leave the service."""

    def routes(self) -> list[web.RouteDef]:
        """Where OTLP goes."""
        return [web.post("/v1/traces", self._take)]

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

    async def _take(self, request: web.Request) -> web.Response:
        if request.content_type != "application/x-protobuf":
            raise web.HTTPUnsupportedMediaType
        body = await request.read()
        self.headers.append(dict(request.headers))
        self.changed()
        await self.pass_gate()
        self.raw.append(body)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.resource = _plain(resource.resource.attributes)
            for scope in resource.scope_spans:
                self.spans.extend(map(_received, scope.spans))
        self.changed()
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
        description=span.status.message,
        links=[link.trace_id.hex() for link in span.links],
        events=[f"{event.name} {_plain(event.attributes)}" for event in span.events],
        seconds=(span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
    )


def _plain(attributes: Iterable[KeyValue]) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in attributes}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    return getattr(value, kind) if kind else None
