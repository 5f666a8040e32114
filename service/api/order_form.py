"""The form of a new order, part by part.

Each file is taken onto the disk first and sent on from there, while the next one comes in. No browser, and no curl,
says how long a file in a form is, and storage wants to know before the first byte. This way, too, what is no image is
never announced to Autoenhance, a slow caller holds no connection there, and a broken transfer can be repeated.
"""

from contextlib import AsyncExitStack

from aiohttp import BodyPartReader, web

from service.api.keys import IMAGES, SETTINGS
from service.api.parts import Parts, field_name, file_name
from service.archives.names import safe_name, safe_stem
from service.images import body as files
from service.problems import InvalidParameter
from service.reasons import UploadReason
from service.upstream import formats
from service.upstream.new_order import NewOrder

LARGEST_FILE = 20 * 1000 * 1000
MAX_NAME_LENGTH = 200
_TAKEN = frozenset({"jpg", "png", "webp"})


async def take_part(request: web.Request, parts: Parts, part: BodyPartReader, order: NewOrder) -> None:
    """Take a file onto the disk and give it to the order, or note the order's name. Raises `InvalidParameter`."""
    name = file_name(part)
    if name is None:
        await _take_field(parts, part, order)
        return
    if len(order.files) >= request.app[SETTINGS].max_images_per_order:
        size = sum([len(chunk) async for chunk in parts.chunks(part)])
        order.refuse(safe_name(name), size, UploadReason.TOO_MANY_FILES)
        return
    async with AsyncExitStack() as resources:
        body = await resources.enter_async_context(request.app[IMAGES].receive(2 * LARGEST_FILE))
        extension, size = await _receive(parts, part, body)
        if not name and not size:  # what a browser sends for a file field that was left empty
            return
        if extension not in _TAKEN:
            order.refuse(safe_name(name), size, UploadReason.NOT_AN_IMAGE)
        elif size > LARGEST_FILE:
            order.refuse(f"{safe_stem(name, 'image')}.{extension}", size, UploadReason.FILE_TOO_LARGE)
        else:
            path = await body.file()
            await order.add(f"{safe_stem(name, 'image')}.{extension}", path, size, resources.pop_all())


async def _take_field(parts: Parts, part: BodyPartReader, order: NewOrder) -> None:
    field = field_name(part)
    if field != "name":
        raise InvalidParameter((field or "field")[:64], "unknown field")
    if order.files:
        raise InvalidParameter("name", "must come before the files")
    order.name = await parts.text(part, "name", MAX_NAME_LENGTH) or None


async def _receive(parts: Parts, part: BodyPartReader, body: files.Body) -> tuple[str | None, int]:
    """Take a part onto the disk, if it is an image and not too large; returns its kind and its size."""
    head, size, extension = b"", 0, None
    async for chunk in parts.chunks(part):
        size += len(chunk)
        if len(head) < formats.SIGNATURE_BYTES:
            head += chunk
            if len(head) < formats.SIGNATURE_BYTES:
                continue
            extension, chunk = formats.extension(head[: formats.SIGNATURE_BYTES]), head
        if extension in _TAKEN and size <= LARGEST_FILE and body.append(chunk):
            await body.flush()
    if size < formats.SIGNATURE_BYTES:
        extension = formats.extension(head)
        body.append(head)
    return extension, size
