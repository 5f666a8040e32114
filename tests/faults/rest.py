"""What the service holds on to, and how late its event loop was."""

import asyncio
import math
import re
from collections import Counter
from dataclasses import dataclass

from tests.faults.findings import Findings
from tests.faults.scene import Scene

_BUCKET = re.compile(r'^batch_event_loop_lag_seconds_bucket\{le="([^"]+)"\} (\S+)', re.MULTILINE)

_LOOKS = 30


@dataclass(frozen=True)
class Rest:
    """What a service holds."""

    memory: int
    files: Counter[str]
    tasks: int


async def at_rest(scene: Scene, seconds: float, most_tasks: float = math.inf) -> Rest:
    """What the service holds once nothing goes on and kept connections are closed.

    On a busy machine that may take longer than `seconds`: while there are more than `most_tasks`, it is looked again.
    """
    await asyncio.sleep(seconds)
    tasks = await _tasks(scene)
    for _ in range(_LOOKS):
        if tasks <= most_tasks:
            break
        await asyncio.sleep(1)
        tasks = await _tasks(scene)
    return Rest(scene.service.memory, scene.service.open_files, tasks)


def note_files(findings: Findings, before: Rest, after: Rest, *, forgiven: int) -> None:
    """Note the open files and sockets, and what those that came are; at most so many may."""
    more = after.files.total() - before.files.total()
    kinds = ", ".join(f"{number} {kind}" for kind, number in (after.files - before.files).items())
    figure = f"{before.files.total()}, {after.files.total()}" + (f" (more: {kinds})" if more > 0 else "")
    findings.figure("open files and sockets, before and after", figure, passed=more <= forgiven)


async def _tasks(scene: Scene) -> int:
    return int(await scene.metric("batch_event_loop_tasks"))


async def note_lag(findings: Findings, scene: Scene) -> None:
    """Note how late the event loop was since the service started: the bounds of the buckets that p99 and max are in."""
    text = (await scene.ask("/metrics")).body.decode()
    counts = sorted((math.inf if bound == "+Inf" else float(bound), float(n)) for bound, n in _BUCKET.findall(text))
    total = counts[-1][1]
    middle, most = (next(bound for bound, n in counts if n >= share * total) for share in (0.99, 1))
    figure = f"{middle * 1000:g}, {most * 1000:g}, of {total:.0f} looks"
    findings.figure("lag of the event loop, ms: p99 and max, each at most", figure)
