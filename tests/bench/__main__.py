"""All benchmarks: what a download costs, and how it compares with other ways to do it.

python -m tests.bench [--full] [--case NAME] [--checkout DIR] [--into DIR]

nginx is upstream, curl the caller, all on loopback. The parties of a case take turns, round by round. Without `--case`
everything is measured, and written into the folder: RESULTS.md, its plots, results.json. With `--checkout`, the service
of another checkout takes its turn too.
"""

import argparse
import asyncio
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from tests.bench import callers, comparison, fleet_cost, path_cost, results, telemetry_cost
from tests.bench.figures import FULL_SECONDS, QUICK_SECONDS, Case, Result, run
from tests.bench.upstream import Upstream, open_upstream
from tests.support.doc_blocks import ROOT

CASES: Mapping[str, Case] = {**path_cost.CASES, **callers.CASES, **telemetry_cost.CASES, **fleet_cost.CASES}
# A round of the comparison takes four minutes, nearly all of it latency, which does not scatter.
_ROUNDS, _FULL_ROUNDS = 1, 5
_TOOLS = ("nginx", "curl", "openssl", "haproxy", "redis-server", "moto_server")


def _label(checkout: Path) -> str:
    """What is checked out there."""
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--exclude", "*"]
    found = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return found or checkout.resolve().name


@asynccontextmanager
async def _upstream() -> AsyncIterator[Upstream]:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        async with open_upstream(Path(folder)) as upstream:
            yield upstream


async def main(arguments: argparse.Namespace) -> None:
    """Run the cases and print each as soon as it is done."""
    checkouts = {_label(path): path for path in [ROOT, *arguments.checkout]}
    seconds = FULL_SECONDS if arguments.full else QUICK_SECONDS
    found: list[Result] = []
    for name in arguments.case or CASES:
        case = CASES[name]
        amount = case.full if arguments.full else case.quick
        async with _upstream() as upstream:
            for result in await run(case, amount, upstream, checkouts, seconds=seconds):
                print(results.line(result), flush=True)
                found.append(result)
    if arguments.case:
        return
    runs = {}
    rounds = _FULL_ROUNDS if arguments.full else _ROUNDS
    async with _upstream() as upstream:
        for title, (images, size) in comparison.ORDERS.items():
            runs[title] = await comparison.compare(upstream, upstream.order(images, size), rounds)
            print(comparison.table(title, runs[title]), flush=True)
    results.write(arguments.into, found, runs, is_full=arguments.full)
    print(f"written: {arguments.into}/RESULTS.md")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--full", action="store_true", help="longer, and more rounds")
    parser.add_argument("--case", action="append", choices=CASES, help="run this case only; may be repeated")
    parser.add_argument("--checkout", action="append", type=Path, default=[], help="measure the service here as well")
    parser.add_argument("--into", type=Path, default=Path(__file__).parent, help="where the results are written")
    return parser


def _missing() -> list[str]:
    """What is needed, and neither on the path nor beside this Python."""
    beside = Path(sys.executable).parent
    return [tool for tool in _TOOLS if shutil.which(tool) is None and not (beside / tool).exists()]


if __name__ == "__main__":
    _arguments = _parser().parse_args()
    if missing := _missing():
        sys.exit(f"not installed: {', '.join(missing)}")
    asyncio.run(main(_arguments))
