"""What a download costs: CPU time, memory and wall time of the service beside a plain pass-through of the same bytes.

python -m tests.bench.path_cost [--quick] [--case NAME] [--checkout DIR] [--json FILE]

nginx is upstream, curl the caller, all on loopback. The parties of a case take turns; each time the service is a
fresh process with an empty data directory. Seconds depend on the machine, the ratios hardly do. With `--checkout`, the
service of another checkout takes its turn too.
"""

import argparse
import asyncio
import json
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple, TypeAlias

from aiohttp import ClientSession

from tests.bench import rivals
from tests.bench.upstream import BenchOrder, Upstream, open_upstream
from tests.faults.curl import curl
from tests.faults.findings import Findings
from tests.support.doc_blocks import ROOT
from tests.support.process import ServiceProcess, cpu_seconds

_LINKS = 5  # DOWNLOAD_CONCURRENCY's default
_DOWNLOAD_SECONDS = 240
# For each case and checkout: no further round begins after this time.
_FULL_SECONDS, _QUICK_SECONDS = 50.0, 8.0
SETTINGS = {
    "AUTOENHANCE_API_KEY": "bench",
    "MAX_IMAGES_PER_ORDER": "100000",
    "RATE_LIMIT": "off",
    "STORE_MAX_BYTES": str(8 << 30),
}


class Pair(NamedTuple):
    """What a round measured, and what that is compared with."""

    service: float
    reference: float


Round: TypeAlias = list[tuple[Pair, ...]]
"""What one round of a case measured: for each checkout, a pair for each of the case's figures."""


@dataclass(frozen=True)
class Figure:
    """What a case measures. Its value is service / reference, or with `is_difference` service - reference."""

    title: str
    unit: str
    reference: str
    aim: float
    is_difference: bool = False

    def value(self, pair: Pair) -> float:
        """The value of one round."""
        return pair.service - pair.reference if self.is_difference else pair.service / pair.reference


@dataclass(frozen=True)
class Amount:
    """How much a round downloads and how often it is repeated."""

    rounds: int
    images: int
    repeats: int = 1
    """Of what is too short to be measured once."""


@dataclass(frozen=True)
class Case:
    """How a round is measured, at full and at quick length."""

    figures: tuple[Figure, ...]
    measure: Callable[[Upstream, Sequence[Path], Amount], Awaitable[Round]]
    full: Amount
    quick: Amount


@dataclass(frozen=True)
class Result:
    """The rounds of one figure for one checkout."""

    figure: Figure
    checkout: str
    pairs: list[Pair]
    loads: list[float]
    """The machine's load average at the end of each round: above its number of processors, the values scatter."""

    @property
    def values(self) -> list[float]:
        """Of each round, in order of size."""
        return sorted(map(self.figure.value, self.pairs))

    @property
    def value(self) -> float:
        """The middle of all rounds."""
        return median(self.values)

    @property
    def is_met(self) -> bool:
        """Whether the aim is reached."""
        return self.value <= self.figure.aim

    @property
    def spread(self) -> str:
        """The middle of all rounds with the lowest and the highest."""
        return f"{self.value:.2f} ({self.values[0]:.2f} to {self.values[-1]:.2f})"


async def download(url: str, size: int) -> float:
    """Get at least `size` bytes from `url` and forget them; returns the seconds that curl took."""
    told = "%{time_total} %{size_download}"
    code, printed = await curl("--fail", "--max-time", str(_DOWNLOAD_SECONDS), "-o", "/dev/null", "-w", told, url)
    assert code == 0, f"curl ended with {code} for {url}"
    seconds, received = printed.split()
    assert int(received) >= size, f"{received} bytes in place of {size}"
    return float(seconds)


@asynccontextmanager
async def service(upstream: Upstream, checkout: Path, api: str, warm_up: BenchOrder) -> AsyncIterator[ServiceProcess]:
    """A service that has made one download, and has nothing else in its store."""
    with tempfile.TemporaryDirectory(dir=upstream.folder) as folder:
        settings = SETTINGS | {"AUTOENHANCE_API_BASE": api, "PYTHONPATH": str(checkout)}
        async with ServiceProcess(Path(folder), **settings) as process:
            await download(process.url + warm_up.path, warm_up.size)
            await cpu_at_rest(process.pid)
            yield process


@asynccontextmanager
async def pass_through(api: str, warm_up: BenchOrder) -> AsyncIterator[tuple[int, str]]:
    """The pass-through once it has made a download; gives its process id and address."""
    async with rivals.running("pass-through", api) as (pid, url):
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


