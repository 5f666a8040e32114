"""One image by itself: `GET /v1/orders/{order_id}/images/{image_id}`."""

from urllib.parse import quote, urlencode

from aiohttp import web
from limits import parse

from service.api.caller import identity
from service.api.downloads import empty, require_key, require_version
from service.api.keys import IMAGE_LIMITER, IMAGES, METRICS, ORDERS, SINGLE_IMAGES
from service.api.query import read_as, read_order_id, read_query
from service.archives.image_delivery import ImageFile, deliver_image, image_headers
from service.archives.names import safe_stem
from service.archives.options import ImageOptions
from service.archives.plan import Plan
from service.images.blobs import BlobLost
from service.problems import StoreFull
from service.upstream.formats import FORMAT_EXTENSIONS
from service.upstream.models import Rendition

FETCH_LIMIT = parse("600/minute")
"""Of images that are not stored, per caller, whatever `RATE_LIMIT` is: a page full of photos asks for each."""


async def image(request: web.Request) -> web.StreamResponse:
    """Send the image from the store, or fetch it first."""
    options, plan = await _plan(request)
    images, store, metrics = request.app[SINGLE_IMAGES], request.app[IMAGES], request.app[METRICS]
    for _ in range(2):  # nothing keeps it from being evicted before its first byte is sent
        blob = await images.find(plan)
        if blob is None:
            caller = identity(request)
            await request.app[IMAGE_LIMITER].count(request, caller)
            blob = await images.fetch(plan, caller)
        found = ImageFile(blob, _name(plan, blob.extension), options.download)
        try:
            return await deliver_image(request, found, store, metrics)
        except BlobLost:
            continue
    raise StoreFull


async def describe(request: web.Request) -> web.StreamResponse:
    """Answer HEAD: what is known of the image. Fetches nothing."""
    options, plan = await _plan(request)
    blob = await request.app[SINGLE_IMAGES].find(plan)
    if blob is None:
        extension = FORMAT_EXTENSIONS[options.format]
        return empty(image_headers(_name(plan, extension), extension, is_attachment=options.download))
    found = ImageFile(blob, _name(plan, blob.extension), options.download)
    return await deliver_image(request, found, request.app[IMAGES], request.app[METRICS])


def image_path(order_id: str, image_id: str, rendition: Rendition) -> str:
    """Where an image is found by itself, in this rendition."""
    query = urlencode({name: _written(value) for name, value in rendition.model_dump(exclude_defaults=True).items()})
    return f"/v1/orders/{order_id}/images/{quote(image_id, safe='')}{'?' if query else ''}{query}"


def _written(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


async def _plan(request: web.Request) -> tuple[ImageOptions, Plan]:
    """Read the request and plan its image. Raises what the order call raises, and `ImageNotFound`."""
    order_id, options = read_order_id(request), read_as(ImageOptions, read_query(request))
    require_key(request)
    require_version(request, options)
    orders = request.app[ORDERS]
    if not orders.is_kept(order_id):
        await request.app[IMAGE_LIMITER].count(request, f"{identity(request)} orders")
    order = await orders.get(order_id)
    image_id = request.match_info["image_id"]
    return options, await request.app[SINGLE_IMAGES].plan(order_id, order, image_id, options.rendition)


def _name(plan: Plan, extension: str) -> str:
    """What a browser saves the image as."""
    return f"{safe_stem(plan.images[0].name, plan.images[0].image_id)}.{extension}"
