"""Pictures of the page in each state, to be looked at: `python -m tests.e2e.page.screenshots FOLDER`."""

import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, expect

from service.sandbox import ImageSpec, Sandbox, SandboxConfig
from service.sandbox.state import Order
from service.telemetry.logs import configure_logs
from tests.e2e.client import Service
from tests.e2e.page.conftest import ADMIN_TOKEN
from tests.e2e.page.visitor import PHONE, Visitor, launch
from tests.e2e.services import service_factory

NAMES = (
    "front_elevation",
    "hallway",
    "kitchen",
    "living_room",
    "dining_room",
    "master_bedroom",
    "bedroom_2",
    "bathroom",
    "study",
    "garden",
    "garage",
    "terrace",
)
NOWHERE = "0b9f7c1e-4a57-4d6e-9d51-2f3c8a7be001"
DARK: dict[str, Any] = {"color_scheme": "dark"}
LOOKS: dict[str, dict[str, Any]] = {"": {}, "-dark": DARK, "-phone": {"viewport": PHONE}}


@dataclass
class Studio:
    """A service with orders in every condition, and a browser."""

    browser: Browser
    sandbox: Sandbox
    site: Service
    folder: Path

    def order(self, name: str, *odd: ImageSpec, size: int = 310_000, rate: float | None = None) -> Order:
        """An order of twelve photos of about `size` bytes, sent at `rate` bytes per second; the last are `odd`."""
        names = NAMES[: len(NAMES) - len(odd)]
        plain = [ImageSpec(name=f"{one}.jpg", size=size + size // 7 * at, rate=rate) for at, one in enumerate(names)]
        return self.sandbox.control.add_order([*plain, *odd], name=name)

    async def visit(self, path: str = "/", **options: Any) -> Visitor:
        """A new tab at the page."""
        visitor = await Visitor.arrive(self.browser, self.site.url, **options)
        await visitor.open(path)
        await visitor.counters()
        if "order=" in path and NOWHERE not in path:
            await visitor.overview()
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


async def overview(studio: Studio) -> None:
    """An order, a question, and what full size costs."""
    odd = [ImageSpec(name="garage.jpg", status="processing"), ImageSpec(name="terrace.jpg", status="error")]
    path = f"/?order={studio.order('12 Harbour Lane', *odd).order_id}"
    for look, options in LOOKS.items():
        visitor = await studio.visit(path, **options)
        await visitor.page.get_by_role("radio", name="Full size").check()
        await visitor.page.get_by_text("The same from a script").click()
        await visitor.page.get_by_label("A question").fill("Why was my ZIP partial?")
        await visitor.page.get_by_role("button", name="Ask").click()
        await expect(visitor.page.locator("#answer[aria-busy=false]")).to_be_visible()
        await studio.shoot(visitor, f"overview{look}")


async def downloading(studio: Studio) -> None:
    """Half-way, and at the end."""
    for look, options in LOOKS.items():
        order = studio.order("7 Mill Street", size=1_100_000, rate=800_000)
        visitor = await studio.visit(f"/?order={order.order_id}", **options)
        await visitor.page.locator("#go").click()
        await expect(visitor.page.locator("#running-line")).to_contain_text("left")
        await visitor.page.screenshot(path=studio.folder / f"downloading{look}.png", full_page=True)
        await expect(visitor.page.locator("#outcome")).to_be_visible(timeout=60_000)
        await studio.shoot(visitor, f"done{look}")


async def partial(studio: Studio) -> None:
    """Some photos missing, and none at all."""
    order = studio.order("3 Orchard Close")
    for at, status in ((3, 404), (7, 402)):
        studio.sandbox.control.add_fault("status", image_id=order.images[at].image_id, status=status, times=None)
    for look, options in LOOKS.items():
        visitor = await studio.visit(f"/?order={order.order_id}", **options)
        await visitor.page.locator("#go").click()
        await expect(visitor.page.locator("#outcome")).to_be_visible()
        await studio.shoot(visitor, f"partial{look}")


async def errors(studio: Studio) -> None:
    """An order that does not exist."""
    visitor = await studio.visit(f"/?order={NOWHERE}")
    await expect(visitor.page.locator("#order-problem")).to_be_visible()
    await studio.shoot(visitor, "error")


async def uploads(studio: Studio) -> None:
    """An administrator with files to upload."""
    visitor = await studio.visit()
    await visitor.page.get_by_label("Administrator token").fill(ADMIN_TOKEN)
    await visitor.page.get_by_role("button", name="Sign in").click()
    files = [{"name": f"{name}.jpg", "mimeType": "image/jpeg", "buffer": b"0" * 3_400_000} for name in NAMES[:4]]
    await visitor.page.get_by_label("Choose photos").set_input_files(files)  # type: ignore[arg-type]
    await studio.shoot(visitor, "upload")


STATES: tuple[Callable[[Studio], Awaitable[None]], ...] = (empty, overview, downloading, partial, errors, uploads)


async def main(folder: Path, wanted: list[str]) -> None:
    """Take the pictures of the states that are named, or of all."""
    with tempfile.TemporaryDirectory() as data_dir:
        async with (
            Sandbox(SandboxConfig()) as sandbox,
            service_factory(sandbox.api_base, Path(data_dir)) as start,
            launch() as browser,
        ):
            site = await start(autoenhance_api_key=sandbox.api_key, admin_token=ADMIN_TOKEN)
            for state in STATES:
                if not wanted or state.__name__ in wanted:
                    await state(Studio(browser, sandbox, site, folder))


if __name__ == "__main__":
    configure_logs("console", "WARNING")
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    asyncio.run(main(target, sys.argv[2:]))
