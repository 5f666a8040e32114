"""What traces and metrics cost: CPU time of cold downloads with them, against the same service without.

python -m tests.bench.telemetry_cost [bytes of an image [rounds]]
"""

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise
from pathlib import Path
from statistics import quantiles

from service.sandbox import ImageSpec
from tests.faults.scene import Scene, open_scene
from tests.support.collector import Collector
from tests.support.doc_blocks import ROOT

_IMAGES = 100
_IMAGE = 5_000_000
_ROUNDS = 12
# The service has no switch for metrics. Python reads this file at its start when it lies on the path.
_NO_METRICS = """
from prometheus_client import Counter, Gauge, Histogram
nothing = lambda *_: None
Counter.inc = Gauge.set = Histogram.observe = nothing
from service.telemetry import metrics
metrics._Histogram.observe = nothing
"""
_SAMPLERS: dict[str, dict[str, str]] = {
    "every trace": {},
    "one trace in ten": {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.1"},
    "no trace, by the sampler": {"OTEL_TRACES_SAMPLER": "always_off"},
}
# Of CPU more than without traces, at 5 MB an image.
_MOST = {"every trace": 0.12, "one trace in ten": 0.03}


@asynccontextmanager
async def open_scenes(folder: Path, collector: Collector) -> AsyncIterator[dict[str, Scene]]:
    """Services that differ in what they tell, by name; the first has no traces, the last no metrics either."""
    await asyncio.to_thread((folder / "sitecustomize.py").write_text, _NO_METRICS)
    traced = {name: {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url} | sampler for name, sampler in _SAMPLERS.items()}
    kinds: dict[str, dict[str, str]] = {"no traces": {}} | traced | {"no metrics": {"PYTHONPATH": f"{folder}:{ROOT}"}}
    async with AsyncExitStack() as stack:
        yield {
            name: await stack.enter_async_context(open_scene(folder / name, None, **settings))
            for name, settings in kinds.items()
        }


async def download(scene: Scene, size: int) -> None:
    """An order of 100 images that nobody has had."""
    answer = await scene.download(scene.add_order([ImageSpec(size=size)] * _IMAGES))
    assert answer.status == 200


def _cpu_seconds(scene: Scene) -> float:
    """Of all its threads, to the nanosecond: ticks are too coarse for one download."""
    files = Path(f"/proc/{scene.service.pid}/task").glob("*/schedstat")
    return sum(int(file.read_text().split()[0]) for file in files) / 1e9


async def cpu_of_rounds(scenes: dict[str, Scene], size: int, count: int) -> list[dict[str, float]]:
    """Seconds of CPU of each round: from one download's start to the start of the next.

    So the export of spans counts, whenever it happens, and all stand idle for equally long.
    """
    marks = []
    for _ in range(count + 2):
        for scene in scenes.values():
            await download(scene, size)
        marks.append({name: _cpu_seconds(scene) for name, scene in scenes.items()})
    # The first round is for all to get warm.
    return [{name: after[name] - before[name] for name in scenes} for before, after in pairwise(marks[1:])]


async def main(size: int = _IMAGE, count: int = _ROUNDS) -> None:
    """Print what each costs in CPU, of what the first uses: by the least of all rounds, which others disturb least,
    then by rounds taken in turns, the middle of the ratios and where half of them lie.
    """
    with tempfile.TemporaryDirectory() as folder:
        async with Collector() as collector, open_scenes(Path(folder), collector) as scenes:
            rounds = await cpu_of_rounds(scenes, size, count)
            assert len(collector.named("image")) >= _IMAGES, "no span arrived"
    least = {name: min(one[name] for one in rounds) for name in scenes}
    off = least["no traces"]
    print(f"{_IMAGES} images of {size / 1e6:.1f} MB, {len(rounds)} rounds: {off:.3f} s of CPU without traces")
    for name in scenes:
        if name != "no traces":
            low, middle, high = quantiles([one[name] / one["no traces"] - 1 for one in rounds])
            limit = f", at most {_MOST[name]:.0%}" if name in _MOST and size >= _IMAGE else ""
            print(f"{name}: {least[name] / off - 1:+.1%}{limit}; in turns {middle:+.1%} ({low:+.1%} to {high:+.1%})")


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:])))
