"""Pictures of the page in each state, to be looked at: `python -m tests.e2e.page.screenshots FOLDER [STATE ...]`.

The state `readme` makes the two that stand in the README: `... screenshots screenshots readme`.
"""

import asyncio
import re
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.async_api import Browser, expect

from service.docs.library import ADDRESS, pages
from service.samples import PHOTOS
from service.sandbox import ImageSpec, Sandbox, SandboxConfig
from service.sandbox.state import Order
from service.telemetry.logs import configure_logs
from tests.e2e.page.conftest import ADMIN_TOKEN
from tests.support.client import Service
from tests.support.services import service_factory
from tests.support.visitor import PHONE, Visitor, launch

# Names of the photos of an order, and which of the sample photos each shows.
NAMES = {
    "front_elevation": "facade",
    "hallway": "living_room",
    "kitchen": "kitchen",
    "living_room": "living_room",
    "dining_room": "dining_room",
    "master_bedroom": "bedroom",
    "bedroom_2": "bedroom",
    "bathroom": "bathroom",
    "study": "dining_room",
    "garden": "terrace",
    "garage": "facade",
    "terrace": "terrace",
}
NOWHERE = "0b9f7c1e-4a57-4d6e-9d51-2f3c8a7be001"
# The tiles follow the count a moment later.
COUNTED = """() => {
  const count = parseInt(document.getElementById("running-line").textContent, 10);
  return count > 2 && document.querySelectorAll("#photo-list [data-state=done]").length === count;
}"""
DARK: dict[str, Any] = {"color_scheme": "dark"}
README: dict[str, Any] = {"viewport": {"width": 1280, "height": 820}}
TOUCH: dict[str, Any] = {"viewport": PHONE, "is_mobile": True, "has_touch": True}
LOOKS: dict[str, dict[str, Any]] = {"": {}, "-dark": DARK, "-phone": TOUCH}


@dataclass
class Studio:
    """A service with orders in every condition, and a browser."""

    browser: Browser
    sandbox: Sandbox
    site: Service
    folder: Path
    keyed: Service
    """One that wants a key."""

    @cached_property
    def sample(self) -> Order:
        """The order of the sample photos, of which there is one."""
        return self.sandbox.control.add_sample_order()

    def order(self, name: str, *odd: ImageSpec, rate: float | None = None) -> Order:
        """An order of twelve photos, sent at `rate` bytes per second; the last are `odd`."""
        shown = list(NAMES.items())[: len(NAMES) - len(odd)]
        plain = [ImageSpec(name=f"{one}.jpg", photo=f"{photo}.jpg", rate=rate) for one, photo in shown]
        return self.sandbox.control.add_order([*plain, *odd], name=name)

    async def pictures(self, visitor: Visitor) -> None:
        """Wait until the photos in sight are there."""
        for photo in (await visitor.page.locator("#photo-list li:has(img)").all())[:10]:
            await photo.scroll_into_view_if_needed()
            await expect(photo).to_have_attribute("data-picture", re.compile("here|none"))
        await visitor.page.evaluate("scrollTo(0, 0)")

    async def visit(self, path: str = "/", **options: Any) -> Visitor:
        """A new tab at the page."""
        visitor = await Visitor.arrive(self.browser, self.site.url, **options)
        await visitor.open(path)
        await visitor.counters()
        if "order=" in path and NOWHERE not in path:
            await visitor.overview()
            await self.pictures(visitor)
        return visitor

    async def shoot(self, visitor: Visitor, name: str, *, whole: bool = True) -> None:
        """Take the picture."""
        await visitor.page.mouse.move(0, 0)
        await visitor.page.screenshot(path=self.folder / f"{name}.png", full_page=whole, animations="disabled")
        await visitor.context.close()


async def empty(studio: Studio) -> None:
    """Nothing looked up yet, light, dark, and on a phone."""
    for look, options in LOOKS.items():
        await studio.shoot(await studio.visit(**options), f"empty{look}")


