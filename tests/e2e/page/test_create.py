"""Making an order: signing in, the sample photos, files of one's own."""

import asyncio
import base64
import io
import zipfile
from pathlib import Path

import pytest
from PIL import Image
from playwright.async_api import FilePayload, Route, expect

from service.sandbox import ImageSpec, Sandbox
from tests.e2e.page.conftest import ADMIN_TOKEN, Visit
from tests.support.client import Service, StartService
from tests.support.samples import jpeg
from tests.support.sentry import TOKEN, FakeSentry
from tests.support.visitor import Visitor

ISSUE = "https://sentry.io/organizations/harbour/issues/7/"

pytestmark = pytest.mark.asyncio(loop_scope="session")


def photo(name: str, kind: str = "jpeg", size: int = 64) -> FilePayload:
    """A small real picture."""
    file = io.BytesIO()
    Image.new("RGB", (size, size), "teal").save(file, kind)
    return {"name": name, "mimeType": f"image/{kind}", "buffer": file.getvalue()}


async def sign_in(visitor: Visitor) -> None:
    """Become an administrator."""
    await visitor.open()
    await visitor.page.get_by_label("Administrator token").fill(ADMIN_TOKEN)
    await visitor.page.get_by_role("button", name="Sign in").click()
    await expect(visitor.page.get_by_role("button", name="Use sample photos")).to_be_focused()


async def test_sample_photos_become_a_zip_on_disk(visit: Visit, tmp_path: Path) -> None:
    """Sign in, one click for the order, and once it is ready one click for its ZIP."""
    visitor = await visit()
    await sign_in(visitor)
    page = visitor.page

    await page.get_by_role("button", name="Use sample photos").click()
    await visitor.overview()
    async with page.expect_download() as saved:
        await page.locator("#go").click()

    path = tmp_path / (await saved.value).suggested_filename
    await (await saved.value).save_as(path)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        total = await page.locator("#total-all").inner_text()
        assert len(archive.namelist()) == int(total) >= 6


async def test_files_of_ones_own_are_uploaded_and_downloaded(
    visit: Visit, sandbox: Sandbox, site: Service, tmp_path: Path
) -> None:
    """Several files in one request, under the name given; then the same page downloads them enhanced."""
    visitor = await visit()
    await sign_in(visitor)
    page = visitor.page

    await page.get_by_label("Choose photos").set_input_files([photo("kitchen.jpg"), photo("bath.png", "png")])
    await page.get_by_label("Name of the order").fill("12 Harbour Lane")
    assert await visitor.axe() == []
    await page.get_by_role("button", name="Upload 2 photos").click()

    await expect(page.get_by_role("heading", name="12 Harbour Lane")).to_be_visible()
    async with page.expect_download() as saved:
        await page.get_by_role("button", name="Download 2 photos").click()
    path = tmp_path / "order.zip"
    await (await saved.value).save_as(path)
    with zipfile.ZipFile(path) as archive:
        assert sorted(archive.namelist()) == ["bath.jpg", "kitchen.jpg"]
    assert len([request for request in visitor.requests if request.url == f"{site.url}/v1/orders"]) == 1
    assert len(sandbox.control.state.orders) == 1


async def test_an_upload_shows_how_far_each_file_is(visit: Visit) -> None:
    """Every file has a bar of its own, and all of them get to the end."""
    visitor = await visit()
    await sign_in(visitor)
    page = visitor.page
    await page.evaluate(
        "window.seen = []; new MutationObserver((all) => seen.push(...all.map((one) => one.target.textContent)))"
        ".observe(document.getElementById('uploads'), { childList: true, subtree: true, characterData: true })"
    )

    await page.get_by_label("Choose photos").set_input_files([photo("a.jpg", size=600), photo("b.jpg", size=600)])
    await expect(page.get_by_role("list", name="Chosen photos").get_by_role("listitem")).to_have_count(2)
    await page.get_by_role("button", name="Upload 2 photos").click()
    await visitor.overview()

    assert (await page.evaluate("seen")).count("Sent") == 2


