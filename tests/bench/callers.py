"""What a download costs when many callers ask at once, every fourth of them slow."""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from aiohttp import ClientSession, ClientTimeout, TCPConnector

from tests.bench.figures import Amount, Case, Figure, Pair, Round
from tests.bench.path_cost import cpu_at_rest, cpu_of, service
from tests.bench.upstream import BenchOrder, Upstream

_SIZE = 200_000
_SECONDS = 240
# A slow caller takes so many bytes, then pauses; what the kernel holds for it is not what it has read.
_SLOW_BYTES, _SLOW_PAUSE = 64 << 10, 0.05
_EACH_SLOW = 4


async def measure_callers(upstream: Upstream, checkouts: Sequence[Path], amount: Amount, *, callers: int) -> Round:
    """CPU milliseconds per image, and peak memory in MB: of so many callers at once, each with an order of its own,
    and of one who asks for the same kind of orders one after the other, in the same process.
    """
    few = [upstream.order(amount.images, _SIZE, number) for number in range(1000, 1000 + amount.repeats)]
    many = [upstream.order(amount.images, _SIZE, number) for number in range(callers)]
    warm_up = upstream.order(5, _SIZE, number=1)
    pairs: Round = []
    for checkout in checkouts:
        async with service(upstream, checkout, upstream.api, warm_up) as process:
            alone = await cpu_of(process.pid, process.url, few) * 1e3 / sum(order.images for order in few)
            peak = process.peak_memory
            before = await cpu_at_rest(process.pid)
            await download_at_once(process.url, many)
            together = (await cpu_at_rest(process.pid) - before) * 1e3 / sum(order.images for order in many)
            pairs.append((Pair(together, alone), Pair(process.peak_memory / 1e6, peak / 1e6)))
    return pairs


async def download_at_once(url: str, orders: Sequence[BenchOrder]) -> None:
    """Get all of them, each over a connection of its own, every fourth slowly."""
    connector = TCPConnector(limit=0)
    async with ClientSession(connector=connector, timeout=ClientTimeout(_SECONDS), read_bufsize=_SLOW_BYTES) as session:

        async def download(number: int, order: BenchOrder) -> None:
            received = 0
            async with session.get(url + order.path) as answer:
                assert answer.status == 200, answer.status
                async for chunk in answer.content.iter_chunked(_SLOW_BYTES):
                    received += len(chunk)
                    if number % _EACH_SLOW == 1:
                        await asyncio.sleep(_SLOW_PAUSE)
            assert received >= order.size, f"{received} bytes in place of {order.size}"

        await asyncio.gather(*(download(number, order) for number, order in enumerate(orders)))


def _callers(count: int, full: Amount, quick: Amount) -> Case:
    figures = (
        Figure(f"{count} callers at once: CPU per image", "ms", "one caller"),
        Figure(f"{count} callers at once: peak memory", "MB", "one caller", is_difference=True),
    )
    return Case(figures, partial(measure_callers, callers=count), full, quick)


CASES: Mapping[str, Case] = {
    "8 callers": _callers(8, Amount(5, 40, repeats=4), Amount(2, 20, repeats=4)),
    "64 callers": _callers(64, Amount(5, 10, repeats=20), Amount(2, 5, repeats=20)),
    "512 callers": _callers(512, Amount(3, 5, repeats=40), Amount(1, 3, repeats=40)),
}
