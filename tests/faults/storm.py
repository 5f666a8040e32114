"""Many downloads while a fifth of everything fails: upstream, the way to it, and the way back to the caller."""

import asyncio
import random
from collections import Counter
from pathlib import Path

from service.sandbox import ImageSpec
from service.sandbox.faults import Fault, FaultKind
from service.sandbox.state import Order
from tests.faults.findings import Findings
from tests.faults.judge import Ending, Verdict, judge
from tests.faults.proxy import FaultProxy, Trouble
from tests.faults.rest import Rest, at_rest, note_files, note_lag
from tests.faults.scene import TIMEOUT, Scene, open_scene, stray_files, temporary_files

_SHARE = 0.2
_AT_ONCE = 12
_MAX_GROWTH = 40 << 20
_KEPT = 16
"""Most connections to upstream that are kept open for the next download: one per slot and host."""
_STATUSES = (400, 402, 403, 404, 408, 429, 500, 502, 503, 504)
_BAD_LOCATIONS = ("http://127.0.0.1:1/", "ftp://localhost/", "http://[", "/nowhere", "https://user@localhost/")
_BREAKING_OFF = frozenset({FaultKind.RESET, FaultKind.TRUNCATED, FaultKind.CHUNKED_CUT, FaultKind.STALL})
_SETTINGS = {
    "UPSTREAM_ATTEMPTS": "3",
    "IMAGE_TIMEOUT": "2",
    "DOWNLOAD_CONCURRENCY": str(_KEPT),
    "BREAKER_FAILURES": "5",
    "BREAKER_RESET": "0.5",
    "RESUME_GRACE": "1",
    "ORDER_FRESHNESS": "0",
}


