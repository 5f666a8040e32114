"""Upstream refuses, stalls or breaks off: what is sent to it then, and who has to wait."""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from service.sandbox import ImageSpec
from service.sandbox.faults import FaultKind
from service.sandbox.log import Served
from service.sandbox.state import Order
from tests.faults.findings import Findings
from tests.faults.judge import Ending, judge
from tests.faults.scene import TIMEOUT, Scene, eventually, open_scene

_BUDGET_FLOOR, _BUDGET_SHARE = 20, 0.1
_MARGIN = 5
"""The log has a request when it arrives, a little after the budget was asked."""
_RESET = 2.0
_LIMIT = 8


async def press(folder: Path, *, seconds: float) -> Findings:
    """Refusals for so long, with the breaker closed and open; 429s; image bodies that break off."""
    findings = Findings()
    await _spend_the_budget(findings, folder / "budget", seconds)
    await _leave_it_alone(findings, folder / "breaker", seconds / 3)
    await _slow_down(findings, folder / "pace")
    await _resume_bodies(findings, folder / "bodies")
    return findings


async def _spend_the_budget(findings: Findings, folder: Path, seconds: float) -> None:
    """Every image is answered 503 and the breaker stays closed: hardly more is sent than asked for.

    A retry is taken from the budget before its wait, and is in the log after it: less than a minute is judged exactly.
    """
    async with open_scene(folder, DOWNLOAD_CONCURRENCY="16") as scene:
        scene.control.add_fault(FaultKind.STATUS, status=503, operation="download", times=None)
        deadline = time.monotonic() + seconds

        async def ask() -> None:
            while time.monotonic() < deadline:
                verdict = await judge(scene, scene.add_order([ImageSpec()] * 20), seconds=TIMEOUT)
                findings.equal("refused downloads are a clear error", verdict.detail, "no_images")

        await asyncio.gather(*(ask() for _ in range(4)))
        log = scene.control.log
    images = [entry.image_id for entry in log if entry.operation == "enhanced"]
    asked = len(set(images))
    findings.figure(
        f"503 for {seconds:.0f} s, breaker closed: images asked for, requests for them, ratio",
        f"{asked}, {len(images)}, {len(images) / asked:.3f}",
    )
    retries, budget = _worst_minute(log)
    findings.figure(
        "retries in the minute with most of them, and the budget then",
        f"{retries}, {budget:.0f}",
        passed=retries <= budget + _MARGIN,
    )


def _worst_minute(log: Sequence[Served]) -> tuple[int, float]:
    """The retries of the minute that is nearest to its budget, or furthest beyond it, and that budget."""
    seen: set[str | None] = set()
    calls: deque[float] = deque()
    retries: deque[float] = deque()
    minutes: list[tuple[int, float]] = []
    for entry in log:
        calls.append(entry.at)
        if entry.operation != "enhanced":
            continue
        if entry.image_id in seen:
            retries.append(entry.at)
            for moments in (calls, retries):
                while moments[0] < entry.at - 60:
                    moments.popleft()
            minutes.append((len(retries), _BUDGET_FLOOR + _BUDGET_SHARE * len(calls)))
        seen.add(entry.image_id)
    return max(minutes, key=lambda minute: minute[0] - minute[1])


async def _leave_it_alone(findings: Findings, folder: Path, seconds: float) -> None:
    """Every answer is 503 and the breaker opens: one trial per cool-down, and nothing else."""
    async with open_scene(folder, BREAKER_FAILURES="5", BREAKER_RESET=str(_RESET), ORDER_FRESHNESS="0") as scene:
        orders = [scene.add_order([ImageSpec()] * 3) for _ in range(100)]
        scene.control.add_fault(FaultKind.STATUS, status=503, times=None)
        asking = [asyncio.create_task(_ask_until(scene, order, time.monotonic() + seconds)) for order in orders]
        await eventually(lambda: scene.metric('batch_breaker_state{circuit="api"}'), 2)
        await asyncio.sleep(_RESET / 4)  # what was on its way then
        moment, opened = scene.moment(), time.monotonic()
        await asyncio.gather(*asking)
        cooldowns = (time.monotonic() - opened) / _RESET
        trials = scene.moment() - moment
    findings.figure(
        f"503 for {seconds:.0f} s, breaker open, 100 callers: cool-downs of {_RESET:.0f} s, requests sent",
        f"{cooldowns:.0f}, {trials}",
        passed=0 < trials <= cooldowns + 1,
    )


async def _ask_until(scene: Scene, order: Order, deadline: float) -> None:
    while time.monotonic() < deadline:
        await judge(scene, order, seconds=TIMEOUT)
        await asyncio.sleep(0.5)


