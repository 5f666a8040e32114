"""What metrics and traces cost: CPU time of cold downloads with both on, against both off.

python -m tests.bench.telemetry_cost
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from statistics import median

from service.sandbox import ImageSpec
from tests.docs.blocks import ROOT
from tests.faults.scene import Scene, open_scene
from tests.telemetry.collector import Collector

_IMAGES = 100
_IMAGE = 4_000_000
_ROUNDS = 20
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


async def download(scene: Scene) -> None:
    """An order of 100 images of 4 MB that nobody has had."""
    answer = await scene.download(scene.add_order([ImageSpec(size=_IMAGE)] * _IMAGES))
    assert answer.status == 200


def _cpu_seconds(scene: Scene) -> float:
    """Of all its threads, to the nanosecond: ticks are too coarse for one download."""
    files = Path(f"/proc/{scene.service.pid}/task").glob("*/schedstat")
    return sum(int(file.read_text().split()[0]) for file in files) / 1e9


async def cpu_of_rounds(bare: Scene, seen: Scene) -> list[tuple[float, float]]:
    """Seconds of CPU of each round, without and with: from one download's start to the start of the next.

    So the export of spans counts, whenever it happens, and both stand idle for equally long.
    """
    marks = []
    for _ in range(_ROUNDS + 2):
        await download(bare)
        await download(seen)
        marks.append((_cpu_seconds(bare), _cpu_seconds(seen)))
    # The first round is for both to get warm.
    return [(after[0] - before[0], after[1] - before[1]) for before, after in pairwise(marks[1:])]


async def main() -> None:
    """Print the middle of some rounds, taken in turns by two services that live side by side."""
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        async with (
            Collector() as collector,
            open_bare(Path(one)) as bare,
            open_scene(Path(other), None, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url) as seen,
        ):
            rounds = await cpu_of_rounds(bare, seen)
            assert len(collector.named("image")) >= _IMAGES, "no span arrived"
    off, on = (median(seconds) for seconds in zip(*rounds, strict=True))
    cost = median(with_it / without - 1 for without, with_it in rounds)
    print(f"{_IMAGES} images of {_IMAGE / 1e6:.0f} MB: {off:.3f} s of CPU without, {on:.3f} s with")
    print(f"metrics and traces cost {cost:.1%} (may be {_MOST:.0%}), the middle of {len(rounds)} rounds")


if __name__ == "__main__":
    asyncio.run(main())
