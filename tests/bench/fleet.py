"""Images per second of one, two and three replicas, where every image takes 100 ms at the upstream.

python -m tests.bench.fleet
"""

import asyncio
import tempfile
import time
from pathlib import Path

from service.sandbox import ImageSpec
from tests.faults.findings import Findings
from tests.support.fleet import Fleet, open_fleet

_ORDERS, _IMAGES = 24, 5
_LATENCY = 0.1
# So few that neither the sandbox nor the stand-in for S3 is what limits two cores.
_AT_ONCE = 1
_REPLICAS = (1, 2, 3)
_SHARE = 2.6 / 3
"""Of what so many replicas could do: three do at least 2.6 times as much as one."""


async def measure(folder: Path) -> Findings:
    """The rate of each size of the fleet, and its ratio to that of one replica."""
    findings = Findings()
    alone = 0.0
    for replicas in _REPLICAS:
        place = folder / str(replicas)
        await asyncio.to_thread(place.mkdir)
        async with open_fleet(place, replicas, DOWNLOAD_CONCURRENCY=str(_AT_ONCE)) as fleet:
            rate = await _rate(fleet)
        alone = alone or rate
        ideal = replicas * _AT_ONCE / _LATENCY
        findings.figure(f"images per second of {replicas} (ideal {ideal:g})", f"{rate:.1f}")
        findings.figure(
            f"ratio to one replica, of {replicas}", f"{rate / alone:.2f}", passed=rate / alone > replicas * _SHARE
        )
    return findings


async def _rate(fleet: Fleet) -> float:
    orders = [fleet.add_order([ImageSpec(size=50_000, latency=_LATENCY)] * _IMAGES) for _ in range(_ORDERS)]

    async def download(order_id: str) -> None:
        async with fleet.session.get(f"{fleet.url}/v1/orders/{order_id}/images?preview=false") as response:
            assert response.status == 200
            await response.read()

    started = time.perf_counter()
    await asyncio.gather(*(download(order.order_id) for order in orders))
    return _ORDERS * _IMAGES / (time.perf_counter() - started)


async def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        (await measure(Path(folder))).print()


if __name__ == "__main__":
    asyncio.run(main())
