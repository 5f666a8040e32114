"""A studio sends its client a link; the client opens it on a phone."""

import asyncio

import pytest
from playwright.async_api import Page, Route, expect

from service.sandbox import ImageSpec, Sandbox
from tests.e2e.page.conftest import Visit
from tests.support.client import Service, StartService
from tests.support.visitor import PHONE, Visitor

pytestmark = pytest.mark.asyncio(loop_scope="session")

CALLER_KEY = "key-of-a-caller"


async def with_key(visit: Visit, site: Service, order_id: str) -> Visitor:
    """A visitor at an order of a service that knows whose links are whose."""
    visitor = await visit(site)
    await visitor.open(f"/?order={order_id}")
    await visitor.page.get_by_role("dialog").get_by_label("Access key").fill(CALLER_KEY)
    await visitor.page.keyboard.press("Enter")
    await visitor.overview()
    return visitor


async def share(visitor: Visitor, *, days: str = "14") -> str:
    """Make a link to the order that is shown; its address."""
    page = visitor.page
    await page.get_by_role("button", name="Share").click()
    dialog = page.get_by_role("dialog", name="Share with your client")
    await dialog.get_by_label("The link works for").select_option(days)
    await dialog.get_by_role("button", name="Make a link").click()
    await expect(dialog.get_by_text("The link is ready. Copy it, and send it to your client.")).to_be_visible()
    await expect(dialog.get_by_role("button", name="Make another link")).to_be_visible()
    address = await dialog.locator(".share-address").first.get_attribute("href")
    assert address is not None
    return address


async def saved(page: Page, name: str) -> str:
    """Save what a link on the page offers; the name of the file."""
    async with page.expect_download() as download:
        await page.get_by_role("link", name=name).click()
    assert await (await download.value).failure() is None
    return (await download.value).suggested_filename


async def test_from_the_order_to_the_clients_phone(visit: Visit, start_site: StartService, sandbox: Sandbox) -> None:
    """Open, see, choose, save, share; the client sees just those photos, and saves two of them and all, without any
    key."""
    site = await start_site(service_api_key=CALLER_KEY, brand_name="Lumen Studio")
    order = sandbox.control.add_sample_order()
    studio = await visit(site)
    await studio.open()
    await studio.page.get_by_label("Order id").fill(f"https://app.example.com/orders/{order.order_id}")
    await studio.page.get_by_role("button", name="Show order").click()
    await studio.page.get_by_role("dialog").get_by_label("Access key").fill(CALLER_KEY)
    await studio.page.keyboard.press("Enter")
    await studio.overview()
    await studio.page.get_by_role("checkbox", name="terrace.jpg").uncheck()
    await expect(studio.page.locator("#cost")).to_have_text("Free to download and to share.")
    async with studio.page.expect_download() as download:
        await studio.page.get_by_role("button", name="Download 6 photos").click()
    assert await (await download.value).failure() is None
    await expect(studio.page.get_by_role("heading", name="All 6 photos are in the ZIP")).to_be_visible()
    address = await share(studio, days="30")
    assert await studio.axe() == []

    client = await visit(site, viewport=PHONE, has_touch=True, is_mobile=True)
    await client.page.goto(address)
    page = client.page
    await expect(page.get_by_role("heading", level=1)).to_have_text("Sample: 12 Harbour Lane")
    await expect(page.get_by_text("Photos from Lumen Studio")).to_be_visible()
    await expect(page.locator(".until")).to_contain_text("6 previews. Available until")
    await expect(page.get_by_role("list", name="Photos").get_by_role("listitem")).to_have_count(6)
    await expect(page.locator(".gallery img").first).to_have_js_property("naturalWidth", 480)
    assert await page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    assert await client.axe() == []
    await page.get_by_role("link", name="bathroom.jpg", exact=True).tap()
    await expect(page.locator(".lightbox").get_by_role("heading", name="bathroom.jpg")).to_be_visible()
    assert await client.axe() == []
    await page.get_by_role("button", name="Close").tap()
    files = [await saved(page, f"Save {name}") for name in ("kitchen.jpg", "bathroom.jpg")]
    files.append(await saved(page, "Save all 6 photos in one ZIP"))
    assert files == ["kitchen.jpg", "bathroom.jpg", "Sample_ 12 Harbour Lane.zip"]
    assert sandbox.control.counters.purchases.total() == 0

    await studio.page.get_by_role("button", name="Stop sharing").click()
    await expect(studio.page.locator("#share-list")).to_be_empty()
    await page.reload()
    await expect(page.get_by_role("heading", name="This link has expired or does not work")).to_be_visible()
    assert await client.axe() == []


