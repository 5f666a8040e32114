"""The service beside other ways to do its work: first byte, whole download, repeat, memory.

nginx is upstream, as an Autoenhance that answers after 150 ms, its storage after 100 ms, with 40 MB/s over each
connection. The parties take turns, each time as a fresh process; then nginx sends one finished file of the same size,
and five bare connections fetch the same images and forget them, which is the fastest that such an upstream can be
emptied.
"""

import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TypeAlias

from tests.bench import rivals
from tests.bench.path_cost import SETTINGS, bare_links
from tests.bench.upstream import BenchOrder, Upstream
from tests.faults.curl import curl
from tests.support.process import ServiceProcess, peak_memory

_SECONDS = 240
ORDERS: Mapping[str, tuple[int, int]] = {
    "40 photos of 5 MB": (40, 5_000_000),
    "100 previews of 200 kB": (100, 200_000),
}
"""Of each order: images, and bytes of each."""
BOUNDS = "bare links; nginx, a finished file"
Party: TypeAlias = Callable[[Upstream], AbstractAsyncContextManager[tuple[int, str]]]


@dataclass(frozen=True)
class Run:
    """What one download took. Seconds, and MB of memory at most."""

    first_byte: float
    whole: float
    repeat: float
    memory: float


@asynccontextmanager
async def _service(upstream: Upstream) -> AsyncIterator[tuple[int, str]]:
    with tempfile.TemporaryDirectory(dir=upstream.folder) as folder:
        settings = SETTINGS | {"AUTOENHANCE_API_BASE": upstream.slow_api}
        async with ServiceProcess(Path(folder), **settings) as process:
            yield process.pid, process.url


def _rival(name: str) -> Party:
    return lambda upstream: rivals.running(name, upstream.slow_api)


PARTIES: Mapping[str, Party] = {"this service": _service, **{name: _rival(name) for name in rivals.RIVALS}}


async def timed(url: str, size: int) -> tuple[float, float]:
    """Seconds to the first byte of the body and to the last, of a download of at least `size` bytes."""
    told = "%{time_starttransfer} %{time_total} %{size_download}"
    code, printed = await curl("--fail", "--max-time", str(_SECONDS), "-o", "/dev/null", "-w", told, url)
    assert code == 0, f"curl ended with {code} for {url}"
    first, whole, received = printed.split()
    assert int(received) >= size, f"{received} bytes in place of {size}"
    return float(first), float(whole)


async def measure(upstream: Upstream, party: Party, order: BenchOrder) -> Run:
    """A first download through a fresh process, and the same once more."""
    async with party(upstream) as (pid, url):
        first, whole = await timed(url + order.path, order.size)
        _, repeat = await timed(url + order.path, order.size)
        return Run(first, whole, repeat, peak_memory(pid) / 1e6)


async def compare(upstream: Upstream, order: BenchOrder, rounds: int) -> dict[str, list[Run]]:
    """The runs of each party, and of what bounds them all."""
    runs: dict[str, list[Run]] = {name: [] for name in PARTIES}
    bounds: list[Run] = []
    for _ in range(rounds):
        for name, party in PARTIES.items():
            runs[name].append(await measure(upstream, party, order))
        fetched = await bare_links(upstream.slow_api, order)
        _, sent = await timed(upstream.finished_file(order.size), order.size)
        bounds.append(Run(0, fetched, sent, 0))
    return runs | {BOUNDS: bounds}


_LINE = "| {:<36} | {:>12} | {:>12} | {:>12} | {:>10} |"


def table(title: str, runs: Mapping[str, Sequence[Run]]) -> str:
    """The middle of each figure, as a table in Markdown."""
    lines = [f"### {title}", "", _LINE.format("", "first byte", "whole ZIP", "once more", "memory")]
    lines.append("|---|---|---|---|---|")
    for name, these in runs.items():
        first, whole, repeat, memory = (
            median(getattr(run, figure) for run in these) for figure in ("first_byte", "whole", "repeat", "memory")
        )
        lines.append(
            _LINE.format(
                name,
                f"{first:.2f} s" if first else "",
                f"{whole:.2f} s",
                f"{repeat:.2f} s",
                f"{memory:.0f} MB" if memory else "",
            )
        )
    return "\n".join(lines) + "\n"
