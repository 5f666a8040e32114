"""The docs in a real browser."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from service.api.openapi import TAGS, document
from service.api.routes import ROUTES
from service.docs.library import ADDRESS, pages
from service.sandbox import Sandbox
from tests.e2e.page.conftest import Visit
from tests.support.services import service_factory
from tests.support.visitor import PHONE, Visitor

pytestmark = pytest.mark.asyncio(loop_scope="session")

OPERATIONS = sum(len(item) for item in document(ROUTES)["paths"].values())


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def reference(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Visitor]:
    """The reference in the dark. To draw it takes as long as many tests, so that several look at one."""
    folder = tmp_path_factory.mktemp("reference")
    async with Sandbox() as sandbox, service_factory(sandbox.api_base, folder) as start:
        service = await start(autoenhance_api_key=sandbox.api_key)
        visitor = await Visitor.arrive(browser, service.url, color_scheme="dark")
        await visitor.open("/docs")
        await expect(visitor.page.locator(".opblock")).to_have_count(OPERATIONS)
        yield visitor
        await visitor.context.close()
        assert (visitor.complaints, visitor.strangers) == ([], set())


async def test_the_reference_shows_every_operation(reference: Visitor) -> None:
    """Drawn by our own files under a policy without exceptions: nothing is complained about, no other host asked."""
    page = reference.page

    await expect(page.locator("html.dark-mode")).to_have_count(1)
    await page.locator(".opblock-summary-control", has_text="/v1/orders/{order_id}/images").first.click()
    await expect(page.get_by_text("wait_timeout").first).to_be_visible()


async def test_the_index_leads_to_every_group(reference: Visitor) -> None:
    """Each group of the reference is one step away, by keyboard too."""
    page = reference.page
    await expect(page.locator(".opblock-tag")).to_have_count(len(TAGS))

    for name in TAGS:
        await page.locator(".docs-nav ul ul").get_by_role("link", name=name, exact=True).press("Enter")
        await expect(page.locator(f"#operations-tag-{name}")).to_be_in_viewport()


async def test_the_index_leads_there_at_once(reference: Visitor) -> None:
    """What is drawn while the page moves step by step would put the group elsewhere."""
    tops = await reference.page.evaluate(
        """async () => {
            const tops = [];
            for (const link of document.querySelectorAll("a[href^='#operations-tag-']")) {
                link.click();
                await new Promise(requestAnimationFrame);
                await new Promise(requestAnimationFrame);
                tops.push(document.querySelector(link.hash).getBoundingClientRect().top / innerHeight);
            }
            return tops;
        }"""
    )

    assert len(tops) == len(TAGS)
    assert all(0 <= top < 1 for top in tops)


async def test_a_call_can_be_tried_out(reference: Visitor) -> None:
    """The reference calls the service that it documents."""
    block = reference.page.locator(".opblock", has_text="The health document").first
    control = block.locator(".opblock-summary-control")
    while await control.get_attribute("aria-expanded") != "true":  # what is drawn may not listen yet
        await control.click()
    await block.get_by_role("button", name="Try it out").click()
    await block.get_by_role("button", name="Execute").click()

    await expect(block.locator(".live-responses-table")).to_contain_text("api_key_configured")


async def test_axe_finds_nothing_around_the_reference(reference: Visitor) -> None:
    """What is ours on `/docs` is as good as the guide, on a phone in the dark.

    What Swagger UI draws is exempt: its markup comes with it (buttons inside buttons, headings that skip a level), and
    the guide, with /openapi.json, says the same without it.
    """
    await reference.page.set_viewport_size(PHONE)  # type: ignore[arg-type]

    assert await reference.axe(beside="#reference") == []
    await expect(reference.page.get_by_role("main")).to_have_count(1)


async def test_a_phone_reads_every_page_from_top_to_bottom(visit: Visit) -> None:
    """Nothing is scrolled sideways but the pictures: lines of code break, and the cells of a row stand one below the
    other, each with what its column says."""
    visitor = await visit(viewport=PHONE, has_touch=True, is_mobile=True)
    seen = 0
    for slug in await asyncio.to_thread(pages):
        await visitor.open(f"{ADDRESS}/{slug}")
        await visitor.page.wait_for_function("matchMedia('(max-width: 40rem)').matches")  # it is laid out for a phone

        wide, blocks = await visitor.page.evaluate(
            """() => {
              const blocks = [document.documentElement, ...document.querySelectorAll("pre, .wide, h1, h2, h3, td")];
              const wide = blocks.filter((one) => one.scrollWidth > one.clientWidth);
              return [wide.map((one) => one.outerHTML.slice(0, 200)), blocks.length];
            }"""
        )
        assert wide == [], slug
        seen += blocks
    assert seen > 500

    await visitor.open(f"{ADDRESS}/errors")
    row = visitor.page.locator("tr:has(#order_not_found)")
    edges = await row.locator("td").evaluate_all(
        "(all) => all.map((one) => Math.round(one.getBoundingClientRect().left))"
    )
    assert len(edges) == 4
    assert len(set(edges)) == 1
    labels = await row.locator("td").evaluate_all(
        "(all) => all.map((one) => getComputedStyle(one, '::before').content.replaceAll(/[^a-z ]/gi, ''))"
    )
    assert [label.strip() for label in labels] == ["none", "Status", "What happened", "What to do"]


async def test_axe_finds_nothing(visit: Visit) -> None:
    """WCAG 2.2 AA as far as axe-core can tell: every page, and one that holds all kinds of text on a phone at night."""
    visitor = await visit(color_scheme="light")
    for slug in await asyncio.to_thread(pages):
        await visitor.open(f"{ADDRESS}/{slug}")
        assert await visitor.axe() == [], slug

    await visitor.open(f"{ADDRESS}/recipes")
    await visitor.page.emulate_media(color_scheme="dark")
    await visitor.page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    assert await visitor.axe() == []


async def test_the_guide_is_walked_by_keyboard(visit: Visit) -> None:
    """Past the head by one step, then through the list of pages; the present one is marked."""
    visitor = await visit()
    await visitor.open("/docs/guide/quick-start")
    await visitor.page.keyboard.press("Tab")
    await expect(visitor.page.get_by_role("link", name="Skip to the text")).to_be_focused()

    await visitor.page.get_by_role("link", name="Recipes").focus()
    await visitor.page.keyboard.press("Enter")

    await expect(visitor.page.locator('.docs-nav [aria-current="page"]')).to_have_text("Recipes")
