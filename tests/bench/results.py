"""What `python -m tests.bench` found, as a page, as plots and as JSON."""

import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median

from service import __version__
from tests.bench.comparison import Run, table
from tests.bench.figures import Result
from tests.bench.plot import Bar, bars

Comparison = Mapping[str, Mapping[str, Sequence[Run]]]
"""For each order the runs of each party."""
_PARTS = ("aiohttp", "zipstream-ng", "isal", "blake3", "opentelemetry-sdk")
_HEAD = """# Figures

Written by `make bench` on {date}; {machine}.
Autoenhance Batch {service}, {versions}.

Everything runs on one machine, over loopback: nginx is upstream, curl the caller. Seconds depend on the machine; the
ratios hardly do, but for a virtual machine that gives free memory back to its host: new files cost more there, at times
twice as much. A figure is the middle of its rounds, with the lowest and the highest; the load is what else the machine
did: above its number of cores, figures scatter. {rounds}

## Where each aim stands

![Each figure as a share of its aim](aims.svg)

"""
_BESIDE = """
## Beside other ways to do it

The API answers after 150 ms, its storage after 100 ms, with 40 MB/s over each connection. Each party is a fresh
process. "Buffered" fetches five images at a time into memory and answers with the whole ZIP; "one by one" streams a
ZIP, one image after the other; the "pass-through" sends the bytes without making a ZIP. The last line is what bounds
all of them: five connections that forget what they fetch, and nginx with a finished file.

![Seconds until the whole ZIP is there](comparison.svg)

"""


def machine() -> dict[str, object]:
    """When and with what the figures were made."""
    nginx = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=False).stderr.strip()
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{os.cpu_count()} cores, {platform.system()} {platform.release()} {platform.machine()}",
        "service": __version__,
        "versions": {
            "python": platform.python_version(),
            "nginx": nginx.rpartition("/")[2],
            **{name: version(name) for name in _PARTS},
        },
    }


def document(results: Sequence[Result], comparison: Comparison) -> dict[str, object]:
    """Every round of every figure."""
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
        "comparison": {
            title: {name: [asdict(run) for run in runs] for name, runs in parties.items()}
            for title, parties in comparison.items()
        },
    }


def page(results: Sequence[Result], comparison: Comparison, *, is_full: bool) -> str:
    """RESULTS.md."""
    made = machine()
    versions = made["versions"]
    assert isinstance(versions, dict)
    made["versions"] = ", ".join(f"{name} {number}" for name, number in versions.items())
    rounds = (
        "At full length (`make bench-all`)." if is_full else "At the shorter length; `make bench-all` takes longer."
    )
    lines = ["| | measured | compared with | value | aim | | rounds, at load |", "|---|---|---|---|---|---|---|"]
    for result in results:
        figure = result.figure
        how = "minus" if figure.is_difference else "/"
        lines.append(
            f"| {figure.title} | {_middle(result, 0)} | {how} {figure.reference}, {_middle(result, 1)}"
            f" | {result.spread} | {result.aim} | {result.verdict} | {len(result.pairs)}, {median(result.loads):.1f} |"
        )
    reasons = [
        f"- {result.figure.title}, {result.value:.2f} in place of {result.aim}: {result.figure.reason}"
        for result in results
        if result.is_met is False and result.figure.reason
    ]
    if reasons:
        lines += ["", "What keeps a figure from its aim:", "", *reasons]
    tables = "\n".join(table(title, runs) for title, runs in comparison.items())
    return _HEAD.format(**made, rounds=rounds) + "\n".join(lines) + "\n" + _BESIDE + tables


def plots(results: Sequence[Result], comparison: Comparison) -> dict[str, str]:
    """The pictures of the page, by file name."""
    aims = [
        Bar(result.figure.title, max(result.value, 0) / result.figure.aim, f"{result.value:.2f} of {result.aim}")
        for result in results
        if result.figure.aim is not None
    ]
    seconds = [
        Bar(
            f"{title}: {name.split(';')[0]}",
            median(run.whole for run in runs),
            f"{median(r.whole for r in runs):.2f} s",
        )
        for title, parties in comparison.items()
        for name, runs in parties.items()
    ]
    return {
        "aims.svg": bars("Each figure as a share of its aim", aims, mark=1),
        "comparison.svg": bars("Seconds until the whole ZIP is there", seconds),
    }


def write(folder: Path, results: Sequence[Result], comparison: Comparison, *, is_full: bool) -> None:
    """Write all of it into a folder."""
    (folder / "RESULTS.md").write_text(page(results, comparison, is_full=is_full))
    (folder / "results.json").write_text(json.dumps(document(results, comparison), indent=1) + "\n")
    for name, text in plots(results, comparison).items():
        (folder / name).write_text(text)


def line(result: Result) -> str:
    """A result for the terminal."""
    figure = result.figure
    how = "minus" if figure.is_difference else "/"
    load = f"load {median(result.loads):.1f}"
    aim = f"aim {result.aim}" if result.aim else ""
    compared = f"{_middle(result, 0)} {how} {figure.reference} {_middle(result, 1)}"
    verdict = f"{result.spread:<24} {aim:<9} {result.verdict:<7} {load}"
    return f"{figure.title:<62} {result.checkout:<14} {compared:<48} {verdict}"


def _middle(result: Result, side: int) -> str:
    return f"{median(pair[side] for pair in result.pairs):.2f} {result.figure.unit}".strip()
