"""Images per second of one, two and three replicas, where every image takes a second at the upstream.

python -m tests.bench.fleet
"""

import asyncio
import tempfile
import time
from pathlib import Path

from service.sandbox import ImageSpec
from tests.shared.fleet import Fleet, open_fleet

_ORDERS, _IMAGES = 12, 5
_LATENCY = 1.0
_AT_ONCE = 5
_REPLICAS = (1, 2, 3)


async def measure() -> None:
    """Print the rate of each size of the fleet, and its ratio to that of one replica."""
    alone = 0.0
    for replicas in _REPLICAS:
        with tempfile.TemporaryDirectory() as folder:
            async with open_fleet(Path(folder), replicas, DOWNLOAD_CONCURRENCY=str(_AT_ONCE)) as fleet:
                rate = await _rate(fleet)
        alone = alone or rate
        ideal = replicas * _AT_ONCE / _LATENCY
        print(f"{replicas} replicas: {rate:.1f} images/s, ideal {ideal:.0f} (ratio to one replica {rate / alone:.2f})")


async def _rate(fleet: Fleet) -> float:
    orders = [fleet.add_order([ImageSpec(size=50_000, latency=_LATENCY)] * _IMAGES) for _ in range(_ORDERS)]

    async def download(order_id: str) -> None:
        async with fleet.session.get(f"{fleet.url}/v1/orders/{order_id}/images?preview=false") as response:
            assert response.status == 200
            await response.read()

    started = time.perf_counter()
    await asyncio.gather(*(download(order.order_id) for order in orders))
    return _ORDERS * _IMAGES / (time.perf_counter() - started)


if __name__ == "__main__":
    asyncio.run(measure())
