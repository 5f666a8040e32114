"""The price that the page shows is the most that a download spends."""

import asyncio

import pytest
import pytest_asyncio
from playwright.async_api import Route, expect

from service.sandbox import ImageSpec, Sandbox
from service.sandbox.state import Order
from tests.e2e.page.conftest import Visit
from tests.support.client import Service, StartService
from tests.support.visitor import Visitor

pytestmark = pytest.mark.asyncio(loop_scope="session")

THREE = [ImageSpec(name=name, size=40_000) for name in ("attic.jpg", "bath.jpg", "kitchen.jpg")]
REFUSED = (
    "It would have used more credits than was shown. Nothing was bought. See what it costs now, then download again."
)


@pytest_asyncio.fixture(loop_scope="session")
async def alert(start_site: StartService) -> Service:
    """A service that looks at the order for every request."""
    return await start_site(order_freshness=0)


async def at_full_size(visit: Visit, service: Service, order: Order) -> Visitor:
    """A visitor who sees what the order costs."""
    visitor = await visit(service)
    await visitor.open(f"/?order={order.order_id}&preview=false")
    await visitor.overview()
    return visitor


async def make_anew(sandbox: Sandbox, service: Service, order: Order, at: int) -> None:
    """Somebody has a photo enhanced once more, for another credit, and the service sees it."""
    image = order.images[at]
    sandbox.control.set_status(image.image_id, "processing")
    await service.ask(f"/v1/orders/{order.order_id}")
    sandbox.control.set_status(image.image_id, "processed")
    image.downloaded = False


async def test_an_order_that_grew_is_bought_only_at_its_new_price(
    visit: Visit, alert: Service, sandbox: Sandbox
) -> None:
    """A photo was added since the page looked: nothing is bought until the new price was seen."""
    order = sandbox.control.add_order(THREE)
    visitor = await at_full_size(visit, alert, order)
    page = visitor.page
    cost = page.locator("#cost")
    await expect(cost).to_contain_text("up to 3 credits")
    sandbox.control.add_image(order.order_id, ImageSpec(name="terrace.jpg"))

    await page.get_by_role("button", name="Download 3 photos").click()

    await expect(page.locator("#note")).to_have_text(REFUSED)
    await expect(cost).to_contain_text("up to 4 credits")
    await expect(page.get_by_role("button", name="Download 4 photos")).to_be_focused()
    assert sandbox.control.counters.purchases.total() == 0
    assert await visitor.axe() == []

    async with page.expect_download():
        await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="All 4 photos are in the ZIP")).to_be_visible()
    assert sandbox.control.counters.purchases.total() == 4


async def test_a_photo_made_anew_is_not_bought_as_one_that_is_here(
    visit: Visit, alert: Service, sandbox: Sandbox
) -> None:
    """Of photos that were chosen one by one too: those that are not chosen leave no room for it."""
    order = sandbox.control.add_order(THREE)
    bought = order.images[0]
    await alert.ask(f"/v1/orders/{order.order_id}/images/{bought.image_id}?preview=false")
    visitor = await at_full_size(visit, alert, order)
    page = visitor.page
    await page.locator("#photo-list").get_by_role("checkbox", name="kitchen.jpg").uncheck()
    await expect(page.locator("#cost")).to_contain_text("up to 1 credit")
    await make_anew(sandbox, alert, order, 0)

    await page.get_by_role("button", name="Download 2 photos").click()

    await expect(page.locator("#note")).to_have_text(REFUSED)
    await expect(page.locator("#cost")).to_contain_text("up to 2 credits")
    assert sandbox.control.counters.purchases.total() == 1


async def test_a_retry_leaves_no_room_for_what_was_added(visit: Visit, alert: Service, sandbox: Sandbox) -> None:
    """What the download before has bought is not allowed for once more."""
    order = sandbox.control.add_order(THREE[:2])
    lost = order.images[1]
    fault = sandbox.control.add_fault("status", image_id=lost.image_id, status=402, times=None)
    visitor = await at_full_size(visit, alert, order)
    page = visitor.page
    async with page.expect_download():
        await page.get_by_role("button", name="Download 2 photos").click()
    retry = page.get_by_role("button", name="Retry bath.jpg (up to 1 credit)")
    await expect(retry).to_be_visible()
    sandbox.control.remove_fault(fault.fault_id)
    sandbox.control.add_image(order.order_id, ImageSpec(name="terrace.jpg"))

    await retry.click()

    await expect(page.locator("#note")).to_have_text(REFUSED)
    await expect(page.locator("#cost")).to_contain_text("up to 2 credits")
    assert sandbox.control.counters.purchases.total() == 1


@pytest.mark.parametrize("options", ["preview=false&include=original", "rendition=print&rendition=web"])
async def test_what_did_not_change_is_not_refused(visit: Visit, alert: Service, sandbox: Sandbox, options: str) -> None:
    """The service counts what was never uploaded, too; of all photos, of some, and with some of them here."""
    lost = [ImageSpec(name="cellar.jpg", status="waiting"), ImageSpec(name="hall.jpg", status="error")]
    order = sandbox.control.add_order([*THREE, *lost])
    visitor = await visit(alert)
    page = visitor.page
    bath = page.locator("#photo-list").get_by_role("checkbox", name="bath.jpg")

    for ready in (2, 3):
        await visitor.open(f"/?order={order.order_id}&{options}")
        await visitor.overview()
        if ready == 2:
            await bath.uncheck()
        async with page.expect_download():
            await page.get_by_role("button", name=f"Download {ready} photos").click()
        await expect(page.locator("#outcome-title")).to_contain_text("in the ZIP")

    assert sandbox.control.counters.purchases.total() == 3
    posts = [request.url for request in visitor.requests if request.method == "POST"]
    assert [url.rpartition("max_credits=")[2] for url in posts] == ["3", "2"]


