"""What a share link opens, for how long, and on whose account. No service runs."""

import time
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from service.api.caller import Caller
from service.api.delivery_page import SHARED, _are_previews, _read_download, _read_image, maker_of
from service.api.keys import ORDERS, PRESETS, SETTINGS
from service.api.share_links import SHARE_LINKS, SharedImage, ShareLink, link_id_of, new_token
from service.archives.renditions import read_presets
from service.problems import (
    UPSTREAM_DOWN,
    ImageNotFound,
    InvalidParameter,
    LinkNotFound,
    OrderEmpty,
    OrderNotFound,
    PrefetchRefused,
    Problem,
)
from service.settings import Settings
from tests.support.samples import ORDER

TOKEN = new_token()


def link(**given: Any) -> ShareLink:
    """To two photos of an order, as they can be had for free."""
    values: dict[str, Any] = {
        "link_id": link_id_of(TOKEN) or "",
        "token": TOKEN,
        "maker": "caller:one",
        "order_id": ORDER,
        "order_name": None,
        "query": "",
        "images": (SharedImage(image_id="a", name="a.jpg"), SharedImage(image_id="b", name="b.jpg")),
        "created": 0.0,
        "expires": time.time() + 60,
    }
    return ShareLink(**values | given)


def asked(
    shared: ShareLink | None, query: str = "", image_id: str = "a", *, order: Any = ("a", "b", "c"), **headers: str
) -> web.Request:
    """A request that came by the link. `order`: the images that it has now, or why they cannot be told."""
    app = web.Application()
    app[PRESETS] = read_presets({})

    async def get(order_id: str) -> Any:
        assert order_id == ORDER
        if isinstance(order, Problem):
            raise order
        return SimpleNamespace(images=[SimpleNamespace(image_id=each) for each in order])

    app[ORDERS] = cast(Any, SimpleNamespace(get=get))
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    request = make_mocked_request("GET", f"/?{query}", headers=given, app=app, match_info={"image_id": image_id})
    if shared is not None:
        request[SHARED] = shared
    return request


KEYS = {"service_api_key": "one:key-of-caller-one-1,two:key-of-caller-two-2"}
WITH_TOKEN = {"admin_token": "token-of-the-administrator"}


@pytest.mark.parametrize(
    ("maker", "settings", "works"),
    [
        ("caller:one", KEYS, True),
        ("caller:three", KEYS, False),
        ("caller:one", {}, False),
        ("administrator", KEYS | WITH_TOKEN, True),
        ("administrator", WITH_TOKEN, True),
        ("administrator", KEYS, False),
        ("", {}, True),
        ("", WITH_TOKEN, True),
        ("", KEYS, False),
    ],
)
async def test_a_link_works_while_its_maker_may_call(maker: str, settings: dict[str, Any], works: bool) -> None:
    """On the maker's account. One of a service without keys ends with the first key."""
    app, shared = web.Application(), link(maker=maker)
    app[SETTINGS] = Settings(_env_file=None, **settings)

    async def get(link_id: str) -> ShareLink | None:
        return shared if link_id == shared.link_id else None

    app[SHARE_LINKS] = cast(Any, SimpleNamespace(get=get))
    request = make_mocked_request("GET", f"/s/{TOKEN}/download", app=app)

    caller = await maker_of(request)

    assert (request.get(SHARED) is shared) is works
    assert (caller.key and caller.key.name, caller.by_link) == (
        ("one" if maker == "caller:one" else None, maker != "") if works else (None, False)
    )
    assert not caller.is_administrator


@pytest.mark.parametrize(
    "token", [new_token(), TOKEN[:-1], "", "..", "ä" * 32], ids=["another", "shorter", "empty", "folder", "letters"]
)
async def test_another_token_opens_nothing(token: str) -> None:
    """Also where a record is found for it: the token in the record is what counts."""
    app = web.Application()
    app[SETTINGS] = Settings(_env_file=None, service_api_key=cast(Any, KEYS["service_api_key"]))

    async def get(_: str) -> ShareLink:
        return link()

    app[SHARE_LINKS] = cast(Any, SimpleNamespace(get=get))
    request = make_mocked_request("GET", f"/s/{token}", app=app)

    assert await maker_of(request) == Caller()
    assert SHARED not in request


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (("a", "b", "c"), ("a", "b")),
        (("b", "c"), ("b",)),
        (("c",), OrderEmpty),
        ((), OrderEmpty),
        (OrderNotFound(), OrderNotFound),
        *((problem(), ("a", "b")) for problem in UPSTREAM_DOWN),
    ],
    ids=repr,
)
async def test_the_download_is_what_was_shared(order: Any, expected: Any) -> None:
    """As far as the order still has it, and never all that it has; while Autoenhance is down, what was there."""
    request = asked(link(query="quality=80"), order=order)
    if isinstance(expected, type):
        with pytest.raises(expected):
            await _read_download(request)
        return
    order_id, options = await _read_download(request)

    assert (order_id, options.image, options.quality) == (ORDER, expected, 80)


async def test_the_download_takes_no_options() -> None:
    """It is the maker's."""
    with pytest.raises(InvalidParameter):
        await _read_download(asked(link(), "quality=90"))


@pytest.mark.parametrize(
    ("shared", "query", "problem"),
    [
        ("", "", None),
        ("", "preview=true&max_width=480", None),
        ("", "download=true", None),
        ("", "preview=false", InvalidParameter),
        ("", "max_width=481", InvalidParameter),
        ("", "include=original", InvalidParameter),
        ("preview=false", "", None),
        ("preview=false", "preview=false", None),
        ("preview=false", "preview=true&max_width=480", None),
        ("preview=false", "preview=true", InvalidParameter),
        ("preview=false", "format=png", InvalidParameter),
    ],
)
def test_a_photo_opens_as_it_was_shared(shared: str, query: str, problem: type[Problem] | None) -> None:
    """Or as the page shows it."""
    request = asked(link(query=shared), query)
    if problem is not None:
        with pytest.raises(problem):
            _read_image(request)
        return
    order_id, image_id, options = _read_image(request)

    assert (order_id, image_id, options.download) == (ORDER, "a", "download" in query)
    assert options.preview is (shared == "" or "preview=true" in query)


def test_no_other_photo_opens() -> None:
    """Though the order has it."""
    with pytest.raises(ImageNotFound):
        _read_image(asked(link(), image_id="c"))


@pytest.mark.parametrize(
    ("query", "is_refused"),
    [
        ("", False),
        ("preview=false&dev_mode=true", False),
        ("preview=false", True),
        ("rendition=print,preview=false", True),
    ],
)
async def test_what_is_fetched_ahead_spends_nothing(query: str, is_refused: bool) -> None:
    """What is free may be, as the previews of any page are."""
    shared = link(query=query)
    ahead, download = asked(shared, Sec_Purpose="prefetch"), asked(shared, order=("a",), Sec_Purpose="prefetch")
    if is_refused:
        with pytest.raises(PrefetchRefused):
            _read_image(ahead)
        with pytest.raises(PrefetchRefused):
            await _read_download(download)
    else:
        assert _read_image(ahead)[1] == "a"
        assert (await _read_download(download))[1].image == ("a",)
    assert _read_image(asked(shared, "preview=true&max_width=480", Sec_Purpose="prefetch"))[2].max_width == 480
    assert _read_image(asked(shared))[1] == "a"
    assert _are_previews(shared) is (query == "")


async def test_without_a_link_there_is_nothing() -> None:
    """No photo, no download."""
    with pytest.raises(LinkNotFound):
        _read_image(asked(None))
    with pytest.raises(LinkNotFound):
        await _read_download(asked(None))
