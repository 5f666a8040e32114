"""What a download costs: CPU time, memory and wall time of the service beside a plain pass-through of the same bytes.

Each time the service is a fresh process with an empty data directory. Seconds depend on the machine, the ratios hardly.
"""

import asyncio
import math
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from aiohttp import ClientSession

from tests.bench import rivals
from tests.bench.figures import Amount, Case, Figure, Pair, Round, run
from tests.bench.upstream import BenchOrder, Upstream, open_upstream
from tests.faults.curl import curl
from tests.faults.findings import Findings
from tests.support.doc_blocks import ROOT
from tests.support.process import ServiceProcess, cpu_seconds

_LINKS = 5  # DOWNLOAD_CONCURRENCY's default
_DOWNLOAD_SECONDS = 240
SETTINGS = {
    "AUTOENHANCE_API_KEY": "bench",
    "MAX_IMAGES_PER_ORDER": "100000",
    "RATE_LIMIT": "off",
    "MAX_IMAGE_BYTES": str(2 << 30),
    "STORE_MAX_BYTES": str(8 << 30),
}


async def download(url: str, size: int) -> float:
    """Get at least `size` bytes from `url` and forget them; returns the seconds that curl took."""
    told = "%{time_total} %{size_download}"
    code, printed = await curl("--fail", "--max-time", str(_DOWNLOAD_SECONDS), "-o", "/dev/null", "-w", told, url)
    assert code == 0, f"curl ended with {code} for {url}"
    seconds, received = printed.split()
    assert int(received) >= size, f"{received} bytes in place of {size}"
    return float(seconds)


@asynccontextmanager
async def service(
    upstream: Upstream, checkout: Path, api: str, warm_up: BenchOrder, **more: str
) -> AsyncIterator[ServiceProcess]:
    """A service that has made one download, and has nothing else in its store; `more` are settings of it."""
    folder = await asyncio.to_thread(tempfile.mkdtemp, dir=upstream.folder)
    settings = SETTINGS | upstream.trust | {"AUTOENHANCE_API_BASE": api, "PYTHONPATH": str(checkout)} | more
    async with ServiceProcess(Path(folder), **settings) as process:
        await download(process.url + warm_up.path, warm_up.size)
        await cpu_at_rest(process.pid)
        yield process


@asynccontextmanager
async def pass_through(upstream: Upstream, api: str, warm_up: BenchOrder) -> AsyncIterator[tuple[int, str]]:
    """The pass-through once it has made a download; gives its process id and address."""
    async with rivals.running("pass-through", api, **upstream.trust) as (pid, url):
        await download(url + warm_up.path, warm_up.size)
        yield pid, url


async def cpu_at_rest(pid: int) -> float:
    """CPU seconds of a process once it has nothing more to do: what it does after its answer counts too."""
    before = cpu_seconds(pid)
    while True:
        await asyncio.sleep(0.1)
        after = cpu_seconds(pid)
        if after - before < 0.002:
            return after
        before = after


async def cpu_of(pid: int, url: str, orders: Sequence[BenchOrder]) -> float:
    """CPU seconds that a process takes to hand out these orders, one after the other."""
    before = await cpu_at_rest(pid)
    for order in orders:
        await download(url + order.path, order.size)
    return await cpu_at_rest(pid) - before


async def measure_cold(
    upstream: Upstream,
    checkouts: Sequence[Path],
    amount: Amount,
    *,
    size: int,
    per_image: bool = False,
    tls: bool = False,
) -> Round:
    """CPU time of a first download of images of `size` bytes: seconds per GB, or milliseconds per image."""
    order, warm_up = upstream.order(amount.images, size), upstream.order(5, min(size, 5_000_000), number=1)
    api = upstream.tls_api if tls else upstream.api
    unit = order.images / 1e3 if per_image else order.size / 1e9
    ours = []
    for checkout in checkouts:
        async with service(upstream, checkout, api, warm_up) as process:
            ours.append(await cpu_of(process.pid, process.url, [order]))
    async with pass_through(upstream, api, warm_up) as (pid, url):
        theirs = await cpu_of(pid, url, [order])
    return [(Pair(cpu / unit, theirs / unit),) for cpu in ours]


async def measure_warm(upstream: Upstream, checkouts: Sequence[Path], amount: Amount) -> Round:
    """CPU seconds per GB of an archive that is here, and of nginx with a file of that size: copied, and by sendfile."""
    order = upstream.order(amount.images, 5_000_000)
    gigabytes = order.size * amount.repeats / 1e9
    ours = []
    for checkout in checkouts:
        async with service(upstream, checkout, upstream.api, order) as process:
            ours.append(await cpu_of(process.pid, process.url, [order] * amount.repeats))
    theirs = []
    for folder in ("copied", "assets"):
        file = upstream.finished_file(order.size, folder=folder)
        await download(file, order.size)
        before = await cpu_at_rest(upstream.pid)
        for _ in range(amount.repeats):
            await download(file, order.size)
        theirs.append(await cpu_at_rest(upstream.pid) - before)
    return [tuple(Pair(cpu / gigabytes, one / gigabytes) for one in theirs) for cpu in ours]


