"""Traces, when something is configured to receive them; otherwise nothing, at no cost.

A span's tracer travels with the context, as the span itself does: whatever runs for a request or a job is part of its
trace, and code in between only says `span(...)`. Attributes hold ids and counts: no keys, no addresses with ids or
secrets in them, and none of upstream's words.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from enum import Enum
from typing import Any

from aiohttp import TraceConfig
from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import INVALID_SPAN, Link, Span, SpanContext, SpanKind, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import Attributes

_tracer: ContextVar[Tracer | None] = ContextVar("tracer", default=None)
# W3C trace context alone: a caller's `baggage` must not travel on to upstream.
_propagator = TraceContextTextMapPropagator()


class Traces:
    """Where traces begin: a request, or a job. Without a tracer nothing is recorded.

    `client` is for every client session, as its `trace_configs`: each call is a client span of the instrumentation, up
    to the head of its answer, and sends `traceparent` along.
    """

    def __init__(self, tracer: Tracer | None = None, client: Sequence[TraceConfig] = ()) -> None:
        self._tracer = tracer
        self.client = list(client)

    def request(
        self, name: str, headers: Mapping[str, str], attributes: Attributes = None
    ) -> AbstractContextManager[Span]:
        """The span of a request that came in; the caller's `traceparent` is its parent."""
        if self._tracer is None:
            return INVALID_SPAN
        return _root(self._tracer, name, _propagator.extract(headers), SpanKind.SERVER, attributes)

    def job(self, name: str, created_by: str | None, attributes: Attributes = None) -> AbstractContextManager[Span]:
        """A trace of its own for work in the background, linked to what created it: a `link()` that was kept."""
        if self._tracer is None:
            return INVALID_SPAN
        links = [Link(creator)] if (creator := _read(created_by)) is not None else []
        return _root(self._tracer, name, Context(), SpanKind.CONSUMER, attributes, links)


def span(name: str, attributes: Attributes = None) -> AbstractContextManager[Span]:
    """A span within the current trace, the current one within its `with` block.

    An exception that passes through marks it as failed, without the exception's message. Outside a trace, and in one
    that is not recorded, it is a span that records nothing; the current one stays the current one then.
    """
    tracer = _tracer.get()
    # The sampler's answer for the first span holds for the whole trace: to ask it again costs as much as half a span.
    if tracer is None or not trace.get_current_span().get_span_context().trace_flags.sampled:
        return INVALID_SPAN
    return _Recorded(tracer, name, attributes)


def mark_failed(failed: Span, description: str) -> None:
    """Show a span as failed. `description` is an error code or the name of a class, never a message."""
    failed.set_attribute("error.type", description)
    failed.set_status(StatusCode.ERROR, description)


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
    if _tracer.get() is None:
        return None
    current = trace.get_current_span().get_span_context()
    return {"trace_id": trace.format_trace_id(current.trace_id)} if current.trace_flags.sampled else None


@contextmanager
def _root(
    tracer: Tracer, name: str, parent: Context, kind: SpanKind, attributes: Attributes, links: Sequence[Link] = ()
) -> Iterator[Span]:
    token = _tracer.set(tracer)
    try:
        with _Recorded(tracer, name, attributes, context=parent, kind=kind, links=links) as root:
            yield root
    finally:
        _tracer.reset(token)


class _Recorded(AbstractContextManager[Span]):
    """A span that is the current one within the block.

    Not the SDK's own block: that sets a status with the exception's message in it, and costs twice as much.
    """

    __slots__ = ("_span", "_token")

    def __init__(self, tracer: Tracer, name: str, attributes: Attributes, **options: Any) -> None:
        self._span = tracer.start_span(name, attributes=attributes, **options)

    def __enter__(self) -> Span:
        self._token = attach(trace.set_span_in_context(self._span))
        return self._span

    def __exit__(self, kind: object, error: BaseException | None, where: object) -> None:
        if isinstance(error, Exception):
            mark_failed(self._span, _code_of(error))
        detach(self._token)
        self._span.end()


def _code_of(error: Exception) -> str:
    """The reason of an image's failure, or the code of a problem; the class of any other error."""
    reason, code = getattr(error, "reason", None), getattr(error, "code", None)
    if isinstance(reason, Enum):
        return str(reason)
    return code if isinstance(code, str) else type(error).__name__


def _read(traceparent: str | None) -> SpanContext | None:
    found = trace.get_current_span(_propagator.extract({"traceparent": traceparent or ""})).get_span_context()
    return found if found.is_valid else None
