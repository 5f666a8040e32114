"""Finding an order and choosing how to download it."""

import asyncio
import json
import shlex
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Route, expect

from service.sandbox import ImageSpec, Sandbox
from tests.e2e.page.conftest import ADMIN_TOKEN, Visit
from tests.support.client import Service, StartService
from tests.support.visitor import PHONE

pytestmark = pytest.mark.asyncio(loop_scope="session")

CALLER_KEY = "key-of-a-caller"
NOWHERE = "0b9f7c1e-4a57-4d6e-9d51-2f3c8a7be001"


async def test_an_order_is_shown_before_anything_is_downloaded(visit: Visit, sandbox: Sandbox) -> None:
    """Totals, what is ready, in the making and failed, every name, and why one failed; nothing is bought."""
    specs = [ImageSpec(name="kitchen.jpg"), ImageSpec(name="bath.jpg", status="processing")]
    order = sandbox.control.add_order([*specs, ImageSpec(name="attic.jpg", status="error")], name="12 Harbour Lane")
    visitor = await visit()
    await visitor.open()

    await visitor.look_up(order.order_id)

    page = visitor.page
    await expect(page.get_by_role("heading", name="12 Harbour Lane")).to_be_visible()
    totals = [await page.locator(f"#total-{name}").inner_text() for name in ("all", "ready", "processing", "failed")]
    assert totals == ["3", "1", "1", "1"]
    rows = [" ".join(row.split()) for row in await page.locator("#photo-list li").all_inner_texts()]
    why = "Autoenhance could not enhance it. Process it again at Autoenhance, then try again."
    no_picture = "No picture yet bath.jpg Being enhanced"
    assert rows == ["kitchen.jpg", no_picture, f"{why} attic.jpg Could not be enhanced"]
    await expect(page.locator("#left-out")).to_have_text(
        "Left out: 1 photo not ready yet, 1 photo that cannot be downloaded."
    )
    assert sandbox.control.counters.purchases.total() == 0


async def test_an_address_opens_an_order(visit: Visit, sandbox: Sandbox) -> None:
    """`/?order=...` shows it at once, and going back leaves it."""
    order = sandbox.control.add_order([ImageSpec()], name="7 Mill Street")
    visitor = await visit()
    await visitor.open()
    await visitor.open(f"/?order={order.order_id}")
    await visitor.overview()

    await expect(visitor.page.get_by_role("heading", name="7 Mill Street")).to_be_visible()
    await expect(visitor.page).to_have_title("7 Mill Street - Autoenhance Batch")


async def test_going_back_returns_to_the_order_before(visit: Visit, sandbox: Sandbox) -> None:
    """Each order looked up is an entry of the browser's history."""
    first = sandbox.control.add_order([ImageSpec()], name="First")
    second = sandbox.control.add_order([ImageSpec()], name="Second")
    visitor = await visit()
    await visitor.open()
    await visitor.look_up(first.order_id)
    await visitor.look_up(second.order_id)

    await visitor.page.go_back()
    await expect(visitor.page.get_by_role("heading", name="First")).to_be_visible()

    await visitor.page.go_back()
    await expect(visitor.page.get_by_role("heading", name="Paste the order")).to_be_visible()
    await expect(visitor.page.locator("#order")).to_be_hidden()
    await expect(visitor.page.get_by_label("Order id")).to_have_value("")


async def test_going_back_leaves_an_order_whose_address_is_not_the_bare_id(visit: Visit, sandbox: Sandbox) -> None:
    """An id in capitals, and a pasted address, as the form sends it before its scripts have run."""
    order_id = sandbox.control.add_order([ImageSpec()]).order_id
    visitor = await visit()
    for given in (order_id.upper(), f"https%3A%2F%2Fapp.example%2Forders%2F{order_id}"):
        await visitor.open()
        await visitor.open(f"/?order={given}")
        await visitor.overview()

        await visitor.page.go_back()

        await expect(visitor.page.get_by_role("heading", name="Paste the order")).to_be_visible()


