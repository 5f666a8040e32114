"""What metrics and traces cost: CPU time of cold downloads with both on, against both off.

python -m tests.bench.telemetry_cost
"""

import asyncio
import tempfile
from pathlib import Path

from service.sandbox import ImageSpec
from tests.docs.blocks import ROOT
from tests.faults.scene import open_scene
from tests.telemetry.collector import Collector

_IMAGES = 100
_IMAGE = 4_000_000
_DOWNLOADS = 3
_ROUNDS = 4
_MOST = 0.05
# The service has no switch for metrics. Python reads this file at its start when it lies on the path.
_NO_METRICS = """
from prometheus_client import Counter, Gauge, Histogram
nothing = lambda *_: None
Counter.inc = Gauge.set = Histogram.observe = nothing
from service.telemetry import metrics
metrics._TracedHistogram.observe = nothing
"""


async def cpu_per_download(folder: Path, collector: Collector | None) -> float:
    """Seconds of CPU for an order of 100 images of 4 MB through a fresh service, the export of its spans included."""
    if collector is None:
        (folder / "sitecustomize.py").write_text(_NO_METRICS)
        settings = {"PYTHONPATH": f"{folder}:{ROOT}"}
    else:
        settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
    async with open_scene(folder / "data", None, **settings) as scene:
        await scene.download(scene.add_order([ImageSpec(size=1_000)]))
        before = scene.service.cpu_seconds
        for _ in range(_DOWNLOADS):
            order = scene.add_order([ImageSpec(size=_IMAGE)] * _IMAGES)
            answer = await scene.download(order)
            assert answer.status == 200
        if collector is not None:
            wanted = _DOWNLOADS * _IMAGES
            await collector.until(lambda: len(collector.named("image")) >= wanted)
        return (scene.service.cpu_seconds - before) / _DOWNLOADS


async def main() -> None:
    """Print the best of some rounds each, taken in turns."""
    off, on = [], []
    for _ in range(_ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            off.append(await cpu_per_download(Path(folder), None))
        with tempfile.TemporaryDirectory() as folder:
            async with Collector() as collector:
                on.append(await cpu_per_download(Path(folder), collector))
    cost = min(on) / min(off) - 1
    print(f"{_IMAGES} images of {_IMAGE / 1e6:.0f} MB: {min(off):.3f} s of CPU without, {min(on):.3f} s with")
    print(f"metrics and traces cost {cost:.1%} (may be {_MOST:.0%})")
    print(f"that is {(min(on) - min(off)) / _IMAGES * 1e6:.0f} microseconds per image")


if __name__ == "__main__":
    asyncio.run(main())
