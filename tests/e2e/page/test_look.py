"""How the page looks and how it is used: dark, small, by keyboard, by a screen reader."""

import pytest
from playwright.async_api import Page, expect

from service.sandbox import ImageSpec, Sandbox
from tests.e2e.page.conftest import Visit
from tests.e2e.page.speed import figures, slow_down
from tests.support.client import Service
from tests.support.visitor import DESKTOP, PHONE, Visitor, launch

pytestmark = pytest.mark.asyncio(loop_scope="session")

STATES = [
    ImageSpec(name="a.jpg"),
    ImageSpec(name="b.jpg", status="processing"),
    ImageSpec(name="c.jpg", status="error"),
]


async def ground(page: Page) -> str:
    """The colour behind everything."""
    return str(await page.evaluate("getComputedStyle(document.documentElement).backgroundColor"))


async def test_the_systems_dark_mode_is_followed(visit: Visit) -> None:
    """Dark where the system is dark, light where it is light, without a click."""
    light, dark = await visit(color_scheme="light"), await visit(color_scheme="dark")
    await light.open()
    await dark.open()

    assert await ground(light.page) == "rgb(246, 245, 241)"
    assert await ground(dark.page) == "rgb(16, 20, 24)"


async def test_the_switch_turns_dark_and_is_remembered(visit: Visit) -> None:
    """One click for the other look; the next visit has it before the first paint."""
    visitor = await visit(color_scheme="light")
    await visitor.open()
    switch = visitor.page.get_by_role("button", name="Dark mode")

    await switch.click()
    await expect(switch).to_have_attribute("aria-pressed", "true")
    assert await ground(visitor.page) == "rgb(16, 20, 24)"

    await visitor.open()
    assert await visitor.page.evaluate("document.documentElement.dataset.theme") == "dark"
    await expect(switch).to_have_attribute("aria-pressed", "true")


@pytest.mark.parametrize(("scheme", "viewport"), [("light", DESKTOP), ("dark", PHONE)], ids=["desktop", "phone"])
async def test_axe_finds_nothing(visit: Visit, sandbox: Sandbox, scheme: str, viewport: dict[str, int]) -> None:
    """WCAG 2.2 AA as far as axe-core can tell: empty, with an order, and with an error."""
    order = sandbox.control.add_order(STATES)
    visitor = await visit(color_scheme=scheme, viewport=viewport)

    await visitor.open()
    await visitor.counters()
    assert await visitor.axe() == []

    await visitor.look_up(order.order_id)
    await visitor.page.get_by_role("radio", name="Full size").check()
    await visitor.page.get_by_text("The same from a script").click()
    assert await visitor.axe() == []

    await visitor.open("/?order=0b9f7c1e-4a57-4d6e-9d51-2f3c8a7be001")
    await expect(visitor.page.locator("#order-problem")).to_be_visible()
    assert await visitor.axe() == []


async def test_a_phone_shows_everything_without_scrolling_sideways(visit: Visit, sandbox: Sandbox) -> None:
    """Nothing is wider than the screen, down to 320 pixels, and what is to be touched is at least 24 high."""
    order = sandbox.control.add_order([ImageSpec(name="a_very_long_name_" * 8 + ".jpg"), *STATES])
    for width in (320, PHONE["width"]):
        visitor = await visit(viewport={"width": width, "height": 700}, has_touch=True, is_mobile=True)
        await visitor.open(f"/?order={order.order_id}")
        await visitor.overview()
        await visitor.page.get_by_text("The same from a script").click()

        assert await visitor.page.evaluate("document.documentElement.scrollWidth") == width
        heights = await visitor.page.evaluate(
            "[...document.querySelectorAll('button, input:not(.visually-hidden), select, summary')]"
            ".filter((one) => one.checkVisibility())"
            ".map((one) => (one.closest('label') ?? one).getBoundingClientRect().height)"
        )
        assert min(heights) >= 24


async def test_large_letters_fit_a_phone(site: Service, sandbox: Sandbox) -> None:
    """Of a browser that was told to show everything half as large again."""
    order = sandbox.control.add_order(STATES)
    async with launch("--blink-settings=defaultFontSize=24") as browser:
        visitor = await Visitor.arrive(browser, site.url, viewport=PHONE)
        for path in (f"/?order={order.order_id}", "/docs/guide/faq"):
            await visitor.open(path)
            if "order" in path:
                await visitor.overview()

            assert await visitor.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
            assert await visitor.page.evaluate("getComputedStyle(document.documentElement).fontSize") == "24px"


