"""What traces and metrics cost: CPU time of cold downloads with them, against the same service without."""

import asyncio
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.bench.figures import Amount, Case, Figure, Pair, Round
from tests.bench.path_cost import cpu_at_rest, download, service
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
# By default 512 spans leave together, or those of 5 seconds: here those of one, which takes less waiting.
_EXPORT_SECONDS = 1.0
_SOON = {"OTEL_BSP_SCHEDULE_DELAY": f"{_EXPORT_SECONDS * 1000:.0f}"}
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
            before = await cpu_at_rest(process.pid)
            for order in orders:
                await download(process.url + order.path, order.size)
            await asyncio.sleep(1.5 * _EXPORT_SECONDS)  # the last spans are part of the cost
            return (await cpu_at_rest(process.pid) - before) / gigabytes

    pairs: Round = []
    for checkout in checkouts:
        first = await cpu(checkout)
        recorded = []
        for settings in _KINDS:
            async with Collector() as collector:
                recorded.append(await cpu(checkout, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, **settings))
                assert collector.spans or len(settings) > 1, "no span arrived"
        with tempfile.TemporaryDirectory(dir=upstream.folder) as folder:
            (Path(folder) / "sitecustomize.py").write_text(_NO_METRICS)
            off = await cpu(checkout, PYTHONPATH=f"{folder}:{checkout}")
        default = (first + await cpu(checkout)) / 2  # the machine gets slower with each file that was written
        pairs.append((*(Pair(one, default) for one in recorded), Pair(default, off)))
    return pairs


CASES: Mapping[str, Case] = {
    "telemetry": Case(
        (
            Figure("5 MB images, every trace recorded: CPU per byte", "s/GB", "no traces", 1.12),
            Figure(
                "5 MB images, one trace in ten recorded: CPU per byte",
                "s/GB",
                "no traces",
                1.03,
                reason="a round scatters by more than the three hundredths that the aim leaves.",
            ),
            Figure("5 MB images, metrics: CPU per byte", "s/GB", "no metrics"),
        ),
        measure_telemetry,
        full=Amount(5, 20, repeats=5),
        quick=Amount(4, 20, repeats=3),
    ),
}
