"""From an order to its ZIP on disk: progress, partial failure, retry, cancelling, and coming back."""

import asyncio
import zipfile
from pathlib import Path

import pytest
from playwright.async_api import Download, Route, expect

from service.sandbox import ImageSpec, Sandbox
from service.sandbox.state import Order
from tests.e2e.page.conftest import Visit
from tests.faults.proxy import FaultProxy
from tests.support.client import Service, StartService
from tests.support.held import HeldImage
from tests.support.visitor import Visitor

pytestmark = pytest.mark.asyncio(loop_scope="session")

CALLER_KEY = "key-of-a-caller"
THREE = [ImageSpec(name=name, size=40_000) for name in ("attic.jpg", "bath.jpg", "kitchen.jpg")]


async def members(download: Download, folder: Path) -> dict[str, bytes]:
    """The saved file's members by name, checksums verified."""
    assert await download.failure() is None
    path = folder / download.suggested_filename
    await download.save_as(path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def content(sandbox: Sandbox, order: Order) -> dict[str, bytes]:
    """What the ZIP must hold."""
    return {image.name: sandbox.control.expected(image.image_id) for image in order.images}


async def at_order(visit: Visit, order: Order, *of: Service) -> Visitor:
    """A visitor who has the order in front of them."""
    visitor = await visit(*of)
    await visitor.open(f"/?order={order.order_id}")
    await visitor.overview()
    return visitor


async def test_one_click_saves_the_whole_order(visit: Visit, sandbox: Sandbox, tmp_path: Path) -> None:
    """The browser's own download manager gets a ZIP with every photo."""
    order = sandbox.control.add_order(THREE, name="12 Harbour Lane")
    visitor = await at_order(visit, order)

    async with visitor.page.expect_download() as saved:
        await visitor.page.get_by_role("button", name="Download 3 photos").click()

    assert await members(await saved.value, tmp_path) == content(sandbox, order)
    await expect(visitor.page.get_by_role("heading", name="All 3 photos are in the ZIP")).to_be_focused()
    assert (await saved.value).suggested_filename == "12 Harbour Lane.zip"
    await expect(visitor.page.locator("#outcome-text")).to_contain_text("Saved as 12 Harbour Lane.zip")
    await expect(visitor.page.locator("#outcome")).to_have_attribute("data-kind", "good")
    assert await visitor.axe() == []


async def test_the_keyboard_alone_saves_the_order(visit: Visit, sandbox: Sandbox, tmp_path: Path) -> None:
    """From the button on, the focus is where the news is; saving again is one key away."""
    order = sandbox.control.add_order(THREE)
    visitor = await at_order(visit, order)
    await visitor.page.locator("#go").focus()

    async with visitor.page.expect_download():
        await visitor.page.keyboard.press("Enter")
    await expect(visitor.page.locator("#outcome-title")).to_be_focused()
    async with visitor.page.expect_download() as again:
        await visitor.page.keyboard.press("Tab")
        await visitor.page.keyboard.press("Space")

    assert await members(await again.value, tmp_path) == content(sandbox, order)


async def test_progress_moves_while_photos_arrive(visit: Visit, sandbox: Sandbox) -> None:
    """In total and per photo: what is here is ticked off while another is still under way."""
    order = sandbox.control.add_order([*THREE, ImageSpec(name="last.jpg")])
    visitor = await at_order(visit, order)
    page = visitor.page

    async with HeldImage(sandbox, order.images[3]) as last:
        async with page.expect_download() as saved:  # with its first photo
            await page.get_by_role("button", name="Download 4 photos").click()

        await expect(page.locator("#running-percent")).to_have_text("75%")
        await expect(page.locator("#running-line")).to_contain_text("3 of 4 photos")
        await expect(page.locator("#photo-list li[data-state=done]")).to_have_count(3)
        await expect(page.locator("#photo-list li").filter(has_text="last.jpg")).to_contain_text("Waiting")
        assert await page.locator("#bar").evaluate("(bar) => bar.value") == 0.75
        assert await visitor.axe() == []

        last.release()
        assert await (await saved.value).failure() is None

    await expect(page.get_by_role("heading", name="All 4 photos are in the ZIP")).to_be_visible()


async def test_a_report_that_comes_late_changes_nothing(visit: Visit, sandbox: Sandbox) -> None:
    """It was asked for before the last photo was in, and is answered after the report of the whole ZIP."""
    order = sandbox.control.add_order([*THREE, ImageSpec(name="last.jpg")])
    visitor = await at_order(visit, order)
    page = visitor.page
    early, ended = asyncio.Event(), asyncio.Event()

    async def answer_late(route: Route) -> None:
        response = await route.fetch()
        early.set()
        await ended.wait()
        await route.fulfill(response=response)

    await page.route("**/report", answer_late, times=1)
    async with HeldImage(sandbox, order.images[3]) as last:
        await page.get_by_role("button", name="Download 4 photos").click()
        await early.wait()
        last.release()
        await expect(page.get_by_role("heading", name="All 4 photos are in the ZIP")).to_be_visible()
    async with page.expect_response("**/report") as late:
        ended.set()
    await (await late.value).finished()
    await page.evaluate("new Promise((resolve) => setTimeout(resolve, 50))")

    await expect(page.locator("#photo-list li[data-state=done]")).to_have_count(4)


async def test_waiting_says_what_it_waits_for(visit: Visit, sandbox: Sandbox, tmp_path: Path) -> None:
    """While Autoenhance still works on a photo, the page says how many are enhanced; then the ZIP has all of them."""
    order = sandbox.control.add_order([*THREE, ImageSpec(name="late.jpg", status="processing")])
    visitor = await at_order(visit, order)
    page = visitor.page

    await visitor.unfold()
    await page.get_by_label("Photos still being enhanced").select_option("300")
    await page.get_by_role("button", name="Download 4 photos").click()
    await expect(page.get_by_role("heading", name="Waiting for Autoenhance")).to_be_visible()
    await expect(page.locator("#running-line")).to_contain_text("3 of 4 photos are enhanced")

    async with page.expect_download() as saved:
        sandbox.control.set_status(order.images[3].image_id, "processed")
    assert set(await members(await saved.value, tmp_path)) == {image.name for image in order.images}


async def test_files_that_still_arrive_are_not_waited_for(visit: Visit, sandbox: Sandbox) -> None:
    """More files are here than photos are enhanced, but not yet the files of all that are."""
    order = sandbox.control.add_order([*THREE[:2], ImageSpec(name="late.jpg", status="processing")])
    visitor = await visit()
    page = visitor.page
    await visitor.open(f"/?order={order.order_id}&include=original&wait_timeout=300")
    await visitor.overview()

    async with HeldImage(sandbox, order.images[1]):
        await page.get_by_role("button", name="Download 3 photos").click()
        await expect(page.locator("#running-line")).to_contain_text("3 of 6 files")
        async with page.expect_response(f"**/v1/orders/{order.order_id}?*") as overview:
            pass
        await (await overview.value).finished()
        await page.evaluate("new Promise((resolve) => setTimeout(resolve, 50))")

        await expect(page.get_by_role("heading", name="Preparing your ZIP")).to_be_visible()
        await page.get_by_role("button", name="Cancel").click()


async def test_what_cannot_be_had_is_left_out_quietly(visit: Visit, sandbox: Sandbox, tmp_path: Path) -> None:
    """The ZIP is saved by itself; one line per reason says which photos are not in it, and no button promises more."""
    failed = [ImageSpec(name=f"{name}.jpg", status="error") for name in ("cellar", "attic")]
    order = sandbox.control.add_order([*THREE, *failed, ImageSpec(name="late.jpg", status="processing")])
    visitor = await at_order(visit, order)
    page = visitor.page

    async with page.expect_download() as saved:
        await page.get_by_role("button", name="Download 3 photos").click()

    held = set(await members(await saved.value, tmp_path))
    assert held == {image.name for image in THREE} | {"_download_report.txt"}
    await expect(page.get_by_role("heading", name="3 photos are in the ZIP")).to_be_focused()
    await expect(page.locator("#outcome")).to_have_attribute("data-kind", "warn")
    await expect(page.locator("#outcome-text")).to_contain_text(
        f"Saved as order-{order.order_id}.zip in your browser's downloads. 3 photos are left out:"
    )
    missing = page.get_by_role("list", name="Missing photos").get_by_role("listitem")
    await expect(missing).to_have_count(2)
    await expect(missing.first).to_contain_text("cellar.jpg, attic.jpg")
    await expect(page.get_by_role("button", name="Retry late.jpg")).to_be_visible()  # the one that is not ready yet
    assert await visitor.axe() == []


async def test_what_may_come_after_all_is_fetched_alone(visit: Visit, sandbox: Sandbox, tmp_path: Path) -> None:
    """Trying again asks upstream for what failed only, and the ZIP is whole."""
    order = sandbox.control.add_order(THREE)
    lost = order.images[1]
    fault = sandbox.control.add_fault("status", image_id=lost.image_id, status=500, times=None)
    visitor = await at_order(visit, order)
    page = visitor.page

    async with page.expect_download() as part:
        await page.get_by_role("button", name="Download 3 photos").click()
    assert set(await members(await part.value, tmp_path)) == {"attic.jpg", "kitchen.jpg", "_download_report.txt"}
    await expect(page.get_by_role("list", name="Missing photos")).to_contain_text("bath.jpg")
    await expect(page.locator("#order-state")).to_have_text("Some left out")
    await expect(page.locator("#totals > div:visible")).to_have_text(["photos3", "in the ZIP2", "left out1"])
    lost_tile = page.locator("#photo-list li").filter(has_text="bath.jpg")
    await expect(lost_tile).to_contain_text("Left out")
    await expect(lost_tile).to_contain_text("Autoenhance failed on every attempt. Try again later.")

    sandbox.control.remove_fault(fault.fault_id)
    asked_before = len(sandbox.control.log)
    async with page.expect_download() as whole:
        await page.get_by_role("button", name="Retry bath.jpg").click()

    assert await members(await whole.value, tmp_path) == content(sandbox, order)
    fetched = {entry.image_id for entry in sandbox.control.log[asked_before:] if entry.operation == "storage"}
    assert fetched == {lost.image_id}


async def test_what_was_not_paid_for_is_bought_only_with_its_price_in_sight(
    visit: Visit, site: Service, sandbox: Sandbox
) -> None:
    """Once there are credits again: a button names the price; where none did, as for an archive that is gone, the page
    asks."""
    order = sandbox.control.add_order(THREE[:2])
    bought, lost = order.images
    await site.ask(f"/v1/orders/{order.order_id}/images/{bought.image_id}?preview=false")
    fault = sandbox.control.add_fault("status", image_id=lost.image_id, status=402, times=None)
    visitor = await at_order(visit, order)
    page = visitor.page
    await page.get_by_role("radio", name="Full size").check()
    async with page.expect_download():
        await page.get_by_role("button", name="Download 2 photos").click()
    await expect(page.get_by_role("list", name="Missing photos")).to_contain_text("Add credits, then try again.")
    sandbox.control.remove_fault(fault.fault_id)

    await page.route("**/report", lambda route: route.fulfill(status=404, json={}))
    await page.get_by_role("button", name="Save again").click()
    asked = page.get_by_role("dialog", name="Spend up to 1 credit?")
    await asked.get_by_role("button", name="Cancel").click()
    assert sandbox.control.counters.purchases[lost.image_id] == 0
    await page.unroute("**/report")

    async with page.expect_download():
        await page.get_by_role("button", name="Retry bath.jpg (up to 1 credit)").click()
    await expect(page.get_by_role("heading", name="All 2 photos are in the ZIP")).to_be_visible()
    assert sandbox.control.counters.purchases.total() == 2


async def test_a_download_begins_before_all_pictures_are_here(visit: Visit, sandbox: Sandbox) -> None:
    """A browser asks a host for six things at once, over HTTP/1.1: pictures that are slow come behind all others."""
    order = sandbox.control.add_order([ImageSpec(photo="kitchen.jpg", latency=0.4)] * 24)
    visitor = await visit()
    await visitor.open(f"/?order={order.order_id}")
    await visitor.overview()

    async with visitor.page.expect_response(lambda response: response.request.method == "POST"):
        await visitor.page.locator("#go").click()

    assert sum("max_width=480" in response.url for response in visitor.responses) < 18


async def test_nothing_at_all_is_a_sentence_and_a_list(visit: Visit, sandbox: Sandbox) -> None:
    """When no photo could be fetched there is nothing to save: the reason is said once, and it will not change."""
    order = sandbox.control.add_order(THREE)
    sandbox.control.add_fault("status", operation="download", status=404, times=None)
    visitor = await at_order(visit, order)

    await visitor.page.locator("#go").click()

    await expect(visitor.page.locator("#outcome")).to_contain_text("No photo could be downloaded")
    await expect(visitor.page.locator("#outcome-text")).to_have_text("This is why:")
    missing = visitor.page.get_by_role("list", name="Missing photos").get_by_role("listitem")
    await expect(missing).to_have_count(1)
    await expect(missing).to_contain_text("attic.jpg, bath.jpg, kitchen.jpg")
    await expect(visitor.page.locator("#photo-list li").filter(has_text="Not downloaded")).to_have_count(3)
    await expect(visitor.page.locator("#save")).to_be_hidden()
    await expect(visitor.page.locator("#retry")).to_be_hidden()
    await expect(visitor.page.locator("#outcome").get_by_role("button", name="Another order")).to_be_visible()

    sandbox.control.clear_faults()
    await visitor.page.locator("#outcome").get_by_role("button", name="Look again").click()
    await expect(visitor.page.get_by_role("button", name="Download 3 photos")).to_be_enabled()
    await expect(visitor.page.locator("#outcome")).to_be_hidden()


async def test_a_job_that_is_postponed_says_so(visit: Visit, start_site: StartService, sandbox: Sandbox) -> None:
    """Where there is no room yet, no speed or time left is made up: it goes on by itself, and can be cancelled."""
    order = sandbox.control.add_order(THREE)
    visitor = await at_order(visit, order, await start_site(store_max_bytes=100_000))

    await visitor.page.locator("#go").click()

    await expect(visitor.page.locator("#running-line")).to_have_text(
        "The download is paused and continues automatically."
    )
    await expect(visitor.page.get_by_role("heading", name="Waiting")).to_be_visible()
    await visitor.page.get_by_role("button", name="Cancel").click()
    await expect(visitor.page.locator("#options")).to_be_visible()


async def test_only_what_is_ticked_is_fetched(visit: Visit, sandbox: Sandbox, tmp_path: Path) -> None:
    """A subset in another format: one file in the ZIP, one image asked for."""
    order = sandbox.control.add_order(THREE)
    visitor = await at_order(visit, order)
    page = visitor.page

    await page.get_by_role("checkbox", name="All 3 photos").uncheck()
    await page.get_by_role("checkbox", name="kitchen.jpg").check()
    await visitor.unfold()
    await page.get_by_label("Format").select_option("png")
    async with page.expect_download() as saved:
        await page.get_by_role("button", name="Download 1 photo").click()

    assert list(await members(await saved.value, tmp_path)) == ["kitchen.png"]
    pngs = {entry.image_id for entry in sandbox.control.log if entry.query.get("format") == "png"}
    assert pngs == {order.images[2].image_id}


async def test_more_photos_than_an_address_holds_are_fetched(visit: Visit, sandbox: Sandbox) -> None:
    """All but one of forty, whose ids take 10 kB."""
    order = sandbox.control.add_order([ImageSpec(size=2_000, image_id=f"{at:0250}") for at in range(40)])
    visitor = await at_order(visit, order)
    page = visitor.page
    await page.locator("#photo-list").get_by_role("checkbox", name=order.images[0].name).uncheck()

    async with page.expect_download() as saved:
        await page.get_by_role("button", name="Download 39 photos").click()

    assert await (await saved.value).failure() is None
    await expect(page.get_by_role("heading", name="All 39 photos are in the ZIP")).to_be_visible()


async def test_a_reload_goes_on_with_the_download(visit: Visit, sandbox: Sandbox) -> None:
    """The address knows the job, so nothing is started twice."""
    order = sandbox.control.add_order([*THREE, ImageSpec(name="last.jpg")])
    visitor = await at_order(visit, order)
    async with HeldImage(sandbox, order.images[3]) as last:
        async with visitor.page.expect_download() as saved:
            await visitor.page.locator("#go").click()
        await expect(visitor.page.locator("#running-percent")).to_have_text("75%")

        await visitor.page.reload()
        await expect(visitor.page.locator("#running-percent")).to_have_text("75%")
        again: list[Download] = []
        visitor.page.on("download", lambda download: again.append(download))
        last.release()
        assert await (await saved.value).failure() is None
        await expect(visitor.page.get_by_role("heading", name="All 4 photos are in the ZIP")).to_be_visible()

    assert again == []
    assert len([request for request in visitor.requests if request.method == "POST"]) == 1


async def test_looking_the_order_up_again_leaves_its_download_alone(visit: Visit, sandbox: Sandbox) -> None:
    """It can still be cancelled, and is saved at its end."""
    order = sandbox.control.add_order(THREE[:2])
    visitor = await at_order(visit, order)
    page = visitor.page
    await page.get_by_role("radio", name="Full size").check()
    async with HeldImage(sandbox, order.images[1]) as last:
        await page.locator("#go").click()
        await expect(page.locator("#running-percent")).to_have_text("50%")

        await page.get_by_role("button", name="Show order").click()

        await expect(page.get_by_role("heading", name="Preparing your ZIP")).to_be_focused()
        await expect(page.get_by_role("button", name="Cancel")).to_be_visible()
        async with page.expect_download() as saved:
            last.release()
        assert await (await saved.value).failure() is None


async def test_a_reload_does_not_save_twice(visit: Visit, sandbox: Sandbox) -> None:
    """What was saved already is offered, not saved again by itself."""
    order = sandbox.control.add_order(THREE)
    visitor = await at_order(visit, order)
    page = visitor.page
    async with page.expect_download():
        await page.locator("#go").click()
    again: list[Download] = []
    page.on("download", lambda download: again.append(download))

    await page.reload()

    await expect(page.locator("#outcome-text")).to_contain_text("ready to save")
    async with page.expect_download():
        await page.get_by_role("button", name="Save ZIP").click()
    assert len(again) == 1


async def test_an_archive_that_is_gone_is_made_again(
    visit: Visit, start_site: StartService, site: Service, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Saving what the service no longer has makes it once more: one click, and no alarm."""
    order = sandbox.control.add_order(THREE)
    forgetful = await start_site()
    async with FaultProxy(site.url) as proxy:
        visitor = await at_order(visit, order, Service(proxy.url, site.session, site.stop))
        page = visitor.page
        async with page.expect_download() as first:
            await page.locator("#go").click()
        assert await (await first.value).failure() is None
        await page.get_by_role("button", name="Save again").wait_for()
        proxy.target = forgetful.url
        proxy.hang_up()

        async with page.expect_download() as saved:
            await page.get_by_role("button", name="Save again").click()

        assert await members(await saved.value, tmp_path) == content(sandbox, order)


async def test_events_go_on_after_a_lost_connection(visit: Visit, site: Service, sandbox: Sandbox) -> None:
    """The page asks for what came after the last event, and ends as it should."""
    order = sandbox.control.add_order([*THREE, ImageSpec(name="last.jpg")])
    async with FaultProxy(site.url) as proxy, HeldImage(sandbox, order.images[3]) as last:
        visitor = await visit(Service(proxy.url, site.session, site.stop))
        visitor.ignore("net::ERR_")
        await visitor.open(f"/?order={order.order_id}")
        await visitor.page.locator("#go").click()
        await expect(visitor.page.locator("#running-percent")).to_have_text("75%")

        async with visitor.page.expect_request("**/events") as again:
            proxy.hang_up()
        last.release()
        await expect(visitor.page.get_by_role("heading", name="All 4 photos are in the ZIP")).to_be_visible()

    assert int((await again.value).headers["last-event-id"]) > 0
    await expect(visitor.page.get_by_role("heading", name="All 4 photos are in the ZIP")).to_be_visible()


async def test_once_it_is_being_saved_the_page_may_be_closed(visit: Visit, sandbox: Sandbox, tmp_path: Path) -> None:
    """The page says so, and the browser saves the ZIP to its end without it."""
    order = sandbox.control.add_order([*THREE, ImageSpec(name="last.jpg")])
    visitor = await at_order(visit, order)
    page = visitor.page
    await visitor.context.new_page()
    async with HeldImage(sandbox, order.images[3]) as last:
        async with page.expect_download() as early:
            await page.locator("#go").click()
        await expect(page.locator("#running-close")).to_contain_text("You can close this page")
        saving = await early.value
        await page.close()
        last.release()
        assert len(await members(saving, tmp_path)) == 4


async def test_the_first_photo_is_saved_while_others_arrive(visit: Visit, sandbox: Sandbox, tmp_path: Path) -> None:
    """The file begins at once where nothing is bought, and one that buys is saved at its end: it can be cancelled."""
    order = sandbox.control.add_order([*THREE, ImageSpec(name="last.jpg")])
    visitor = await at_order(visit, order)
    page = visitor.page
    async with HeldImage(sandbox, order.images[3]) as last:
        async with page.expect_download() as early:
            await page.locator("#go").click()
        await expect(page.get_by_role("heading", name="Saving your ZIP")).to_be_visible()
        last.release()
        assert len(await members(await early.value, tmp_path)) == 4

    await page.get_by_role("button", name="Change photos or sizes").click()
    await page.get_by_role("radio", name="Full size").check()
    started: list[Download] = []
    page.on("download", lambda download: started.append(download))
    async with HeldImage(sandbox, order.images[3]) as last:
        await page.locator("#go").click()
        await expect(page.locator("#running-percent")).to_have_text("75%")
        await expect(page.locator("#running-close")).to_contain_text("Keep this page open")
        assert started == []
        async with page.expect_download():
            last.release()


async def test_many_credits_are_spent_only_when_asked_twice(visit: Visit, sandbox: Sandbox) -> None:
    """Above twenty, the page asks once more, and says how many."""
    order = sandbox.control.add_order([ImageSpec(size=2_000) for _ in range(21)])
    visitor = await at_order(visit, order)
    page = visitor.page
    await page.get_by_role("radio", name="Full size").check()

    await page.locator("#go").click()
    asked = page.get_by_role("dialog", name="Spend up to 21 credits?")
    assert await visitor.axe() == []
    await asked.get_by_role("button", name="Cancel").click()
    assert sandbox.control.counters.purchases.total() == 0

    await page.locator("#go").click()
    async with page.expect_download():
        await asked.get_by_role("button", name="Buy 21 photos").click()
    assert sandbox.control.counters.purchases.total() == 21


async def test_cancelling_ends_the_job_and_shows_the_options_again(
    visit: Visit, site: Service, sandbox: Sandbox
) -> None:
    """The service is told, and the choices made are still there."""
    order = sandbox.control.add_order([ImageSpec(name="slow.jpg", status="processing")])
    visitor = await at_order(visit, order)
    page = visitor.page
    await visitor.unfold()
    await page.get_by_label("Photos still being enhanced").select_option("300")
    await page.locator("#go").click()
    await expect(page.get_by_role("button", name="Cancel")).to_be_visible()
    await page.wait_for_url("**job=*")
    job = page.url.partition("job=")[2].partition("&")[0]

    async with (
        page.expect_response(lambda response: response.request.method == "DELETE"),
        page.expect_response(f"**/v1/orders/{order.order_id}?*"),  # it is looked at again
    ):
        await page.get_by_role("button", name="Cancel").press("Enter")

    await expect(page.locator("#go")).to_be_focused()  # not lost with the button
    await expect(page.locator("#note")).to_have_text(
        "Cancelled. What has arrived is kept: downloading again continues there."
    )
    await expect(page.get_by_label("Photos still being enhanced")).to_have_value("300")
    document = await site.ask(f"/v1/jobs/{job}")
    assert b'"cancelled"' in document.body


async def test_what_could_not_be_cancelled_is_not_called_cancelled(visit: Visit, sandbox: Sandbox) -> None:
    """The service is out of reach at that moment: its job goes on, and may spend credits."""
    order = sandbox.control.add_order([ImageSpec(name="slow.jpg", status="processing")])
    visitor = await at_order(visit, order)
    visitor.ignore("net::ERR_FAILED")
    page = visitor.page
    await visitor.unfold()
    await page.get_by_label("Photos still being enhanced").select_option("300")
    await page.locator("#go").click()
    await page.wait_for_url("**job=*")
    job = page.url.partition("job=")[2].partition("&")[0]
    await page.route(f"**/v1/jobs/{job}", lambda route: route.abort())

    await page.get_by_role("button", name="Cancel").click()

    await expect(page.locator("#note")).to_have_text(
        "The service did not confirm that it is cancelled: the download may go on there."
    )


@pytest.mark.parametrize("held", ["**/v1/orders/*/jobs?*", "**/v1/jobs/*/events"])
async def test_cancelling_at_once_ends_the_job_too(visit: Visit, site: Service, sandbox: Sandbox, held: str) -> None:
    """Before the page knows its job, or what has become of it."""
    order = sandbox.control.add_order([ImageSpec(name="slow.jpg", status="processing")])
    visitor = await at_order(visit, order)
    page = visitor.page
    asked, cancelled = asyncio.Event(), asyncio.Event()

    async def hold(route: Route) -> None:
        asked.set()
        await cancelled.wait()
        await route.continue_()

    await page.route(held, hold)
    await visitor.unfold()
    await page.get_by_label("Photos still being enhanced").select_option("300")
    await page.locator("#go").click()
    await asked.wait()
    async with page.expect_response(lambda response: response.request.method == "DELETE") as ending:
        await page.get_by_role("button", name="Cancel").click()
        await expect(page.locator("#go")).to_be_focused()
        cancelled.set()

    job = (await ending.value).url.rpartition("/")[2]
    document = await site.ask(f"/v1/jobs/{job}")
    assert b'"cancelled"' in document.body
    assert "job=" not in page.url


async def test_the_key_never_travels_in_an_address(
    visit: Visit, start_site: StartService, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Where callers need a key, the file is fetched in the browser's session; the key itself stays in one body."""
    order = sandbox.control.add_order(THREE)
    visitor = await visit(await start_site(service_api_key=CALLER_KEY))
    await visitor.open(f"/?order={order.order_id}")
    page = visitor.page
    await page.get_by_role("dialog").get_by_label("Access key").fill(CALLER_KEY)
    await page.keyboard.press("Enter")
    await visitor.overview()

    async with page.expect_download() as saved:
        await page.locator("#go").click()

    assert await members(await saved.value, tmp_path) == content(sandbox, order)
    assert CALLER_KEY not in (await saved.value).url
    assert not [request for request in visitor.requests if CALLER_KEY in request.url]


async def test_a_retry_after_a_reload_is_of_the_same_photos(visit: Visit, sandbox: Sandbox, tmp_path: Path) -> None:
    """Two of three were asked for, and one is missing: after a reload a retry brings that one, and not the third."""
    order = sandbox.control.add_order(THREE)
    others, lost = order.images[0], order.images[1]
    fault = sandbox.control.add_fault("status", image_id=lost.image_id, status=500, times=None)
    visitor = await at_order(visit, order)
    page = visitor.page
    await page.locator("#photo-list").get_by_role("checkbox", name=order.images[2].name).uncheck()
    async with page.expect_download():
        await page.get_by_role("button", name="Download 2 photos").click()
    await expect(page.get_by_role("button", name="Retry bath.jpg")).to_be_visible()
    sandbox.control.remove_fault(fault.fault_id)

    await page.reload()
    async with page.expect_download() as saved:
        await page.get_by_role("button", name="Retry bath.jpg").click()

    assert set(await members(await saved.value, tmp_path)) == {others.name, lost.name}
