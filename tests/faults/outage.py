"""Upstream is away: what was delivered before is delivered again, marked as stale; nothing else hangs."""

import itertools
import random
from pathlib import Path

from service.sandbox import ImageSpec
from service.sandbox.state import Order
from tests.faults.findings import Findings
from tests.faults.proxy import FaultProxy, Trouble
from tests.faults.scene import QUERY, Answer, Scene, eventually, open_scene

_MANY = 10_000
_WAYS_TO_BE_AWAY = {
    "upstream resets every connection": Trouble(cut_after=0),
    "upstream breaks off its answers": Trouble(cut_after=20),
    "upstream never answers": Trouble(black_hole=True),
}
_SETTINGS = {
    "ORDER_FRESHNESS": "0",
    "UPSTREAM_ATTEMPTS": "1",
    "IMAGE_TIMEOUT": "2",
    "BREAKER_FAILURES": "3",
    "BREAKER_RESET": "600",
}
_OPEN = 2


async def survive_outages(folder: Path, *, rounds: int, seed: int) -> Findings:
    """Outages, of each kind in turn: with the breaker closed, with it open, and over a `kill -9`."""
    findings, rng = Findings(), random.Random(seed)
    async with FaultProxy() as upstream, open_scene(folder, upstream, **_SETTINGS) as scene:
        for what, trouble in itertools.islice(itertools.cycle(_WAYS_TO_BE_AWAY.items()), rounds):
            order = scene.add_order([ImageSpec(size=rng.randrange(500, 50_000)) for _ in range(3)])
            known = _Known(findings, scene, order, await scene.download(order))
            upstream.troubles.extend([trouble] * _MANY)
            upstream.hang_up()
            await known.is_delivered(what)
            findings.hold("the breaker opens", await eventually(lambda: _breaker(scene), _OPEN))
            connections = len(upstream.troubles)
            await known.is_delivered(f"{what}, the breaker is open")
            await known.goes_on(f"{what}, the breaker is open")
            await known.hides_nothing()
            findings.equal("upstream is left alone by an open breaker", len(upstream.troubles), connections)
            await scene.service.kill()
            await scene.service.start()
            await known.is_delivered(f"{what}, after a kill -9")
            upstream.troubles.clear()
            upstream.hang_up()
            await known.is_fresh()
    return findings


class _Known:
    """An order that was delivered once."""

    def __init__(self, findings: Findings, scene: Scene, order: Order, first: Answer) -> None:
        self._findings = findings
        self._scene = scene
        self._order = order
        self._first = first

    async def is_delivered(self, what: str) -> None:
        """The same bytes under the same tag, marked as stale."""
        answer = await self._scene.download(self._order)
        same = answer.body == self._first.body and answer.headers["ETag"] == self._first.headers["ETag"]
        marked = answer.headers.get("X-Archive-Stale") == "true"
        self._findings.hold(f"a known order is delivered and marked: {what}", same and marked, answer.status)

    async def goes_on(self, what: str) -> None:
        """A download that broke goes on at the order's address."""
        start = len(self._first.body) // 2
        headers = {"Range": f"bytes={start}-", "If-Range": self._first.headers["ETag"]}
        part = await self._scene.ask(self._scene.order_path(self._order), query=QUERY, headers=headers)
        self._findings.hold(f"a broken download goes on: {what}", part.body == self._first.body[start:], part.status)

    async def hides_nothing(self) -> None:
        """Another rendering, and another order, are not what was delivered."""
        path = self._scene.order_path(self._order)
        other = await self._scene.ask(path, query={**QUERY, "max_width": "100"})
        self._findings.equal("another rendering is a clear error", other.status, 503)
        unknown = await self._scene.download(self._scene.add_order([ImageSpec()]))
        self._findings.equal("an order that is not here is a clear error", unknown.status, 503)
        self._findings.hold("which says when to come back", "Retry-After" in unknown.headers, unknown.headers)

    async def is_fresh(self) -> None:
        """Upstream is back: no mark."""
        answer = await self._scene.download(self._order)
        unmarked = answer.status == 200 and "X-Archive-Stale" not in answer.headers
        self._findings.hold("when upstream is back the mark is gone", unmarked, answer.status)


async def _breaker(scene: Scene) -> float:
    """The breaker's state, after one more order that cannot be had."""
    await scene.download(scene.add_order([ImageSpec()]))
    return await scene.metric('batch_breaker_state{circuit="api"}')