async def test_an_address_without_an_order_id_shows_the_page_of_no_order(visit: Visit, sandbox: Sandbox) -> None:
    """The problem is said and everything else stays in reach, also on the way back from an order."""
    order = sandbox.control.add_order([ImageSpec()])
    visitor = await visit()
    page = visitor.page
    await visitor.open("/?order=Harbour")
    await expect(page.locator("#find-problem")).to_contain_text("That is not an order id.")
    await expect(page.get_by_role("heading", name="Paste the order")).to_be_visible()
    await expect(page.get_by_label("Administrator token")).to_be_visible()
    await visitor.look_up(order.order_id)

    await page.go_back()

    await expect(page.locator("#find-problem")).to_contain_text("That is not an order id.")
    await expect(page.get_by_role("heading", name="Paste the order")).to_be_visible()
    await expect(page.locator("#order")).to_be_hidden()


async def test_a_jump_within_the_page_leaves_the_order_as_it_is(visit: Visit, sandbox: Sandbox) -> None:
    """The skip link, and going back from it: photos that were unticked stay so, and nothing is asked for again."""
    order = sandbox.control.add_order([ImageSpec(), ImageSpec()])
    visitor = await visit()
    await visitor.open()
    await visitor.look_up(order.order_id)
    await visitor.page.locator("#photo-list input").first.uncheck()
    await expect(visitor.page.locator("#go-label")).to_have_text("Download 1 photo")
    asked = len(visitor.requests)

    await visitor.page.get_by_role("link", name="Skip to the download").press("Enter")
    await visitor.page.wait_for_url("**/*#find")
    await visitor.page.go_back()
    await visitor.page.wait_for_url(lambda url: "#" not in url)

    overviews = [one.url for one in visitor.requests[asked:] if "/v1/orders/" in one.url and "/images/" not in one.url]
    assert overviews == []
    await expect(visitor.page.locator("#go-label")).to_have_text("Download 1 photo")


async def test_an_address_names_a_job_by_its_id_only(visit: Visit, sandbox: Sandbox) -> None:
    """Anything else in its place would lead what is asked for, and what Cancel deletes, to another path."""
    order = sandbox.control.add_order([ImageSpec()], name="7 Mill Street")
    visitor = await visit()

    await visitor.open(f"/?order={order.order_id}&job=../session%3F")
    await visitor.overview()
    await visitor.counters()

    await expect(visitor.page.locator("#running")).to_be_hidden()
    await expect(visitor.page.locator("#go")).to_be_visible()
    asked = [urlsplit(one.url).path for one in visitor.requests]
    assert not [path for path in asked if path.endswith("/events")]


async def test_what_others_keep_in_the_browser_does_no_harm(visit: Visit, sandbox: Sandbox) -> None:
    """Under the name of the recent orders, as another page of the same host may."""
    order = sandbox.control.add_order([ImageSpec()], name="7 Mill Street")
    visitor = await visit()
    await visitor.page.add_init_script("localStorage.setItem('recent-orders', '[null, 1, {}]')")

    await visitor.open()
    await visitor.look_up(order.order_id)

    await expect(visitor.page.get_by_role("heading", name="7 Mill Street")).to_be_visible()


async def test_an_address_with_an_order_in_it_will_do(visit: Visit, sandbox: Sandbox) -> None:
    """Whoever pastes the order's address from Autoenhance need not cut the id out; the page does, and shows it."""
    order = sandbox.control.add_order([ImageSpec()], name="7 Mill Street")
    visitor = await visit()
    await visitor.open()

    await visitor.look_up(f"https://app.example/orders/{order.order_id.upper()}?tab=photos ")

    await expect(visitor.page.get_by_role("heading", name="7 Mill Street")).to_be_visible()
    await expect(visitor.page.get_by_label("Order id")).to_have_value(order.order_id)


