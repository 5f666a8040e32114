"""How soon the page is there on a phone of the middle class: `python -m tests.e2e.page.speed [ROUNDS]`.

Four times slower a processor, 9 Mbit/s, 40 ms to the service and back. Prints the medians of the rounds.
"""

import asyncio
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from playwright.async_api import Browser

from service.samples import PHOTOS
from service.sandbox import ImageSpec, Sandbox, SandboxConfig
from service.telemetry.logs import configure_logs
from tests.support.services import service_factory
from tests.support.visitor import PHONE, Visitor, launch

SLOWER = 4
BYTES_PER_SECOND = 9_000_000 / 8
ROUND_TRIP = 40
"""Milliseconds."""

_WATCH = """
window.seen = { paint: 0, lcp: 0, what: "", cls: 0, longest: 0 };
const watch = (type, each) => {
  new PerformanceObserver((list) => list.getEntries().forEach(each)).observe({ type, buffered: true });
};
watch("paint", (one) => { seen.paint ||= one.startTime; });
watch("largest-contentful-paint", ({ startTime, element }) => {
  seen.lcp = startTime;
  seen.what = element?.id || element?.className || element?.tagName || "";
});
watch("layout-shift", (one) => { if (!one.hadRecentInput) seen.cls += one.value; });
watch("longtask", (one) => { seen.longest = Math.max(seen.longest, one.duration); });
"""
# What a thumb does: from the first photo to the last, a screen in about half a second.
_SCROLL = """
async () => {
  const frames = [];
  let before = performance.now();
  const frame = () => new Promise((resolve) => requestAnimationFrame((now) => {
    frames.push(now - before);
    before = now;
    resolve();
  }));
  await frame();
  frames.length = 0;
  for (let top = 0; top < document.documentElement.scrollHeight - innerHeight; top += 28) {
    scrollTo(0, top);
    await frame();
  }
  frames.sort((one, other) => one - other);
  return [frames.at(-1), frames[Math.floor(frames.length * 0.95)], frames.filter((one) => one > 50).length];
}
"""


@dataclass
class Figures:
    """Of one visit: milliseconds, and the score of layout shifts."""

    first_paint: float
    largest_paint: float
    shifts: float
    longest_task: float
    largest: str = ""


async def slow_down(
    visitor: Visitor, *, slower: float = SLOWER, rate: float = BYTES_PER_SECOND, trip: float = ROUND_TRIP
) -> None:
    """Give a tab of Chromium a slower processor and network (bytes per second, milliseconds), and watch its paints."""
    session = await visitor.context.new_cdp_session(visitor.page)
    await session.send("Emulation.setCPUThrottlingRate", {"rate": slower})
    network = {"offline": False, "latency": trip, "downloadThroughput": rate, "uploadThroughput": rate}
    await session.send("Network.emulateNetworkConditions", network)
    await visitor.page.add_init_script(_WATCH)


async def figures(visitor: Visitor) -> Figures:
    """What was seen so far."""
    seen: dict[str, Any] = await visitor.page.evaluate("seen")
    return Figures(seen["paint"], seen["lcp"], seen["cls"], seen["longest"], seen["what"])


async def _visit(browser: Browser, url: str, path: str, *, has_photos: bool = False) -> tuple[Figures, list[float]]:
    visitor = await Visitor.arrive(browser, url, viewport=PHONE, has_touch=True, is_mobile=True)
    await slow_down(visitor)
    # The page is asked nothing until it is at rest: its answers would take the time that is measured.
    await visitor.page.goto(url + path, wait_until="networkidle")
    await asyncio.sleep(0.5)
    found = await figures(visitor)
    scrolled = await visitor.page.evaluate(_SCROLL) if has_photos else []
    await visitor.context.close()
    return found, scrolled


async def main(rounds: int) -> None:
    """Print the figures of the front page and of an order of 100 photos, first seen and with its files kept."""
    with tempfile.TemporaryDirectory() as data_dir:
        async with (
            Sandbox(SandboxConfig()) as sandbox,
            service_factory(sandbox.api_base, Path(data_dir)) as start,
            launch() as browser,
        ):
            site = await start(autoenhance_api_key=sandbox.api_key, rate_limit="off")
            names = sorted(path.name for path in PHOTOS.glob("*.jpg"))
            specs = [ImageSpec(photo=names[at % len(names)], name=f"photo_{at:03}.jpg") for at in range(100)]
            order = sandbox.control.add_order(specs, name="12 Harbour Lane")
            for title, path, has_photos in (
                ("front page", "/", False),
                ("100 photos", f"/?order={order.order_id}", True),
            ):
                await _visit(browser, site.url, path, has_photos=has_photos)  # the thumbnails are made
                seen = [await _visit(browser, site.url, path, has_photos=has_photos) for _ in range(rounds)]
                paint, largest, shifts, longest = _medians([astuple(one)[:4] for one, _ in seen])
                print(
                    f"{title}: first paint {paint:.0f} ms, largest {largest:.0f} ms ({seen[-1][0].largest}),"
                    f" shifts {shifts:.4f}, longest task {longest:.0f} ms"
                )
                if has_photos:
                    worst, most, slow = _medians([scrolled for _, scrolled in seen])
                    print(f"  scrolled: longest frame {worst:.0f} ms, 95% within {most:.0f} ms, over 50 ms: {slow:.0f}")


def _medians(rows: Sequence[Sequence[float]]) -> list[float]:
    return [statistics.median(values) for values in zip(*rows, strict=True)]


if __name__ == "__main__":
    configure_logs("console", "ERROR")
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 3))