async def test_a_link_is_copied_and_found_again(visit: Visit, sandbox: Sandbox) -> None:
    """In a service without keys too, where nobody lists the links of others: this browser remembers its own."""
    order = sandbox.control.add_order([ImageSpec()])
    other = sandbox.control.add_order([ImageSpec()])
    visitor = await visit(permissions=["clipboard-read", "clipboard-write"])
    await visitor.open(f"/?order={order.order_id}")
    await visitor.overview()
    address = await share(visitor)
    page = visitor.page

    await page.get_by_role("button", name="Copy the link").click()
    assert await page.evaluate("navigator.clipboard.readText()") == address
    await visitor.open(f"/?order={order.order_id}")
    await visitor.overview()
    await page.get_by_role("button", name="Share").click()
    await expect(page.locator(".share-address")).to_have_attribute("href", address)
    await visitor.open(f"/?order={other.order_id}")
    await visitor.overview()
    await page.get_by_role("button", name="Share").click()
    await expect(page.locator("#share-list li")).to_have_count(0)


async def test_what_is_said_in_the_dialog_is_said_within_it(visit: Visit, sandbox: Sandbox) -> None:
    """A dialog hides all that is outside it from screen readers too."""
    order = sandbox.control.add_order([ImageSpec()])
    visitor = await visit(permissions=["clipboard-read", "clipboard-write"])
    await visitor.open(f"/?order={order.order_id}")
    await visitor.overview()
    await share(visitor)
    said = visitor.page.get_by_role("dialog").get_by_role("status")

    await visitor.page.get_by_role("button", name="Copy the link").click()
    await expect(said.filter(has_text="Copied.")).to_have_count(1)

    await visitor.page.get_by_role("button", name="Stop sharing").click()
    await expect(said.filter(has_text="The link no longer works.")).to_have_count(1)


async def test_all_links_of_an_order_are_found(visit: Visit, start_site: StartService, sandbox: Sandbox) -> None:
    """Behind however many pages of newer ones, and of other orders' links: the oldest one too can be taken back."""
    site = await start_site(service_api_key=CALLER_KEY)
    wanted, other = (sandbox.control.add_order([ImageSpec()]).order_id for _ in range(2))
    headers = {"X-API-Key": CALLER_KEY}
    for order_id in (wanted, other, other, wanted, other):
        asked = {"path": f"/v1/orders/{order_id}/images", "expires_in": 600}
        async with site.session.post(f"{site.url}/v1/links", json=asked, headers=headers) as response:
            assert response.status == 201
    visitor = await with_key(visit, site, wanted)
    page = visitor.page

    async def shorter(route: Route) -> None:
        await route.continue_(url=route.request.url.replace("limit=200", "limit=2"))

    await page.route("**/v1/links?*", shorter)
    await page.get_by_role("button", name="Share").click()
    links = page.locator("#share-list li")
    await expect(links).to_have_count(2)

    for left in (1, 0):
        await links.last.get_by_role("button", name="Stop sharing").click()
        await expect(links).to_have_count(left)


async def test_a_list_of_links_that_is_cut_short_is_not_taken_for_all(
    visit: Visit, start_site: StartService, sandbox: Sandbox
) -> None:
    """What is known of them is shown, and that there may be others."""
    order = sandbox.control.add_order([ImageSpec()])
    visitor = await with_key(visit, await start_site(service_api_key=CALLER_KEY), order.order_id)
    page = visitor.page

    async def cut(route: Route) -> None:
        if "cursor=" in route.request.url:
            await route.fulfill(status=503, json={"title": "Away", "code": "links_unavailable"})
        else:
            answer = await route.fetch()
            await route.fulfill(response=answer, json=await answer.json() | {"next_cursor": "0" * 32})

    await page.route("**/v1/links?*", cut)
    await share(visitor)

    await expect(page.locator("#share-list li")).to_have_count(1)
    await expect(page.locator("#share-problem")).to_contain_text("Links cannot be made or looked up at the moment.")


async def test_an_earlier_look_at_the_links_does_not_hide_a_new_one(
    visit: Visit, start_site: StartService, sandbox: Sandbox
) -> None:
    """A long list may come after a link was made that it does not have."""
    order = sandbox.control.add_order([ImageSpec()])
    visitor = await with_key(visit, await start_site(service_api_key=CALLER_KEY), order.order_id)
    page, is_made = visitor.page, asyncio.Event()

    async def late(route: Route) -> None:
        await is_made.wait()
        await route.fulfill(json={"items": [], "next_cursor": None})

    await page.route("**/v1/links?*", late, times=1)
    await share(visitor)
    async with page.expect_response("**/v1/links?*") as response:
        is_made.set()
    await (await response.value).finished()
    await page.evaluate("new Promise((resolve) => setTimeout(resolve, 50))")

    await expect(page.locator("#share-list li")).to_have_count(1)