async def test_dropped_files_are_taken_and_others_refused(visit: Visit) -> None:
    """What is no photo, empty, or too large, is refused by name before anything is sent."""
    visitor = await visit()
    await sign_in(visitor)

    await visitor.page.evaluate(
        """() => {
          const data = new DataTransfer();
          data.items.add(new File(["jpeg"], "kitchen.jpg", { type: "image/jpeg" }));
          data.items.add(new File([], "cut.jpg", { type: "image/jpeg" }));
          data.items.add(new File(["text"], "notes.txt", { type: "text/plain" }));
          data.items.add(new File([new ArrayBuffer(20000001)], "huge.png", { type: "image/png" }));
          document.getElementById("drop").dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true }));
        }"""
    )

    chosen = visitor.page.get_by_role("list", name="Chosen photos").get_by_role("listitem")
    await expect(chosen).to_have_count(1)
    problem = visitor.page.locator("#create-problem")
    await expect(problem).to_contain_text("notes.txt is not a JPEG, PNG or WebP photo.")
    await expect(problem).to_contain_text("cut.jpg is empty.")
    await expect(problem).to_contain_text("huge.png is larger than 20 MB.")


async def test_photos_dropped_while_others_are_sent_are_not_lost_in_silence(visit: Visit) -> None:
    """They are no part of the request under way, so the list does not take them either."""
    visitor = await visit()
    await sign_in(visitor)
    page = visitor.page
    sent, answer = asyncio.Event(), asyncio.Event()

    async def hold(route: Route) -> None:
        sent.set()
        await answer.wait()
        await route.continue_()

    await page.route("**/v1/orders", hold)
    await page.get_by_label("Choose photos").set_input_files([photo("a.jpg")])
    await page.get_by_role("button", name="Upload 1 photo").click()
    await sent.wait()
    await page.evaluate(
        """() => {
          const data = new DataTransfer();
          data.items.add(new File(["jpeg"], "late.jpg", { type: "image/jpeg" }));
          document.getElementById("drop").dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true }));
        }"""
    )

    await expect(page.locator("#uploads li")).to_have_count(1)
    await expect(page.get_by_text("Keep this page open until the photos are uploaded.")).to_be_visible()
    answer.set()
    await visitor.overview()


async def test_a_cancelled_upload_keeps_what_was_chosen(visit: Visit) -> None:
    """The photos and the name are there to be sent again."""
    visitor = await visit()
    await sign_in(visitor)
    page = visitor.page
    held: asyncio.Queue[Route] = asyncio.Queue()
    await page.route("**/v1/orders", held.put)
    await page.get_by_label("Choose photos").set_input_files([photo("a.jpg"), photo("b.jpg")])
    await page.get_by_label("Name of the order").fill("12 Harbour Lane")
    await page.get_by_role("button", name="Upload 2 photos").click()
    await held.get()

    await page.get_by_role("button", name="Cancel").click()

    await expect(page.get_by_role("button", name="Upload 2 photos")).to_be_enabled()
    await expect(page.locator("#uploads li")).to_have_count(2)
    await expect(page.get_by_label("Name of the order")).to_have_value("12 Harbour Lane")


async def test_a_sample_order_keeps_what_was_chosen_for_an_upload(visit: Visit) -> None:
    """It was made without these photos."""
    visitor = await visit()
    await sign_in(visitor)
    page = visitor.page
    await page.get_by_label("Choose photos").set_input_files([photo("a.jpg")])

    await page.get_by_role("button", name="Use sample photos").click()
    await visitor.overview()

    await expect(page.get_by_role("button", name="Upload 1 photo")).to_be_enabled()
    await expect(page.locator("#uploads li")).to_have_count(1)


async def test_a_sample_order_can_be_cancelled(visit: Visit) -> None:
    """The button that cancels an upload does the same for it."""
    visitor = await visit()
    await sign_in(visitor)
    page = visitor.page
    held: asyncio.Queue[Route] = asyncio.Queue()
    await page.route("**/v1/orders/sample", held.put)
    await page.get_by_label("Choose photos").set_input_files([photo("a.jpg")])
    sample = page.get_by_role("button", name="Use sample photos")
    await sample.click()
    await held.get()
    await expect(page.get_by_text("Keep this page open")).to_be_hidden()

    async with page.expect_event("requestfailed"):
        await page.get_by_role("button", name="Cancel").click()

    await expect(sample).to_be_enabled()
    await expect(page.locator("#order")).to_be_hidden()
    await expect(page.locator("#create-problem")).to_be_empty()


async def test_a_photo_that_misses_the_box_does_not_replace_the_page(visit: Visit) -> None:
    """Files dropped beside it do nothing; text may still be dropped into a field."""
    visitor = await visit()
    await visitor.open()

    prevented = await visitor.page.evaluate(
        """() => {
          const files = new DataTransfer();
          files.items.add(new File(["jpeg"], "kitchen.jpg", { type: "image/jpeg" }));
          const text = new DataTransfer();
          text.setData("text/plain", "12 Harbour Lane");
          return [files, text].map((data) => {
            const drop = new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true });
            return !document.body.dispatchEvent(drop);
          });
        }"""
    )

    assert prevented == [True, False]


