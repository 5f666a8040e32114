"""The disk fills up in the middle of builds: a clear error or a cut, a service that lives on, and room that helps."""

import asyncio
import os
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from service.sandbox import ImageSpec
from tests.faults.findings import Findings
from tests.faults.judge import Ending, Verdict, judge
from tests.faults.scene import TIMEOUT, Scene, eventually, open_scene, stray_files, temporary_files
from tests.support.tools import missing

_DISK = 128 << 20
_RESERVE = 64 << 20
"""What the service keeps free for its database."""
_LARGEST = 6 << 20
_AT_ONCE = 4


@asynccontextmanager
async def small_disk(folder: Path) -> AsyncIterator[Path]:
    """A file system of `_DISK` bytes; the test is skipped where none may be mounted."""
    await asyncio.to_thread(folder.mkdir)
    mounted = await _run("mount", "-t", "tmpfs", "-o", f"size={_DISK}", "tmpfs", str(folder))
    if not mounted:
        missing("the right to mount a file system")
    try:
        yield folder
    finally:
        await _run("umount", "--lazy", str(folder))


async def fill_disk(folder: Path, *, rounds: int, seed: int) -> Findings:
    """Downloads while something else takes the disk, to its last byte or down to the reserve, and gives it back."""
    findings, rng = Findings(), random.Random(seed)
    endings: Counter[str] = Counter()
    async with small_disk(folder / "disk") as disk, open_scene(disk / "data") as scene:
        ballast = _Ballast(disk / "ballast")
        for _ in range(rounds):
            orders = [scene.add_order(_images(rng)) for _ in range(_AT_ONCE)]
            asking = [asyncio.create_task(judge(scene, order, seconds=TIMEOUT)) for order in orders]
            await asyncio.sleep(rng.uniform(0, 0.4))
            await asyncio.to_thread(ballast.grow, rng.choice([0, 0, rng.randrange(_RESERVE), _RESERVE + (4 << 20)]))
            verdicts = await asyncio.gather(*asking)
            for verdict in verdicts:
                endings[_words(verdict)] += 1
                findings.hold("an answer is a true ZIP, a clear error, or a cut", _is_fair(verdict), verdict)
            await _live_on(findings, scene)
            late = await judge(scene, scene.add_order(_images(rng)), seconds=TIMEOUT)
            findings.hold("a full disk is a clear error", _is_fair(late), late)
            endings[_words(late)] += 1
            await asyncio.to_thread(ballast.shrink)
            # Downloads of the builds that failed are finished nevertheless, and until then they have their room.
            await eventually(lambda: scene.metric("batch_downloads_in_flight"), 0)
            again = await asyncio.gather(*(judge(scene, order, seconds=TIMEOUT) for order in orders))
            for order, verdict in zip(orders, again, strict=True):
                findings.hold("once there is room, all is delivered", verdict.ending is Ending.WHOLE, verdict)
                paid = scene.bought(order) == len(order.images)
                findings.hold("credits spent equals images", paid, order.order_id)
            findings.equal("no temporary file stays", temporary_files(scene.data_dir), [])
            findings.equal("no file without a record stays", stray_files(scene.data_dir), [])
    for words, number in sorted(endings.items()):
        findings.figure(f"answers while the disk filled: {words}", number)
    full = sum(number for words, number in endings.items() if words != Ending.WHOLE)
    findings.figure("answers that the full disk changed", full, passed=full > 0)
    return findings


class _Ballast:
    """A file of somebody else that takes room."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def grow(self, left: int) -> None:
        """Take all but `left` bytes of what is free."""
        status = os.statvfs(self._path.parent)
        size = max(0, status.f_bavail * status.f_frsize - left)
        with suppress(OSError), self._path.open("wb") as file:
            for _ in range(0, size, 1 << 20):
                file.write(bytes(min(1 << 20, size)))

    def shrink(self) -> None:
        """Give it back."""
        self._path.unlink(missing_ok=True)


def _images(rng: random.Random) -> list[ImageSpec]:
    sizes = (rng.randrange(1_000, _LARGEST) for _ in range(rng.randint(1, 3)))
    return [ImageSpec(size=size, latency=rng.uniform(0, 0.3), rate=20_000_000) for size in sizes]


def _is_fair(verdict: Verdict) -> bool:
    if verdict.ending is Ending.PROBLEM:
        return verdict.detail == "store_full"
    return verdict.ending in (Ending.WHOLE, Ending.CUT)


def _words(verdict: Verdict) -> str:
    return verdict.detail if verdict.ending is Ending.PROBLEM else str(verdict.ending)


async def _live_on(findings: Findings, scene: Scene) -> None:
    """Probes, metrics and the page do not need the disk."""
    for path in ("/livez", "/metrics", "/"):
        findings.equal("the service lives on", (await scene.ask(path)).status, 200)


async def _run(*command: str) -> bool:
    try:
        process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
    except FileNotFoundError:
        return False
    return await process.wait() == 0
