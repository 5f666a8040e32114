"""Nothing is fetched, or paid for, twice: many callers, callers who leave, and failures that were mended."""

import asyncio
import random
from pathlib import Path

from service.sandbox import ImageSpec
from service.sandbox.faults import FaultKind
from service.sandbox.state import Order
from tests.faults.caller import Caller, Way
from tests.faults.findings import Findings
from tests.faults.scene import QUERY, Scene, eventually, members, open_scene

_CALLERS = 10
_LATEST_START = 0.6
_AT_ONCE = 2
_SILENCE = 0.4
"""Seconds in which an unwanted fetch would have begun: nobody waits that long between two images."""
_AT_THE_API = [FaultKind.STATUS, FaultKind.RESET, FaultKind.HTML, FaultKind.REDIRECT_NOWHERE]


async def share_builds(folder: Path, *, rounds: int, seed: int) -> Findings:
    """Ten callers for one order, who start and leave at any time; some of those who left come back."""
    findings, rng = Findings(), random.Random(seed)
    leavers = 0
    async with open_scene(folder) as scene:
        for _ in range(rounds):
            order = scene.add_order(_images(rng, rng.randint(3, 8)))
            callers = [Caller(scene, order) for _ in range(_CALLERS)]
            plans = [_Plan(rng, number) for number in range(_CALLERS)]
            leavers += sum(plan.leaves_after is not None for plan in plans)
            ended = await asyncio.gather(*(plan.follow(caller) for plan, caller in zip(plans, callers, strict=True)))
            whole = (await scene.download(order)).body
            findings.hold(
                "what was delivered opens and is equal to the source", members(whole) == scene.expected(order)
            )
            for caller, has_all in zip(callers, ended, strict=True):
                same = bytes(caller.body) == (whole if has_all else whole[: len(caller.body)])
                findings.hold("all callers get the same bytes", same, order.order_id)
            findings.equal("each image is fetched once", set(scene.deliveries(order)), {1})
            findings.equal("each image is asked for once", set(scene.fetched_of(order).values()), {1})
            findings.equal("credits spent equals images", scene.bought(order), len(order.images))
    findings.figure("callers, of whom some left midway", f"{rounds * _CALLERS}, {leavers} left")
    return findings


class _Plan:
    """When a caller comes, whether it leaves, and whether it comes back. The first one stays."""

    def __init__(self, rng: random.Random, number: int) -> None:
        self._start = rng.uniform(0, _LATEST_START)
        self._ways = [rng.choice(list(Way)), rng.choice(list(Way))]
        self._comes_back = rng.random() < 0.5
        self._pause = rng.uniform(0, 0.3)
        self.leaves_after = rng.randrange(1, 800_000) if number and rng.random() < 0.6 else None

    async def follow(self, caller: Caller) -> bool:
        """Returns whether the caller has everything."""
        await asyncio.sleep(self._start)
        if await caller.go_on(self._ways[0], limit=self.leaves_after):
            return True
        if not self._comes_back:
            return False
        await asyncio.sleep(self._pause)
        return await caller.go_on(self._ways[1])


async def leave_and_return(folder: Path, *, rounds: int, seed: int) -> Findings:
    """The only caller leaves a running build: it pauses, and goes on when the caller returns in time, or later."""
    findings, rng = Findings(), random.Random(seed)
    async with open_scene(folder / "patient", DOWNLOAD_CONCURRENCY=str(_AT_ONCE)) as scene:
        for _ in range(rounds):
            order, caller, begun = await _leave(findings, scene, rng)
            findings.hold("a caller who returns gets the rest", await caller.go_on(rng.choice(list(Way))))
            findings.equal("and finds the same archive", caller.restarts, 0)
            _judge(findings, scene, order, bytes(caller.body), begun)
    async with open_scene(folder / "hasty", DOWNLOAD_CONCURRENCY=str(_AT_ONCE), RESUME_GRACE="0.1") as scene:
        for _ in range(rounds):
            order, caller, begun = await _leave(findings, scene, rng)
            archive = f"/v1/archives/{caller.archive_id}"
            gone = await eventually(lambda: _status(scene, archive), 410)  # noqa: B023  # awaited at once
            findings.hold("after the grace the build is dropped", gone, caller.archive_id)
            again = await scene.download(order)
            findings.hold("then an equal request is a new archive", again.headers["X-Archive-Id"] != caller.archive_id)
            _judge(findings, scene, order, again.body, begun)
    return findings