async def test_what_is_no_order_id_is_said_without_a_request(visit: Visit) -> None:
    """The sentence shows what an id looks like, and is tied to the field."""
    visitor = await visit()
    await visitor.open()

    await visitor.page.get_by_label("Order id").fill("12 Harbour Lane")
    await visitor.page.keyboard.press("Enter")

    field = visitor.page.get_by_label("Order id")
    await expect(visitor.page.get_by_role("alert").filter(has_text="not an order id")).to_be_visible()
    await expect(field).to_be_focused()
    await expect(field).to_have_attribute("aria-invalid", "true")
    assert not [request for request in visitor.requests if "/v1/orders/" in request.url]


async def test_an_unknown_order_is_a_sentence_with_a_next_step(visit: Visit, site: Service) -> None:
    """What happened, what to do in the words of the problem document, and what the operator finds it by."""
    document = (await site.ask(f"/v1/orders/{NOWHERE}")).problem
    visitor = await visit()
    await visitor.open(f"/?order={NOWHERE}")

    problem = visitor.page.locator("#order-problem")
    await expect(problem).to_contain_text("Autoenhance does not know this order")
    await expect(problem).to_contain_text(document["detail"])
    await expect(problem).to_contain_text("Request id: ")
    await expect(visitor.page.get_by_text("Where do I find the order id?")).to_be_visible()
    await expect(visitor.page).to_have_title("Autoenhance does not know this order - Autoenhance Batch")
    await expect(visitor.page.get_by_role("button", name="Try again")).to_be_hidden()
    await visitor.page.get_by_role("button", name="Change the id").click()
    await expect(visitor.page.get_by_label("Order id")).to_be_focused()


async def test_trying_again_after_trouble_shows_the_order(visit: Visit, sandbox: Sandbox) -> None:
    """An error is not the end: the button asks once more."""
    order = sandbox.control.add_order([ImageSpec()], name="7 Mill Street")
    sandbox.control.add_fault("status", operation="get_order", times=3, status=500)
    visitor = await visit()
    await visitor.open(f"/?order={order.order_id}")
    await expect(visitor.page.locator("#order-problem")).to_contain_text("Autoenhance is failing or unreachable")

    await visitor.page.get_by_role("button", name="Try again").click()

    await expect(visitor.page.get_by_role("heading", name="7 Mill Street")).to_be_visible()


async def test_photos_become_ready_without_a_reload(visit: Visit, start_site: StartService, sandbox: Sandbox) -> None:
    """While something is being enhanced the overview is asked for again, and the button follows."""
    order = sandbox.control.add_order([ImageSpec(name="bath.jpg", delay=60)])
    visitor = await visit(await start_site(order_freshness=0))
    await visitor.page.clock.install()
    await visitor.open(f"/?order={order.order_id}")
    await expect(visitor.page.get_by_role("button", name="Nothing ready yet")).to_be_disabled()
    await expect(visitor.page.locator("#left-out")).to_contain_text(
        "This page updates automatically; you can close it and come back later."
    )

    sandbox.control.advance(60)
    await visitor.page.clock.fast_forward(5_000)

    await expect(visitor.page.get_by_role("button", name="Download 1 photo")).to_be_enabled()


async def test_a_session_that_ends_while_photos_are_enhanced_is_said(
    visit: Visit, start_site: StartService, sandbox: Sandbox
) -> None:
    """The key is asked for, once; who does not give it sees that it is missing, and can try again."""
    order = sandbox.control.add_order([ImageSpec(status="processing")])
    visitor = await visit(await start_site(service_api_key=CALLER_KEY))
    page = visitor.page
    dialog = page.get_by_role("dialog", name="Access key needed")
    await page.clock.install()
    await visitor.open(f"/?order={order.order_id}")
    await dialog.get_by_label("Access key").fill(CALLER_KEY)
    await page.keyboard.press("Enter")
    await visitor.overview()
    await visitor.context.clear_cookies()

    await page.clock.fast_forward(5_000)

    await dialog.get_by_role("button", name="Cancel").click()
    await expect(page.locator("#order-problem")).to_contain_text("This service needs an access key")
    asked = len(visitor.requests)
    await page.clock.fast_forward(60_000)
    await expect(dialog).to_be_hidden()
    assert not [one.url for one in visitor.requests[asked:] if order.order_id in one.url]
    await page.get_by_role("button", name="Try again").click()
    await dialog.get_by_label("Access key").fill(CALLER_KEY)
    await page.keyboard.press("Enter")
    await expect(page.locator("#order-state")).to_have_text("Being enhanced")


