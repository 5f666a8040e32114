"""How long an order of 20 images takes whose images take 0.2 s each: four rounds of five, not twenty in a row.

python -m tests.bench.parallel
"""

import asyncio
import tempfile
import time
from pathlib import Path

from service.sandbox import ImageSpec
from tests.faults.scene import open_scene

_IMAGES = 20
_LATENCY = 0.2
_AT_ONCE = 5
_ROUNDS = 3


async def measure() -> None:
    """Print the best of some rounds beside what a perfect service would take, and one image after the other."""
    with tempfile.TemporaryDirectory() as folder:
        async with open_scene(Path(folder)) as scene:
            seconds = []
            for _ in range(_ROUNDS):
                order = scene.add_order([ImageSpec(size=50_000, latency=_LATENCY) for _ in range(_IMAGES)])
                started = time.perf_counter()
                answer = await scene.download(order)
                seconds.append(time.perf_counter() - started)
                assert answer.status == 200
    ideal = _IMAGES / _AT_ONCE * _LATENCY
    print(f"{_IMAGES} images of {_LATENCY} s each, {_AT_ONCE} at once: {min(seconds):.2f} s")
    print(f"ideal {ideal:.2f} s (ratio {min(seconds) / ideal:.2f}), one after the other {_IMAGES * _LATENCY:.1f} s")


if __name__ == "__main__":
    asyncio.run(measure())
