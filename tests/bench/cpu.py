"""CPU seconds of the service per GB, cold (images are fetched) and warm (they are here).

python -m tests.bench.cpu
"""

import asyncio
import tempfile
from pathlib import Path

from service.sandbox import ImageSpec
from tests.faults.curl import throughput
from tests.faults.findings import Findings
from tests.faults.scene import open_scene

_IMAGE = 10_000_000
_AIM = 0.35


async def measure(folder: Path, *, images: int = 100, rounds: int = 3) -> Findings:
    """The median of some rounds, each with an order of its own; the client is curl."""
    findings = Findings()
    cold: list[float] = []
    warm: list[float] = []
    async with open_scene(folder, STORE_MAX_BYTES=str(8 << 30)) as scene:
        for _ in range(rounds):
            order = scene.add_order([ImageSpec(size=_IMAGE)] * images)
            url = f"{scene.service.url}{scene.order_path(order)}?preview=false"
            for figures in (cold, warm):
                before = scene.service.cpu_seconds
                _, size = await throughput(url)
                figures.append((scene.service.cpu_seconds - before) / (size / 1e9))
    middle = [sorted(figures)[rounds // 2] for figures in (cold, warm)]
    findings.figure(f"cold, {images} images of {_IMAGE / 1e6:.0f} MB: CPU seconds per GB", f"{middle[0]:.2f}")
    findings.figure("warm: CPU seconds per GB", f"{middle[1]:.2f}")
    ratio = middle[1] / middle[0]
    findings.figure(f"warm / cold (aim: at most {_AIM})", f"{ratio:.2f}", passed=ratio <= _AIM)
    return findings


async def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        (await measure(Path(folder))).print()


if __name__ == "__main__":
    asyncio.run(main())