async def test_photos_that_are_still_to_be_listed_are_waited_for(visit: Visit, sandbox: Sandbox) -> None:
    """Brackets are being merged: the one that is there is not all of them."""
    order, visitor, is_merging = sandbox.control.add_order([ImageSpec()]), await visit(), True

    async def told(route: Route) -> None:
        answer = await route.fetch()
        await route.fulfill(
            response=answer, json=await answer.json() | ({"status": "processing"} if is_merging else {})
        )

    await visitor.page.route(f"**/v1/orders/{order.order_id}?*", told)
    await visitor.open()
    await visitor.look_up(order.order_id)
    await expect(visitor.page.locator("#order-state")).to_have_text("Being enhanced")
    is_merging = False

    await expect(visitor.page.locator("#order-state")).to_have_text("Ready")


async def test_the_button_says_when_no_photo_is_chosen(visit: Visit, sandbox: Sandbox) -> None:
    """Also where others could not be chosen anyway."""
    order = sandbox.control.add_order([ImageSpec(name="kitchen.jpg"), ImageSpec(status="error")])
    visitor = await visit()
    await visitor.open(f"/?order={order.order_id}")

    await visitor.page.get_by_role("checkbox", name="kitchen.jpg").uncheck()

    await expect(visitor.page.get_by_role("button", name="No photo chosen")).to_be_disabled()
    await expect(visitor.page.get_by_role("button", name="Look again")).to_be_hidden()


async def test_an_order_of_which_nothing_can_be_had_shows_the_ways_on(
    visit: Visit, start_site: StartService, sandbox: Sandbox
) -> None:
    """In place of a button that cannot be pressed: look again, after it was put right; another order; and for
    administrators new photos."""
    order = sandbox.control.add_order([ImageSpec(name="attic.jpg", status="error")], name="5 Church Row")
    visitor = await visit(await start_site(order_freshness=0), viewport=PHONE)
    page = visitor.page
    await visitor.open(f"/?order={order.order_id}")
    await expect(page.locator("#order-state")).to_have_text("Nothing to download")
    await expect(page.locator("#cost")).to_have_text(
        "The photo says why it cannot be downloaded. Put that right at Autoenhance, then look again."
    )
    await expect(page.locator("#go")).to_be_hidden()
    await expect(page.locator("#share")).to_be_hidden()
    await expect(page.get_by_role("button", name="Upload to a new order")).to_be_hidden()
    assert await visitor.axe() == []

    await page.get_by_role("button", name="Another order").click()
    await expect(page.get_by_label("Order id")).to_be_focused()

    await page.get_by_label("Administrator token").fill(ADMIN_TOKEN)
    await page.get_by_role("button", name="Sign in").click()
    await page.get_by_role("button", name="Upload to a new order").click()
    await expect(page.get_by_label("Choose photos")).to_be_focused()
    await expect(page.locator("#drop")).to_be_in_viewport()

    sandbox.control.set_status(order.images[0].image_id, "processed")
    await page.get_by_role("button", name="Look again").click()
    await expect(page.get_by_role("button", name="Download 1 photo")).to_be_enabled()
    await expect(page.get_by_role("button", name="Look again")).to_be_hidden()


