"""What an image costs where several instances share: CPU time of all of them, and requests to S3.

An instance that has nothing to do takes CPU time too, which is measured by itself and counts for no image. Callers ask
the instances in turn, without a balancer, whose probes cost the instances more than that.
"""

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from itertools import cycle
from pathlib import Path

from service.cluster.objects import Objects, open_store
from service.telemetry.metrics import Metrics
from tests.bench.figures import Amount, Case, Figure, Pair, Round
from tests.bench.path_cost import SETTINGS, cpu_at_rest, download, service
from tests.bench.upstream import BenchOrder, Upstream
from tests.support.fleet import open_fleet
from tests.support.process import ServiceProcess, clean_environment, cpu_seconds
from tests.support.s3_proxy import S3Proxy
from tests.support.s3_server import shared_server

_REPLICAS = 2
_ORDERS = 4
_IDLE_SECONDS = 4.0
_OF_ORDERS = (
    "an order of ten images takes eight small requests to S3 and some sixteen calls of Redis besides its uploads, about"
    " 0.2 ms each; the figure scatters around its aim."
)
_OF_IMAGES = (
    "the upload alone takes 0.4 ms an image, and what is told to the others (a lease, an entry of the list, their"
    " messages) as much again: beside an image that costs 1 ms by itself that is more than the aim leaves."
)


async def measure_fleet(upstream: Upstream, checkouts: Sequence[Path], amount: Amount, *, size: int) -> Round:
    """CPU milliseconds per image of two instances that share, and of one by itself; what the two take on top, and what
    an upload alone does; requests to S3 per image."""
    images = amount.images * _ORDERS
    orders = [upstream.order(amount.images, size, number) for number in range(_ORDERS)]
    warm_up = upstream.order(5, size, number=_ORDERS)
    pairs: Round = []
    for checkout in checkouts:
        async with AsyncExitStack() as stack:
            one = await stack.enter_async_context(service(upstream, checkout, upstream.api, warm_up))
            alone = await _cpu_of([one], orders) * 1e3 / images
        await asyncio.to_thread(_empty_storage)
        async with AsyncExitStack() as stack:
            proxy = await stack.enter_async_context(S3Proxy())
            replicas = await _open_replicas(stack, upstream, checkout, proxy)
            for replica in replicas:
                await download(replica.url + warm_up.path, warm_up.size)
            requests = len(proxy.requests)
            together = await _cpu_of(replicas, orders) * 1e3 / images
            requests = len(proxy.requests) - requests
            uploads = await _cpu_of_uploads(upstream, proxy, size, images) * 1e3 / images
        pairs.append((Pair(together, alone), Pair(together - alone, uploads), Pair(requests / images, 1)))
    return pairs


async def measure_idle(upstream: Upstream, checkouts: Sequence[Path], amount: Amount) -> Round:
    """CPU milliseconds per second of two instances that share and have nothing to do, and of one by itself."""
    warm_up = upstream.order(amount.images, 20_000)
    pairs: Round = []
    for checkout in checkouts:
        async with service(upstream, checkout, upstream.api, warm_up) as process:
            alone = await _idle_cpu([process])
        async with AsyncExitStack() as stack:
            proxy = await stack.enter_async_context(S3Proxy())
            together = await _idle_cpu(await _open_replicas(stack, upstream, checkout, proxy))
        pairs.append((Pair(together * 1e3, alone * 1e3),))
    return pairs


def _empty_storage() -> None:
    """Begin with memory as it was in the first round: what the storage keeps grows by hundreds of MB in each, and in a
    virtual machine the instances' new files then get pages that the host has yet to find, which counts as their CPU.
    """
    shared_server().stop()
    shared_server().start()


async def _open_replicas(
    stack: AsyncExitStack, upstream: Upstream, checkout: Path, proxy: S3Proxy
) -> Sequence[ServiceProcess]:
    """Two that share, and reach S3 through `proxy`; they end with `stack`."""
    settings = SETTINGS | {"AUTOENHANCE_API_BASE": upstream.api, "PYTHONPATH": str(checkout)}
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=upstream.folder)))
    fleet = open_fleet(folder, _REPLICAS, proxy, ways=(), has_long_timeouts=False, is_balanced=False, **settings)
    return (await stack.enter_async_context(fleet)).replicas


async def _cpu_of(processes: Sequence[ServiceProcess], orders: Sequence[BenchOrder]) -> float:
    """CPU seconds that instances take to hand out these orders in turn, beyond those for being there."""
    idle = await _idle_cpu(processes)
    began, before = time.perf_counter(), sum(cpu_seconds(process.pid) for process in processes)
    for process, order in zip(cycle(processes), orders, strict=False):
        await download(process.url + order.path, order.size)
    spent = sum([await cpu_at_rest(process.pid) for process in processes]) - before
    return spent - idle * (time.perf_counter() - began)


async def _idle_cpu(processes: Sequence[ServiceProcess]) -> float:
    """CPU seconds per second of instances that have nothing to do."""
    before = sum([await cpu_at_rest(process.pid) for process in processes])
    began = time.perf_counter()
    await asyncio.sleep(_IDLE_SECONDS)
    spent = sum(cpu_seconds(process.pid) for process in processes) - before
    return spent / (time.perf_counter() - began)


async def _cpu_of_uploads(upstream: Upstream, proxy: S3Proxy, size: int, count: int) -> float:
    """CPU seconds that a process takes that does nothing but upload the same images as the service does."""
    files = [file for file in (upstream.folder / "assets").iterdir() if file.stat().st_size == size][:count]
    server = shared_server()
    url = await asyncio.to_thread(server.make_bucket)
    environment = clean_environment(**server.environment | {"AWS_ENDPOINT_URL": proxy.url})
    command = [sys.executable, "-m", __name__, url, *map(str, files)]
    process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    assert process.returncode == 0, process.returncode
    return float(output)


async def _upload(url: str, files: Sequence[Path]) -> float:
    """CPU seconds of uploading files that are in memory."""
    objects, contents = Objects(open_store(url), Metrics()), [file.read_bytes() for file in files]
    await objects.upload("first", b"first", 5)
    before = time.process_time()
    async with asyncio.TaskGroup() as uploads:
        for file, content in zip(files, contents, strict=True):
            uploads.create_task(objects.upload(file.name, content, len(content)))
    return time.process_time() - before


def _fleet(title: str, size: int, full: Amount, quick: Amount, reason: str) -> Case:
    figures = (
        Figure(f"two instances, {title}, cold: CPU per image", "ms", "one instance", 1.4, reason=reason),
        Figure(f"two instances, {title}, cold: CPU per image beyond one", "ms", "its upload alone"),
        Figure(f"two instances, {title}, cold: S3 requests", "", "image", 3),
    )
    return Case(figures, partial(measure_fleet, size=size), full, quick)


CASES: Mapping[str, Case] = {
    "fleet large": _fleet("5 MB images", 5_000_000, Amount(5, 10), Amount(3, 10), _OF_ORDERS),
    "fleet preview": _fleet("200 kB images", 200_000, Amount(5, 50), Amount(3, 50), _OF_IMAGES),
    "fleet idle": Case(
        (Figure("two instances with nothing to do: CPU per second", "ms", "one instance"),),
        measure_idle,
        full=Amount(3, 1),
        quick=Amount(1, 1),
    ),
}


if __name__ == "__main__":
    print(asyncio.run(_upload(sys.argv[1], [Path(name) for name in sys.argv[2:]])), flush=True)
    os._exit(0)  # threads of the library may end an interpreter that is about to end with a crash
