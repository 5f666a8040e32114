"""Steps of a trace, beside the SDK's own spans."""

import json
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, Tracer, TracerProvider
from opentelemetry.trace import SpanKind

from service import __version__
from service.telemetry.step import Step, mark_failed


class Heard(SpanProcessor):
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.ended: list[ReadableSpan] = []

    def on_start(self, span: ReadableSpan, parent_context: object = None) -> None:
        """A span begins."""
        self.started.append(span.name)

    def on_end(self, span: ReadableSpan) -> None:
        """A span is over."""
        self.ended.append(span)


@pytest.fixture
def heard() -> Heard:
    """Stands where an exporter does."""
    return Heard()


@pytest.fixture
def tracer(heard: Heard) -> Tracer:
    """The SDK's."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(heard)
    made = provider.get_tracer("service", __version__)
    assert isinstance(made, Tracer)
    return made


def told(span: ReadableSpan) -> dict[str, Any]:
    """All that is exported of it, but its own id and times."""
    document = json.loads(span.to_json())
    del document["context"]["span_id"], document["start_time"], document["end_time"]
    return {**document, "scope": span.instrumentation_scope}


def test_a_step_is_exported_as_a_span_of_the_sdk_is(tracer: Tracer, heard: Heard) -> None:
    """Same trace, parent, resource, scope, kind, attributes and status."""
    with tracer.start_as_current_span("archive") as root:
        spans = [
            tracer.start_span("image", kind=SpanKind.CLIENT, attributes={"image.id": "a"}),
            Step(tracer, root.get_span_context(), "image", SpanKind.CLIENT, {"image.id": "a"}),
        ]
        for span in spans:
            span.set_attribute("attempt", 1)
            span.set_attributes({"image.bytes": 2_000})
            mark_failed(span, "timeout")
            span.end()

    theirs, ours, _ = heard.ended
    assert told(ours) == told(theirs)
    assert heard.started == ["archive", "image", "image"]
    times = [theirs.start_time, ours.start_time, ours.end_time]
    assert times == sorted(times, key=lambda time: time or 0)


def test_a_step_is_the_parent_of_what_is_made_within_it(tracer: Tracer, heard: Heard) -> None:
    """By us or by a library that is instrumented; afterwards the one before it is the parent again."""
    with tracer.start_as_current_span("root") as root:
        with Step(tracer, root.get_span_context(), "image", SpanKind.INTERNAL, {}) as step:
            assert step.is_recording()
            tracer.start_span("within").end()
        assert trace.get_current_span() is root
        assert not step.is_recording()

    within, image, _ = heard.ended
    assert within.parent == image.context


@pytest.mark.parametrize(
    ("error", "why"), [(ValueError("upstream's words"), "ValueError"), (KeyboardInterrupt(), None)]
)
def test_an_error_that_passes_through_marks_the_step(
    tracer: Tracer, heard: Heard, error: BaseException, why: str | None
) -> None:
    """By its name, without its words. What ends the process is no failure of the step."""
    root = tracer.start_span("root")

    with pytest.raises(type(error)), Step(tracer, root.get_span_context(), "image", SpanKind.INTERNAL, {}):
        raise error

    (image,) = heard.ended
    assert (image.attributes or {}).get("error.type") == why
    assert "words" not in image.to_json()