async def test_a_file_that_is_no_photo_inside_is_named(visit: Visit) -> None:
    """The others make the order; the one that was not taken is told with its reason."""
    visitor = await visit()
    await sign_in(visitor)
    fake: FilePayload = {"name": "fake.jpg", "mimeType": "image/jpeg", "buffer": b"not a photo at all" * 10}

    await visitor.page.get_by_label("Choose photos").set_input_files([photo("kitchen.jpg"), fake])
    await visitor.page.get_by_role("button", name="Upload 2 photos").click()

    await visitor.overview()
    await expect(visitor.page.locator("#total-all")).to_have_text("1")
    await expect(visitor.page.locator("#create-problem")).to_contain_text("fake.jpg: It is not a JPEG")


async def test_files_of_which_none_was_taken_are_not_said_to_be_sent(visit: Visit) -> None:
    """Nothing became of the upload: the row says so where a moment ago it said "Sent"."""
    visitor = await visit()
    await sign_in(visitor)
    fake: FilePayload = {"name": "fake.jpg", "mimeType": "image/jpeg", "buffer": b"not a photo at all" * 10}

    await visitor.page.get_by_label("Choose photos").set_input_files([fake])
    await visitor.page.get_by_role("button", name="Upload 1 photo").click()

    await expect(visitor.page.locator("#create-problem")).to_contain_text("fake.jpg")
    await expect(visitor.page.locator(".upload-state")).to_have_text("Rejected")


async def test_a_sign_in_that_has_ended_keeps_what_was_chosen(visit: Visit) -> None:
    """The cookie is gone in the middle of it: the page asks for the token again, at the field, and loses no file."""
    visitor = await visit()
    await sign_in(visitor)
    page = visitor.page
    await page.get_by_label("Choose photos").set_input_files([photo("a.jpg"), photo("b.jpg")])
    await visitor.context.clear_cookies()

    await page.get_by_role("button", name="Upload 2 photos").click()

    await expect(page.locator("#signin-problem")).to_contain_text("Your 2 photos are still chosen.")
    await expect(page.get_by_label("Administrator token")).to_be_focused()
    await page.keyboard.type(f" {ADMIN_TOKEN} ")  # as it comes from a clipboard
    await page.keyboard.press("Enter")
    await page.get_by_role("button", name="Upload 2 photos").click()
    await visitor.overview()
    await expect(page.locator("#total-all")).to_have_text("2")


async def test_the_token_stays_out_of_the_page(visit: Visit) -> None:
    """After signing in it is in no storage, no script can read it, and the field is empty; signing out ends it."""
    visitor = await visit()
    await sign_in(visitor)
    page = visitor.page

    stored = await page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])")
    cookies = await visitor.context.cookies()
    assert ADMIN_TOKEN not in stored
    assert [(cookie["httpOnly"], cookie["sameSite"]) for cookie in cookies] == [(True, "Strict")]
    await expect(page.get_by_label("Administrator token")).to_have_value("")

    await visitor.open()
    await expect(page.get_by_role("button", name="Use sample photos")).to_be_visible()
    await page.get_by_role("button", name="Sign out").click()
    await visitor.open()
    await expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    assert await visitor.context.cookies() == []


async def test_a_sign_out_that_did_not_reach_the_service_is_said(visit: Visit) -> None:
    """The cookie is still there and no script can remove it; another try does."""
    visitor = await visit()
    visitor.ignore("net::ERR_FAILED")
    await sign_in(visitor)
    page = visitor.page
    sign_out = page.get_by_role("button", name="Sign out")
    await page.route("**/v1/session", lambda route: route.abort(), times=1)

    await sign_out.click()

    problem = page.locator("#create-problem")
    await expect(problem).to_contain_text("You are still signed in. The service cannot be reached.")
    await sign_out.click()
    await expect(page.get_by_label("Administrator token")).to_be_focused()
    await expect(problem).to_be_empty()
    assert await visitor.context.cookies() == []


async def test_without_administrators_nobody_is_asked_to_sign_in(visit: Visit, start_site: StartService) -> None:
    """Where no token exists there is nothing to sign in with."""
    visitor = await visit(await start_site(admin_token=None))
    await visitor.open()
    await visitor.counters()

    await expect(visitor.page.locator("#create")).to_be_hidden()


async def test_a_token_that_is_not_accepted_is_said(visit: Visit) -> None:
    """The sentence is at the field, and nothing opens."""
    visitor = await visit()
    await visitor.open()

    await visitor.page.get_by_label("Administrator token").fill("wrong")
    await visitor.page.keyboard.press("Enter")

    await expect(visitor.page.locator("#signin-problem")).to_contain_text("This token is not accepted.")
    await expect(visitor.page.get_by_role("button", name="Use sample photos")).to_be_hidden()


