"""Downloads: from the API over the asset server to the bytes in the storage."""

from typing import Any

import pytest
from yarl import URL

from service.sandbox import ImageSpec, Rendition

from .conftest import Caller, StartSandbox


def add_image(caller: Caller, **spec: Any) -> str:
    return caller.control.add_order([ImageSpec(**spec)]).images[0].image_id


async def hops(caller: Caller, path: str) -> list[URL]:
    """The addresses a download passes through."""
    url = URL(f"{caller.sandbox.api_base}{path}")
    headers, seen = {"x-api-key": "sandbox-key"}, [url]
    while True:
        async with caller.session.get(url, headers=headers, allow_redirects=False) as answer:
            if answer.status != 302:
                assert answer.status == 200
                return seen
            seen.append(URL(answer.headers["Location"]))
            url, headers = url.join(seen[-1]), {}


async def test_a_download_is_redirected_twice_to_other_hosts(start: StartSandbox) -> None:
    """API, asset server, storage: three addresses, absolute, none of them the API's host."""
    caller = await start(storage_host="127.0.0.1")
    image_id = add_image(caller)

    api, asset, storage = await hops(caller, f"/images/{image_id}/enhanced?preview=true")

    assert [url.host for url in (api, asset, storage)] == ["127.0.0.1", "localhost", "127.0.0.1"]
    assert api.port != asset.port == storage.port


async def test_the_second_redirect_may_be_relative(start: StartSandbox) -> None:
    """With `relative_redirect` the storage's address has no host."""
    caller = await start(relative_redirect=True)
    image_id = add_image(caller)

    _, _, storage = await hops(caller, f"/images/{image_id}/enhanced")

    assert not storage.absolute


async def test_an_unfollowed_redirect_is_a_web_page(caller: Caller) -> None:
    """As Flask does it: a small page with the address."""
    image_id = add_image(caller)

    answer = await caller.call("GET", f"/images/{image_id}/enhanced")

    assert (answer.status, answer.content_type) == (302, "text/html")
    assert 'href="http://localhost' in answer.text


@pytest.mark.parametrize("leaks", [False, True])
async def test_a_key_that_leaves_the_api_is_noticed(caller: Caller, *, leaks: bool) -> None:
    """The counter tells whether asset server or storage ever saw an API key."""
    image_id = add_image(caller)
    url = f"{caller.sandbox.api_base}/images/{image_id}/enhanced"

    if leaks:  # aiohttp's own redirects carry the header along
        async with caller.session.get(url, headers={"x-api-key": "sandbox-key"}) as answer:
            await answer.read()
    else:
        await caller.fetch(f"/images/{image_id}/enhanced")

    assert caller.control.counters.key_leaks == (2 if leaks else 0)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("quality=0", "quality"),
        ("quality=91", "quality"),
        ("quality=high", "quality"),
        ("format=jpg", "format"),
        ("max_width=0", "max_width"),
        ("scale=1.01", "scale"),
        ("scale=-0.1", "scale"),
        ("scale=nan", "scale"),
        ("preview=True", "preview"),
        ("watermark=1", "watermark"),
        ("dpi=71", "dpi"),
        ("size=huge", "size"),
    ],
)
@pytest.mark.parametrize("route", ["enhanced", "original"])
async def test_a_wrong_download_query_is_422(caller: Caller, route: str, query: str, field: str) -> None:
    """The field is named, and nothing is charged."""
    image_id = add_image(caller)

    answer = await caller.call(
        "GET", f"/images/{image_id}/{route}?preview=false&{query}".replace("preview=false&preview", "preview")
    )

    assert answer.status == 422
    assert list(answer.json()["detail"]["query"]) == [field]
    assert caller.control.counters.credits_spent == 0


@pytest.mark.parametrize("query", ["quality=1", "quality=90", "max_width=1", "scale=0", "scale=1.0"])
async def test_the_edges_of_a_query_are_allowed(caller: Caller, query: str) -> None:
    """Both ends of every range count."""
    image_id = add_image(caller)

    assert (await caller.call("GET", f"/images/{image_id}/enhanced?{query}")).status == 302