async def _cpu_of(pid: int, url: str, orders: Sequence[BenchOrder]) -> float:
    before = await cpu_at_rest(pid)
    for order in orders:
        await download(url + order.path, order.size)
    return await cpu_at_rest(pid) - before


async def measure_cold(
    upstream: Upstream, checkouts: Sequence[Path], amount: Amount, *, size: int, per_image: bool
) -> Round:
    """CPU time of a first download of images of `size` bytes: seconds per GB, or milliseconds per image."""
    order, warm_up = upstream.order(amount.images, size), upstream.order(5, size, number=1)
    unit = order.images / 1e3 if per_image else order.size / 1e9
    ours = []
    for checkout in checkouts:
        async with service(upstream, checkout, upstream.api, warm_up) as process:
            ours.append(await _cpu_of(process.pid, process.url, [order]))
    async with pass_through(upstream.api, warm_up) as (pid, url):
        theirs = await _cpu_of(pid, url, [order])
    return [(Pair(cpu / unit, theirs / unit),) for cpu in ours]


async def measure_warm(upstream: Upstream, checkouts: Sequence[Path], amount: Amount) -> Round:
    """CPU seconds per GB of an archive that is here, and of nginx with a file of that size."""
    order = upstream.order(amount.images, 5_000_000)
    gigabytes = order.size * amount.repeats / 1e9
    ours = []
    for checkout in checkouts:
        async with service(upstream, checkout, upstream.api, order) as process:
            ours.append(await _cpu_of(process.pid, process.url, [order] * amount.repeats))
    file = upstream.finished_file(order.size)
    await download(file, order.size)
    before = await cpu_at_rest(upstream.pid)
    for _ in range(amount.repeats):
        await download(file, order.size)
    theirs = await cpu_at_rest(upstream.pid) - before
    return [(Pair(cpu / gigabytes, theirs / gigabytes),) for cpu in ours]


async def measure_many(upstream: Upstream, checkouts: Sequence[Path], amount: Amount) -> Round:
    """CPU milliseconds per image, and peak memory in MB, of one order and of small ones before it, in one process."""
    few = [upstream.order(100, 20_000, number=number) for number in range(amount.repeats)]
    many = upstream.order(amount.images, 20_000)
    warm_up = upstream.order(5, 20_000, number=1)
    pairs: Round = []
    for checkout in checkouts:
        async with service(upstream, checkout, upstream.api, warm_up) as process:
            small = await _cpu_of(process.pid, process.url, few) * 1e3 / sum(order.images for order in few)
            peak = process.peak_memory
            large = await _cpu_of(process.pid, process.url, [many]) * 1e3 / many.images
            pairs.append((Pair(large, small), Pair(process.peak_memory / 1e6, peak / 1e6)))
    return pairs


async def measure_wall(upstream: Upstream, checkouts: Sequence[Path], amount: Amount) -> Round:
    """Wall seconds with latency at upstream, and of bare links that fetch the same."""
    order = upstream.order(amount.images, 5_000_000)
    warm_up = upstream.order(5, 5_000_000, number=1)
    ours = []
    for checkout in checkouts:
        async with service(upstream, checkout, upstream.slow_api, warm_up) as process:
            ours.append(await download(process.url + order.path, order.size))
    theirs = await bare_links(upstream.slow_api, order)
    return [(Pair(seconds, theirs),) for seconds in ours]


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


CASES: Mapping[str, Case] = {
    "large": Case(
        (Figure("5 MB images, cold: CPU per byte", "s/GB", "pass-through", 2.2),),
        partial(measure_cold, size=5_000_000, per_image=False),
        full=Amount(7, 40),
        quick=Amount(2, 20),
    ),
    "preview": Case(
        (Figure("200 kB images, cold: CPU per image", "ms", "pass-through", 2.5),),
        partial(measure_cold, size=200_000, per_image=True),
        full=Amount(7, 500),
        quick=Amount(2, 200),
    ),
    "tiny": Case(
        (Figure("20 kB images, cold: CPU per image", "ms", "pass-through", 5),),
        partial(measure_cold, size=20_000, per_image=True),
        full=Amount(7, 1000),
        quick=Amount(2, 200),
    ),
    "warm": Case(
        (Figure("warm: CPU per byte", "s/GB", "nginx", 1),),
        measure_warm,
        full=Amount(7, 40, repeats=5),
        quick=Amount(2, 20, repeats=5),
    ),
    "many": Case(
        (
            Figure("10,000 images: CPU per image", "ms", "100 images", 1.1),
            Figure("10,000 images: peak memory", "MB", "100 images", 30, is_difference=True),
        ),
        measure_many,
        full=Amount(3, 10_000, repeats=10),
        quick=Amount(1, 2_000, repeats=5),
    ),
    "wall": Case(
        (Figure("250 ms a call, 40 MB/s a link: wall time", "s", "5 bare links", 1.05),),
        measure_wall,
        full=Amount(5, 40),
        quick=Amount(1, 20),
    ),
}