async def test_administrators_see_recent_errors(visit: Visit, sandbox: Sandbox, site: Service) -> None:
    """What went wrong lately is listed for them, and for nobody else."""
    sandbox.control.add_fault("status", operation="get_order", times=None, status=500)
    await site.ask("/v1/orders/0b9f7c1e-4a57-4d6e-9d51-2f3c8a7be001")
    visitor = await visit()
    await visitor.open()
    await visitor.counters()
    await expect(visitor.page.get_by_text("Recent errors")).to_be_hidden()

    await sign_in(visitor)
    await visitor.page.get_by_text("Recent errors").click()
    await expect(visitor.page.locator("#error-list")).to_contain_text("upstream_error")

    # That there is no Sentry here is no error, however often the page asks for its issues.
    await visitor.open()
    await visitor.page.get_by_text("Recent errors").click()
    await expect(visitor.page.locator("#error-list li")).to_have_count(1)


async def test_errors_that_come_late_are_not_shown_after_signing_out(visit: Visit) -> None:
    """They were asked for as an administrator, and are answered after what everybody may see."""
    visitor = await visit()
    page = visitor.page
    asked, signed_out = asyncio.Event(), asyncio.Event()

    async def answer_late(route: Route) -> None:
        response = await route.fetch()
        asked.set()
        await signed_out.wait()
        await route.fulfill(response=response)

    await visitor.open()
    await visitor.counters()
    await page.route("**/v1/stats", answer_late, times=1)
    await page.get_by_label("Administrator token").fill(ADMIN_TOKEN)
    await page.keyboard.press("Enter")
    await asked.wait()
    async with page.expect_response("**/v1/stats"):
        await page.get_by_role("button", name="Sign out").click()
    async with page.expect_response("**/v1/stats") as late:
        signed_out.set()
    await (await late.value).finished()
    await page.evaluate("new Promise((resolve) => setTimeout(resolve, 50))")

    await expect(page.get_by_text("Recent errors")).to_be_hidden()


async def test_administrators_see_what_sentry_has(visit: Visit, start_site: StartService) -> None:
    """Its issues stand in the same list, as text, each with a link that opens beside the page."""
    async with FakeSentry() as sentry:
        sentry.answer = [{"id": "7", "title": "<b>OSError</b>: disk", "permalink": ISSUE}]
        project = {"sentry_auth_token": TOKEN, "sentry_org": "harbour", "sentry_project": "batch"}
        visitor = await visit(await start_site(sentry_dsn=sentry.dsn, **project))
        await visitor.open()

        await sign_in(visitor)
        await visitor.page.get_by_text("Recent errors").click()

        link = visitor.page.locator("#error-list").get_by_role("link", name="<b>OSError</b>: disk")
        await expect(link).to_have_attribute("href", ISSUE)
        await expect(link).to_have_attribute("rel", "noreferrer")
        assert sentry.asked == [f"Bearer {TOKEN}"]


async def test_chosen_files_are_seen_and_can_be_taken_out(visit: Visit) -> None:
    """Each with a small picture; the same one is not taken twice."""
    visitor = await visit()
    await sign_in(visitor)
    page = visitor.page

    await page.get_by_label("Choose photos").set_input_files([photo("a.jpg"), photo("b.jpg")])
    await expect(page.locator(".upload-picture")).to_have_count(2)
    await page.get_by_role("button", name="Remove a.jpg").click()

    await expect(page.get_by_role("list", name="Chosen photos").get_by_role("listitem")).to_have_count(1)
    await expect(page.get_by_role("button", name="Upload 1 photo")).to_be_visible()


async def test_a_photo_chosen_twice_is_taken_once(visit: Visit, tmp_path: Path) -> None:
    """The second time it is said; one of the same name that differs is another photo."""
    visitor = await visit()
    await sign_in(visitor)
    page = visitor.page
    kitchen, other = tmp_path / "kitchen.jpg", tmp_path / "other" / "kitchen.jpg"
    other.parent.mkdir()
    kitchen.write_bytes(jpeg())
    other.write_bytes(jpeg(2, size=20_000))

    await page.get_by_label("Choose photos").set_input_files(kitchen)
    await page.get_by_label("Choose photos").set_input_files(kitchen)
    await expect(page.locator("#create-problem")).to_have_text("kitchen.jpg is chosen already.")
    await page.get_by_label("Choose photos").set_input_files(other)

    await expect(page.get_by_role("button", name="Upload 2 photos")).to_be_visible()
    await expect(page.locator("#create-problem")).to_be_empty()


