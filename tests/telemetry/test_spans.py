"""Spans within a trace, as the SDK hands them on."""

import asyncio
import json

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import INVALID_SPAN, StatusCode

from service.problems import OrderNotFound
from service.reasons import Reason
from service.telemetry.traces import Traces, link, mark_failed, span, trace_id
from service.upstream.answers import UpstreamFailure


@pytest.fixture
def exported() -> InMemorySpanExporter:
    """Keeps what it is given."""
    return InMemorySpanExporter()


@pytest.fixture
def traces(exported: InMemorySpanExporter) -> Traces:
    """Traces that are recorded."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exported))
    return Traces(provider.get_tracer("test"))


def named(exported: InMemorySpanExporter, name: str) -> ReadableSpan:
    """The one span of this name."""
    (found,) = [span for span in exported.get_finished_spans() if span.name == name]
    return found


def test_spans_nest(traces: Traces, exported: InMemorySpanExporter) -> None:
    """Each is the parent of what is made in its block; afterwards the one around it is current again."""
    with traces.request("root", {}) as root:
        with span("image", {"image.id": "a"}) as image, span("attempt") as attempt:
            assert trace.get_current_span() is attempt
        assert trace.get_current_span() is root
    assert trace.get_current_span() is INVALID_SPAN

    assert named(exported, "attempt").parent == image.get_span_context()
    assert named(exported, "image").parent == root.get_span_context()
    assert dict(named(exported, "image").attributes or {}) == {"image.id": "a"}


async def test_tasks_belong_to_the_trace_they_were_made_in(traces: Traces, exported: InMemorySpanExporter) -> None:
    """Also when they outlive the span around them."""

    async def work() -> None:
        await asyncio.sleep(0)
        with span("late"):
            pass

    with traces.request("root", {}) as root:
        task = asyncio.create_task(work())
    await task

    assert named(exported, "late").parent == root.get_span_context()


@pytest.mark.parametrize(
    ("error", "description"),
    [
        (UpstreamFailure(Reason.TIMEOUT, "upstream's words"), "timeout"),
        (OrderNotFound("upstream's words"), "order_not_found"),
        (ValueError("upstream's words"), "ValueError"),
        (UnicodeDecodeError("ascii", b"", 0, 0, "upstream's words"), "UnicodeDecodeError"),
    ],
)
def test_an_exception_that_passes_through_marks_the_span(
    traces: Traces, exported: InMemorySpanExporter, error: Exception, description: str
) -> None:
    """By its code, else by its class, and never with its message; so it does the one that a trace begins with."""
    with pytest.raises(type(error)), traces.job("root", None), span("image"):
        raise error

    for name in ("image", "root"):
        marked = named(exported, name)
        assert (marked.status.status_code, marked.status.description) == (StatusCode.ERROR, description)
        assert (marked.attributes or {})["error.type"] == description
        assert "words" not in marked.to_json()


def test_an_exception_that_is_handled_marks_the_inner_span_alone(
    traces: Traces, exported: InMemorySpanExporter
) -> None:
    """An attempt fails, its image does not."""
    with traces.request("root", {}), pytest.raises(ValueError, match="no"), span("image"):
        raise ValueError("no")

    assert named(exported, "root").status.is_unset


def test_a_cancelled_span_has_not_failed(traces: Traces, exported: InMemorySpanExporter) -> None:
    """Whoever leaves early is no fault."""
    with traces.request("root", {}), pytest.raises(asyncio.CancelledError), span("image"):
        raise asyncio.CancelledError

    assert named(exported, "image").status.is_unset


def test_what_went_wrong_without_an_exception_is_marked(traces: Traces, exported: InMemorySpanExporter) -> None:
    """By its code."""
    with traces.request("root", {}), span("archive") as archive:
        mark_failed(archive, "no_images")

    assert json.loads(named(exported, "archive").to_json())["status"] == {
        "status_code": "ERROR",
        "description": "no_images",
    }


@pytest.mark.parametrize("traced", [Traces().request("root", {}), Traces().job("root", None)])
def test_without_a_tracer_nothing_is_recorded(traced: trace.Span) -> None:
    """The same span for all, which knows nothing; marking it is harmless."""
    with traced as root, span("image", {"image.id": "a"}) as image:
        mark_failed(image, "timeout")
        assert image is root is INVALID_SPAN
        assert (link(), trace_id()) == (None, None)


def test_outside_a_trace_nothing_is_recorded(traces: Traces, exported: InMemorySpanExporter) -> None:
    """What a process does by itself would be a trace of one span."""
    with traces.request("root", {}):
        pass
    with span("image") as image:
        assert not image.is_recording()

    assert [one.name for one in exported.get_finished_spans()] == ["root"]


def test_a_trace_that_is_not_sampled_keeps_its_id(exported: InMemorySpanExporter) -> None:
    """So that upstream is told of it, with the flag that says so."""
    provider = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exported))

    with Traces(provider.get_tracer("test")).request("root", {}) as root, span("image") as image:
        assert not image.is_recording()
        assert trace_id() == trace.format_trace_id(root.get_span_context().trace_id)
        assert not int((link() or "")[-2:], 16) & 1

    assert exported.get_finished_spans() == ()


def test_a_job_is_linked_to_what_created_it(traces: Traces, exported: InMemorySpanExporter) -> None:
    """Its trace is its own, also when it begins at once."""
    with traces.request("root", {}) as root:
        with traces.job("job", link()) as job:
            assert job.get_span_context().trace_id != root.get_span_context().trace_id
        with traces.job("another", "no traceparent"):
            pass

    assert [one.context.span_id for one in named(exported, "job").links] == [root.get_span_context().span_id]
    assert named(exported, "job").parent is None
    assert named(exported, "another").links == ()