async def gallery(studio: Studio) -> None:
    """The sample photos as a grid, one at a time, and what is shared of them."""
    for look, options in LOOKS.items():
        visitor = await studio.visit(f"/?order={studio.sample.order_id}", **options)
        page = visitor.page
        await page.screenshot(path=studio.folder / f"gallery{look}.png")
        await page.locator(".photo-open").first.click()
        await expect(page.locator(".lightbox img")).to_have_js_property("naturalWidth", 1024)
        await page.screenshot(path=studio.folder / f"lightbox{look}.png")
        await page.get_by_role("button", name="Before", exact=True).click()
        await expect(page.locator(".lightbox-badge")).to_be_visible()
        await page.screenshot(path=studio.folder / f"before{look}.png", animations="disabled")
        await page.keyboard.press("Escape")
        await page.get_by_role("button", name="Share").click()
        await page.get_by_role("button", name="Make a link").click()
        address = await page.locator(".share-address").first.get_attribute("href")
        await expect(page.get_by_role("button", name="Make another link")).to_be_enabled()
        await page.screenshot(path=studio.folder / f"share{look}.png", animations="disabled")
        await page.goto(str(address))
        for picture in await page.locator(".gallery img").all():
            await picture.scroll_into_view_if_needed()
            await expect(picture).to_have_js_property("naturalWidth", 480)
        await page.evaluate("scrollTo(0, 0)")
        await studio.shoot(visitor, f"delivery{look}", whole=False)


async def overview(studio: Studio) -> None:
    """An order with odd photos, a question, and what full size costs."""
    odd = [ImageSpec(name="garage.jpg", status="processing"), ImageSpec(name="terrace.jpg", status="error")]
    path = f"/?order={studio.order('12 Harbour Lane', *odd).order_id}"
    for look, options in LOOKS.items():
        visitor = await studio.visit(path, **options)
        await visitor.page.get_by_role("radio", name="Full size").check()
        await visitor.page.get_by_text("The same from a script").click()
        await visitor.page.get_by_label("A question").fill("Why are photos missing from my ZIP?")
        await visitor.page.get_by_role("button", name="Ask").click()
        await expect(visitor.page.locator("#answer[aria-busy=false]")).to_be_visible()
        await studio.shoot(visitor, f"overview{look}")


async def choices(studio: Studio) -> None:
    """Every option."""
    order = studio.order("9 Quay Street")
    for look, options in LOOKS.items():
        visitor = await studio.visit(f"/?order={order.order_id}", **options)
        await visitor.page.get_by_role("radio", name="Print, listing, web").check()
        await visitor.unfold()
        await expect(visitor.page.locator("#sizes-example")).to_contain_text("print/")
        await studio.shoot(visitor, f"choices{look}", whole=False)


async def widths(studio: Studio) -> None:
    """On a laptop, on a large screen, and with everything at twice its size."""
    path = f"/?order={studio.order('12 Harbour Lane').order_id}"
    for look, (width, height) in {"laptop": (1366, 768), "large": (1920, 1080), "zoomed": (683, 384)}.items():
        await studio.shoot(await studio.visit(path, viewport={"width": width, "height": height}), look, whole=False)
        visitor = await studio.visit(viewport={"width": width, "height": height})
        await studio.shoot(visitor, f"empty-{look}", whole=False)


async def together(studio: Studio) -> None:
    """Orders looked at lately: two of them are ticked, and saved as one ZIP."""
    orders = [studio.order(name) for name in ("7 Mill Street", "12 Harbour Lane", "9 Quay Street")]
    for look, options in LOOKS.items():
        visitor = await studio.visit(f"/?order={orders[0].order_id}", **options)
        page = visitor.page
        for order in orders[1:]:
            await visitor.open(f"/?order={order.order_id}")
            await visitor.overview()
        await visitor.open()
        await visitor.counters()
        for name in ("7 Mill Street", "12 Harbour Lane"):
            await page.get_by_role("checkbox", name=name).check()
        await page.screenshot(path=studio.folder / f"together{look}.png", full_page=True)
        await page.get_by_role("button", name="Download 2 orders as one ZIP").click()
        await expect(page.locator("#together-line")).to_contain_text("Saved")
        await studio.shoot(visitor, f"together-saved{look}")


async def without_scripts(studio: Studio) -> None:
    """The page, and the form to sign in by."""
    order = studio.order("12 Harbour Lane")
    visitor = await Visitor.arrive(studio.browser, studio.site.url, java_script_enabled=False)
    await visitor.open()
    await studio.shoot(visitor, "noscript")
    visitor = await Visitor.arrive(studio.browser, studio.keyed.url, java_script_enabled=False)
    await visitor.open(f"/?order={order.order_id}&download=previews&wrong=key")
    await studio.shoot(visitor, "sign-in")
    visitor = await Visitor.arrive(studio.browser, studio.keyed.url)
    await visitor.open(f"/?order={order.order_id}")
    await expect(visitor.page.get_by_role("dialog")).to_be_visible()
    await studio.shoot(visitor, "key", whole=False)


