"""Peak memory of the service for a small order and for a 2 GiB one: `python -m tests.bench.memory`."""

import asyncio
import tempfile
from pathlib import Path

from service.sandbox import ImageSpec
from tests.faults.curl import throughput
from tests.faults.findings import Findings
from tests.faults.scene import open_scene
from tests.faults.slow_readers import read_slowly

MIB = 1 << 20
_IMAGE = 20 * MIB
_MAX_GROWTH = 30
_MAX_IN_A_CROWD = 256
_SLOW_SECONDS = 20.0


async def measure(folder: Path, *, few: int = 3, many: int = 100) -> Findings:
    """The peak for an order of `few` and one of `many` images of 20 MiB, each through a fresh service."""
    findings = Findings()
    peaks = []
    for images in (few, many):
        peak, size = await _peak(folder / str(images), images)
        peaks.append(peak / MIB)
        findings.figure(f"peak memory, order of {images} images, {size / MIB:.0f} MiB", f"{peak / MIB:.1f} MiB")
    growth = peaks[1] - peaks[0]
    findings.figure(f"growth (at most {_MAX_GROWTH} MiB)", f"{growth:.1f} MiB", passed=growth <= _MAX_GROWTH)
    return findings


async def _peak(folder: Path, images: int) -> tuple[int, int]:
    async with open_scene(folder) as scene:
        order = scene.add_order([ImageSpec(size=_IMAGE)] * images)
        _, size = await throughput(f"{scene.service.url}{scene.order_path(order)}?preview=false")
        return scene.service.peak_memory, size


async def measure_crowd(folder: Path, *, archives: int = 20, slow: int = 4, images: int = 8) -> Findings:
    """The peak for so many large archives at once, each cold and with a reader of its own, some of them slow."""
    findings = Findings()
    async with open_scene(folder, STORE_MAX_BYTES=str(8 << 30)) as scene:
        orders = [scene.add_order([ImageSpec(size=_IMAGE)] * images) for _ in range(archives)]
        urls = [f"{scene.service.url}{scene.order_path(order)}?preview=false" for order in orders]
        readers = [asyncio.create_task(read_slowly(url, _SLOW_SECONDS)) for url in urls[:slow]]
        sizes = [size for _, size in await asyncio.gather(*(throughput(url) for url in urls[slow:]))]
        await asyncio.gather(*readers)
        peak = scene.service.peak_memory / MIB
    told = f"peak memory, {archives} archives of {images * _IMAGE // MIB} MiB at once, {slow} of their readers slow"
    findings.figure(f"{told} (at most {_MAX_IN_A_CROWD} MiB)", f"{peak:.1f} MiB", passed=peak <= _MAX_IN_A_CROWD)
    findings.figure("MiB delivered to the others", f"{sum(sizes) / MIB:.0f}")
    return findings


async def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        (await measure(Path(folder))).print()


if __name__ == "__main__":
    asyncio.run(main())