async def test_what_is_left_out_is_gone_to_from_the_bar(visit: Visit, sandbox: Sandbox) -> None:
    """One photo after the other, with its name and its reason in sight; as a list of names, too. What is waited for, or
    not chosen, is not among them."""
    ready = [ImageSpec(name=f"{at:02}.jpg") for at in range(20)]
    lost = [ImageSpec(name="attic.jpg", status="error"), ImageSpec(name="cellar.jpg", status="waiting")]
    order = sandbox.control.add_order([lost[0], *ready, ImageSpec(name="hall.jpg", status="processing"), lost[1]])
    visitor = await visit(viewport=PHONE, has_touch=True, is_mobile=True)
    page = visitor.page
    await visitor.open(f"/?order={order.order_id}&wait_timeout=300")
    await visitor.overview()

    for view in ("grid", "list"):
        await expect(page.locator("#photo-list")).to_have_class(view)
        for name, reason in (("attic.jpg", "could not enhance it"), ("cellar.jpg", "never arrived at Autoenhance")):
            await page.get_by_role("button", name="Show which").tap()
            row = page.locator("#photo-list li").filter(has_text=name)
            await expect(row).to_be_focused()
            await expect(row.get_by_text(name)).to_be_in_viewport(ratio=1)
            await expect(row.get_by_text(reason).locator("visible=true")).to_be_in_viewport(ratio=1)
        await page.get_by_role("button", name="List of names").tap()
    assert await visitor.axe() == []

    await visitor.unfold()
    await page.get_by_label("Photos still being enhanced").select_option("Leave out")
    for name in ("attic.jpg", "hall.jpg", "cellar.jpg"):
        await page.get_by_role("button", name="Show which").tap()
        await expect(page.locator("#photo-list li").filter(has_text=name)).to_be_focused()
    await page.get_by_role("checkbox", name="hall.jpg").uncheck()
    for name in ("attic.jpg", "cellar.jpg"):
        await page.get_by_role("button", name="Show which").tap()
        await expect(page.locator("#photo-list li").filter(has_text=name)).to_be_focused()
    await page.locator("#all").check()
    await page.locator("#all").uncheck()
    await page.locator("#show-left-out").dispatch_event("click")  # a press that comes too late


async def test_a_list_has_each_name_beside_its_tick(visit: Visit, sandbox: Sandbox) -> None:
    """On one line, and a long reason does not take the name's room."""
    order = sandbox.control.add_order([ImageSpec(name="kitchen.jpg"), ImageSpec(name="attic.jpg", status="error")])
    visitor = await visit(viewport=PHONE)
    page = visitor.page
    await visitor.open(f"/?order={order.order_id}")
    await visitor.overview()
    await page.get_by_role("button", name="List of names").click()

    box = await page.get_by_role("checkbox", name="kitchen.jpg").bounding_box()
    name = await page.get_by_text("kitchen.jpg", exact=True).bounding_box()
    assert box is not None
    assert name is not None
    assert box["x"] + box["width"] < name["x"]
    assert abs(box["y"] + box["height"] / 2 - name["y"] - name["height"] / 2) < 5
    fits = "(one) => one.scrollWidth <= one.clientWidth"
    assert await page.get_by_text("attic.jpg", exact=True).evaluate(fits)


async def test_an_order_without_photos_says_what_to_do(visit: Visit, sandbox: Sandbox) -> None:
    """In the page's words, with two ways on."""
    order = sandbox.control.add_order([], name="5 Church Row")
    visitor = await visit()
    page = visitor.page
    await visitor.open(f"/?order={order.order_id}")

    await expect(page.locator("#order-problem")).to_contain_text("This order has no photos yet")
    await expect(page.get_by_role("button", name="Try again")).to_be_visible()
    await page.get_by_role("button", name="Another order").click()
    await expect(page.get_by_label("Order id")).to_be_focused()


async def test_full_size_says_what_it_may_cost(visit: Visit, sandbox: Sandbox) -> None:
    """Before anything is bought: how many credits at most; test mode spends none."""
    order = sandbox.control.add_order([ImageSpec(), ImageSpec(), ImageSpec()])
    visitor = await visit()
    await visitor.open(f"/?order={order.order_id}")
    cost = visitor.page.locator("#cost")
    await expect(cost).to_have_text("Free to download and to share.")

    await visitor.page.get_by_role("radio", name="Full size").check()
    await expect(cost).to_have_text("Uses up to 3 credits: one for each photo not bought before.")

    await visitor.page.locator("#photo-list").get_by_role("checkbox").first.uncheck()
    await expect(cost).to_contain_text("2 credits")
    await expect(visitor.page.get_by_role("button", name="Download 2 photos")).to_be_visible()

    await visitor.unfold()
    await visitor.page.get_by_label("Test mode").check()
    await expect(cost).to_have_text("Free: test photos are watermarked.")
    assert sandbox.control.counters.purchases.total() == 0