async def _slow_down(findings: Findings, folder: Path) -> None:
    """20 refusals in the middle of an order: the limit falls, and is back when all is well again."""
    async with open_scene(folder, DOWNLOAD_CONCURRENCY=str(_LIMIT)) as scene:
        order = scene.add_order([ImageSpec(latency=0.05)] * 100)
        scene.control.add_fault(FaultKind.STATUS, status=429, retry_after=1, operation="download", skip=30, times=20)
        limits = []
        asking = asyncio.create_task(judge(scene, order, seconds=TIMEOUT))
        while not asking.done():
            limits.append(await scene.metric("batch_download_concurrency_limit"))
            await asyncio.sleep(0.02)
        verdict = asking.result()
        while limits[-1] < _LIMIT and len(limits) < 5000:
            await judge(scene, scene.add_order([ImageSpec()] * 20), seconds=TIMEOUT)
            limits.append(await scene.metric("batch_download_concurrency_limit"))
    findings.equal("with 429s every image is delivered in the end", verdict.ending, Ending.WHOLE)
    findings.figure(
        "429s: downloads allowed at once, at first, at the least, in the end",
        f"{limits[0]:.0f}, {min(limits):.0f}, {limits[-1]:.0f}",
        passed=limits[0] == limits[-1] == _LIMIT > min(limits),
    )


async def _resume_bodies(findings: Findings, folder: Path) -> None:
    """Each image breaks off once, at another place: what is here is not fetched again."""
    async with open_scene(folder, UPSTREAM_ATTEMPTS="5") as scene:
        order = scene.add_order([ImageSpec(size=2_000_000)] * _BUDGET_FLOOR)
        for place, image in enumerate(order.images):
            scene.control.add_fault(
                FaultKind.TRUNCATED, operation="storage", image_id=image.image_id, after_bytes=1 + place * 99_000
            )
        verdict = await judge(scene, order, seconds=TIMEOUT)
        sent = sum(entry.sent for entry in scene.control.log if entry.operation == "storage")
        ratio = sent / sum(len(body) for body in scene.expected(order).values())
    findings.equal("images that broke off are whole", verdict.ending, Ending.WHOLE)
    findings.at_most("bytes fetched of images that broke off once, by their size", ratio, 1.1)


async def share_fairly(folder: Path, *, rounds: int) -> Findings:
    """A small order alone and beside one of 100 images; and 47 images beside three that come in drips."""
    findings = Findings()
    async with open_scene(folder / "orders") as scene:
        times: dict[str, list[float]] = {"alone": [], "beside": [], "large": []}
        for _ in range(rounds):
            times["alone"].append(await _timed(findings, scene, 3))
            large = asyncio.create_task(_timed(findings, scene, 100))
            await asyncio.sleep(0.5)
            times["beside"].append(await _timed(findings, scene, 3))
            times["large"].append(await large)
    alone, beside, whole = (median(times[name]) for name in ("alone", "beside", "large"))
    findings.figure(
        "seconds of an order of 3: alone, beside one of 100, and those of the 100",
        f"{alone:.2f}, {beside:.2f}, {whole:.2f}",
        passed=beside < 3 * alone,
    )
    for slots in (5, 16):
        await _drip(findings, folder / f"drips-{slots}", slots)
    return findings


async def _timed(findings: Findings, scene: Scene, images: int) -> float:
    order, started = scene.add_order([ImageSpec(size=20_000, latency=0.1)] * images), time.monotonic()
    verdict = await judge(scene, order, seconds=TIMEOUT)
    findings.equal("every order is delivered whole", verdict.ending, Ending.WHOLE)
    return time.monotonic() - started


async def _drip(findings: Findings, folder: Path, slots: int) -> None:
    """Three of 50 images at a byte per second: they end at their deadline, the others do not wait for that."""
    async with open_scene(folder, DOWNLOAD_CONCURRENCY=str(slots), IMAGE_TIMEOUT="5") as scene:
        taken = []
        for dripping in (0, 3):
            order = scene.add_order([ImageSpec(size=20_000, latency=0.1)] * 50)
            for image in order.images[:dripping]:
                scene.control.add_fault("drip", image_id=image.image_id, chunk_bytes=1, interval=1.0, times=None)
            moment = scene.moment()
            verdict = await judge(scene, order, seconds=TIMEOUT)
            ending = Ending.PARTIAL if dripping else Ending.WHOLE
            findings.equal("images in drips are reported, the others delivered", verdict.ending, ending)
            entries = [entry for entry in scene.control.log[moment:] if entry.operation == "storage" and entry.complete]
            taken.append(max(entry.at + (entry.seconds or 0) for entry in entries) - entries[0].at)
    findings.figure(
        f"{slots} downloads at once: seconds of 50 images, and of 47 beside 3 in drips",
        f"{taken[0]:.2f}, {taken[1]:.2f}",
        passed=taken[1] < 5,
    )
