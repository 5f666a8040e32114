"""The photos on the page: as a grid, as a list, one at a time."""

import re

import pytest
from playwright.async_api import expect

from service.sandbox import ImageSpec, Sandbox
from tests.e2e.page.conftest import Visit
from tests.support.client import StartService
from tests.support.visitor import PHONE, Visitor

pytestmark = pytest.mark.asyncio(loop_scope="session")

CALLER_KEY = "key-of-a-caller"


async def at_samples(visit: Visit, sandbox: Sandbox, **options: object) -> Visitor:
    """A visitor who sees the sample photos."""
    order = sandbox.control.add_sample_order()
    visitor = await visit(**options)
    await visitor.open(f"/?order={order.order_id}")
    await visitor.overview()
    await expect(visitor.page.locator("#photo-list li[data-picture=here]").first).to_be_visible()
    return visitor


async def test_each_photo_has_a_picture(visit: Visit, sandbox: Sandbox) -> None:
    """A free preview of 480 pixels; nothing is bought by looking."""
    visitor = await at_samples(visit, sandbox)
    page = visitor.page

    await expect(page.locator("#photo-list li[data-picture=here]")).to_have_count(7)
    widths = await page.locator("#photo-list img").evaluate_all("(all) => all.map((one) => one.naturalWidth)")
    assert set(widths) == {480}
    assert sandbox.control.counters.purchases.total() == 0


async def test_pictures_come_when_they_are_scrolled_to(visit: Visit, sandbox: Sandbox) -> None:
    """A hundred photos do not ask for a hundred pictures at once; the last one comes when it is in sight."""
    order = sandbox.control.add_order([ImageSpec(name=f"{at:03}.jpg") for at in range(100)])
    visitor = await visit(viewport=PHONE)
    await visitor.open(f"/?order={order.order_id}")
    await visitor.overview()

    def asked() -> set[str]:
        return {request.url for request in visitor.requests if "max_width=480" in request.url}

    last = visitor.page.locator("#photo-list li").last
    await expect(last).to_contain_text("099.jpg")
    assert len(asked()) < 60
    async with visitor.page.expect_request(f"**/images/{order.images[99].image_id}?*"):
        await last.scroll_into_view_if_needed()


async def test_photos_are_looked_at_by_keys(visit: Visit, sandbox: Sandbox) -> None:
    """Enter opens, arrows turn, Escape returns to the photo; a tick in there is a tick in the grid."""
    visitor = await at_samples(visit, sandbox)
    page = visitor.page
    first = page.get_by_role("button", name="Look at bathroom.jpg")
    await first.focus()

    await page.keyboard.press("Enter")
    shown = page.locator(".lightbox")
    await expect(shown.get_by_role("heading", name="bathroom.jpg")).to_be_visible()
    await page.keyboard.press("ArrowRight")
    await expect(shown.get_by_role("heading", name="bedroom.jpg")).to_be_visible()
    await expect(shown.get_by_role("img", name="bedroom.jpg")).to_have_js_property("complete", value=True)
    await shown.get_by_role("checkbox", name="Include in the ZIP").uncheck()
    assert await visitor.axe() == []
    await page.keyboard.press("ArrowLeft")
    await page.keyboard.press("ArrowLeft")
    await expect(shown).to_contain_text("7 of 7")
    await page.keyboard.press("Escape")

    await expect(first).to_be_focused()
    await expect(page.get_by_role("checkbox", name="bedroom.jpg")).not_to_be_checked()
    await expect(page.get_by_role("button", name="Download 6 photos")).to_be_visible()


async def test_a_photo_is_seen_before_and_after(visit: Visit, sandbox: Sandbox) -> None:
    """As it was taken, and enhanced again, by two buttons; the next photo begins enhanced."""
    visitor = await at_samples(visit, sandbox)
    page = visitor.page
    await page.get_by_role("button", name="Look at bathroom.jpg").click()
    box = page.locator(".lightbox")
    before, after = (box.get_by_role("button", name=name) for name in ("Before", "After"))
    await expect(after).to_have_attribute("aria-pressed", "true")

    await before.click()
    await expect(box.get_by_role("img", name="bathroom.jpg before it was enhanced")).to_be_visible()
    await expect(before).to_have_attribute("aria-pressed", "true")
    await expect(after).to_have_attribute("aria-pressed", "false")
    assert "include=original" in str(await box.get_by_role("img").get_attribute("src"))
    assert await visitor.axe() == []

    await after.click()
    await expect(box.get_by_role("img", name="bathroom.jpg", exact=True)).to_be_visible()
    await before.click()
    await page.keyboard.press("ArrowRight")
    await expect(box.get_by_role("img", name="bedroom.jpg", exact=True)).to_be_visible()
    await expect(before).to_have_attribute("aria-pressed", "false")
    assert sandbox.control.counters.purchases.total() == 0


