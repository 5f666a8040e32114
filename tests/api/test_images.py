"""One image by itself: where it is found, what it is called, and what counts. No service runs."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from service.api import images
from service.api.caller import CALLER, Caller
from service.api.images import describe_image, image_path, planned_extension, send_image
from service.api.keys import IMAGES, METRICS, ORDERS, SETTINGS, SINGLE_IMAGES
from service.archives.options import ImageOptions
from service.archives.plan import Plan, PlannedImage
from service.images.blobs import Blob, BlobLost
from service.problems import InvalidParameter, NotConfigured, StoreFull
from service.settings import Settings
from service.upstream.models import Rendition
from tests.support.samples import ORDER

BLOB, AS_IT_IS = Blob("c" * 64, 5, 6, "jpg"), ImageOptions()


class Scene:
    """An image that is stored or not, and what was done for it."""

    def __init__(self, *, stored: bool = False, lost: int = 0, kept: bool = True) -> None:
        self.stored, self.lost, self.kept = stored, lost, kept
        self.done: list[str] = []
        self.headers: list[dict[str, str]] = []
        image = SimpleNamespace(image_id="a", name="kitchen.cr2", is_original=False)
        self.planned = SimpleNamespace(images=[image], rendition=lambda _: Rendition(format="png"))

    def is_kept(self, order_id: str) -> bool:
        return self.kept

    async def get(self, order_id: str) -> None:
        self.done.append("order")

    async def plan(self, *_: object) -> Any:
        return self.planned

    async def find(self, plan: object) -> Blob | None:
        return BLOB if self.stored else None

    async def fetch(self, plan: object, caller: str) -> Blob:
        self.done.append(f"fetched for {caller}")
        self.stored = True
        return BLOB

    async def count(self, request: web.Request, apart: str = "") -> None:
        self.done.append(f"counted {apart}".strip())

    async def deliver(self, request: web.Request, blob: Blob, headers: dict[str, str], *_: object) -> web.Response:
        self.headers.append(headers)
        if self.lost:
            self.lost -= 1
            self.stored = False
            raise BlobLost(blob.digest)
        self.done.append("sent")
        return web.Response()

    def asked(self, **given: Any) -> web.Request:
        app = web.Application()
        app[SETTINGS] = Settings(_env_file=None, **{"autoenhance_api_key": "key", **given})
        app[ORDERS] = app[SINGLE_IMAGES] = app[IMAGES] = app[METRICS] = cast(Any, self)
        transport = SimpleNamespace(get_extra_info=lambda *_: ("192.0.2.7", 9))
        request = make_mocked_request("GET", "/", app=app, transport=transport)
        request[CALLER] = Caller()
        return request


async def done(monkeypatch: pytest.MonkeyPatch, scene: Scene, options: ImageOptions = AS_IT_IS) -> list[str]:
    """What is done for an image that is asked for."""
    monkeypatch.setattr(images, "count", scene.count)
    monkeypatch.setattr(images, "deliver_image", scene.deliver)
    await send_image(scene.asked(), ORDER, "a", options)
    return scene.done


FETCHED = ["counted", "fetched for address:192.0.2.7"]


@pytest.mark.parametrize(
    ("stored", "kept", "lost", "expected"),
    [
        (True, True, 0, ["order", "sent"]),
        (True, False, 0, ["counted orders", "order", "sent"]),
        (False, True, 0, ["order", *FETCHED, "sent"]),
        (False, False, 0, ["counted orders", "order", *FETCHED, "sent"]),
        (True, True, 1, ["order", *FETCHED, "sent"]),
    ],
)
async def test_what_asks_autoenhance_is_counted(
    monkeypatch: pytest.MonkeyPatch, stored: bool, kept: bool, lost: int, expected: list[str]
) -> None:
    """The order's document and the image, each apart; what is here is free. One that was just lost is fetched anew."""
    assert await done(monkeypatch, Scene(stored=stored, kept=kept, lost=lost)) == expected


async def test_an_image_that_is_lost_again_and_again_finds_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not fetched for ever."""
    scene = Scene(lost=9)

    with pytest.raises(StoreFull):
        await done(monkeypatch, scene)

    assert scene.done == ["order", *FETCHED, *FETCHED]


async def test_looking_at_an_image_fetches_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is told is what it would be; of one that is here, what it is."""
    for stored, name in ((False, "kitchen.png"), (True, "kitchen.jpg")):
        scene = Scene(stored=stored)
        monkeypatch.setattr(images, "count", scene.count)
        monkeypatch.setattr(images, "deliver_image", scene.deliver)

        answer = await describe_image(scene.asked(), ORDER, "a", AS_IT_IS)

        headers = scene.headers[0] if stored else answer.headers
        assert scene.done == ["order", *(["sent"] if stored else [])]
        assert name in headers["Content-Disposition"]


@pytest.mark.parametrize(("download", "kind"), [(False, "inline"), (True, "attachment")])
async def test_an_image_is_shown_unless_it_is_to_be_saved(
    monkeypatch: pytest.MonkeyPatch, download: bool, kind: str
) -> None:
    """By the name that it has in the order."""
    scene = Scene(stored=True)
    await done(monkeypatch, scene, ImageOptions(download=download))

    assert scene.headers[0]["Content-Disposition"].startswith(kind)
    assert 'filename="kitchen.jpg"' in scene.headers[0]["Content-Disposition"]


async def test_what_cannot_be_asked_for_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a key of the account, or in a format that its version does not have."""
    scene = Scene(kept=False)
    monkeypatch.setattr(images, "count", scene.count)

    with pytest.raises(NotConfigured):
        await send_image(scene.asked(autoenhance_api_key=""), ORDER, "a", AS_IT_IS)
    with pytest.raises(InvalidParameter):
        await send_image(scene.asked(), ORDER, "a", ImageOptions(format="avif"))

    assert scene.done == []


@pytest.mark.parametrize(
    ("image_id", "rendition", "rest"),
    [
        ("a", Rendition(), "a"),
        ("a/b?", Rendition(), "a%2Fb%3F"),
        ("a", Rendition(format="webp", quality=80), "a?format=webp&quality=80"),
        ("a", Rendition(preview=False, dev_mode=True), "a?preview=false&dev_mode=true"),
        ("a", Rendition(max_width=480, scale=0.5), "a?max_width=480&scale=0.5"),
    ],
)
def test_where_an_image_is_found(image_id: str, rendition: Rendition, rest: str) -> None:
    """By what differs from the defaults, as a query is written."""
    assert image_path(ORDER, image_id, rendition) == f"/v1/orders/{ORDER}/images/{rest}"


@pytest.mark.parametrize(
    ("name", "is_original", "extension"),
    [("a.jpg", False, "webp"), ("a.cr2", False, "webp"), ("a.cr2", True, "tif"), ("a.jpg", True, "webp")],
)
def test_what_an_image_will_be(name: str, is_original: bool, extension: str) -> None:
    """What is asked for; a raw photo as it was uploaded is what its name tells."""
    plan = cast(Plan, SimpleNamespace(rendition=lambda _: Rendition(format="webp")))

    assert planned_extension(plan, cast(PlannedImage, SimpleNamespace(name=name, is_original=is_original))) == extension
