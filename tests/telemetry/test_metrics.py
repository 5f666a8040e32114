"""What `/metrics` exports: the contract that dashboards and alerts stand on."""

import re
from collections.abc import Iterable
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from service.reasons import Reason
from service.telemetry.metrics import Metrics
from service.telemetry.traces import Traces
from tests.support.client import Answer, Service, StartService
from tests.support.collector import Collector
from tests.support.doc_blocks import ROOT
from tests.support.samples import ORDER, jpeg, order
from tests.support.upstream import FakeUpstream

OPENMETRICS = {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"}
SUFFIXES = ("_total", "_created", "_bucket", "_count", "_sum", "_gcount", "_gsum", "_info")
CLOSED, HALF_OPEN, OPEN = "closed", "half-open", "open"

# Series by name, with the values of each label. An empty set: whatever occurs, from a bounded choice.
CONTRACT: dict[str, dict[str, set[str]]] = {
    "http_requests_total": {"route": set(), "method": set(), "status": set()},
    "http_request_duration_seconds": {"route": set(), "method": set(), "status": set()},
    "archives_total": {"outcome": {"success", "partial", "failure", "cancelled"}},
    "archives_served_total": {},
    "archive_duration_seconds": {},
    "archive_first_byte_seconds": {},
    "archive_size_bytes": {},
    "images_total": {"outcome": {"downloaded", "stored", "failed"}},
    "image_failures_total": {"reason": set(Reason)},
    "images_bought_total": {},
    "images_refetched_total": {"why": {"lost", "incomplete", "refresh", "uncoordinated"}},
    "image_download_seconds": {},
    "image_size_bytes": {},
    "upstream_requests_total": {"operation": set(), "status": set()},
    "upstream_request_duration_seconds": {"operation": set(), "status": set()},
    "upstream_retries_total": {"reason": set(Reason)},
    "breaker_state": {"circuit": {"api", "assets"}},
    "breaker_transitions_total": {"circuit": {"api", "assets"}, "state": {CLOSED, HALF_OPEN, OPEN}},
    "download_concurrency_limit": {},
    "download_rate_limit": {},
    "downloads_in_flight": {},
    "archive_cache_requests_total": {"result": {"hit", "miss", "joined", "stale"}},
    "store_bytes": {},
    "store_limit_bytes": {},
    "store_evictions_total": {},
    "jobs_open": {"status": {"queued", "processing"}},
    "jobs_total": {"outcome": {"complete", "error", "cancelled"}},
    "callbacks_total": {"outcome": {"delivered", "retry", "stopped", "failed"}},
    "deliveries_total": {"outcome": {"delivered", "retry", "failed"}},
    "rate_limited_total": {},
    "client_disconnects_total": {},
    "event_loop_lag_seconds": {},
    "event_loop_tasks": {},
    "build_info": {"version": set()},
}
# Where several instances share.
SHARED = {"shared_up": {"what": {"redis", "s3"}}}
PROCESS = {"process_open_fds", "process_max_fds", "process_resident_memory_bytes", "process_cpu_seconds_total"}


async def test_the_series_are_those_of_the_contract(upstream: FakeUpstream, service: Service) -> None:
    """Names and labels, all of them and no other, after one download."""
    await _download(upstream, service)

    exported = _labels(await _families(service))

    assert {name: set(labels) for name, labels in exported.items()} == {
        f"batch_{name}": set(labels) for name, labels in CONTRACT.items()
    }


async def test_every_value_exists_from_the_start(service: Service) -> None:
    """Before anything has happened, so that rate() begins at zero and not at nothing."""
    exported = _labels(await _families(service))

    for name, labels in CONTRACT.items():
        for label, values in labels.items():
            if values:
                assert exported[f"batch_{name}"][label] == values, (name, label)


def test_what_is_shared_is_down_until_it_answers() -> None:
    """Declared where several instances share, and only there: a series at 0 is an alert."""
    alone, metrics = Metrics(), Metrics()

    metrics.declare_shared()

    assert _labels(metrics.registry.collect())["batch_shared_up"] == SHARED["shared_up"]
    assert metrics.registry.get_sample_value("batch_shared_up", {"what": "redis"}) == 0
    assert "batch_shared_up" not in _labels(alone.registry.collect())


async def test_no_series_says_when_another_began(service: Service) -> None:
    """A `_created` beside each would make half as many series again."""
    families = await _families(service, OPENMETRICS)

    names = {sample.name for family in families for sample in family.samples}
    assert len(names) > len(CONTRACT)
    assert [name for name in names if name.endswith("_created")] == []


def test_no_two_families_differ_by_a_suffix_only() -> None:
    """OpenMetrics makes a family's series by suffixes: two such families would be one."""
    names = {family.name for family in Metrics().registry.collect()}

    assert len(names) > len(CONTRACT)
    assert {name for name in names for suffix in SUFFIXES if name.removesuffix(suffix) in names - {name}} == set()


async def test_saturation_can_be_seen(service: Service) -> None:
    """Open files and their limit, memory and CPU."""
    names = {sample.name for family in await _families(service) for sample in family.samples}

    assert names >= PROCESS


async def test_labels_are_bounded(upstream: FakeUpstream, service: Service) -> None:
    """Ids, unknown paths and made-up methods name no series of their own."""
    await _download(upstream, service)
    for number in range(20):
        await service.ask(f"/nothing/{number}")
        await service.ask(f"/v1/archives/none-{number}")
    for method in ("PURGE", "MKCOL", "LOCK"):
        await service.ask("/livez", method=method)

    exported = _labels(await _families(service))["batch_http_request_duration_seconds"]

    assert exported["method"] <= {"GET", "other"}
    assert exported["route"] == {"unmatched", "/v1/archives/{archive_id}", "/v1/orders/{order_id}/images"}


async def test_the_first_failure_counts(service: Service) -> None:
    """A series that is born at 1 has no rate: every failure that an answer can tell of is there at 0 from the start."""
    text = (await service.ask("/metrics")).body.decode()

    for status in (500, 502, 503, 504):
        labels = f'method="GET",route="/v1/orders/{{order_id}}/images",status="{status}"'
        assert f"batch_http_requests_total{{{labels}}} 0.0" in text


async def test_the_first_failure_of_autoenhance_counts(service: Service) -> None:
    """The same for what it is asked."""
    text = (await service.ask("/metrics")).body.decode()

    for operation in ("order", "image", "asset", "create_order", "register_image", "upload"):
        for status in (401, 429, 503, "timeout", "error"):
            assert f'batch_upstream_requests_total{{operation="{operation}",status="{status}"}} 0.0' in text


async def test_who_asks_to_wait_is_not_served_slowly(upstream: FakeUpstream, service: Service) -> None:
    """An objective and an alert stand on the time to the first byte: only of downloads that are to begin at once."""
    await _download(upstream, service)
    for query in ("wait=true", "delivery=complete", "on_failure=strict"):
        assert (await service.ask(f"/v1/orders/{ORDER}/images?{query}")).status == 200

    assert "batch_archive_first_byte_seconds_count 1.0" in (await service.ask("/metrics")).body.decode()


async def test_openmetrics_for_who_asks_for_it(service: Service) -> None:
    """By `Accept`; the text format for everybody else."""
    modern = await service.ask("/metrics", headers=OPENMETRICS)
    plain = await service.ask("/metrics", headers={"Accept": "text/plain"})
    browser = await service.ask("/metrics", headers={"Accept": "text/html,*/*"})

    assert modern.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert modern.body.endswith(b"# EOF\n")
    assert {family.name for family in _parse(modern)} >= {"batch_jobs", "batch_jobs_open"}
    for answer in (plain, browser):
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        assert b"# EOF" not in answer.body


async def test_a_measurement_leads_to_its_trace(
    upstream: FakeUpstream, start_service: StartService, collector: Collector
) -> None:
    """With tracing on, each histogram has the trace of an observation as its exemplar."""
    service = await start_service(otel_exporter_otlp_endpoint=collector.url)
    answer = await _download(upstream, service)

    found = _exemplars(await _families(service, OPENMETRICS))

    trace_id = answer.headers["X-Request-Id"]
    assert found == {
        f"batch_{name}": {trace_id}
        for name in (
            "http_request_duration_seconds",
            "archive_duration_seconds",
            "archive_first_byte_seconds",
            "archive_size_bytes",
            "image_download_seconds",
            "image_size_bytes",
            "upstream_request_duration_seconds",
        )
    }


def test_a_buckets_exemplar_is_its_last_trace() -> None:
    """The newest is the one that a collector still has; an observation outside any trace leaves it there."""
    metrics, traces = Metrics(), Traces(TracerProvider(shutdown_on_exit=False).get_tracer("test"))

    ids = []
    for seconds in (0.2, 0.2, 40.0):
        with traces.request("GET", {}) as span:
            ids.append(trace.format_trace_id(span.get_span_context().trace_id))
            metrics.image_download.observe(seconds)
    metrics.image_download.observe(0.2)

    found = {
        sample.labels["le"]: sample.exemplar.labels["trace_id"]
        for family in metrics.image_download.collect()
        for sample in family.samples
        if sample.exemplar
    }
    assert found == {"0.25": ids[1], "60.0": ids[2]}


async def test_a_trace_that_is_not_recorded_is_no_exemplar(
    upstream: FakeUpstream, start_service: StartService, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would lead nowhere."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    service = await start_service(otel_exporter_otlp_endpoint=collector.url)
    await _download(upstream, service)

    assert _exemplars(await _families(service, OPENMETRICS)) == {}


async def test_without_tracing_there_are_no_exemplars(upstream: FakeUpstream, service: Service) -> None:
    """They would lead nowhere."""
    await _download(upstream, service)

    assert _exemplars(await _families(service, OPENMETRICS)) == {}


def test_every_series_is_described() -> None:
    """In the table of the operating guide, with its labels' values."""
    table = (ROOT / "service" / "docs" / "operating.md").read_text().partition("## Metrics")[2]
    rows = [line for line in table.splitlines() if line.startswith("| `batch_")]

    described = CONTRACT | SHARED
    assert {name for row in rows for name in re.findall(r"`(batch_\w+)`", row)} == {f"batch_{one}" for one in described}
    for name, labels in described.items():
        (row,) = [row for row in rows if f"`batch_{name}`" in row]
        assert all(f"`{label}`" in row for label in labels), name
        assert all(value in row for label, values in labels.items() if label != "reason" for value in values), name


@pytest.fixture
async def service(start_service: StartService) -> Service:
    """A service without traces."""
    return await start_service()


async def _download(upstream: FakeUpstream, service: Service) -> Answer:
    upstream.orders[ORDER] = order(["a", "b"])
    upstream.images = {"a": jpeg(1), "b": jpeg(2)}
    upstream.hops = {"a": 1}
    answer = await service.download()
    assert answer.status == 200
    return answer


async def _families(service: Service, headers: dict[str, str] | None = None) -> list[Metric]:
    answer = await service.ask("/metrics", headers=headers)
    assert answer.status == 200
    return _parse(answer)


def _parse(answer: Answer) -> list[Metric]:
    parse: Any = parse_openmetrics if "openmetrics" in answer.headers["Content-Type"] else parse_text
    return list(parse(answer.body.decode()))


def _labels(families: Iterable[Metric]) -> dict[str, dict[str, set[str]]]:
    """The values of each label, by series; a histogram is one series."""
    found: dict[str, dict[str, set[str]]] = {}
    for family in families:
        for sample in family.samples:
            name = re.sub(r"_(bucket|sum|count)$", "", sample.name) if family.type == "histogram" else sample.name
            if name.startswith("batch_"):
                values = found.setdefault(name, {})
                for label, value in sample.labels.items():
                    if label != "le":
                        values.setdefault(label, set()).add(value)
    return found


def _exemplars(families: Iterable[Metric]) -> dict[str, set[str]]:
    """Trace ids by series."""
    found: dict[str, set[str]] = {}
    for family in families:
        for sample in family.samples:
            if sample.exemplar is not None:
                found.setdefault(family.name, set()).add(sample.exemplar.labels["trace_id"])
    return found
