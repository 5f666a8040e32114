"""A person in front of the page: real Chromium, and what it complained about."""

import json
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.async_api import Browser, BrowserContext, Page, Request, Response, async_playwright, expect

from tests.support.tools import missing, require_tool

# The address bar's own pages, which are no part of ours, cost each tab more than most tests. Then Playwright's, whose
# list this one replaces.
_FEATURES = (
    "WebUIOmniboxPopup",
    "WebUIOmniboxAimPopup",
    "AimEnabled",
    "AvoidCorsURLLoaderRestartOnRedirect",
    "AvoidUnnecessaryBeforeUnloadCheckSync",
    "DestroyProfileOnBrowserClose",
    "HttpsFirstBalancedModeAutoEnable",
    "HttpsUpgrades",
    "LensOverlay",
    "MediaRouter",
    "NetworkTimeServiceQuerying",
    "OptimizationHints",
    "PaintHolding",
    "PreconnectToSearch",
    "ThirdPartyStoragePartitioning",
)
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    f"--disable-features={','.join(_FEATURES)}",
)
DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}
TIMEOUT = 20_000
"""Milliseconds after which a test gives up; nothing is expected to take that long."""

_AXE = Path(__file__).parents[1] / "e2e" / "page" / "node_modules" / "axe-core" / "axe.min.js"
_REFUSED = "Failed to load resource: the server responded with a status of"

expect.set_options(timeout=TIMEOUT)


def axe_source() -> str:
    """The script of axe-core, after which nothing on the page fades or moves any more."""
    if not _AXE.exists():
        missing("axe-core (npm ci in tests/e2e/page)")
    ends = "fading.effect.getComputedTiming().endTime < Infinity"
    return f"{_AXE.read_text()}; for (const fading of document.getAnimations()) if ({ends}) fading.finish();"


@asynccontextmanager
async def launch(*more: str) -> AsyncIterator[Browser]:
    """A running Chromium, with `more` arguments; without the windows around its pages where there is such a program,
    which takes two thirds of the processor's time."""
    executable = shutil.which("chromium-headless-shell") or require_tool("chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=[*ARGUMENTS, *more])
        try:
            yield browser
        finally:
            await browser.close()


@dataclass
class Visitor:
    """One tab at the service's page, and everything in it that should not have happened."""

    context: BrowserContext
    page: Page
    url: str
    complaints: list[str] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    responses: list[Response] = field(default_factory=list)
    _expected: list[str] = field(default_factory=lambda: [_REFUSED])

    @classmethod
    async def arrive(cls, browser: Browser, url: str, **options: Any) -> "Visitor":
        """Open a tab; `options` are Playwright's for a context."""
        context = await browser.new_context(**{"viewport": DESKTOP, "accept_downloads": True, **options})
        context.set_default_timeout(TIMEOUT)
        page = await context.new_page()
        visitor = cls(context, page, url)
        page.on("console", lambda message: visitor._heard(message.type, message.text))
        page.on("pageerror", lambda error: visitor.complaints.append(str(error)))
        page.on("request", lambda request: visitor.requests.append(request))
        page.on("response", lambda response: visitor.responses.append(response))
        return visitor

    def _heard(self, kind: str, text: str) -> None:
        # The browser itself notes every refusal of the service; what the page makes of it is for the tests.
        if kind in ("error", "warning") and not any(words in text for words in self._expected):
            self.complaints.append(text)

    def ignore(self, text: str) -> None:
        """Complaints that hold these text are what the test is about."""
        self._expected.append(text)

    async def open(self, path: str = "/") -> None:
        """Load the page and wait until its scripts have run."""
        await self.page.goto(self.url + path, wait_until="domcontentloaded")

    async def look_up(self, order_id: str) -> None:
        """Paste an order's id and wait for its overview."""
        await self.page.get_by_label("Order id").fill(order_id)
        await self.page.get_by_role("button", name="Show order").click()
        await self.overview()

    async def overview(self) -> None:
        """Wait until an order is shown."""
        await expect(self.page.locator("#order[aria-busy=false]")).to_be_visible()

    async def unfold(self) -> None:
        """Open the options that are folded at first."""
        await self.page.get_by_text("Format, originals and other options").click()

    async def counters(self) -> None:
        """Wait until the live counters are there."""
        await expect(self.page.locator("[data-stat=uptime_seconds]")).to_have_text(re.compile(r"\d"))

    async def axe(self, beside: str = "") -> list[str]:
        """What axe-core holds against the page as it stands, or against all of it beside what a selector names."""
        # In a world of its own, as a browser's extension would be: the page's policy does not apply to it.
        session = await self.context.new_cdp_session(self.page)
        tree = await session.send("Page.getFrameTree")
        frame = tree["frameTree"]["frame"]["id"]
        world = await session.send("Page.createIsolatedWorld", {"frameId": frame, "worldName": "axe"})
        tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
        where = {"exclude": [beside]} if beside else {"include": ["html"]}
        run = f"axe.run({json.dumps(where)}, {json.dumps({'runOnly': tags})})"
        result = await session.send(
            "Runtime.evaluate",
            {
                "expression": f"{axe_source()} {run}.then((found) => JSON.stringify(found.violations))",
                "contextId": world["executionContextId"],
                "awaitPromise": True,
                "returnByValue": True,
            },
        )
        violations = json.loads(result["result"]["value"])
        return [
            f"{violation['id']}: {node['html'][:160]} {node.get('failureSummary', '')}"
            for violation in violations
            for node in violation["nodes"]
        ]

    @property
    def strangers(self) -> set[str]:
        """Hosts that were asked for anything, besides the service's."""
        own = urlsplit(self.url).netloc
        return {urlsplit(request.url).netloc for request in self.requests} - {own}