async def test_a_phone_sends_the_link_by_its_own_apps(visit: Visit, sandbox: Sandbox) -> None:
    """Beside Copy, where the system can send links."""
    order = sandbox.control.add_order([ImageSpec()])
    visitor = await visit(viewport=PHONE, has_touch=True, is_mobile=True)
    await visitor.page.add_init_script("navigator.share = async (what) => { window.sent = what.url; };")
    await visitor.open(f"/?order={order.order_id}")
    await visitor.overview()
    address = await share(visitor)

    await visitor.page.get_by_role("button", name="Send").tap()

    assert await visitor.page.evaluate("window.sent") == address
    assert await visitor.axe() == []


async def test_sharing_says_what_it_shares_and_may_cost(visit: Visit, sandbox: Sandbox) -> None:
    """On the button already, and before a link is made: previews are free; full size is on the studio's account."""
    order = sandbox.control.add_order([ImageSpec(), ImageSpec(), ImageSpec(status="error")])
    visitor = await visit()
    await visitor.open(f"/?order={order.order_id}")
    await visitor.overview()
    page = visitor.page

    await page.get_by_role("button", name="Share previews with client").click()
    await expect(page.locator("#share-what")).to_contain_text("2 photos as free previews")
    await page.get_by_role("button", name="Close").click()
    await page.get_by_role("radio", name="Full size").check()
    await page.get_by_role("button", name="Share full size with client").click()
    await expect(page.locator("#share-what")).to_contain_text("2 photos in full size")
    await expect(page.locator("#share-what")).to_contain_text("up to 2 credits of your account")
    await page.get_by_role("button", name="Close").click()
    await page.get_by_role("radio", name="Print, listing, web").check()
    await page.get_by_role("button", name="Share 3 sizes with client").click()
    await expect(page.locator("#share-what")).to_contain_text("2 photos in 3 sizes")
    await page.get_by_role("button", name="Close").click()
    await visitor.unfold()
    await page.get_by_label("Test mode").check()
    await page.get_by_role("button", name="Share test photos with client").click()
    await expect(page.locator("#share-what")).to_contain_text("2 photos as free test photos with a watermark")