@pytest.mark.parametrize("size", [(390, 844), (1366, 768), (1920, 1080), (683, 384)], ids=str)
async def test_every_screen_shows_the_button(visit: Visit, sandbox: Sandbox, size: tuple[int, int]) -> None:
    """Phone, laptop, large screen, and a laptop at 200%: nothing is cut off, the button and its price are in sight, and
    what the keyboard reaches is not behind them."""
    width, height = size
    order = sandbox.control.add_order([*STATES, *(ImageSpec(name=f"{at}.jpg") for at in range(20))])
    visitor = await visit(viewport={"width": width, "height": height})
    await visitor.open(f"/?order={order.order_id}")
    await visitor.overview()
    page = visitor.page

    assert await page.evaluate("document.documentElement.scrollWidth") <= width
    bar = await page.locator("#dock").bounding_box()
    assert bar is not None
    assert bar["y"] + bar["height"] <= height + 1
    assert bar["height"] < height / 3
    await expect(page.get_by_role("button", name="Download 21 photos")).to_be_in_viewport(ratio=1)
    await expect(page.locator("#cost")).to_be_in_viewport(ratio=1)

    await page.get_by_role("checkbox", name="22 of 23 photos").focus()
    for _ in range(12):
        await page.keyboard.press("Tab")
        bottom = await page.evaluate("document.activeElement.getBoundingClientRect().bottom")
        top = await page.evaluate("document.querySelector('#dock').getBoundingClientRect().top")
        assert bottom <= top + 1


async def test_a_slow_link_has_little_to_carry(visit: Visit, sandbox: Sandbox) -> None:
    """At 50 kB/s the order's names and price are there after about a second's worth of bytes, and pictures come as they
    are scrolled to."""
    order = sandbox.control.add_order([ImageSpec(name=f"{at}.jpg") for at in range(100)])
    visitor = await visit(viewport=PHONE)
    await slow_down(visitor, slower=1, rate=50_000, trip=200)
    await visitor.open(f"/?order={order.order_id}")
    await visitor.overview()
    await expect(visitor.page.get_by_role("button", name="Download 100 photos")).to_be_enabled()

    needed, pictures = await visitor.page.evaluate(
        """() => {
          const all = ["navigation", "resource"].flatMap((kind) => performance.getEntriesByType(kind));
          const pictures = all.filter(({ name }) => name.includes("max_width"));
          const others = all.filter((one) => !pictures.includes(one));
          return [others.reduce((sum, { transferSize }) => sum + transferSize, 0), pictures.length];
        }"""
    )
    assert needed < 80_000
    assert pictures < 50


async def test_forced_colors_leave_what_fills_told(visit: Visit, sandbox: Sandbox) -> None:
    """In a system's own high-contrast colours the choice made and the bar's room keep an edge."""
    order = sandbox.control.add_order([ImageSpec()])
    visitor = await visit(forced_colors="active")
    await visitor.open(f"/?order={order.order_id}")
    await visitor.overview()

    look = "(one, name) => getComputedStyle(one)[name]"
    tiles = [await tile.evaluate(look, "outlineStyle") for tile in await visitor.page.locator(".tile").all()]
    assert tiles == ["solid", "none", "none"]
    assert await visitor.page.locator("#bar").evaluate(look, "borderTopStyle") == "solid"


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
async def test_the_page_does_not_jump(visit: Visit, sandbox: Sandbox, viewport: dict[str, int]) -> None:
    """No layout shift while it loads on a slow machine and while numbers and photos come in; how long it takes is
    printed."""
    order = sandbox.control.add_order([ImageSpec() for _ in range(60)])
    for path in ("/", f"/?order={order.order_id}"):
        visitor = await visit(viewport=viewport)
        await slow_down(visitor)
        await visitor.open(path)
        await visitor.counters()
        if "order" in path:
            await expect(visitor.page.locator("#photo-list li[data-picture]").first).to_be_visible()
        seen = await figures(visitor)
        print(seen)
        assert seen.shifts < 0.02


async def test_the_keyboard_alone_reaches_the_download(visit: Visit, sandbox: Sandbox) -> None:
    """Tab and space from the top of the page to the button, with the focus always to be seen."""
    order = sandbox.control.add_order([ImageSpec()], name="7 Mill Street")
    visitor = await visit()
    await visitor.open()
    page = visitor.page

    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to the download")).to_be_focused()
    await page.keyboard.press("Enter")
    await page.keyboard.press("Tab")
    await expect(page.get_by_label("Order id")).to_be_focused()
    await page.keyboard.type(order.order_id)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="7 Mill Street")).to_be_focused()

    for _ in range(10):
        await page.keyboard.press("Tab")
        outline = await page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid"
        if await page.evaluate("document.activeElement.id") == "go":
            break
    await expect(page.locator("#go")).to_be_focused()


async def test_recent_orders_come_first_without_a_jump(visit: Visit, sandbox: Sandbox) -> None:
    """Whoever was here before sees them right below the field, and how it works after them; nothing moves for that."""
    order = sandbox.control.add_order([ImageSpec()], name="7 Mill Street")
    visitor = await visit(viewport=PHONE)
    page = visitor.page
    await visitor.open(f"/?order={order.order_id}")
    await visitor.overview()
    await slow_down(visitor)
    await visitor.open()
    await visitor.counters()

    recent = await page.get_by_role("region", name="Recent orders").bounding_box()
    steps = await page.get_by_role("region", name="How it works").bounding_box()
    assert recent is not None
    assert steps is not None
    assert recent["y"] + recent["height"] <= steps["y"]
    assert (await figures(visitor)).shifts < 0.02
