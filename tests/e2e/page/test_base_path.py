"""The page below a path, as a proxy offers it."""

import re

import pytest
from playwright.async_api import expect

from tests.e2e.page.conftest import ADMIN_TOKEN, Visit
from tests.support.client import Service, StartService

pytestmark = pytest.mark.asyncio(loop_scope="session")

BASE = "/tools/batch"


async def test_the_page_works_below_a_path(start_site: StartService, visit: Visit) -> None:
    """Look, counters, an order and its address, the reference: nothing is asked for outside the path."""
    site = await start_site(base_path=BASE)
    made = await site.ask("/v1/orders/sample", method="POST", headers={"X-Admin-Token": ADMIN_TOKEN})
    order_id = made.document["order_id"]
    visitor = await visit(Service(site.url + BASE, site.session, site.stop))
    await visitor.open()
    await visitor.counters()

    await visitor.look_up(order_id)

    assert re.search(rf"{BASE}/\?order={order_id}$", visitor.page.url)
    await expect(visitor.page.locator("#curl")).to_contain_text(f"{site.url}{BASE}/v1/orders/{order_id}/images")
    await expect(visitor.page.locator("#photo-list li[data-picture=here]")).to_have_count(7)
    await visitor.page.get_by_role("link", name="Docs").click()
    await expect(visitor.page.get_by_text("Download an order's images as one ZIP").first).to_be_visible()
    outside = [request.url for request in visitor.requests if not request.url.startswith(f"{site.url}{BASE}/")]
    assert len(visitor.requests) > 20
    assert [url for url in outside if not url.startswith("data:") and url != f"{site.url}{BASE}"] == []