async def test_the_last_choice_counts_whichever_answer_comes_last(visit: Visit, sandbox: Sandbox) -> None:
    """What the service tells of an earlier choice, or of the order before, is not shown once there is a later one."""
    order = sandbox.control.add_order([ImageSpec()], name="7 Mill Street")
    visitor = await visit()
    page = visitor.page
    await visitor.open(f"/?order={order.order_id}")
    await visitor.overview()
    held: asyncio.Queue[Route] = asyncio.Queue()
    await page.route("**/v1/orders/*?format=png", held.put)
    await visitor.unfold()
    await page.get_by_label("Format").select_option("png")
    late = await held.get()

    async with page.expect_event("requestfailed", lambda request: request == late.request):
        await page.get_by_label("Format").select_option("webp")

    await late.fulfill(json={"name": "Another", "order_id": order.order_id, "images": []})
    await expect(page.get_by_role("heading", name="7 Mill Street")).to_be_visible()


async def test_a_choice_made_while_the_order_is_looked_up_counts(visit: Visit, sandbox: Sandbox) -> None:
    """The order is asked for once more, as it was chosen."""
    order = sandbox.control.add_order([ImageSpec()])
    visitor = await visit()
    page = visitor.page
    await visitor.open()
    held: asyncio.Queue[Route] = asyncio.Queue()
    await page.route("**/v1/orders/*?", held.put)
    await page.get_by_label("Order id").fill(order.order_id)
    await page.get_by_role("button", name="Show order").click()
    first = await held.get()
    await visitor.unfold()
    await page.get_by_label("Format").select_option("webp")
    await page.evaluate("new Promise((resolve) => setTimeout(resolve, 400))")  # longer than choices take to settle

    async with page.expect_request("**/v1/orders/*?format=webp"):
        await first.continue_()

    await visitor.overview()


async def test_a_quality_out_of_range_is_said_at_the_field(visit: Visit, sandbox: Sandbox) -> None:
    """The form does not start a download that the service would refuse."""
    order = sandbox.control.add_order([ImageSpec()])
    visitor = await visit()
    await visitor.open(f"/?order={order.order_id}")
    await visitor.overview()

    await visitor.unfold()
    await visitor.page.get_by_label("Quality").fill("91")
    await visitor.page.locator("#go").click()

    await expect(visitor.page.get_by_role("alert").filter(has_text="from 1 to 90")).to_be_visible()
    await expect(visitor.page.get_by_label("Quality")).to_be_focused()
    assert not [request for request in visitor.requests if request.method == "POST"]


async def test_the_curl_line_downloads_what_was_chosen(visit: Visit, site: Service, sandbox: Sandbox) -> None:
    """Format, size, subset and waiting are in the line, and the service takes it."""
    order = sandbox.control.add_order([ImageSpec(name="a.jpg"), ImageSpec(name="b.jpg")])
    visitor = await visit()
    await visitor.open(f"/?order={order.order_id}")
    await visitor.overview()
    page = visitor.page

    await visitor.unfold()
    await page.get_by_label("Format").select_option("png")
    await page.get_by_label("Photos still being enhanced").select_option("300")
    await page.locator("#photo-list").get_by_role("checkbox").first.uncheck()
    await page.get_by_text("The same from a script").click()
    program, *arguments = shlex.split(await page.locator("#curl").inner_text())

    assert (program, arguments[0]) == ("curl", "-fOJ")
    answer = await site.ask(arguments[1].removeprefix(site.url))
    assert list(answer.images) == ["b.png"]
    assert "wait_timeout=300" in arguments[1]


