"""A store that is far too small for what is asked of it: what is in use stays, the rest makes room."""

import asyncio
import random
from pathlib import Path

from aiohttp import ClientResponse

from service.sandbox import ImageSpec
from service.sandbox.state import Order
from tests.faults.findings import Findings
from tests.faults.judge import Ending, judge
from tests.faults.scene import QUERY, TIMEOUT, Scene, members, open_scene

_HELD = 12 << 20
"""More than the buffers between service and client hold."""
_PASSING = 6 << 20
_ROOM = 3 * (_HELD + (1 << 20)) + 3 * _PASSING


async def evict(folder: Path, *, rounds: int, seed: int) -> Findings:
    """Three archives are read as slowly as can be while other orders fill the store again and again."""
    findings, rng = Findings(), random.Random(seed)
    async with open_scene(folder, STORE_MAX_BYTES=str(_ROOM)) as scene:
        for _ in range(rounds):
            held = [scene.add_order([ImageSpec(size=_HELD + rng.randrange(1000))]) for _ in range(3)]
            await scene.download(held[0])  # finished before its slow reader comes; the others are read as they grow
            responses = [await _begin(scene, order) for order in held]
            passing = [scene.add_order([ImageSpec(size=_PASSING - rng.randrange(1000))]) for _ in range(5)]
            ids = [await _pass(findings, scene, order) for order in passing]
            for order, response in zip(held, responses, strict=True):
                whole = members(await response.read()) == scene.expected(order)
                findings.hold("what is being read stays", whole, order.order_id)
            await _look_back(findings, scene, passing, ids)
        evictions = await scene.metric("batch_store_evictions_total")
        findings.figure("images evicted", int(evictions), passed=evictions > 0)
    return findings


async def _begin(scene: Scene, order: Order) -> ClientResponse:
    """A download of which the client takes nothing for now."""
    return await scene.session.get(scene.service.url + scene.order_path(order), params=QUERY)


async def _pass(findings: Findings, scene: Scene, order: Order) -> str:
    """Download an order whose images need the room of others; returns its archive's id."""
    verdict = await judge(scene, order, seconds=TIMEOUT)
    findings.hold("a new order finds room", verdict.ending is Ending.WHOLE, verdict)
    used = await scene.metric("batch_store_bytes")
    findings.hold("the store keeps to its budget", used <= _ROOM, used)
    on_disk = await asyncio.to_thread(_bytes_on_disk, scene.data_dir / "images")
    findings.hold("the store's count is the disk's", on_disk == await scene.metric("batch_store_bytes"), on_disk)
    async with scene.session.head(scene.service.url + scene.order_path(order), params=QUERY) as response:
        return response.headers.get("X-Archive-Id", "")


async def _look_back(findings: Findings, scene: Scene, passing: list[Order], ids: list[str]) -> None:
    """The first that passed are gone, the last is still here; a new request brings any of them back."""
    statuses = [(await scene.ask(f"/v1/archives/{archive_id}")).status for archive_id in ids]
    findings.equal("an evicted archive's id says that it is gone", statuses[0], 410)
    findings.equal("the least recently used goes first", statuses[-1], 200)
    verdict = await judge(scene, passing[0], seconds=TIMEOUT)
    findings.equal("an evicted order can be had again", verdict.ending, Ending.WHOLE)
    findings.equal("without being paid for again", scene.bought(passing[0]), 1)


def _bytes_on_disk(images: Path) -> int:
    return sum(path.stat().st_size for path in images.glob("??/*"))
