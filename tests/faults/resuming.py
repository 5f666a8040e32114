"""Downloads that were cut at any byte are finished: from a whole archive, from a running build, after a restart."""

import asyncio
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path

from service.sandbox import ImageSpec
from service.sandbox.state import Order
from tests.faults.caller import Caller, Way
from tests.faults.curl import begin_file, continue_file
from tests.faults.findings import Findings
from tests.faults.proxy import FaultProxy, Trouble
from tests.faults.scene import Scene, members, open_scene

_MAX_ATTEMPTS = 12
_HEAD = 900
"""About the size of an answer's head: cuts may fall into it."""
_IMAGES = [ImageSpec(size=size) for size in (64, 40_000, 700_000, 100, 120_000, 250_000)]


async def join_parts(folder: Path, *, downloads: int, seed: int) -> Findings:
    """Cut `downloads` downloads at random offsets, one to four times each, and join the parts.

    In turn: of a finished archive, and of a build that still runs.
    """
    findings, rng = Findings(), random.Random(seed)
    async with open_scene(folder) as scene, FaultProxy(scene.service.url) as proxy:
        finished = scene.add_order(_IMAGES)
        whole = (await scene.download(finished)).body
        for number in range(downloads):
            is_running = number % 2 == 1
            order = scene.add_order(_slow_images(rng)) if is_running else finished
            length = sum(len(body) for body in scene.expected(order).values()) if is_running else len(whole)
            proxy.troubles.extend(_cuts(rng, length))
            caller = Caller(scene, order)
            cut = await _persist(caller, proxy.url, rng)
            findings.hold("a download is finished after cuts at any byte", cut is not None, caller.refused)
            findings.equal("a caller stays with its archive", caller.restarts, 0)
            reference = whole if not is_running else (await scene.download(order)).body
            same = bytes(caller.body) == reference
            findings.hold("joined parts are equal, byte for byte", same, f"download {number} of seed {seed}")
            proxy.troubles.clear()
            if is_running:
                findings.hold("joined parts open", members(reference) == scene.expected(order))
                findings.equal("each image is fetched once", set(scene.deliveries(order)), {1})
        findings.figure("connections cut", proxy.cuts, passed=proxy.cuts >= downloads // 2)
    return findings


async def resume_with_curl(folder: Path, *, rounds: int, seed: int) -> Findings:
    """`curl -C -` with the archive's address: of a finished archive, of a running build, and after a restart."""
    findings, rng = Findings(), random.Random(seed)
    async with open_scene(folder) as scene, FaultProxy(scene.service.url) as proxy:
        for _ in range(rounds):
            finished = scene.add_order(_IMAGES)
            await scene.download(finished)
            await _finish_with_curl(findings, scene, proxy, finished, "a finished archive", rng)
            running = scene.add_order(_slow_images(rng))
            await _finish_with_curl(findings, scene, proxy, running, "a running build", rng)
            restarted = scene.add_order(_slow_images(rng))
            await _finish_with_curl(findings, scene, proxy, restarted, "after a restart", rng, restart=True)
    return findings


async def _finish_with_curl(
    findings: Findings,
    scene: Scene,
    proxy: FaultProxy,
    order: Order,
    what: str,
    rng: random.Random,
    *,
    restart: bool = False,
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "order.zip"
        length = sum(len(body) for body in scene.expected(order).values())
        proxy.troubles.append(Trouble(cut_after=rng.randrange(_HEAD + 500, length)))
        code, archive_id = await begin_file(f"{proxy.url}{scene.order_path(order)}?preview=false", file)
        findings.hold("curl notices the cut", code != 0, code)
        if restart:
            await scene.service.kill()
            await scene.service.start()
            proxy.target = scene.service.url
        proxy.troubles.extend(_cuts(rng, length // 2))
        url = f"{proxy.url}/v1/archives/{archive_id}"
        codes = [await continue_file(url, file)]
        while codes[-1] != 0 and len(codes) < _MAX_ATTEMPTS:
            codes.append(await continue_file(url, file))
        proxy.troubles.clear()
        content = await asyncio.to_thread(file.read_bytes)
    repeat = await scene.download(order)
    findings.hold(f"curl -C - finishes: {what}", codes[-1] == 0 and content == repeat.body, codes)
    findings.hold("what curl got opens", members(repeat.body) == scene.expected(order))


async def _persist(caller: Caller, url: str, rng: random.Random) -> int | None:
    """Go on until all is there; returns how many attempts broke off, None when it was too many."""
    for attempt in range(_MAX_ATTEMPTS):
        if await caller.go_on(rng.choice(list(Way)), base=url):
            return attempt
    return None


def _cuts(rng: random.Random, length: int) -> Sequence[Trouble]:
    """One to four connections that are cut, somewhere from the head to just behind the last byte."""
    return [Trouble(cut_after=rng.randrange(length + 2 * _HEAD)) for _ in range(rng.randint(1, 4))]


def _slow_images(rng: random.Random) -> list[ImageSpec]:
    sizes = [64, *(rng.randrange(65, 400_000) for _ in range(5))]
    return [ImageSpec(size=size, latency=rng.uniform(0, 0.15)) for size in sizes]
