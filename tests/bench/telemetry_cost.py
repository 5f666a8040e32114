"""What metrics and traces cost: CPU time of cold downloads with both on, against both off.

python -m tests.bench.telemetry_cost
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from service.sandbox import ImageSpec
from tests.docs.blocks import ROOT
from tests.faults.scene import Scene, open_scene
from tests.telemetry.collector import Collector

_IMAGES = 100
_IMAGE = 4_000_000
_ROUNDS = 8
_MOST = 0.05
# The service has no switch for metrics. Python reads this file at its start when it lies on the path.
_NO_METRICS = """
from prometheus_client import Counter, Gauge, Histogram
nothing = lambda *_: None
Counter.inc = Gauge.set = Histogram.observe = nothing
from service.telemetry import metrics
metrics._TracedHistogram.observe = nothing
"""


@asynccontextmanager
async def open_bare(folder: Path) -> AsyncIterator[Scene]:
    """A service without metrics and traces."""
    await asyncio.to_thread((folder / "sitecustomize.py").write_text, _NO_METRICS)
    async with open_scene(folder / "data", None, PYTHONPATH=f"{folder}:{ROOT}") as scene:
        yield scene


async def cpu_of_download(scene: Scene, collector: Collector | None) -> float:
    """Seconds of CPU for an order of 100 images of 4 MB, the export of its spans included."""
    before = _cpu_seconds(scene)
    wanted = len(collector.named("image")) + _IMAGES if collector else 0
    answer = await scene.download(scene.add_order([ImageSpec(size=_IMAGE)] * _IMAGES))
    assert answer.status == 200
    if collector is not None:
        await collector.until(lambda: len(collector.named("image")) >= wanted)
    return _cpu_seconds(scene) - before


def _cpu_seconds(scene: Scene) -> float:
    """Of all its threads, to the nanosecond: ticks are too coarse for one download."""
    files = Path(f"/proc/{scene.service.pid}/task").glob("*/schedstat")
    return sum(int(file.read_text().split()[0]) for file in files) / 1e9


async def main() -> None:
    """Print the best of some rounds, taken in turns by two services that live side by side."""
    off, on = [], []
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        async with (
            Collector() as collector,
            open_bare(Path(one)) as bare,
            open_scene(Path(other), None, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url) as seen,
        ):
            for _ in range(_ROUNDS + 1):
                off.append(await cpu_of_download(bare, None))
                on.append(await cpu_of_download(seen, collector))
    least, most = min(off[1:]), min(on[1:])  # the first round is for both to get warm
    print(f"{_IMAGES} images of {_IMAGE / 1e6:.0f} MB: {least:.3f} s of CPU without, {most:.3f} s with")
    print(f"metrics and traces cost {most / least - 1:.1%} (may be {_MOST:.0%})")
    print(f"that is {(most - least) / _IMAGES * 1e6:.0f} microseconds per image")


if __name__ == "__main__":
    asyncio.run(main())
