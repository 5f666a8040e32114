"""Peak memory of the service for a small order and for a 2 GiB one: `python -m tests.bench.memory`."""

import asyncio
import tempfile
from pathlib import Path

from service.sandbox import ImageSpec
from tests.faults.curl import throughput
from tests.faults.findings import Findings
from tests.faults.scene import open_scene

MIB = 1 << 20
_IMAGE = 20 * MIB
_MOST_GROWTH = 30


async def measure(folder: Path, *, few: int = 3, many: int = 100) -> Findings:
    """The peak for an order of `few` and one of `many` images of 20 MiB, each through a fresh service."""
    findings = Findings()
    peaks = []
    for images in (few, many):
        peak, size = await _peak(folder / str(images), images)
        peaks.append(peak / MIB)
        findings.figure(f"peak memory, order of {images} images, {size / MIB:.0f} MiB", f"{peak / MIB:.1f} MiB")
    growth = peaks[1] - peaks[0]
    findings.figure(f"growth (at most {_MOST_GROWTH} MiB)", f"{growth:.1f} MiB", passed=growth <= _MOST_GROWTH)
    return findings


async def _peak(folder: Path, images: int) -> tuple[int, int]:
    async with open_scene(folder) as scene:
        order = scene.add_order([ImageSpec(size=_IMAGE)] * images)
        _, size = await throughput(f"{scene.service.url}{scene.order_path(order)}?preview=false")
        return scene.service.peak_memory, size


async def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        (await measure(Path(folder))).print()


if __name__ == "__main__":
    asyncio.run(main())