@pytest.mark.parametrize("route", ["enhanced", "original", "preview"])
@pytest.mark.parametrize("fmt", ["avif", "jxl"])
async def test_newer_formats_need_a_newer_api_version(start: StartSandbox, fmt: str, route: str) -> None:
    """422 at an older `x-api-version`, also where that is the account's own; the date is a setting."""
    caller = await start(more_formats_since="2026-02-01")
    path = f"/images/{add_image(caller)}/{route}?format={fmt}"

    answers = [
        await caller.call("GET", path),
        await caller.call("GET", path, headers={"x-api-version": "2026-01-31"}),
        await caller.call("GET", path, headers={"x-api-version": "2026-02-01"}),
    ]

    assert [answer.status for answer in answers] == [422, 422, 302]
    assert answers[0].json()["detail"]["query"] == {"format": ["Must be one of: jpeg, png, webp."]}


@pytest.mark.parametrize("code", [202, 404, 422, 500])
@pytest.mark.parametrize("status", ["waiting", "processing"])
async def test_an_early_download_gets_the_configured_answer(start: StartSandbox, status: str, code: int) -> None:
    """Nobody documents what the real service says."""
    caller = await start(not_ready=code)
    image_id = add_image(caller, status=status)

    answer = await caller.call("GET", f"/images/{image_id}/enhanced?preview=false")

    assert answer.status == code
    assert caller.control.counters.credits_spent == 0


@pytest.mark.parametrize("status", ["error", "failed", "expired"])
async def test_a_failed_image_cannot_be_downloaded(caller: Caller, status: str) -> None:
    """404, as an image that never was."""
    image_id = add_image(caller, status=status)

    assert (await caller.call("GET", f"/images/{image_id}/enhanced")).status == 404


async def test_an_original_is_there_before_the_enhanced_one(caller: Caller) -> None:
    """As soon as it was uploaded, not before."""
    uploaded, waiting = add_image(caller, status="processing"), add_image(caller, status="waiting")

    assert (await caller.fetch(f"/images/{uploaded}/original")).status == 200
    assert (await caller.call("GET", f"/images/{waiting}/original")).status == 404


@pytest.mark.parametrize(("route", "watermark"), [("preview", False), ("watermark", True)])
async def test_the_older_preview_routes_need_no_key(caller: Caller, route: str, *, watermark: bool) -> None:
    """They lead to a preview, with or without a watermark."""
    image_id = add_image(caller)

    answer = await caller.fetch(f"/images/{image_id}/{route}", key=None)

    assert answer.body == caller.control.expected(image_id, Rendition(watermark=watermark))


async def test_synthetic_images_are_the_same_every_time(caller: Caller) -> None:
    """The announced size, JPEG magic, other bytes for every image and rendition."""
    first, second = caller.control.add_order([ImageSpec(size=1_300_000), ImageSpec(size=1_300_000)]).images

    answers = [
        await caller.fetch(f"/images/{image_id}/enhanced?{query}")
        for image_id, query in [
            (first.image_id, "preview=true"),
            (first.image_id, "preview=true"),
            (first.image_id, "preview=false"),
            (second.image_id, "preview=true"),
        ]
    ]

    bodies = [answer.body for answer in answers]
    assert [len(body) for body in bodies] == [1_300_000] * 4
    assert bodies[0] == bodies[1] == caller.control.expected(first.image_id)
    assert len(set(bodies)) == 3
    assert all(body.startswith(b"\xff\xd8\xff") for body in bodies)
    assert answers[0].content_type == "image/jpeg"


@pytest.mark.parametrize(
    ("fmt", "magic", "media_type"),
    [
        ("png", b"\x89PNG\r\n\x1a\n", "image/png"),
        ("webp", b"RIFF", "image/webp"),
        ("avif", b"\x00\x00\x00\x1cftypavif", "image/avif"),
        ("jxl", b"\xff\x0a", "image/jxl"),
    ],
)
async def test_synthetic_images_look_like_their_format(caller: Caller, fmt: str, magic: bytes, media_type: str) -> None:
    """Magic bytes and media type agree."""
    image_id = add_image(caller, size=100)

    answer = await caller.fetch(f"/images/{image_id}/enhanced?format={fmt}", headers={"x-api-version": "2026-10-01"})

    assert answer.body.startswith(magic)
    assert answer.content_type == media_type
    assert len(answer.body) == 100
