"""Turning a photo into one of its renditions, with Pillow (the extra `sandbox`), in a thread, once."""

import asyncio
import io
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from .content import (
    JXL_PICTURE,
    MEDIA_TYPES,
    Body,
    BytesBody,
    FileBody,
    ImageFile,
    Synthetic,
    SyntheticBody,
    media_type_of,
)
from .renditions import Rendition
from .state import Image, State

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

CACHE_BYTES = 256 * 1024 * 1024
PARALLEL_RENDERS = 2
ENCODER_OPTIONS: dict[str, dict[str, Any]] = {
    "jpeg": {"quality": 82},
    "png": {"compress_level": 2},
    "webp": {"quality": 80, "method": 2},
    "avif": {"quality": 65, "speed": 9},
}

Key = tuple[str, int, Rendition]


class Renderer:
    """Bodies of images; pictures made with Pillow are kept, the least recently used ones go first."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._made: OrderedDict[Key, BytesBody] = OrderedDict()
        self._making: dict[Key, asyncio.Task[Body]] = {}
        self._seen: set[Key] = set()
        self._slots = asyncio.Semaphore(PARALLEL_RENDERS)

    async def body(self, image: Image, rendition: Rendition) -> Body:
        """The bytes of a rendition; an original of which nothing is asked, or what Pillow cannot read, is the file."""
        source = image.source
        if source is None:
            raise LookupError(image.image_id)
        if isinstance(source, Synthetic):
            return synthetic_body(image, source.size, rendition)
        key = (image.image_id, image.version, rendition)
        if key in self._made:
            self._made.move_to_end(key)
            return self._made[key]
        if key not in self._making:
            task = asyncio.create_task(self._make(key, source))
            self._making[key] = task
            task.add_done_callback(lambda _: self._making.pop(key, None))
        return await asyncio.shield(self._making[key])

    def is_first(self, image: Image, rendition: Rendition) -> bool:
        """Whether this rendition was never asked for before; asking counts."""
        key = (image.image_id, image.version, rendition)
        first = key not in self._seen
        self._seen.add(key)
        return first

    async def stop(self) -> None:
        """Wait for renderings under way: threads cannot be cancelled."""
        await asyncio.gather(*self._making.values(), return_exceptions=True)

    async def _make(self, key: Key, source: ImageFile) -> Body:
        rendition = key[2]
        async with self._slots:
            rendered = await asyncio.to_thread(render, source, rendition, self._state.config.preview_width)
        if rendered is None:
            start = await asyncio.to_thread(_first_bytes, source)
            return FileBody(source, media_type_of(start))
        body = BytesBody(rendered, MEDIA_TYPES[rendition.format])
        self._made[key] = body
        while sum(made.size for made in self._made.values()) > CACHE_BYTES and len(self._made) > 1:
            self._made.popitem(last=False)
        return body


def synthetic_body(image: Image, size: int, rendition: Rendition) -> SyntheticBody:
    """The bytes of an image that is only a size: different for every image, version and rendition."""
    items = "&".join(f"{name}={value}" for name, value in rendition.query().items())
    return SyntheticBody(f"{image.image_id}/{image.version}/{rendition.kind}?{items}", size, rendition.format)


def render(source: ImageFile, rendition: Rendition, preview_width: int) -> bytes | None:
    """Render a file; None when it is wanted as it is, or cannot be read as a picture. Blocking."""
    if rendition == Rendition(kind="original", preview=False, format=source.format):
        return None
    try:
        from PIL import Image as pil  # noqa: N813 - an extra: only rendering needs it
        from PIL import ImageOps
    except ImportError:
        return None
    try:
        with pil.open(source.path) as opened:
            picture = ImageOps.exif_transpose(opened).convert("RGB")
    except (OSError, ValueError, SyntaxError):
        return None
    picture = _resize(picture, rendition, preview_width)
    if rendition.kind == "enhanced":
        picture = _enhance(picture)
    if rendition.watermark:
        picture = _watermark(picture)
    return _encode(picture, rendition)


def _resize(picture: "Picture", rendition: Rendition, preview_width: int) -> "Picture":
    width: float = picture.width
    if rendition.scale is not None:
        width *= rendition.scale
    if rendition.max_width is not None:
        width = min(width, rendition.max_width)
    if rendition.preview:
        width = min(width, preview_width)
    size = max(1, round(width)), max(1, round(picture.height * width / picture.width))
    return picture if size == picture.size else picture.resize(size)


def _enhance(picture: "Picture") -> "Picture":
    """A visible but mild lift: half of an auto-contrast, a little light, a little colour."""
    from PIL import Image, ImageEnhance, ImageOps

    picture = Image.blend(picture, ImageOps.autocontrast(picture, cutoff=1), 0.5)
    picture = ImageEnhance.Brightness(picture).enhance(1.08)
    return ImageEnhance.Color(picture).enhance(1.2)


def _watermark(picture: "Picture") -> "Picture":
    from PIL import Image, ImageDraw, ImageFont

    size = max(12, picture.width // 16)
    font = ImageFont.load_default(size)
    layer = Image.new("RGBA", picture.size)
    draw = ImageDraw.Draw(layer)
    for row, y in enumerate(range(size, picture.height, size * 4)):
        for x in range(-(row % 2) * size * 3, picture.width, size * 7):
            draw.text((x, y), "SANDBOX", fill=(255, 255, 255, 110), font=font)
    return Image.alpha_composite(picture.convert("RGBA"), layer).convert("RGB")


def _encode(picture: "Picture", rendition: Rendition) -> bytes:
    if rendition.format == "jxl":
        return JXL_PICTURE
    options = dict(ENCODER_OPTIONS[rendition.format])
    if rendition.quality is not None and "quality" in options:
        options["quality"] = rendition.quality
    out = io.BytesIO()
    picture.save(out, rendition.format.upper(), **options)
    return out.getvalue()


def _first_bytes(source: ImageFile) -> bytes:
    with source.path.open("rb") as file:
        return file.read(16)