async def downloading(studio: Studio) -> None:
    """Half-way, and at the end."""
    for look, options in LOOKS.items():
        order = studio.order("7 Mill Street", rate=40_000)
        visitor = await studio.visit(f"/?order={order.order_id}", **options)
        await visitor.page.locator("#go").click()
        await expect(visitor.page.locator("#running-line")).to_contain_text("left")
        await visitor.page.wait_for_function(COUNTED)
        await visitor.page.screenshot(
            path=studio.folder / f"downloading{look}.png", full_page=True, animations="disabled"
        )
        await expect(visitor.page.locator("#outcome")).to_be_visible(timeout=60_000)
        await studio.shoot(visitor, f"done{look}")


async def partial(studio: Studio) -> None:
    """Some photos missing, and none at all."""
    order = studio.order("3 Orchard Close")
    for at, status in ((3, 404), (7, 500)):
        studio.sandbox.control.add_fault("status", image_id=order.images[at].image_id, status=status, times=None)
    for look, options in LOOKS.items():
        visitor = await studio.visit(f"/?order={order.order_id}", **options)
        await visitor.page.locator("#go").click()
        await expect(visitor.page.locator("#outcome")).to_be_visible()
        await studio.shoot(visitor, f"partial{look}")


async def left_out(studio: Studio) -> None:
    """Photos that cannot be had: some of an order, all of one, and how a client sees the first."""
    odd = [ImageSpec(name="garage.jpg", status="processing"), ImageSpec(name="terrace.jpg", status="error")]
    some, none = studio.order("12 Harbour Lane", *odd), studio.sandbox.control.add_order(odd[1:], name="5 Church Row")
    path = f"/v1/orders/{some.order_id}/images"
    async with studio.site.session.post(
        f"{studio.site.url}/v1/links", json={"path": path, "expires_in": 86_400}
    ) as response:
        shared = (await response.json())["page"]
    for look, options in LOOKS.items():
        visitor = await studio.visit(f"/?order={some.order_id}", **options)
        await visitor.page.get_by_role("button", name="List of names").click()
        await visitor.page.get_by_role("button", name="Show which").click()
        await studio.shoot(visitor, f"left-out{look}", whole=False)
        await studio.shoot(await studio.visit(f"/?order={none.order_id}", **options), f"hopeless{look}", whole=False)
        visitor = await Visitor.arrive(studio.browser, studio.site.url, **options)
        await visitor.open(shared)
        await visitor.page.locator(".gallery li").last.scroll_into_view_if_needed()
        await expect(visitor.page.locator("#missing")).to_be_visible()
        await studio.shoot(visitor, f"delivery-missing{look}", whole=False)


async def errors(studio: Studio) -> None:
    """An order that does not exist, and a download of which nothing came."""
    lost = studio.order("5 Church Row")
    for image in lost.images:
        studio.sandbox.control.add_fault("status", image_id=image.image_id, status=404, times=None)
    for look, options in LOOKS.items():
        visitor = await studio.visit(f"/?order={NOWHERE}", **options)
        await expect(visitor.page.locator("#order-problem")).to_be_visible()
        await studio.shoot(visitor, f"error{look}")
        visitor = await studio.visit(f"/?order={lost.order_id}", **options)
        await visitor.page.locator("#go").click()
        await expect(visitor.page.locator("#outcome")).to_be_visible()
        await studio.shoot(visitor, f"nothing{look}")