async def test_the_python_lines_run(visit: Visit, sandbox: Sandbox) -> None:
    """What is copied is a program."""
    order = sandbox.control.add_order([ImageSpec()])
    visitor = await visit(permissions=["clipboard-read", "clipboard-write"])
    await visitor.open(f"/?order={order.order_id}")
    await visitor.overview()
    await visitor.page.get_by_text("The same from a script").click()

    await visitor.page.get_by_role("button", name="Copy the Python lines").click()
    await expect(visitor.page.get_by_role("status")).to_have_text("Copied.")

    lines = await visitor.page.evaluate("navigator.clipboard.readText()")
    compile(lines, "copied", "exec")
    assert json.dumps(f"{visitor.url}/v1/orders/{order.order_id}/images") in lines


async def test_the_lines_for_a_script_have_the_key_after_a_reload_too(
    visit: Visit, start_site: StartService, sandbox: Sandbox
) -> None:
    """Where keys have no names and the browser is signed in, so that nothing asks it for a key."""
    service = await start_site(service_api_key=CALLER_KEY)
    order = sandbox.control.add_order([ImageSpec()])
    visitor = await visit(service)
    page = visitor.page
    await visitor.open(f"/?order={order.order_id}")
    await page.get_by_role("dialog").get_by_label("Access key").fill(CALLER_KEY)
    await page.keyboard.press("Enter")
    await visitor.overview()

    await visitor.open(f"/?order={order.order_id}")
    await visitor.overview()

    await expect(page.locator("#curl")).to_contain_text("X-API-Key: $SERVICE_API_KEY")
    await expect(page.locator("#python")).to_contain_text('os.environ["SERVICE_API_KEY"]')


async def test_what_is_said_twice_is_heard_twice(visit: Visit, sandbox: Sandbox) -> None:
    """A screen reader tells what is put into the region, not what has stood there since the first time."""
    order = sandbox.control.add_order([ImageSpec()])
    visitor = await visit(permissions=["clipboard-read", "clipboard-write"])
    page = visitor.page
    await visitor.open(f"/?order={order.order_id}")
    await visitor.overview()
    await page.get_by_text("The same from a script").click()
    await page.evaluate(
        """() => {
          const { dataset } = document.documentElement;
          dataset.told = "";
          new MutationObserver((all) => {
            for (const { addedNodes } of all) for (const { data } of addedNodes) dataset.told += data;
          }).observe(document.getElementById("status"), { childList: true });
        }"""
    )

    for name, told in (("Copy the curl command", "Copied."), ("Copy the Python lines", "Copied.Copied.")):
        await page.get_by_role("button", name=name).click()
        await expect(page.locator("html")).to_have_attribute("data-told", told)


async def test_a_key_is_asked_for_and_kept_in_memory_only(
    visit: Visit, start_site: StartService, sandbox: Sandbox
) -> None:
    """Where the service wants a key the page asks, says when it is wrong, and stores it nowhere."""
    service = await start_site(service_api_key=CALLER_KEY)
    order = sandbox.control.add_order([ImageSpec()], name="7 Mill Street")
    visitor = await visit(service)
    await visitor.open(f"/?order={order.order_id}")
    page = visitor.page
    dialog = page.get_by_role("dialog", name="Access key needed")

    await dialog.get_by_label("Access key").press("Enter")
    await expect(dialog.get_by_role("alert")).to_have_text("Enter the key first.")
    await dialog.get_by_label("Access key").fill("wrong")
    await page.keyboard.press("Enter")
    await expect(dialog.get_by_role("alert")).to_have_text("That key is not accepted. Check it, or ask the operator.")
    assert await visitor.axe() == []
    await dialog.get_by_label("Access key").fill(CALLER_KEY)
    await page.keyboard.press("Enter")

    await expect(page.get_by_role("heading", name="7 Mill Street")).to_be_visible()
    stored = await page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])")
    assert CALLER_KEY not in stored
    assert not [request for request in visitor.requests if CALLER_KEY in request.url]
