"""Many requests, of which many are given up midway: nothing is held on to."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from service.sandbox import ImageSpec
from service.sandbox.state import Order
from tests.faults.findings import Findings
from tests.faults.rest import at_rest, note_files, note_lag
from tests.faults.scene import QUERY, Scene, open_scene, stray_files, temporary_files

_AT_ONCE = 24
_SHARE = 0.3
_FORGIVEN = 5
_FRESH = 0.1
"""The share of requests for an order that is not here yet."""


async def give_up(folder: Path, *, requests: int, seed: int, rest: float = 62) -> Findings:
    """So many requests; then what the service has not let go of after `rest` seconds.

    Connections to upstream are kept for 30 seconds, and looked after every 30.
    """
    findings, rng = Findings(), random.Random(seed)
    async with open_scene(folder, RESUME_GRACE="1") as scene:
        known = [scene.add_order(_images(rng)) for _ in range(10)]
        for order in known:
            await scene.download(order)
        callers = _Callers(findings, scene, known, rng)
        await callers.make(requests // 10)
        before = await at_rest(scene, rest)
        await callers.make(requests - requests // 10)
        await note_lag(findings, scene)
        after = await at_rest(scene, rest)
        findings.equal("no temporary file stays", temporary_files(scene.data_dir), [])
        findings.equal("no file without a record stays", stray_files(scene.data_dir), [])
        tasks = f"{before.tasks}, {after.tasks}"
        findings.figure("requests, and those given up", f"{requests}, {callers.outcomes['given up']}")
        note_files(findings, before, after, forgiven=_FORGIVEN)
        findings.figure("tasks, before and after", tasks, passed=after.tasks - before.tasks <= _FORGIVEN)
        grown = (after.memory - before.memory) / (1 << 20)
        findings.figure("memory grown, MiB", f"{grown:.1f}", passed=grown < 40)
    return findings


class _Callers:
    def __init__(self, findings: Findings, scene: Scene, known: Sequence[Order], rng: random.Random) -> None:
        self._findings = findings
        self._scene = scene
        self._known = known
        self._rng = rng
        self.outcomes: Counter[str] = Counter()

    async def make(self, requests: int) -> None:
        """So many requests, some at once."""
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one() -> None:
            async with gate:
                await self._one()

        await asyncio.gather(*(one() for _ in range(requests)))

    async def _one(self) -> None:
        rng, scene = self._rng, self._scene
        order = scene.add_order(_images(rng)) if rng.random() < _FRESH else rng.choice(self._known)
        if rng.random() < _SHARE:
            self.outcomes["given up"] += 1
            await rng.choice((self._leave_at_once, self._leave_midway))(order)
            return
        path = rng.choice((scene.order_path(order), f"/v1/orders/{order.order_id}", "/livez"))
        async with scene.session.get(scene.service.url + path, params=QUERY if "/images" in path else None) as response:
            await response.read()
            self._findings.equal("who stays is answered", response.status, 200)

    async def _leave_at_once(self, order: Order) -> None:
        """Ask, and hang up before anything is answered."""
        address = urlsplit(self._scene.service.url)
        _, writer = await asyncio.open_connection(address.hostname, address.port)
        path = f"{self._scene.order_path(order)}?preview=false"
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n".encode())
        await asyncio.sleep(self._rng.choice((0, 0.001, 0.01)))
        writer.transport.abort()

    async def _leave_midway(self, order: Order) -> None:
        """Read the first bytes, and no more."""
        url = self._scene.service.url + self._scene.order_path(order)
        async with self._scene.session.get(url, params=QUERY) as response:
            await response.content.readany()


def _images(rng: random.Random) -> list[ImageSpec]:
    return [ImageSpec(size=rng.randrange(1_000, 200_000)) for _ in range(rng.randint(1, 3))]
