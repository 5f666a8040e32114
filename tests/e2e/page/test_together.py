"""Several recent orders as one ZIP."""

import asyncio
import zipfile
from pathlib import Path

import pytest
from playwright.async_api import Page, Route, expect

from service.sandbox import ImageSpec, Sandbox
from tests.e2e.page.conftest import Visit

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_recent_orders_are_downloaded_together(visit: Visit, sandbox: Sandbox, tmp_path: Path) -> None:
    """Two ticked of three: one ZIP with a folder for each of the two, saved by itself; a missing photo is told of."""
    names = ("7 Mill Street", "12 Harbour Lane", "9 Quay Street")
    orders = [sandbox.control.add_order([ImageSpec(name="hall.jpg")], name=name) for name in names[:2]]
    odd = [ImageSpec(name="a.jpg"), ImageSpec(name="b.jpg", status="error")]
    orders.append(sandbox.control.add_order(odd, name=names[2]))
    visitor = await visit()
    page = visitor.page
    for order in orders:
        await visitor.open(f"/?order={order.order_id}")
        await visitor.overview()
    await visitor.open()
    recent = page.get_by_role("region", name="Recent orders")
    await expect(recent).to_contain_text("Tick two or more")

    await recent.get_by_role("checkbox", name="7 Mill Street").check()
    await recent.get_by_role("checkbox", name="9 Quay Street").check()
    assert await visitor.axe() == []
    async with page.expect_download() as saved:
        await recent.get_by_role("button", name="Download 2 orders as one ZIP").click()
    await expect(recent).to_contain_text("Saved in your browser's downloads: 2 photos. 1 photo is left out")

    await (await saved.value).save_as(tmp_path / "both.zip")
    with zipfile.ZipFile(tmp_path / "both.zip") as archive:
        assert archive.testzip() is None
        assert {"7 Mill Street/hall.jpg", "9 Quay Street/a.jpg"} <= set(archive.namelist())


async def two_ticked(visit: Visit, sandbox: Sandbox) -> Page:
    """The page, where two recent orders are ticked."""
    visitor = await visit()
    for name in ("One", "Two"):
        order = sandbox.control.add_order([ImageSpec()], name=name)
        await visitor.open(f"/?order={order.order_id}")
        await visitor.overview()
    await visitor.open()
    for box in await visitor.page.locator("#recent-list input").all():
        await box.check()
    return visitor.page


async def test_who_cancels_while_the_job_is_asked_for_has_none(visit: Visit, sandbox: Sandbox) -> None:
    """It is cancelled as soon as its id is known."""
    page = await two_ticked(visit, sandbox)
    goes_on = asyncio.Event()

    async def answer_late(route: Route) -> None:
        await goes_on.wait()
        await route.fulfill(status=202, json={"job_id": "late"})

    await page.route("**/v1/jobs", answer_late)
    await page.route("**/v1/jobs/late", lambda route: route.fulfill(json={}))
    await page.get_by_role("button", name="Download 2 orders as one ZIP").click()
    await page.locator("#together-cancel").click()
    async with page.expect_request("**/v1/jobs/late") as cancelling:
        goes_on.set()

    assert (await cancelling.value).method == "DELETE"
    await expect(page.locator("#together-line")).to_have_text("Cancelled.")


async def test_what_could_not_be_cancelled_is_not_called_cancelled(visit: Visit, sandbox: Sandbox) -> None:
    """The service is out of reach at that moment, and its job goes on."""
    page = await two_ticked(visit, sandbox)
    await page.route("**/v1/jobs", lambda route: route.fulfill(status=202, json={"job_id": "lost"}))
    await page.route("**/v1/jobs/lost/events", lambda _: None)
    await page.route("**/v1/jobs/lost", lambda route: route.fulfill(status=503, json={"code": "jobs_unavailable"}))
    async with page.expect_request("**/v1/jobs/lost/events"):
        await page.get_by_role("button", name="Download 2 orders as one ZIP").click()

    await page.locator("#together-cancel").click()

    await expect(page.locator("#together-line")).to_have_text(
        "The service did not confirm that it is cancelled: the download may go on there."
    )
    await expect(page.get_by_role("button", name="Download 2 orders as one ZIP")).to_be_enabled()


async def test_a_job_that_was_cancelled_elsewhere_is_not_said_to_be_saved(visit: Visit, sandbox: Sandbox) -> None:
    """On the command line, for example."""
    page = await two_ticked(visit, sandbox)
    events = 'id: 0\ndata: {"status": "cancelled", "downloaded": 0, "failed": 0, "total": 2}\n\n'
    await page.route("**/events", lambda route: route.fulfill(content_type="text/event-stream", body=events))

    await page.get_by_role("button", name="Download 2 orders as one ZIP").click()

    await expect(page.locator("#together-line")).to_have_text("Cancelled.")
    await expect(page.get_by_role("button", name="Download 2 orders as one ZIP")).to_be_enabled()


async def test_orders_that_cannot_be_downloaded_together_say_why(visit: Visit, sandbox: Sandbox) -> None:
    """Of two orders nothing came: the page says so beside the button, which can be pressed again."""
    orders = [sandbox.control.add_order([ImageSpec(status="error")], name=name) for name in ("One", "Two")]
    visitor = await visit()
    page = visitor.page
    for order in orders:
        await visitor.open(f"/?order={order.order_id}")
        await visitor.overview()
    await visitor.open()
    for box in await page.locator("#recent-list input").all():
        await box.check()

    await page.get_by_role("button", name="Download 2 orders as one ZIP").click()

    await expect(page.locator("#together-problem")).to_contain_text("No photo could be downloaded")
    await expect(page.get_by_role("button", name="Download 2 orders as one ZIP")).to_be_enabled()


async def test_orders_that_are_ticked_meanwhile_are_offered_afterwards(visit: Visit, sandbox: Sandbox) -> None:
    """What is offered are the ticks at the end, beside how the download ended."""
    page = await two_ticked(visit, sandbox)
    goes_on = asyncio.Event()
    events = 'id: 2\ndata: {"status": "complete", "downloaded": 2, "failed": 0, "total": 2, "archive_id": null}\n\n'

    async def answer_late(route: Route) -> None:
        await goes_on.wait()
        await route.fulfill(content_type="text/event-stream", body=events)

    await page.route("**/events", answer_late)
    await page.get_by_role("button", name="Download 2 orders as one ZIP").click()
    await page.get_by_role("checkbox", name="Two").uncheck()
    await page.locator("#together-cancel").focus()
    goes_on.set()

    await expect(page.locator("#together-line")).to_have_text("Saved in your browser's downloads: 2 photos.")
    await expect(page.locator("#together-go")).to_be_hidden()
    await expect(page.locator("#recent-list input").first).to_be_focused()