@pytest.mark.parametrize("viewport", [{"width": 1280, "height": 800}, PHONE], ids=["desktop", "phone"])
async def test_what_the_keyboard_reaches_at_the_client_is_not_behind_the_bar(
    visit: Visit, site: Service, sandbox: Sandbox, viewport: dict[str, int]
) -> None:
    """Every photo and every button to save one, on the way down and on the way up."""
    order = sandbox.control.add_order([ImageSpec(name=f"{at:02}.jpg") for at in range(24)])
    path = f"/v1/orders/{order.order_id}/images"
    async with site.session.post(f"{site.url}/v1/links", json={"path": path, "expires_in": 600}) as response:
        address = (await response.json())["page"]
    visitor = await visit(viewport=viewport)
    await visitor.open(address)
    bar = await visitor.page.locator(".delivery-bar").bounding_box()
    assert bar is not None

    bottoms = []
    for key in ["Tab"] * 48 + ["Shift+Tab"] * 47:
        await visitor.page.keyboard.press(key)
        bottoms.append(await visitor.page.evaluate("document.activeElement.getBoundingClientRect().bottom"))

    assert max(bottoms) <= bar["y"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_clients_page_needs_no_scripts(visit: Visit, site: Service, sandbox: Sandbox, scheme: str) -> None:
    """Whatever the client's browser is: photos, single files, all of them."""
    order = sandbox.control.add_sample_order()
    path = f"/v1/orders/{order.order_id}/images"
    async with site.session.post(f"{site.url}/v1/links", json={"path": path, "expires_in": 600}) as response:
        address = (await response.json())["page"]
    visitor = await visit(java_script_enabled=False, color_scheme=scheme)
    await visitor.open(address)

    assert await saved(visitor.page, "Save kitchen.jpg") == "kitchen.jpg"
    assert await saved(visitor.page, "Save all 7 photos in one ZIP") == "Sample_ 12 Harbour Lane.zip"


async def test_a_photo_that_is_missing_at_the_client_is_explained(
    visit: Visit, site: Service, sandbox: Sandbox
) -> None:
    """One that is not ready, and one that cannot be had: in its place why; nothing to press that would fail, and the
    others are looked at as ever."""
    names = ("kitchen.jpg", "bath.jpg", "attic.jpg", "hall.jpg")
    specs = [ImageSpec(name=name, photo="kitchen.jpg") for name in names]
    specs[1] = ImageSpec(name=names[1], status="processing")
    order = sandbox.control.add_order(specs)
    path = f"/v1/orders/{order.order_id}/images"
    async with site.session.post(f"{site.url}/v1/links", json={"path": path, "expires_in": 600}) as response:
        address = (await response.json())["page"]
    sandbox.control.add_fault("status", image_id=order.images[2].image_id, status=404, times=None)
    visitor = await visit(viewport=PHONE, has_touch=True, is_mobile=True)
    page = visitor.page
    await visitor.open(address)

    photo = page.get_by_role("list", name="Photos").get_by_role("listitem")
    await expect(photo.nth(1)).to_contain_text("Not ready yet. Open this link again later.")
    await expect(photo.nth(2)).to_contain_text("This photo cannot be loaded.")
    await expect(page.get_by_text("2 photos are missing here, and would be missing in the ZIP.")).to_be_visible()
    await page.wait_for_load_state("networkidle")  # no answer is left unread, which would keep its connection
    assert [await photo.nth(at).get_by_role("link").count() for at in range(4)] == [2, 0, 0, 2]
    assert await visitor.axe() == []
    await page.get_by_role("link", name="hall.jpg", exact=True).tap()
    await expect(page.locator(".lightbox")).to_contain_text("2 of 2")


async def test_what_could_not_be_loaded_is_no_missing_photo(visit: Visit, site: Service, sandbox: Sandbox) -> None:
    """It is asked for again, unless that is to be in more than a minute; what still does not come keeps its links, for
    it may well be in the ZIP."""
    order = sandbox.control.add_sample_order()
    path = f"/v1/orders/{order.order_id}/images"
    async with site.session.post(f"{site.url}/v1/links", json={"path": path, "expires_in": 600}) as response:
        address = (await response.json())["page"]
    visitor = await visit()
    visitor.ignore("net::ERR_FAILED")
    page = visitor.page
    moment, limited, closed, offline = (f"**/images/{image.image_id}*" for image in order.images[:4])
    refused = {"status": 429, "headers": {"Retry-After": "1"}, "body": ""}
    away = {"status": 503, "headers": {"Retry-After": "61"}, "body": "Closed for a minute"}
    await page.route(moment, lambda route: route.fulfill(status=502, body=""), times=1)
    await page.route(limited, lambda route: route.fulfill(**refused), times=2)
    await page.route(closed, lambda route: route.fulfill(**away))
    await page.route(offline, lambda route: route.abort())
    await page.clock.install()
    await visitor.open(address)

    photo = page.get_by_role("list", name="Photos").get_by_role("listitem")
    late = "This photo could not be loaded just now. Reload the page to try again."
    await expect(photo.nth(2)).to_contain_text(late)
    while not await photo.nth(3).get_by_text(late).is_visible():
        await page.clock.fast_forward(5_000)
    for at in range(2):
        await expect(photo.nth(at).locator("img")).to_have_js_property("naturalWidth", 480)
    await expect(page.locator("#missing")).to_be_hidden()
    assert [await photo.nth(at).get_by_role("link").count() for at in range(4)] == [2, 2, 2, 2]
    asked = [sum(image.image_id in request.url for request in visitor.requests) for image in order.images[2:4]]
    assert asked == [2, 4]
    assert await visitor.axe() == []
    await photo.nth(2).get_by_role("link").first.click()
    await expect(page.get_by_text("Closed for a minute")).to_be_visible()


async def test_what_is_wrong_is_said_before_anything_is_shared(visit: Visit, sandbox: Sandbox) -> None:
    """Without a size, or with a quality that is none, Share says what to correct and goes there."""
    order = sandbox.control.add_sample_order()
    visitor = await visit()
    page = visitor.page
    await visitor.open(f"/?order={order.order_id}")
    await visitor.overview()
    await page.get_by_role("radio", name="Print, listing, web").check()
    for box in await page.get_by_role("group", name="Sizes in the ZIP").get_by_role("checkbox").all():
        await box.uncheck()

    await page.get_by_role("button", name="Share").click()
    await expect(page.locator("#sizes-problem")).to_have_text("Choose at least one.")
    await expect(page.get_by_role("checkbox", name="Print")).to_be_focused()

    await page.get_by_role("radio", name="Full size").check()
    await visitor.unfold()
    await page.get_by_label("Quality").fill("99")
    await page.get_by_role("button", name="Share").click()
    await expect(page.get_by_label("Quality")).to_be_focused()
    await expect(page.locator("#quality-problem")).to_be_visible()
    await expect(page.get_by_role("dialog", name="Share with your client")).to_be_hidden()