async def measure_many(upstream: Upstream, checkouts: Sequence[Path], amount: Amount) -> Round:
    """CPU milliseconds per image, and peak memory in MB, of one order and of small ones before it, in one process."""
    few = [upstream.order(100, 20_000, number=number) for number in range(amount.repeats)]
    many = upstream.order(amount.images, 20_000)
    warm_up = upstream.order(5, 20_000, number=1)
    pairs: Round = []
    for checkout in checkouts:
        async with service(upstream, checkout, upstream.api, warm_up) as process:
            small = await cpu_of(process.pid, process.url, few) * 1e3 / sum(order.images for order in few)
            peak = process.peak_memory
            large = await cpu_of(process.pid, process.url, [many]) * 1e3 / many.images
            pairs.append((Pair(large, small), Pair(process.peak_memory / 1e6, peak / 1e6)))
    return pairs


async def measure_wall(upstream: Upstream, checkouts: Sequence[Path], amount: Amount) -> Round:
    """Wall seconds with latency at upstream, of bare links that fetch the same, and as the ideal schedule has it."""
    order = upstream.order(amount.images, 5_000_000)
    warm_up = upstream.order(5, 5_000_000, number=1)
    ours = []
    for checkout in checkouts:
        async with service(upstream, checkout, upstream.slow_api, warm_up) as process:
            ours.append(await download(process.url + order.path, order.size))
    theirs = await bare_links(upstream.slow_api, order)
    ideal = upstream.speed.latency + math.ceil(order.images / _LINKS) * upstream.speed.seconds(5_000_000)
    return [(Pair(seconds, theirs), Pair(seconds, ideal)) for seconds in ours]


async def bare_links(api: str, order: BenchOrder) -> float:
    """Seconds that five links take who do nothing but fetch."""
    started = time.perf_counter()
    async with ClientSession() as session:
        async with session.get(f"{api}/orders/{order.order_id}") as answer:
            images = iter((await answer.json())["images"])

        async def link() -> None:
            for image in images:
                async with session.get(f"{api}/images/{image['image_id']}/enhanced") as answer:
                    answer.raise_for_status()
                    async for _ in answer.content.iter_any():
                        pass

        await asyncio.gather(*(link() for _ in range(_LINKS)))
    return time.perf_counter() - started


def _cold(title: str, size: int, full: Amount, quick: Amount, *, tls: bool = False) -> Case:
    figure = Figure(f"{title}, cold: CPU per byte", "s/GB", "pass-through")
    return Case((figure,), partial(measure_cold, size=size, tls=tls), full, quick)


CASES: Mapping[str, Case] = {
    "large": Case(
        (Figure("5 MB images, cold: CPU per byte", "s/GB", "pass-through", 2.2),),
        partial(measure_cold, size=5_000_000),
        full=Amount(7, 40),
        quick=Amount(5, 20),
    ),
    "preview": Case(
        (Figure("200 kB images, cold: CPU per image", "ms", "pass-through", 2.5),),
        partial(measure_cold, size=200_000, per_image=True),
        full=Amount(7, 500),
        quick=Amount(7, 200),
    ),
    "tiny": Case(
        (Figure("20 kB images, cold: CPU per image", "ms", "pass-through", 5),),
        partial(measure_cold, size=20_000, per_image=True),
        full=Amount(7, 1000),
        quick=Amount(7, 200),
    ),
    "warm": Case(
        (
            Figure("warm: CPU per byte", "s/GB", "nginx as it is by default", 1),
            Figure("warm: CPU per byte", "s/GB", "nginx with sendfile"),
        ),
        measure_warm,
        full=Amount(7, 40, repeats=5),
        quick=Amount(7, 20, repeats=5),
    ),
    "many": Case(
        (
            Figure("10,000 images: CPU per image", "ms", "100 images", 1.1),
            Figure("10,000 images: peak memory", "MB", "100 images", 30, is_difference=True),
        ),
        measure_many,
        full=Amount(3, 10_000, repeats=10),
        quick=Amount(1, 10_000, repeats=10),
    ),
    "wall": Case(
        (
            Figure("250 ms an image, 40 MB/s a link: wall time", "s", "5 bare links", 1.05),
            Figure("250 ms an image, 40 MB/s a link: wall time", "s", "ideal schedule"),
        ),
        measure_wall,
        full=Amount(5, 40),
        quick=Amount(2, 40),
    ),
    "1 MB": _cold("1 MB images", 1_000_000, Amount(5, 200), Amount(2, 100)),
    "50 MB": _cold("50 MB images", 50_000_000, Amount(5, 10), Amount(2, 5)),
    "1 GB": _cold("one image of 1 GB", 1_000_000_000, Amount(3, 1), Amount(2, 1)),
    "TLS": _cold("5 MB images, upstream by TLS", 5_000_000, Amount(5, 40), Amount(2, 20), tls=True),
}


async def measure(folder: Path) -> Findings:
    """All cases with the service of this checkout, as findings: each aim is a promise."""
    findings = Findings()
    async with open_upstream(folder) as upstream:
        for case in CASES.values():
            for result in await run(case, case.full, upstream, {"this": ROOT}):
                figure = result.figure
                how = "minus" if figure.is_difference else "/"
                aim = f" (aim: at most {figure.aim:g})" if figure.aim is not None else ""
                told = f"{figure.title} {how} {figure.reference}{aim}"
                findings.figure(told, result.spread, passed=result.is_met)
    return findings
