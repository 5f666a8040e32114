"""Routes of images: register, read, reprocess, report, delete."""

from typing import Any

from aiohttp import web

from . import validation
from .context import CONTEXT, Context, api_version
from .documents import ECHOED, UPLOAD_URL_SINCE, image_document
from .errors import ApiError
from .links import DEFAULT_UPLOAD_TYPE
from .state import Image, new_id


async def create(request: web.Request) -> web.Response:
    """Register an image; without `order_id` an order is made for it.

    An `order_id` nobody created gives a document without an upload address, as the real API was seen to do.
    """
    context, version = request.app[CONTEXT], api_version(request)
    state = context.state
    document = await validation.read_json(request)
    validation.check(document, validation.NewImage)
    if document.get("image_id") in state.images:
        raise ApiError(409, "An image with this id exists.")
    context.limits.count_name(document["image_name"])
    if document.get("order_id") is None:
        document["order_id"] = state.add_order().order_id
    image = state.add_image(_new_image(context, document))
    answer = image_document(state, image, version)
    if image.order_id in state.orders:
        answer |= _upload_field(context, image, document, version)
    context.webhooks.registered(image)
    return web.json_response(answer)


async def read(request: web.Request) -> web.Response:
    image = find(request)
    return web.json_response(image_document(request.app[CONTEXT].state, image, api_version(request)))


async def process(request: web.Request) -> web.Response:
    """Reprocess: settings left out keep their value, the image goes back to `processing`."""
    context, image = request.app[CONTEXT], find(request)
    document = await validation.read_json(request)
    validation.check(document, validation.Image)
    image.settings |= _echoed(document)
    image.name = document.get("image_name", image.name)
    if image.source is not None:
        image.version += 1
        image.outcome, image.reason = "processed", None
        image.downloaded = image.downloaded and not context.state.config.reprocessing_resells
        context.start_processing(image)
    return web.json_response(image_document(context.state, image, api_version(request)))


async def report(request: web.Request) -> web.Response:
    find(request)
    document = await validation.read_json(request)
    validation.check(document, validation.Report)
    return web.json_response({"message": "Thank you for the report."})


async def delete(request: web.Request) -> web.Response:
    request.app[CONTEXT].state.remove_image(find(request))
    return web.Response(status=204)


def find(request: web.Request) -> Image:
    """The image in the path; raises ApiError 404."""
    image = request.app[CONTEXT].state.find_image(request.match_info["image_id"])
    if image is None:
        raise ApiError(404, "Image not found")
    return image


def _new_image(context: Context, document: dict[str, Any]) -> Image:
    return Image(
        image_id=document.get("image_id") or new_id(),
        name=document["image_name"],
        order_id=document["order_id"],
        added_at=context.state.clock.now(),
        settings=_echoed(document),
        is_bracket=bool(document.get("hdr")),
    )


def _upload_field(context: Context, image: Image, document: dict[str, Any], version: str) -> dict[str, str]:
    if version >= UPLOAD_URL_SINCE:
        return {"upload_url": context.links.upload(image.image_id, DEFAULT_UPLOAD_TYPE, bracket=False)}
    content_type = document.get("contentType") or document.get("content_type") or DEFAULT_UPLOAD_TYPE
    return {"s3PutObjectUrl": context.links.upload(image.image_id, str(content_type), bracket=False)}


def _echoed(document: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name in ECHOED}