async def test_administrators_find_orders_by_name(visit: Visit, sandbox: Sandbox) -> None:
    """Part of the name will do; others are told that it is no id."""
    for name in ("12 Harbour Lane", "7 Mill Street", "14 Harbour Lane"):
        sandbox.control.add_order([ImageSpec()], name=name)
    visitor = await visit()
    await sign_in(visitor)
    page = visitor.page

    await page.get_by_label("Order id or name").fill("harbour")
    await page.keyboard.press("Enter")
    found = page.get_by_role("list", name="Orders of this name").get_by_role("link")
    await expect(found).to_have_count(2)
    assert await visitor.axe() == []
    await found.filter(has_text="12 Harbour Lane").click()
    await expect(page.get_by_role("heading", name="12 Harbour Lane")).to_be_visible()
    await expect(found).to_have_count(0)

    await page.get_by_label("Order id or name").fill("nowhere")
    await page.keyboard.press("Enter")
    await expect(page.locator("#find-problem")).to_have_text("No order has this in its name.")


async def test_a_search_says_that_there_are_more(visit: Visit, sandbox: Sandbox) -> None:
    """Than the twenty that it lists; more of the name finds the others."""
    for number in range(1, 22):
        sandbox.control.add_order([ImageSpec()], name=f"{number:02} Harbour Lane")
    visitor = await visit()
    await sign_in(visitor)
    page = visitor.page
    found = page.get_by_role("list", name="Orders of this name").get_by_role("link")
    more = page.locator("#found-more")

    await page.get_by_label("Order id or name").fill("harbour")
    await page.keyboard.press("Enter")
    await expect(found).to_have_count(20)
    await expect(more).to_have_text("The newest 20 are shown. Type more of the name to find others.")
    await expect(page.get_by_role("status")).to_have_text("The newest 20 are shown.")
    assert await visitor.axe() == []

    await page.get_by_label("Order id or name").fill("01 harbour")
    await page.keyboard.press("Enter")
    await expect(found).to_have_count(1)
    await expect(more).to_be_empty()
    await expect(page.get_by_role("status")).to_have_text("1 order found.")


async def test_a_search_goes_on_behind_empty_pages(visit: Visit, sandbox: Sandbox) -> None:
    """Where many orders were deleted a page may have none; not for ever, and then it is not said that there is none."""
    sandbox.control.add_order([ImageSpec()], name="12 Harbour Lane")
    visitor = await visit()
    await sign_in(visitor)
    page = visitor.page
    from_the_beginning = base64.urlsafe_b64encode(b"[null, 0]").decode()

    async def empty(route: Route) -> None:
        await route.fulfill(json={"items": [], "next_cursor": from_the_beginning})

    async def search() -> None:
        await page.get_by_label("Order id or name").fill("harbour")
        await page.keyboard.press("Enter")

    await page.route("**/v1/orders?q=*", empty, times=2)
    await search()
    await expect(page.get_by_role("list", name="Orders of this name").get_by_role("link")).to_have_count(1)
    await expect(page.locator("#find-problem")).to_be_empty()

    await page.route("**/v1/orders?q=*", empty)
    await search()
    await expect(page.locator("#find-problem")).to_have_text(
        "None of the newest orders has this in its name. Paste the id of an older one."
    )
    assert sum("/v1/orders?q=" in request.url for request in visitor.requests) == 3 + 6


async def test_a_search_that_takes_long_does_not_replace_a_later_one(visit: Visit, sandbox: Sandbox) -> None:
    """What is listed is what was asked for last."""
    for name in ("12 Harbour Lane", "7 Mill Street"):
        sandbox.control.add_order([ImageSpec()], name=name)
    visitor = await visit()
    await sign_in(visitor)
    page, is_late = visitor.page, asyncio.Event()
    found = page.get_by_role("list", name="Orders of this name").get_by_role("link")

    async def late(route: Route) -> None:
        await is_late.wait()
        await route.continue_()

    await page.route("**/v1/orders?q=harbour*", late)
    for name in ("harbour", "mill"):
        await page.get_by_label("Order id or name").fill(name)
        await page.keyboard.press("Enter")
    await expect(found).to_have_text("7 Mill Street")
    async with page.expect_response("**/v1/orders?q=harbour*") as response:
        is_late.set()
    await (await response.value).finished()
    await page.evaluate("new Promise((resolve) => setTimeout(resolve, 50))")

    await expect(found).to_have_text("7 Mill Street")
