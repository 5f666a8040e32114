"""Traces, when something is configured to receive them; otherwise nothing, at no cost.

A span's tracer travels with the context, as the span itself does: whatever runs for a request or a job is part of its
trace, and code in between only says `span(...)`. Attributes hold ids and counts: no keys, no queries of addresses, and
none of upstream's words.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from aiohttp import TraceConfig
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import Tracer
from opentelemetry.trace import INVALID_SPAN, Link, NonRecordingSpan, Span, SpanContext, SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from yarl import URL

from service.telemetry.step import Attributes, Step

_NONE: Attributes = {}
_tracer: ContextVar[Tracer | None] = ContextVar("tracer", default=None)
# W3C trace context alone: a caller's `baggage` must not travel on to upstream.
_propagator = TraceContextTextMapPropagator()


class Traces:
    """Where traces begin: a request, or a job. Without a tracer nothing is recorded.

    `client` is for the sessions to others than upstream (receivers of callbacks, the chat server, Sentry): a span for
    each call. Upstream's calls have spans of our own, `call`: one for all redirects, bodies included, at a fifth of
    the cost.
    """

    def __init__(self, tracer: Tracer | None = None, client: Sequence[TraceConfig] = ()) -> None:
        self._tracer = tracer
        self.client = list(client)

    @contextmanager
    def request(self, name: str, headers: Mapping[str, str], attributes: Attributes = _NONE) -> Iterator[Span]:
        """The span of a request that came in; the caller's `traceparent` is its parent."""
        if self._tracer is None:
            yield INVALID_SPAN
            return
        with _root(self._tracer, name, _propagator.extract(headers), SpanKind.SERVER, attributes) as span:
            yield span

    @contextmanager
    def job(self, name: str, created_by: str | None, attributes: Attributes = _NONE) -> Iterator[Span]:
        """A trace of its own for work in the background, linked to what created it: a `link()` that was kept."""
        if self._tracer is None:
            yield INVALID_SPAN
            return
        links = [Link(creator)] if (creator := _read(created_by)) is not None else []
        with _root(self._tracer, name, Context(), SpanKind.CONSUMER, attributes, links) as span:
            yield span


def span(name: str, attributes: Attributes = _NONE, kind: SpanKind = SpanKind.INTERNAL) -> Span:
    """A step within the current trace, for a `with`. An error that passes through marks it, without its words."""
    tracer = _tracer.get()
    if tracer is None:
        return INVALID_SPAN
    parent = trace.get_current_span().get_span_context()
    return Step(tracer, parent, name, kind, attributes) if parent.trace_flags.sampled else NonRecordingSpan(parent)


@contextmanager
def call(name: str, method: str, url: URL, headers: dict[str, str]) -> Iterator[dict[str, str | int | URL]]:
    """The span of a call to somebody else, to the end of the answer's body.

    Adds the `traceparent` to be sent along to `headers`. What is told of the call is set once, at its end: `http.url`
    is without its query then.
    """
    told: dict[str, str | int | URL] = {"http.method": method, "http.url": url}
    if _tracer.get() is None:
        yield told
        return
    with span(name, kind=SpanKind.CLIENT) as current:
        _propagator.inject(headers)
        try:
            yield told
        finally:
            current.set_attributes(
                {key: without_secrets(value) if isinstance(value, URL) else value for key, value in told.items()}
            )


def without_secrets(url: URL) -> str:
    """An address without user and query: signed addresses carry their secret there."""
    return f"{url.origin()}{url.raw_path}"


def link() -> str | None:
    """The current place in the current trace as a `traceparent`, to be kept with what is done later."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier.get("traceparent")


def trace_id() -> str | None:
    """The id of the current trace, in hex."""
    current = trace.get_current_span().get_span_context()
    return trace.format_trace_id(current.trace_id) if current.is_valid else None


def exemplar() -> dict[str, str] | None:
    """What leads from a measurement to the trace it was made in, if that trace is recorded."""
    current = trace.get_current_span().get_span_context()
    return {"trace_id": trace.format_trace_id(current.trace_id)} if current.trace_flags.sampled else None


@contextmanager
def _root(
    tracer: Tracer, name: str, parent: Context, kind: SpanKind, attributes: Attributes, links: list[Link] | None = None
) -> Iterator[Span]:
    token = _tracer.set(tracer)
    try:
        started = tracer.start_span(name, parent, kind, attributes, links)
        with trace.use_span(started, end_on_exit=True, record_exception=False, set_status_on_exception=False) as root:
            yield root
    finally:
        _tracer.reset(token)


def _read(traceparent: str | None) -> SpanContext | None:
    found = trace.get_current_span(_propagator.extract({"traceparent": traceparent or ""})).get_span_context()
    return found if found.is_valid else None
