"""A span within a trace, as light as the thousands of a busy service have to be."""

from collections.abc import Mapping
from time import time_ns
from types import TracebackType
from typing import Self, cast

from opentelemetry import trace
from opentelemetry.context import attach, detach
from opentelemetry.sdk.trace import ReadableSpan, Tracer
from opentelemetry.sdk.trace import Span as SdkSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind, Status, StatusCode
from opentelemetry.util.types import AnyValue

from service import __version__

Attributes = Mapping[str, str | int | float | bool]

_SCOPE = InstrumentationScope("service", __version__)
_FAILED = Status(StatusCode.ERROR)


def mark_failed(failed: Span, why: str) -> None:
    """Show a span as failed. `why` is one of few words, never a message."""
    failed.set_attribute("error.type", why)
    failed.set_status(_FAILED)


class Step(ReadableSpan, NonRecordingSpan):
    """A span with attributes and a status, but no events, links or limits; the current one within its block.

    The SDK's own costs several times as much: it guards every span by a lock and copies what it holds, and asks the
    sampler again, though the root's answer holds for the whole trace. Processors get from it what the SDK gives them.
    An error that passes through marks it, by its name and without its words.
    """

    _context: SpanContext

    def __init__(self, tracer: Tracer, parent: SpanContext, name: str, kind: SpanKind, attributes: Attributes) -> None:
        own_id = tracer.id_generator.generate_span_id()
        context = SpanContext(
            parent.trace_id, own_id, is_remote=False, trace_flags=parent.trace_flags, trace_state=parent.trace_state
        )
        self._told: dict[str, AnyValue] = {**attributes}
        super().__init__(
            name,
            context,
            parent,
            tracer.resource,
            self._told,
            kind=kind,
            start_time=time_ns(),
            instrumentation_scope=_SCOPE,
        )
        self._processor = tracer.span_processor
        self._processor.on_start(cast(SdkSpan, self))

    def __enter__(self) -> Self:
        self._token = attach(trace.set_span_in_context(self))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if isinstance(error, Exception):
            mark_failed(self, getattr(error, "reason", type(error).__name__))
        detach(self._token)
        self.end()

    def get_span_context(self) -> SpanContext:
        """The ids of this span."""
        return NonRecordingSpan.get_span_context(self)

    def is_recording(self) -> bool:
        """Whether it goes on."""
        return self._end_time is None

    def set_attribute(self, key: str, value: AnyValue) -> None:
        """Tell one thing of it."""
        self._told[key] = value

    def set_attributes(self, attributes: Mapping[str, AnyValue]) -> None:
        """Tell several things of it."""
        self._told.update(attributes)

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """Say how it ended."""
        self._status = status if isinstance(status, Status) else Status(status, description)

    def end(self, end_time: int | None = None) -> None:
        """Hand it on, as it is now."""
        self._end_time = end_time or time_ns()
        self._processor.on_end(self)
