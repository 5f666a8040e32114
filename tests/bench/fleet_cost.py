"""What an image costs where several instances share: CPU time of all of them, and requests to S3."""

import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from tests.bench.figures import Amount, Case, Figure, Pair, Round
from tests.bench.path_cost import SETTINGS, cpu_at_rest, cpu_of, download, service
from tests.bench.upstream import Upstream
from tests.support.fleet import Fleet, open_fleet
from tests.support.s3_proxy import S3Proxy

_REPLICAS = 2
_ORDERS = 4


async def measure_fleet(upstream: Upstream, checkouts: Sequence[Path], amount: Amount, *, size: int) -> Round:
    """CPU milliseconds per image of two instances that share, and of one by itself; requests to S3 per image."""
    images = amount.images * _ORDERS
    orders = [upstream.order(amount.images, size, number) for number in range(_ORDERS)]
    warm_up = upstream.order(5, size, number=_ORDERS)
    pairs: Round = []
    for checkout in checkouts:
        async with service(upstream, checkout, upstream.api, warm_up) as process:
            alone = await cpu_of(process.pid, process.url, orders)
        settings = SETTINGS | {"AUTOENHANCE_API_BASE": upstream.api, "PYTHONPATH": str(checkout)}
        with tempfile.TemporaryDirectory(dir=upstream.folder) as folder:
            async with (
                S3Proxy() as proxy,
                open_fleet(Path(folder), _REPLICAS, proxy, ways=(), has_long_timeouts=False, **settings) as fleet,
            ):
                for replica in fleet.replicas:
                    await download(replica.url + warm_up.path, warm_up.size)
                before, requests = await _cpu_at_rest(fleet), len(proxy.requests)
                for order in orders:
                    await download(fleet.url + order.path, order.size)
                together, requests = await _cpu_at_rest(fleet) - before, len(proxy.requests) - requests
        pairs.append((Pair(together * 1e3 / images, alone * 1e3 / images), Pair(requests / images, 1)))
    return pairs


async def _cpu_at_rest(fleet: Fleet) -> float:
    return sum([await cpu_at_rest(replica.pid) for replica in fleet.replicas])


def _fleet(title: str, size: int, full: Amount, quick: Amount) -> Case:
    figures = (
        Figure(f"two instances, {title}, cold: CPU per image", "ms", "one instance", 1.4),
        Figure(f"two instances, {title}, cold: S3 requests", "", "image", 3),
    )
    return Case(figures, partial(measure_fleet, size=size), full, quick)


CASES: Mapping[str, Case] = {
    "fleet large": _fleet("5 MB images", 5_000_000, Amount(3, 10), Amount(1, 10)),
    "fleet preview": _fleet("200 kB images", 200_000, Amount(3, 50), Amount(2, 50)),
}