async def uploads(studio: Studio) -> None:
    """An administrator: with files to upload, half-way, with one refused, and with the errors of late."""
    photo = {"mimeType": "image/jpeg", "buffer": (PHOTOS / "kitchen.jpg").read_bytes() + bytes(3_400_000)}
    files = [{"name": f"{name}.jpg", **photo} for name in list(NAMES)[:4]]
    for look, options in LOOKS.items():
        visitor = await studio.visit(**options)
        page = visitor.page
        await page.get_by_label("Administrator token").fill("wrong")
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.locator("#signin-problem")).not_to_be_empty()
        await page.screenshot(path=studio.folder / f"signin{look}.png", full_page=True)
        await page.get_by_label("Administrator token").fill(ADMIN_TOKEN)
        await page.get_by_role("button", name="Sign in").click()
        await page.get_by_label("Choose photos").set_input_files(files)  # type: ignore[arg-type]
        await page.screenshot(path=studio.folder / f"upload{look}.png", full_page=True)
        slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 2_500_000}
        network = await visitor.context.new_cdp_session(page)
        await network.send("Network.emulateNetworkConditions", slow)
        await page.locator("#upload-start").click()
        await expect(page.locator(".upload-state").nth(1)).to_contain_text("%")
        await expect(page.locator(".upload-state").first).to_have_text("Sent")
        await page.screenshot(path=studio.folder / f"uploading{look}.png", full_page=True, animations="disabled")
        await network.send("Network.emulateNetworkConditions", slow | {"uploadThroughput": -1})
        await visitor.overview()
        await page.get_by_text("Recent errors").click()
        await studio.shoot(visitor, f"uploaded{look}")


async def docs(studio: Studio) -> None:
    """The guide and the reference: the top of each page, as it is first seen."""
    for path in ("/docs", *(f"{ADDRESS}/{slug}" for slug in pages())):
        for look, options in LOOKS.items():
            visitor = await Visitor.arrive(studio.browser, studio.site.url, **options)
            await visitor.open(path)
            if path == "/docs":
                await expect(visitor.page.locator(".opblock").last).to_be_attached()
            await studio.shoot(visitor, f"{path.strip('/').replace('/', '-')}{look}", whole=False)


async def readme(studio: Studio) -> None:
    """The two of the README, as it shows them: the sample photos of an order, and as a client sees them."""
    order = studio.sample
    visitor = await studio.visit(f"/?order={order.order_id}", **README)
    page = visitor.page
    await expect(page.locator("#photo-list li[data-picture=here]")).to_have_count(len(order.images))
    await page.get_by_role("button", name="Share").click()
    await page.get_by_role("button", name="Make a link").click()
    address = str(await page.locator(".share-address").first.get_attribute("href"))
    await page.get_by_role("button", name="Close").click()
    await page.get_by_role("radio", name="Full size").check()
    await page.locator("#order-title").focus()
    await studio.shoot(visitor, "page-order", whole=False)

    visitor = await studio.visit(**README, **DARK)
    await visitor.page.goto(address)
    pictures = visitor.page.locator(".gallery img")
    await pictures.last.scroll_into_view_if_needed()
    for picture in await pictures.all():
        await expect(picture).to_have_js_property("naturalWidth", 480)
    await studio.shoot(visitor, "page-client", whole=False)

    for shot in (studio.folder / "page-order.png", studio.folder / "page-client.png"):
        with Image.open(shot) as image:
            image.convert("RGB").save(shot.with_suffix(".webp"), quality=86, method=6)
        shot.unlink()


STATES: tuple[Callable[[Studio], Awaitable[None]], ...] = (
    empty,
    gallery,
    overview,
    choices,
    widths,
    together,
    without_scripts,
    downloading,
    partial,
    left_out,
    errors,
    uploads,
    docs,
    readme,
)


async def main(folder: Path, wanted: list[str]) -> None:
    """Take the pictures of the states that are named, or of all."""
    with tempfile.TemporaryDirectory() as data_dir:
        async with (
            Sandbox(SandboxConfig()) as sandbox,
            service_factory(sandbox.api_base, Path(data_dir)) as start,
            launch() as browser,
        ):
            # Room for all of them: what a job made is kept, and the tests' own store is small.
            room = {"store_max_bytes": 1 << 30, "brand_name": "Lumen Studio"}
            site = await start(autoenhance_api_key=sandbox.api_key, admin_token=ADMIN_TOKEN, **room)
            keyed = await start(autoenhance_api_key=sandbox.api_key, service_api_key="key-of-a-caller")
            studio = Studio(browser, sandbox, site, folder, keyed)
            for state in STATES:
                if not wanted or state.__name__ in wanted:
                    await state(studio)


if __name__ == "__main__":
    configure_logs("console", "ERROR")
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    asyncio.run(main(target, sys.argv[2:]))