async def run(
    case: Case, amount: Amount, upstream: Upstream, checkouts: Mapping[str, Path], *, seconds: float = _FULL_SECONDS
) -> list[Result]:
    """The rounds of a case, one at least: a result per figure and checkout. `checkouts` are folders by their labels."""
    results = [[Result(figure, label, [], []) for figure in case.figures] for label in checkouts]
    end = time.monotonic() + seconds * len(checkouts)
    for number in range(amount.rounds):
        if number and time.monotonic() > end:
            break
        for row, pairs in zip(results, await case.measure(upstream, list(checkouts.values()), amount), strict=True):
            for result, pair in zip(row, pairs, strict=True):
                result.pairs.append(pair)
                result.loads.append(os.getloadavg()[0])
    return [result for figures in zip(*results, strict=True) for result in figures]


async def measure(folder: Path) -> Findings:
    """All cases with the service of this checkout, as findings: each aim is a promise."""
    findings = Findings()
    async with open_upstream(folder) as upstream:
        for case in CASES.values():
            for result in await run(case, case.full, upstream, {"this": ROOT}):
                figure = result.figure
                how = "minus" if figure.is_difference else "/"
                told = f"{figure.title} {how} {figure.reference} (aim: at most {figure.aim:g})"
                findings.figure(told, result.spread, passed=result.is_met)
    return findings


def _label(checkout: Path) -> str:
    """The folder's name and what is checked out there."""
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--exclude", "*"]
    found = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return f"{checkout.resolve().name} {found}".strip()


_LINE = "{:<42} {:<20} {:>10} {:>24} {:>26} {:>6} {:<7} {}"


def _print_line(result: Result) -> None:
    figure = result.figure
    ours = f"{median(pair.service for pair in result.pairs):.2f} {figure.unit}"
    theirs = f"{figure.reference} {median(pair.reference for pair in result.pairs):.2f} {figure.unit}"
    rounds = f"{len(result.pairs)} at {median(result.loads):.1f}"
    verdict = "met" if result.is_met else "MISSED"
    aim = f"{'+' if figure.is_difference else ''}{figure.aim:g}"
    print(_LINE.format(figure.title, result.checkout, ours, theirs, result.spread, aim, verdict, rounds), flush=True)


def machine() -> dict[str, object]:
    """When and with what the figures were made."""
    nginx = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=False).stderr.strip()
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{os.cpu_count()} cores, {platform.system()} {platform.release()} {platform.machine()}",
        "versions": {"python": platform.python_version(), "nginx": nginx.rpartition("/")[2]},
    }


def _document(results: Sequence[Result]) -> dict[str, object]:
    return machine() | {
        "results": [
            {
                **asdict(result.figure),
                "checkout": result.checkout,
                "rounds": [pair._asdict() for pair in result.pairs],
                "loads": result.loads,
                "value": result.value,
                "lowest": result.values[0],
                "highest": result.values[-1],
                "is_met": result.is_met,
            }
            for result in results
        ],
    }


async def main(arguments: argparse.Namespace) -> list[Result]:
    """Run the cases and print each as soon as it is done."""
    checkouts = {_label(path): path for path in [ROOT, *arguments.checkout]}
    results = []
    print(
        _LINE.format("Case", "Service", "", "compared with", "value (lowest to highest)", "aim", "", "rounds at load")
    )
    seconds = _QUICK_SECONDS if arguments.quick else _FULL_SECONDS
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        async with open_upstream(Path(folder)) as upstream:
            for case in [CASES[name] for name in arguments.case or CASES]:
                amount = case.quick if arguments.quick else case.full
                for result in await run(case, amount, upstream, checkouts, seconds=seconds):
                    _print_line(result)
                    results.append(result)
    return results


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.path_cost", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--case", action="append", choices=CASES, help="run this case only; may be repeated")
    parser.add_argument("--quick", action="store_true", help="less of everything: under a minute, and rougher")
    parser.add_argument("--checkout", action="append", type=Path, default=[], help="measure the service here as well")
    parser.add_argument("--json", type=Path, help="write the figures of every round to this file")
    return parser


if __name__ == "__main__":
    _arguments = _parser().parse_args()
    _results = asyncio.run(main(_arguments))
    if _arguments.json is not None:
        _arguments.json.write_text(json.dumps(_document(_results), indent=2) + "\n")
