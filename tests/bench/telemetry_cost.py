"""What traces and metrics cost: CPU time of cold downloads with them, against the same service without."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.bench.figures import Amount, Case, Figure, Pair, Round
from tests.bench.path_cost import cpu_of, service
from tests.bench.upstream import Upstream
from tests.support.collector import Collector

_SIZE = 5_000_000
# The service has no switch for metrics. Python reads this file at its start when it lies on the path.
_NO_METRICS = """
from prometheus_client import Counter, Gauge, Histogram
nothing = lambda *_: None
Counter.inc = Gauge.set = Histogram.observe = nothing
from service.telemetry import metrics
metrics._Histogram.observe = nothing
"""
# Spans leave before the process is taken for being at rest.
_SOON = {"OTEL_BSP_SCHEDULE_DELAY": "50"}
_KINDS: Sequence[Mapping[str, str]] = (
    _SOON,
    {**_SOON, "OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.1"},
)


async def measure_telemetry(upstream: Upstream, checkouts: Sequence[Path], amount: Amount) -> Round:
    """CPU seconds per GB with each kind of telemetry, and with neither traces nor, at last, metrics."""
    orders = [upstream.order(amount.images, _SIZE, number) for number in range(amount.repeats)]
    warm_up = upstream.order(5, _SIZE, number=amount.repeats)
    gigabytes = sum(order.size for order in orders) / 1e9

    async def cpu(checkout: Path, **settings: str) -> float:
        async with service(upstream, checkout, upstream.api, warm_up, **settings) as process:
            return await cpu_of(process.pid, process.url, orders) / gigabytes

    pairs: Round = []
    for checkout in checkouts:
        default = await cpu(checkout)
        found = []
        for settings in _KINDS:
            async with Collector() as collector:
                with_traces = await cpu(checkout, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, **settings)
                found.append(Pair(with_traces, default))
                assert collector.spans or len(settings) > 1, "no span arrived"
        with tempfile.TemporaryDirectory(dir=upstream.folder) as folder:
            (Path(folder) / "sitecustomize.py").write_text(_NO_METRICS)
            off = await cpu(checkout, PYTHONPATH=f"{folder}:{checkout}")
        pairs.append((*found, Pair(default, off)))
    return pairs


CASES: Mapping[str, Case] = {
    "telemetry": Case(
        (
            Figure("5 MB images, every trace recorded: CPU per byte", "s/GB", "no traces", 1.12),
            Figure("5 MB images, one trace in ten recorded: CPU per byte", "s/GB", "no traces", 1.03),
            Figure("5 MB images, metrics: CPU per byte", "s/GB", "no metrics"),
        ),
        measure_telemetry,
        full=Amount(5, 20, repeats=5),
        quick=Amount(4, 20, repeats=3),
    ),
}