async def test_a_free_size_that_is_not_here_costs_nothing(visit: Visit, alert: Service, sandbox: Sandbox) -> None:
    """Where the size that costs was bought earlier, the free one beside it is only fetched."""
    order = sandbox.control.add_order(THREE)
    for image in order.images:
        await alert.ask(f"/v1/orders/{order.order_id}/images/{image.image_id}?preview=false")
    visitor = await visit(alert)

    await visitor.open(f"/?order={order.order_id}&rendition=print&rendition=web")
    await visitor.overview()

    await expect(visitor.page.locator("#cost")).to_have_text("No credits needed: these photos were bought earlier.")


async def test_a_retry_of_a_free_file_costs_nothing(visit: Visit, start_site: StartService, sandbox: Sandbox) -> None:
    """The photo was bought in print size; what failed is its file for the web."""
    order = sandbox.control.add_order(THREE[:2])
    visitor = await visit(await start_site(download_concurrency=1))
    page = visitor.page
    await visitor.open(f"/?order={order.order_id}&rendition=print&rendition=web")
    await visitor.overview()
    await expect(page.locator("#photo-list li[data-picture]")).to_have_count(2)
    sandbox.control.add_fault(
        "status", operation="download", image_id=order.images[1].image_id, skip=1, status=500, times=None
    )

    async with page.expect_download():
        await page.get_by_role("button", name="Download 2 photos in 2 sizes").click()

    await expect(page.get_by_role("heading", name="3 files are in the ZIP")).to_be_visible()
    await expect(page.locator("#retry")).to_have_text("Retry bath.jpg")
    assert sandbox.control.counters.purchases.total() == 2


async def test_what_is_waited_for_is_in_the_price(visit: Visit, alert: Service, sandbox: Sandbox) -> None:
    """A photo that becomes ready is none that was added."""
    order = sandbox.control.add_order([THREE[0], ImageSpec(name="late.jpg", status="processing")])
    visitor = await visit(alert)
    page = visitor.page
    await visitor.open(f"/?order={order.order_id}&preview=false&wait_timeout=300")
    await visitor.overview()
    await page.get_by_role("button", name="Download 2 photos").click()
    await expect(page.get_by_role("heading", name="Waiting for Autoenhance")).to_be_visible()

    async with page.expect_download():
        sandbox.control.set_status(order.images[1].image_id, "processed")

    await expect(page.get_by_role("heading", name="All 2 photos are in the ZIP")).to_be_visible()
    assert sandbox.control.counters.purchases.total() == 2
    assert [request.url[-14:] for request in visitor.requests if request.method == "POST"] == ["&max_credits=2"]


async def test_who_waits_for_an_order_that_grows_is_not_bound(visit: Visit, alert: Service, sandbox: Sandbox) -> None:
    """He wants what it has in the end, and would come back to a refusal."""
    order = sandbox.control.add_order(THREE[:2])
    visitor = await visit(alert)
    page = visitor.page

    async def growing(route: Route) -> None:
        answer = await route.fetch()
        await route.fulfill(response=answer, json=await answer.json() | {"status": "processing", "growing": True})

    await page.route(f"**/v1/orders/{order.order_id}?*", growing)
    await visitor.open(f"/?order={order.order_id}&preview=false&wait_timeout=300")
    await visitor.overview()
    sandbox.control.add_image(order.order_id, THREE[2])

    async with page.expect_download():
        await page.get_by_role("button", name="Download 2 photos").click()

    await expect(page.get_by_role("heading", name="All 3 photos are in the ZIP")).to_be_visible()
    assert sandbox.control.counters.purchases.total() == 3


async def test_a_price_of_other_options_binds_nobody(visit: Visit, alert: Service, sandbox: Sandbox) -> None:
    """Previews are free: full size is not refused for that, where its own price has not come yet."""
    order, is_asked = sandbox.control.add_order(THREE), asyncio.Event()
    visitor = await visit(alert)
    page = visitor.page
    await visitor.open(f"/?order={order.order_id}")
    await visitor.overview()

    async def late(route: Route) -> None:
        is_asked.set()

    await page.route(f"**/v1/orders/{order.order_id}?*", late)
    await page.get_by_role("radio", name="Full size").check()
    await is_asked.wait()

    async with page.expect_download():
        await page.get_by_role("button", name="Download 3 photos").click()

    await expect(page.get_by_role("heading", name="All 3 photos are in the ZIP")).to_be_visible()
    assert sandbox.control.counters.purchases.total() == 3


async def test_a_price_that_could_not_be_looked_up_is_looked_up_again(
    visit: Visit, alert: Service, sandbox: Sandbox
) -> None:
    """Photos that were bought are not said to cost credits for good because one request was lost."""
    order = sandbox.control.add_order(THREE)
    await alert.ask(f"/v1/orders/{order.order_id}/images?preview=false")
    visitor = await visit(alert)
    visitor.ignore("net::ERR_FAILED")
    page = visitor.page
    await visitor.open(f"/?order={order.order_id}")
    await visitor.overview()
    await page.route(f"**/v1/orders/{order.order_id}?preview=false", lambda route: route.abort(), times=1)

    async with page.expect_event("requestfailed"):
        await page.get_by_role("radio", name="Full size").check()

    await expect(page.locator("#cost")).to_have_text("No credits needed: these photos were bought earlier.")
