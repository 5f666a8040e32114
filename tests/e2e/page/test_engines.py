"""The main states in Firefox and in WebKit, as their own engines show them."""

import zipfile
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from service.sandbox import Sandbox
from tests.support.client import Service
from tests.support.engines import ENGINES, ENTER, ESCAPE, RIGHT, Engine
from tests.support.sending import send
from tests.support.visitor import axe_source

pytestmark = pytest.mark.asyncio(loop_scope="session")

SEEN = "[...document.querySelectorAll('{}')].filter((one) => one.complete && one.naturalWidth > 1).length"


@pytest_asyncio.fixture(loop_scope="session", scope="session", params=sorted(ENGINES))
async def engine(request: pytest.FixtureRequest) -> AsyncIterator[Engine]:
    """One of the browsers; when the tests are over, its console may hold nothing against the page."""
    async with ENGINES[request.param]() as running:
        yield running
        assert running.complaints == []


async def axe(engine: Engine) -> list[str]:
    """What axe-core holds against the page once it is loaded."""
    await engine.until("document.readyState === 'complete'")
    rules = "['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']"
    told = "found.violations.flatMap((one) => one.nodes.map((node) => `${one.id}: ${node.html.slice(0, 160)}`))"
    found = await engine.run(f"{axe_source()} const found = await axe.run({{ runOnly: {rules} }}); return {told};")
    assert isinstance(found, list)
    return found


async def test_an_order_is_seen_and_saved(engine: Engine, site: Service, sandbox: Sandbox) -> None:
    """Its photos, what the button says when one is left out, and a ZIP on the disk that holds the others."""
    order = sandbox.control.add_sample_order(name="12 Harbour Lane")
    await engine.resize(1366, 900)
    await engine.open(f"{site.url}/?order={order.order_id}")

    await engine.until(f"{SEEN.format('#photo-list img')} >= 4")
    assert await axe(engine) == []
    await engine.run("document.querySelector('#photo-list input').click();")
    await engine.until("document.querySelector('#go-label').textContent === 'Download 6 photos'")
    await engine.run("document.querySelector('#go').click();")
    await engine.until("document.querySelector('#outcome-title').textContent === 'All 6 photos are in the ZIP'")

    with zipfile.ZipFile(await engine.saved("12 Harbour Lane*.zip")) as archive:
        assert (archive.testzip(), len(archive.namelist())) == (None, 6)


async def test_photos_are_looked_at_by_keys(engine: Engine, site: Service, sandbox: Sandbox) -> None:
    """Enter opens one, an arrow turns to the next, Escape closes it, and the focus is back at the photo."""
    order = sandbox.control.add_sample_order()
    await engine.open(f"{site.url}/?order={order.order_id}")
    await engine.until(f"{SEEN.format('#photo-list img')} >= 4")
    heading = "document.querySelector('.lightbox h2').textContent"

    await engine.run("document.querySelector('.photo-open').focus();")
    await engine.press(ENTER)
    await engine.until(f"document.querySelector('.lightbox').open && {heading} === 'bathroom.jpg'")
    await engine.press(RIGHT)
    await engine.until(f"{heading} === 'bedroom.jpg'")
    await engine.until(SEEN.format(".lightbox img"))
    assert await axe(engine) == []
    await engine.press(ESCAPE)

    await engine.until("!document.querySelector('.lightbox').open")
    assert await engine.run("return document.activeElement.className;") == "photo-open"


async def test_a_client_sees_and_saves_one_photo(engine: Engine, site: Service, sandbox: Sandbox) -> None:
    """The page behind a share link, as wide as a small window: nothing is cut off, and a photo ends on the disk."""
    order = sandbox.control.add_sample_order()
    document = {"path": f"/v1/orders/{order.order_id}/images", "expires_in": 3600}
    link = (await send(site, "POST", "/v1/links", document)).document
    await engine.resize(390, 844)
    await engine.open(f"{site.url}{link['page']}")

    await engine.until(f"{SEEN.format('.gallery img')} >= 4")
    assert await axe(engine) == []
    wide, window = await engine.run("return [document.documentElement.scrollWidth, innerWidth];")
    assert wide <= window
    await engine.run("document.querySelector('[aria-label=\"Save kitchen.jpg\"]').click();")

    assert (await engine.saved("kitchen*.jpg")).read_bytes().startswith(b"\xff\xd8")


async def test_dark_is_dark_and_remembered(engine: Engine, site: Service, sandbox: Sandbox) -> None:
    """One click turns an order dark, to the last colour readable, and the next page is dark from the start."""
    order = sandbox.control.add_sample_order()
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    await engine.open(f"{site.url}/?order={order.order_id}")
    await engine.until(f"{SEEN.format('#photo-list img')} >= 4")
    await engine.until(f"{ground} === 'rgb(246, 245, 241)'")

    await engine.run("document.querySelector('[data-theme-toggle]').click();")
    await engine.until(f"{ground} === 'rgb(16, 20, 24)'")
    assert await axe(engine) == []

    await engine.open(site.url)
    try:
        await engine.until(f"{ground} === 'rgb(16, 20, 24)'")
        assert await axe(engine) == []
    finally:
        await engine.run("localStorage.clear();")