async def _leave(findings: Findings, scene: Scene, rng: random.Random) -> tuple[Order, Caller, int]:
    """Begin a download and leave at its first bytes; returns how many images were asked for by then."""
    order = scene.add_order(_images(rng, 12, slowest=0.2))
    caller = Caller(scene, order)
    left = await scene.metric("batch_client_disconnects_total")
    await caller.go_on(limit=1)
    noticed = await eventually(lambda: scene.metric("batch_client_disconnects_total"), left + 1)
    findings.hold("a caller who left is noticed and counted", noticed, order.order_id)
    # What is asked for later than this had its slot before: its request was on its way.
    begun = len(scene.fetched_of(order)) + _AT_ONCE
    await eventually(lambda: _in_flight(scene), 0)
    await asyncio.sleep(_SILENCE)
    fetched = len(scene.fetched_of(order))
    findings.hold(
        "nothing new is fetched for a caller who left", fetched <= begun, f"{fetched}, at most {begun} were begun"
    )
    findings.hold("the rest of the order was left alone", fetched < len(order.images), fetched)
    return order, caller, fetched


def _judge(findings: Findings, scene: Scene, order: Order, body: bytes, fetched_before: int) -> None:
    findings.hold("what was delivered opens and is equal to the source", members(body) == scene.expected(order))
    findings.equal("each image is fetched once, before or after", set(scene.deliveries(order)), {1})
    findings.hold("some were fetched before", fetched_before > 0)
    findings.equal("credits spent equals images", scene.bought(order), len(order.images))


async def mend_partial(folder: Path, *, rounds: int, seed: int) -> Findings:
    """Some images fail, then upstream is mended: the next request fetches and buys only those."""
    findings, rng = Findings(), random.Random(seed)
    async with open_scene(folder, UPSTREAM_ATTEMPTS="1") as scene:
        for _ in range(rounds):
            order = scene.add_order(_images(rng, rng.randint(3, 8), slowest=0.02))
            ids = [image.image_id for image in order.images]
            failing = set(rng.sample(ids, rng.randint(1, len(ids) - 1)))
            for image_id in failing:
                scene.control.add_fault(rng.choice(_AT_THE_API), image_id=image_id, times=None)
            first = await scene.download(order)
            good = {name: body for name, body in members(first.body).items() if not name.startswith("_")}
            names = {image.name for image in order.images if image.image_id not in failing}
            findings.equal("a partial archive holds what succeeded", set(good), names)
            findings.equal("credits spent equals images delivered", scene.bought(order), len(good))
            scene.control.clear_faults()
            moment = scene.moment()
            second = await scene.download(order)
            findings.equal("then only what had failed is fetched", set(scene.fetched(moment)), failing)
            findings.hold("and the archive is whole", members(second.body) == scene.expected(order), order.order_id)
            findings.equal("each image is sent once in all", set(scene.deliveries(order)), {1})
            findings.equal("credits spent equals images", scene.bought(order), len(order.images))
            old = await scene.ask(f"/v1/archives/{first.headers['X-Archive-Id']}")
            findings.hold("the partial archive keeps its bytes", old.body == first.body, order.order_id)
    return findings


def _images(rng: random.Random, number: int, slowest: float = 0.15) -> list[ImageSpec]:
    return [ImageSpec(size=rng.randrange(1_000, 400_000), latency=rng.uniform(0.01, slowest)) for _ in range(number)]


async def _in_flight(scene: Scene) -> int:
    return scene.control.counters.in_flight


async def _status(scene: Scene, path: str) -> int:
    async with scene.session.head(scene.service.url + path, params=QUERY if "orders" in path else {}) as response:
        return response.status
