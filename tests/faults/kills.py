"""`kill -9` at random moments of builds, and what the next process makes of what is left."""

import asyncio
import hashlib
import random
from pathlib import Path

from service.sandbox import ImageSpec
from service.sandbox.state import Order
from tests.faults.caller import Caller, Way
from tests.faults.findings import Findings
from tests.faults.scene import Records, Scene, members, open_scene, stray_files, temporary_files

_SIZES = (90_000, 400_000, 1_500_000, 3_000_000)  # up to some that are written in several batches
_LATEST_KILL = 0.9
_ROUNDS_PER_KILL = 3


async def kill_builds(folder: Path, *, kills: int, seed: int) -> Findings:
    """Kill the service in `kills` running builds; its callers come back to the next process and must lack nothing."""
    check = _Check(random.Random(seed))
    async with open_scene(folder) as scene:
        for _ in range(kills * _ROUNDS_PER_KILL):
            if check.hits >= kills:
                break
            await check.round(scene)
    check.findings.figure("kills that struck a running build", check.hits, passed=check.hits >= kills)
    check.findings.figure("temporary files left by the kills, and swept", check.swept)
    return check.findings


class _Check:
    def __init__(self, rng: random.Random) -> None:
        self.findings = Findings()
        self.hits = 0
        self.swept = 0
        self._rng = rng
        self._finished: list[tuple[Order, str]] = []

    async def round(self, scene: Scene) -> None:
        """One order, one caller, one or two kills, and then the end of the download."""
        order = scene.add_order([self._image() for _ in range(self._rng.randint(3, 9))])
        caller = Caller(scene, order)
        stored: set[str] = set()
        moment = scene.moment()
        for _ in range(self._rng.choice((1, 1, 2))):
            before = set(stored)
            stored |= await self._kill_while_reading(scene, order, caller)
            self._compare_fetches(scene, order, before, moment)
            moment = scene.moment()
            await scene.service.start()
            self._look_around(scene)
        done = await caller.go_on(self._rng.choice(list(Way)))
        self.findings.hold("a cut caller gets the rest from the next process", done, caller.refused)
        self._compare_fetches(scene, order, stored, moment)
        await self._judge(scene, order, caller)
        await self._repeat_earlier(scene)
        self._finished.append((order, hashlib.sha256(caller.body).hexdigest()))

    def _image(self) -> ImageSpec:
        return ImageSpec(size=self._rng.choice(_SIZES), latency=self._rng.uniform(0, 0.2), rate=6_000_000)

    async def _kill_while_reading(self, scene: Scene, order: Order, caller: Caller) -> set[str]:
        """Returns the ids of the images that the dead process had finished."""
        reading = asyncio.create_task(caller.go_on(self._rng.choice(list(Way))))
        await asyncio.sleep(self._rng.uniform(0, _LATEST_KILL))
        await scene.service.kill()
        self.hits += not await reading
        self.swept += len(temporary_files(scene.data_dir))
        records = await asyncio.to_thread(Records.read, scene.data_dir)
        named = {name for name in scene.expected(order) if name.encode() in caller.body}
        committed = records.members.get(caller.archive_id or "", frozenset())
        self.findings.hold("a member is on record before its first byte is sent", named <= committed, named - committed)
        digests = scene.digests(order)
        return {digests[digest] for digest in records.blobs & digests.keys()}

    def _look_around(self, scene: Scene) -> None:
        self.findings.equal("no temporary file stays", temporary_files(scene.data_dir), [])
        self.findings.equal("no file without a record stays", stray_files(scene.data_dir), [])

    def _compare_fetches(self, scene: Scene, order: Order, stored: set[str], since: int) -> None:
        again = stored & scene.fetched(since).keys()
        self.findings.hold("nothing that was finished is fetched again", not again, f"{order.order_id}: {again}")

    async def _judge(self, scene: Scene, order: Order, caller: Caller) -> None:
        moment = scene.moment()
        repeat = await scene.download(order)
        whole = bytes(caller.body)
        self.findings.hold("joined parts are the archive", repeat.body == whole, order.order_id)
        self.findings.equal("the archive keeps its id over restarts", repeat.headers["X-Archive-Id"], caller.archive_id)
        self.findings.hold("no corrupt image is served", members(whole) == scene.expected(order), order.order_id)
        self.findings.equal("a repeat asks upstream for no image", scene.fetched(moment), {})
        self.findings.equal("credits spent equals images", scene.bought(order), len(order.images))

    async def _repeat_earlier(self, scene: Scene) -> None:
        """An archive that was finished some kills ago."""
        if not self._finished:
            return
        order, digest = self._rng.choice(self._finished)
        moment = scene.moment()
        answer = await scene.download(order)
        self.findings.equal("older archives survive", hashlib.sha256(answer.body).hexdigest(), digest)
        self.findings.equal("a repeat asks upstream for no image", scene.fetched(moment), {})
