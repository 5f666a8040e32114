"""The live counters: kept up to date, but not for nobody."""

import pytest
from playwright.async_api import Page, expect

from service.sandbox import ImageSpec, Sandbox
from tests.e2e.page.conftest import Visit

pytestmark = pytest.mark.asyncio(loop_scope="session")

COUNTERS = "**/v1/stats"


async def look(page: Page, *, away: bool) -> None:
    """Turn to another tab, or back."""
    await page.evaluate(
        """(away) => {
          Object.defineProperty(document, "hidden", { get: () => away, configurable: true });
          document.dispatchEvent(new Event("visibilitychange"));
        }""",
        away,
    )


async def test_the_counters_follow_while_somebody_looks(visit: Visit, sandbox: Sandbox) -> None:
    """Every half minute; not at all in a hidden tab; at once when it is looked at again."""
    visitor = await visit()
    page = visitor.page
    await page.clock.install()
    await visitor.open()
    await visitor.counters()

    def asked() -> int:
        return sum(request.url.endswith("/v1/stats") for request in visitor.requests)

    async with page.expect_response(COUNTERS):
        await page.clock.fast_forward(31_000)
    await look(page, away=True)
    before = asked()
    await page.clock.fast_forward(120_000)
    assert asked() == before

    async with page.expect_response(COUNTERS):
        await look(page, away=False)
    assert asked() == before + 1


async def test_the_counters_tell_of_a_download(visit: Visit, sandbox: Sandbox) -> None:
    """Whoever has just downloaded sees it counted, without waiting for the next round; thumbnails are none."""
    order = sandbox.control.add_order([ImageSpec(), ImageSpec()])
    visitor = await visit()
    await visitor.open(f"/?order={order.order_id}")
    await visitor.overview()
    await expect(visitor.page.locator("#photo-list li[data-picture]")).to_have_count(2)

    async with visitor.page.expect_download():
        await visitor.page.locator("#go").click()

    await expect(visitor.page.locator("[data-stat=zips_served]")).to_have_text("1")
    await expect(visitor.page.locator("[data-stat=images_downloaded]")).to_have_text("2")
