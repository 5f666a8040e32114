"""Rendition photos: formats, quality, widths, watermark. Needs the extra `sandbox`."""

import io
from pathlib import Path
from typing import Any

import pytest

from service.sandbox import ImageSpec, Rendition, rendering
from service.sandbox.content import JXL_PICTURE, ImageFile
from service.sandbox.rendering import render

from .conftest import Answer, Caller, StartSandbox

Image: Any = pytest.importorskip("PIL.Image")

WIDTH, HEIGHT = 400, 300


@pytest.fixture
async def caller(start: StartSandbox, tmp_path: Path) -> Caller:
    """A caller of a sandbox with one photo, a dull gradient, and previews of 100 pixels."""
    row = bytes(channel for x in range(WIDTH) for channel in (60 + x * 100 // WIDTH, 90, 110))
    Image.frombytes("RGB", (WIDTH, HEIGHT), row * HEIGHT).save(tmp_path / "kitchen.jpg", quality=90)
    return await start(photos=tmp_path, preview_width=100)


async def picture(caller: Caller, query: str, route: str = "enhanced") -> tuple[Any, Answer]:
    """The decoded picture of a download, and the answer it came in."""
    order = caller.control.add_order([ImageSpec(photo="kitchen.jpg")])
    path = f"/images/{order.images[0].image_id}/{route}?{query}"
    answer = await caller.fetch(path, headers={"x-api-version": "2026-10-01"})
    opened = Image.open(io.BytesIO(answer.body))
    opened.load()
    return opened, answer


@pytest.mark.parametrize("fmt", ["jpeg", "png", "webp", "avif"])
async def test_every_format_is_really_rendered(caller: Caller, fmt: str) -> None:
    """The bytes decode as the format asked for, under its media type, at full size."""
    opened, answer = await picture(caller, f"preview=false&format={fmt}")

    assert (opened.format.lower(), opened.size) == (fmt, (WIDTH, HEIGHT))
    assert answer.content_type == f"image/{fmt}"
    assert answer.headers["Content-Length"] == str(len(answer.body))


async def test_one_small_picture_stands_for_all_in_jpeg_xl(caller: Caller) -> None:
    """Nothing here can encode it."""
    image_id = caller.control.add_order([ImageSpec(photo="kitchen.jpg")]).images[0].image_id

    answer = await caller.fetch(f"/images/{image_id}/enhanced?format=jxl", headers={"x-api-version": "2026-10-01"})

    assert (answer.content_type, answer.body) == ("image/jxl", JXL_PICTURE)


@pytest.mark.parametrize(
    ("query", "width"),
    [
        ("preview=true", 100),
        ("preview=false", 400),
        ("preview=false&scale=0.5", 200),
        ("preview=false&max_width=150", 150),
        ("preview=false&max_width=9000", 400),
        ("preview=true&scale=0.1", 40),
        ("preview=false&scale=0", 1),
        ("preview=false&scale=0.5&max_width=300", 200),
    ],
)
async def test_the_narrowest_limit_decides(caller: Caller, query: str, width: int) -> None:
    """Preview, scale and maximal width shrink, never enlarge, and keep the proportions."""
    opened, _ = await picture(caller, query)

    assert opened.width == width
    assert abs(opened.height - width * HEIGHT / WIDTH) <= 1


async def test_quality_changes_the_size(caller: Caller) -> None:
    """Less quality, fewer bytes."""
    _, poor = await picture(caller, "preview=false&quality=5")
    _, good = await picture(caller, "preview=false&quality=90")

    assert len(poor.body) < len(good.body)


async def test_the_enhanced_picture_differs_from_the_original(caller: Caller) -> None:
    """Brighter and of more contrast, but the same scene."""
    enhanced, _ = await picture(caller, "preview=false&format=png")
    original, _ = await picture(caller, "preview=false&format=png", "original")

    def mean(opened: Any) -> float:
        levels: list[int] = opened.convert("L").histogram()
        return sum(level * count for level, count in enumerate(levels)) / sum(levels)

    assert mean(enhanced) > mean(original) + 3


async def test_a_watermark_is_visible(caller: Caller) -> None:
    """Text over the picture changes many pixels."""
    plain, _ = await picture(caller, "preview=false&format=png")
    marked, _ = await picture(caller, "preview=false&format=png&watermark=true")

    different = sum(a != b for a, b in zip(plain.convert("L").tobytes(), marked.convert("L").tobytes(), strict=True))
    assert different > WIDTH * HEIGHT // 100


async def test_an_uploaded_photo_is_rendered(caller: Caller) -> None:
    """What came in by PUT goes out enhanced."""
    out = io.BytesIO()
    Image.new("RGB", (300, 200), (120, 100, 80)).save(out, "PNG")
    caller.control.configure(image_delay=0)
    image = await caller.json("POST", "/images/", json={"image_name": "a.png"})
    await caller.put(image["upload_url"], out.getvalue())

    answer = await caller.fetch(f"/images/{image['image_id']}/enhanced?preview=true&format=webp")

    assert Image.open(io.BytesIO(answer.body)).size == (100, 67)


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("", ("PNG", (300, 200))),
        ("preview=false&format=png", ("PNG", (300, 200))),
        ("preview=true", ("PNG", (100, 67))),
        ("format=webp", ("WEBP", (300, 200))),
        ("max_width=30", ("PNG", (30, 20))),
    ],
)
async def test_an_original_is_changed_only_as_asked(
    caller: Caller, query: str, shown: tuple[str, tuple[int, int]]
) -> None:
    """In the upload's own format unless another is asked for; byte for byte when nothing is."""
    out = io.BytesIO()
    Image.new("RGB", (300, 200), (120, 100, 80)).save(out, "PNG")
    image = await caller.json("POST", "/images/", json={"image_name": "a.png"})
    await caller.put(image["upload_url"], out.getvalue())

    answer = await caller.fetch(f"/images/{image['image_id']}/original?{query}")

    opened = Image.open(io.BytesIO(answer.body))
    assert (opened.format, opened.size) == shown
    assert (answer.body == out.getvalue()) == (shown == ("PNG", (300, 200)))


async def test_a_rendition_is_made_once(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second request is served from memory."""
    made: list[Rendition] = []

    def counted(source: ImageFile, rendition: Rendition, preview_width: int) -> bytes | None:
        made.append(rendition)
        return render(source, rendition, preview_width)

    monkeypatch.setattr(rendering, "render", counted)
    image_id = caller.control.add_order([ImageSpec(photo="kitchen.jpg")]).images[0].image_id

    bodies = {(await caller.fetch(f"/images/{image_id}/enhanced")).body for _ in range(3)}

    assert len(bodies) == 1
    assert len(made) == 1