async def test_a_photo_of_which_there_is_no_original_stays(visit: Visit, sandbox: Sandbox) -> None:
    """It is said, and the enhanced one is still there."""
    visitor = await at_samples(visit, sandbox)
    page = visitor.page
    await page.route("**/images/*include=original*", lambda route: route.fulfill(status=404, body="gone"))
    await page.get_by_role("button", name="Look at bathroom.jpg").click()

    await page.locator(".lightbox").get_by_role("button", name="Before").click()

    await expect(page.locator(".lightbox-place")).to_have_text("This picture cannot be shown here")
    await expect(page.locator(".lightbox").get_by_role("img", name="bathroom.jpg", exact=True)).to_be_visible()


async def test_photos_are_turned_by_swiping(visit: Visit, sandbox: Sandbox) -> None:
    """To the left for the next one, to the right for the one before."""
    visitor = await at_samples(visit, sandbox, viewport=PHONE, has_touch=True, is_mobile=True)
    page = visitor.page
    await page.get_by_role("button", name="Look at bathroom.jpg").tap()
    session = await visitor.context.new_cdp_session(page)

    async def swipe(start: int, end: int) -> None:
        for kind, x in (("touchStart", start), ("touchMove", (start + end) // 2), ("touchMove", end)):
            await session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": 400}]})
        await session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    await page.get_by_role("button", name="Next photo").tap()
    await page.get_by_role("button", name="Previous photo").tap()
    await swipe(300, 90)
    await expect(page.locator(".lightbox")).to_contain_text("2 of 7")
    await swipe(90, 300)
    await expect(page.locator(".lightbox")).to_contain_text("1 of 7")


async def test_one_photo_is_saved_by_itself(visit: Visit, sandbox: Sandbox) -> None:
    """Under its own name, as the options have it; full size says what it may cost."""
    visitor = await at_samples(visit, sandbox)
    page = visitor.page
    await expect(page.get_by_text("Open a photo to see it large, or to save it alone.")).to_be_visible()
    await page.get_by_role("button", name="Look at kitchen.jpg").click()

    async with page.expect_download() as saved:
        await page.get_by_role("link", name="Save the preview (free)").click()
    assert (await saved.value).suggested_filename == "kitchen.jpg"

    await page.keyboard.press("Escape")
    await page.get_by_role("radio", name="Full size").check()
    await page.get_by_role("button", name="Look at kitchen.jpg").click()
    await expect(page.get_by_role("link", name="Save in full size (up to 1 credit)")).to_be_visible()


async def test_names_can_be_had_as_a_list(visit: Visit, sandbox: Sandbox) -> None:
    """One click, and it is remembered at the next visit."""
    visitor = await at_samples(visit, sandbox)
    page = visitor.page

    await page.get_by_role("button", name="List of names").click()
    await expect(page.locator("#photo-list")).to_have_class("list")
    await page.reload()

    await expect(page.locator("#photo-list")).to_have_class("list")
    await expect(page.get_by_role("button", name="List of names")).to_have_attribute("aria-pressed", "true")
    assert await visitor.axe() == []


async def test_the_button_stays_in_sight(visit: Visit, sandbox: Sandbox) -> None:
    """However far one scrolls through the photos, on a phone too; the words above it step back."""
    order = sandbox.control.add_order([ImageSpec(name=f"{at:03}.jpg") for at in range(60)])
    for viewport in (PHONE, {"width": 1366, "height": 768}):
        visitor = await visit(viewport=viewport)
        await visitor.open(f"/?order={order.order_id}")
        await visitor.overview()

        for top in (0, 600, 2000):
            await visitor.page.evaluate("(top) => scrollTo(0, top)", top)
            await expect(visitor.page.locator("#go")).to_be_in_viewport(ratio=1)
        await expect(visitor.page.get_by_text("Paste an Autoenhance order id")).to_be_hidden()


async def test_pictures_come_in_the_callers_session(visit: Visit, start_site: StartService, sandbox: Sandbox) -> None:
    """Where keys are set a picture cannot send one: the cookie does."""
    order = sandbox.control.add_sample_order()
    visitor = await visit(await start_site(service_api_key=CALLER_KEY))
    await visitor.open(f"/?order={order.order_id}")
    page = visitor.page
    await page.get_by_role("dialog").get_by_label("Access key").fill(CALLER_KEY)
    await page.keyboard.press("Enter")

    await expect(page.locator("#photo-list li[data-picture=here]")).to_have_count(7)


async def test_orders_looked_at_are_found_again(visit: Visit, sandbox: Sandbox) -> None:
    """In this browser, newest first, until it is told to forget them."""
    names = ("7 Mill Street", "12 Harbour Lane")
    orders = [sandbox.control.add_order([ImageSpec()], name=name) for name in names]
    visitor = await visit()
    await visitor.open()
    for order in orders:
        await visitor.look_up(order.order_id)
    page = visitor.page

    await visitor.open()
    recent = page.get_by_role("region", name="Recent orders")
    assert await recent.get_by_role("link").all_inner_texts() == list(names[::-1])
    assert await visitor.axe() == []
    await recent.get_by_role("link", name="7 Mill Street").click()
    await expect(page.get_by_role("heading", name="7 Mill Street")).to_be_visible()

    await visitor.open()
    await page.get_by_role("button", name="Forget them").click()
    await visitor.open()
    await expect(recent).to_be_hidden()


async def test_the_address_keeps_the_options(visit: Visit, sandbox: Sandbox) -> None:
    """What was chosen is there after a reload, and for whoever is sent the address."""
    order = sandbox.control.add_order([ImageSpec(), ImageSpec()])
    visitor = await visit()
    await visitor.open(f"/?order={order.order_id}")
    await visitor.overview()
    page = visitor.page
    await page.get_by_role("radio", name="Full size").check()
    await visitor.unfold()
    await page.get_by_label("Format").select_option("webp")
    await page.get_by_label("Quality").fill("70")

    await page.reload()
    await visitor.overview()

    await expect(page.get_by_role("radio", name="Full size")).to_be_checked()
    await expect(page.locator("#more-words")).to_have_text("WebP, quality 70")
    await expect(page.locator("#cost")).to_contain_text("2 credits")


async def test_a_large_order_comes_in_parts(visit: Visit, start_site: StartService, sandbox: Sandbox) -> None:
    """One part at a time is shown and downloaded; another is one choice away."""
    order = sandbox.control.add_order([ImageSpec(name=f"{at}.jpg") for at in range(7)])
    visitor = await visit(await start_site(max_images_per_order=3))
    await visitor.open(f"/?order={order.order_id}")
    await visitor.overview()
    page = visitor.page

    await expect(page.get_by_label("Part of the order")).to_have_value("1")
    await expect(page.locator("#photo-list li")).to_have_count(3)
    await page.get_by_label("Part of the order").select_option("3")
    await expect(page.locator("#photo-list li")).to_have_count(1)
    async with page.expect_download() as saved:
        await page.get_by_role("button", name="Download 1 photo").click()

    assert await (await saved.value).failure() is None
    assert "part=3" in page.url


async def test_without_scripts_the_form_downloads(visit: Visit, sandbox: Sandbox) -> None:
    """A plain form, a plain link: the previews of the order in a ZIP."""
    order = sandbox.control.add_order([ImageSpec(name="kitchen.jpg")], name="12 Harbour Lane")
    visitor = await visit(java_script_enabled=False)
    await visitor.open()
    page = visitor.page

    await page.get_by_label("Order id").fill(order.order_id)
    async with page.expect_download() as saved:
        await page.get_by_role("button", name="Download the previews as a ZIP").click()

    assert (await saved.value).suggested_filename == "12 Harbour Lane.zip"


async def test_without_scripts_a_key_is_asked_for_by_a_form(
    visit: Visit, start_site: StartService, sandbox: Sandbox
) -> None:
    """A wrong key is said; the right one leads on to the ZIP, and is not asked for again."""
    site = await start_site(service_api_key=CALLER_KEY)
    order = sandbox.control.add_order([ImageSpec(name="kitchen.jpg")], name="12 Harbour Lane")
    visitor = await visit(site, java_script_enabled=False)
    page = visitor.page
    await visitor.open()
    await page.get_by_label("Order id").fill(order.order_id)
    await page.get_by_role("button", name="Download the previews as a ZIP").click()

    await page.get_by_label("Access key").fill("another key altogether")
    await page.get_by_role("button", name="Sign in and download").click()
    await expect(page.get_by_role("alert")).to_have_text("That key is not accepted. Check it, or ask the operator.")
    await page.get_by_label("Access key").fill(CALLER_KEY)
    async with page.expect_download() as saved:
        await page.get_by_role("button", name="Sign in and download").click()
    assert (await saved.value).suggested_filename == "12 Harbour Lane.zip"

    await visitor.open()
    await page.get_by_label("Order id").fill(order.order_id)
    async with page.expect_download() as saved:
        await page.get_by_role("button", name="Download the previews as a ZIP").click()
    assert await (await saved.value).failure() is None


async def test_a_services_own_sizes_are_choices(visit: Visit, start_site: StartService, sandbox: Sandbox) -> None:
    """Before the click each tells its pixels and its price, and how its files will be called; at most five."""
    site = await start_site(
        renditions={
            "flyer": {"preview": False, "format": "png", "max_width": 1200},
            "half": {"preview": False, "scale": 0.5},
            "small": {"max_width": 640},
        }
    )
    order = sandbox.control.add_order([ImageSpec(name="kitchen.jpg")])
    visitor = await visit(site)
    page = visitor.page
    await visitor.open(f"/?order={order.order_id}")
    await visitor.overview()

    await page.get_by_role("radio", name="Print, listing, web").check()
    group = page.get_by_role("group", name="Sizes in the ZIP")
    assert await group.locator("label").all_inner_texts() == [
        "Print full size, uses credits",
        "Listing (MLS) up to 2048 pixels wide, uses credits",
        "Web preview, WebP, free",
        "Flyer up to 1200 pixels wide, PNG, uses credits",
        "Half 50% of full size, uses credits",
        "Small up to 640 pixels wide, free",
    ]
    for name in ("Print", "Listing (MLS)", "Web"):
        await group.get_by_role("checkbox", name=name).uncheck()
    await group.get_by_role("checkbox", name="Small").check()
    await expect(page.locator("#cost")).to_have_text("Free to download and to share.")
    await group.get_by_role("checkbox", name="Flyer").check()
    await expect(page.locator("#sizes-example")).to_have_text("In the ZIP: flyer/kitchen.png, small/kitchen.jpg, …")
    await expect(page.locator("#cost")).to_contain_text("up to 1 credit")
    assert await visitor.axe() == []

    for box in await group.get_by_role("checkbox").all():
        await box.check()
    await expect(page.get_by_text("Choose at most 5.")).to_be_visible()
    await page.locator("#go").click()
    await expect(group.get_by_role("checkbox", name="Print")).to_be_focused()
    assert not [request for request in visitor.requests if request.method == "POST"]


async def test_a_link_with_settings_of_its_own_chooses_the_size_of_that_name(visit: Visit, sandbox: Sandbox) -> None:
    """As it is listed, and so it is asked for: the page says that the link wanted it otherwise."""
    order = sandbox.control.add_order([ImageSpec(name="kitchen.jpg")])
    visitor = await visit()
    page = visitor.page
    await visitor.open(f"/?order={order.order_id}&rendition=print,quality%3D85&rendition=web")
    await visitor.overview()

    boxes = page.get_by_role("group", name="Sizes in the ZIP").get_by_role("checkbox")
    assert [await box.is_checked() for box in await boxes.all()] == [True, False, True]
    await expect(page.get_by_text("The link asked for print,quality=85")).to_be_visible()
    await expect(page.get_by_text("Choose at least one.")).not_to_be_visible()
    await expect(page).to_have_url(re.compile(r"&rendition=print&rendition=web$"))
    await expect(page.locator("#cost")).to_contain_text("up to 1 credit")
    assert await visitor.axe() == []


async def test_the_sandboxs_sample_order_is_offered(visit: Visit, start_site: StartService, sandbox: Sandbox) -> None:
    """A click opens it; in front of Autoenhance itself there is no such offer."""
    order = sandbox.control.add_sample_order()
    visitor = await visit()
    await visitor.open()
    await visitor.page.get_by_role("link", name="Try it with the sample order").click()
    await visitor.overview()
    await expect(visitor.page.get_by_role("heading", name=str(order.name))).to_be_visible()

    other = await visit(await start_site(autoenhance_api_key="a key of Autoenhance"))
    await other.open()
    await other.counters()
    await expect(other.page.get_by_role("link", name="Try it with the sample order")).to_have_count(0)


async def test_several_sizes_come_in_one_zip(visit: Visit, sandbox: Sandbox) -> None:
    """A folder for each; before the click: how the files will be called, and one credit for a photo in all of them."""
    visitor = await at_samples(visit, sandbox)
    page = visitor.page

    await page.get_by_role("radio", name="Print, listing, web").check()
    await visitor.unfold()
    await expect(page.get_by_label("Format")).to_be_hidden()  # each size has its own
    await page.get_by_label("File names").select_option("In the order's sequence: 01_kitchen")
    await expect(page.locator("#sizes-example")).to_contain_text("print/01_bathroom.jpg")
    await expect(page.locator("#sizes-example")).to_contain_text("web/01_bathroom.webp")
    await expect(page.locator("#cost")).to_contain_text("up to 7 credits")
    await expect(page.locator("#photo-list li")).to_have_count(7)
    assert await visitor.axe() == []
    async with page.expect_download() as saved:
        await page.get_by_role("button", name="Download 7 photos in 3 sizes").click()

    assert await (await saved.value).failure() is None
    await expect(page.get_by_role("heading", name="All 21 files are in the ZIP")).to_be_visible()
    assert sandbox.control.counters.purchases.total() == 7
    await page.reload()
    await expect(page.get_by_role("radio", name="Print, listing, web")).to_be_checked()
    boxes = page.get_by_role("group", name="Sizes in the ZIP").get_by_role("checkbox")
    assert [await box.is_checked() for box in await boxes.all()] == [True, True, True]
    await expect(page.get_by_role("heading", name="All 21 files are in the ZIP")).to_be_visible()


async def test_originals_come_along(visit: Visit, sandbox: Sandbox) -> None:
    """In a folder of their own; each photo is still listed once."""
    visitor = await at_samples(visit, sandbox)
    page = visitor.page

    await visitor.unfold()
    await expect(page.get_by_text("free with previews, for full size Autoenhance names no price")).to_be_visible()
    await page.get_by_label("Originals too").check()
    await page.get_by_role("radio", name="Full size").check()
    await expect(page.locator("#cost")).to_contain_text("For originals Autoenhance names no price.")
    await page.get_by_role("radio", name="Preview").check()
    await expect(page.locator("#cost")).to_have_text("Free to download and to share.")
    await expect(page.locator("#names-example")).to_contain_text("originals/bathroom.jpg")
    await expect(page.locator("#photo-list li")).to_have_count(7)
    async with page.expect_download() as saved:
        await page.get_by_role("button", name="Download 7 photos").click()

    assert await (await saved.value).failure() is None
    await expect(page.get_by_role("heading", name="All 14 files are in the ZIP")).to_be_visible()


async def test_the_first_pictures_are_asked_for_with_the_order(visit: Visit, sandbox: Sandbox) -> None:
    """By an address that names it: those of the first four photos that are ready are under way before the list is made,
    and each picture is asked for once."""
    order = sandbox.control.add_order([ImageSpec(status="processing"), *(ImageSpec() for _ in range(29))])
    visitor = await visit()
    page = visitor.page

    await visitor.open(f"/?order={order.order_id}")
    await visitor.overview()

    await expect(page.locator("#photo-list li")).to_have_count(30)
    shown = await page.locator("#photo-list img").evaluate_all("(all) => all.map((one) => one.src)")
    assert len(shown) == 29
    assert await page.evaluate("early.pictures.map((one) => one.src)") == shown[:4]
    asked = [request.url for request in visitor.requests if "max_width" in request.url]
    assert len(asked) == len(set(asked))
    before = [request.url for request in visitor.requests]
    before = before[: before.index(asked[0])]  # the page looks again later, for one is not ready
    assert sum(url.endswith(f"/v1/orders/{order.order_id}?") for url in before) == 1