async def weather_storm(folder: Path, *, downloads: int, seed: int, rest: float = 40) -> Findings:
    """`downloads` downloads, each answer judged; then what the service has not let go of after `rest` seconds.

    32 seconds close the connections that are kept for the next download: they live for 15, and every 15, in full
    seconds, those that are older are looked for. After fewer than 30, some of them are forgiven.
    """
    async with (
        FaultProxy() as upstream,
        open_scene(folder, upstream, **_SETTINGS) as scene,
        FaultProxy(scene.service.url) as callers,
    ):
        storm = _Storm(random.Random(seed), scene, upstream, callers)
        await storm.rage(downloads // 5)
        before = await at_rest(scene, rest)
        await storm.rage(downloads - downloads // 5)
        storm.conclude(downloads)
        await _look_around(storm.findings, scene, before, rest)
        kinds = scene.control.counters.faults
        faults, cuts = sum(kinds.values()), upstream.cuts + callers.cuts
        # Of every fifth download, image and connection; a quarter of what is to be expected.
        storm.findings.figure(
            "faults of the sandbox", f"{faults}, of {len(kinds)} kinds", passed=faults >= _SHARE * downloads / 4
        )
        storm.findings.figure("connections cut by the proxies", cuts, passed=cuts >= _SHARE * downloads / 4)
    return storm.findings


async def _look_around(findings: Findings, scene: Scene, before: Rest, rest: float) -> None:
    await note_lag(findings, scene)
    after = await at_rest(scene, rest, before.tasks)
    grown = after.memory - before.memory
    findings.figure("memory grown, MiB", f"{grown / (1 << 20):.1f}", passed=grown < _MAX_GROWTH)
    note_files(findings, before, after, forgiven=2 if rest > 30 else 2 * _KEPT)
    findings.figure("tasks, before and after", f"{before.tasks}, {after.tasks}", passed=after.tasks <= before.tasks)
    findings.equal("no temporary file stays", temporary_files(scene.data_dir), [])
    findings.equal("no file without a record stays", stray_files(scene.data_dir), [])
    findings.equal("no key goes astray", scene.control.counters.key_leaks, 0)
    findings.hold("nothing unexpected is logged", *_unexpected(scene))
    verdict = await judge(scene, scene.add_order([ImageSpec()] * 3), seconds=TIMEOUT)
    findings.equal("all is well when the storm is over", verdict.ending, Ending.WHOLE)


def _unexpected(scene: Scene) -> tuple[bool, str]:
    found = [line for line in scene.service.log if "Traceback" in line or '"level": "error"' in line]
    return not found, found[0][-300:] if found else ""


class _Storm:
    def __init__(self, rng: random.Random, scene: Scene, upstream: FaultProxy, callers: FaultProxy) -> None:
        self.findings = Findings()
        self._rng = rng
        self._scene = scene
        self._upstream = upstream
        self._callers = callers
        self._verdicts: Counter[Ending] = Counter()
        self._codes: Counter[str] = Counter()

    async def rage(self, downloads: int) -> None:
        """Some downloads at once, and new ones as these end."""
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one() -> None:
            async with gate:
                self._note(await judge(self._scene, self._order(), seconds=TIMEOUT, base=self._callers.url))

        await asyncio.gather(*(one() for _ in range(downloads)))
        self._upstream.troubles.clear()
        self._callers.troubles.clear()
        self._scene.control.clear_faults()

    def conclude(self, downloads: int) -> None:
        """The tally of the answers."""
        self.findings.figure("downloads", downloads)
        for ending in Ending:
            number = self._verdicts[ending]
            self.findings.figure(ending, number, passed=not number or Verdict(ending).is_right)
        codes = ", ".join(f"{code} {number}" for code, number in sorted(self._codes.items()) if number)
        self.findings.figure("problems by code", codes or "none")

    def _note(self, verdict: Verdict) -> None:
        self._verdicts[verdict.ending] += 1
        self._codes[verdict.detail] += verdict.ending is Ending.PROBLEM
        self.findings.hold("an answer is a true ZIP, a problem, or a cut", verdict.is_right, verdict.detail)

    def _order(self) -> Order:
        """An order, and the faults that its download will meet."""
        rng, control = self._rng, self._scene.control
        specs = [ImageSpec(size=rng.randrange(200, 200_000)) for _ in range(rng.randint(2, 6))]
        order = self._scene.add_order(specs)
        if self._strikes():
            control.script(self._fault(operation=frozenset({"get_order"}), order_id=order.order_id))
        for image in order.images:
            if self._strikes():
                control.script(self._fault(image_id=image.image_id))
        self._upstream.troubles.append(self._trouble(Trouble(black_hole=True)) if self._strikes() else Trouble())
        self._callers.troubles.append(self._trouble() if self._strikes() else Trouble())
        if rng.random() < _SHARE / 10:
            self._upstream.hang_up()
        return order

    def _strikes(self) -> bool:
        return self._rng.random() < _SHARE

    def _trouble(self, *others: Trouble) -> Trouble:
        rng = self._rng
        cut_after = int(10 ** rng.uniform(0, 6))
        common = (
            Trouble(latency=rng.uniform(0, 1)),
            Trouble(drip=1_000_000),
            Trouble(cut_after=0),
            Trouble(cut_after=cut_after),
        )
        return rng.choice((*common, *others))

    def _fault(
        self, *, operation: frozenset[str] | None = None, order_id: str | None = None, image_id: str | None = None
    ) -> Fault:
        rng = self._rng
        kind = rng.choice(list(FaultKind))
        return Fault(
            kind=kind,
            operation=operation,
            order_id=order_id,
            image_id=image_id,
            times=rng.choice([1, 1, 2, None]),
            status=rng.choice(_STATUSES),
            retry_after=rng.choice([None, 0.2, 5]),
            retry_after_date=rng.random() < 0.3,
            after_bytes=rng.choice([None, 0, 10, 1000]) if kind in _BREAKING_OFF else None,
            delay=rng.uniform(0, 0.5),
            chunk_bytes=20_000,
            interval=0.02,
            location=rng.choice(_BAD_LOCATIONS),
        )
