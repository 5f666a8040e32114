"""One image by itself: `GET /v1/orders/{order_id}/images/{image_id}`."""

from urllib.parse import quote, urlencode

from aiohttp import web

from service.api.caller import identity
from service.api.downloads import LOOK, empty, require_key, require_version
from service.api.keys import IMAGES, METRICS, ORDERS, PRESETS, SINGLE_IMAGES
from service.api.limits import Counts
from service.api.query import read_image_options, read_order_id, read_query
from service.api.route import Answer, Parameter, Problems, Route, Who, count
from service.archives.image_delivery import deliver_image, image_headers
from service.archives.names import own_extension, safe_stem
from service.archives.options import ImageOptions
from service.archives.plan import Plan, PlannedImage
from service.images.blobs import BlobLost
from service.problems import (
    NO_PURCHASES,
    ImageExpired,
    ImageNotFound,
    ImageNotReady,
    NoImages,
    PreconditionFailed,
    RangeNotSatisfiable,
    StoreFull,
)
from service.upstream.formats import FORMAT_EXTENSIONS, media_type
from service.upstream.models import Rendition


async def image(request: web.Request) -> web.StreamResponse:
    return await send_image(request, *_read(request))


async def describe(request: web.Request) -> web.StreamResponse:
    """Answer HEAD: what is known of the image. Fetches nothing."""
    return await describe_image(request, *_read(request))


async def send_image(request: web.Request, order_id: str, image_id: str, options: ImageOptions) -> web.StreamResponse:
    """Send an image of an order from the store, or fetch it first."""
    plan = await _plan(request, order_id, image_id, options)
    images, store, metrics = request.app[SINGLE_IMAGES], request.app[IMAGES], request.app[METRICS]
    for _ in range(2):  # nothing keeps it from being evicted before its first byte is sent
        blob = await images.find(plan)
        if blob is None:
            await count(request)
            blob = await images.fetch(plan, identity(request))
        try:
            return await deliver_image(request, blob, _headers(plan, blob.extension, options), store, metrics)
        except BlobLost:
            continue
    raise StoreFull


async def describe_image(
    request: web.Request, order_id: str, image_id: str, options: ImageOptions
) -> web.StreamResponse:
    plan = await _plan(request, order_id, image_id, options)
    blob = await request.app[SINGLE_IMAGES].find(plan)
    if blob is None:
        extension = planned_extension(plan, plan.images[0])
        return empty(_headers(plan, extension, options))
    headers = _headers(plan, blob.extension, options)
    return await deliver_image(request, blob, headers, request.app[IMAGES], request.app[METRICS])


def image_path(order_id: str, image_id: str, rendition: Rendition) -> str:
    """Where an image is found by itself, in this rendition."""
    query = urlencode(rendition.chosen())
    return f"/v1/orders/{order_id}/images/{quote(image_id, safe='')}{'?' if query else ''}{query}"


def planned_extension(plan: Plan, image: PlannedImage) -> str:
    """Of the format asked for; an original comes as it is, and its name tells what that may be."""
    is_raw = image.is_original and own_extension(image.name, "tif") != "tif"
    return "tif" if is_raw else FORMAT_EXTENSIONS[plan.rendition(image).format]


def _read(request: web.Request) -> tuple[str, str, ImageOptions]:
    """The order's id, the image's, and the options. Raises `InvalidOrderId`, `InvalidParameter`."""
    order_id, options = read_order_id(request), read_image_options(read_query(request), request.app[PRESETS])
    return order_id, request.match_info["image_id"], options


async def _plan(request: web.Request, order_id: str, image_id: str, options: ImageOptions) -> Plan:
    """Plan the image. Raises what the order call raises, and `ImageNotFound`."""
    require_key(request)
    require_version(request, options)
    orders = request.app[ORDERS]
    if not orders.is_kept(order_id):
        await count(request, apart="orders")
    order = await orders.get(order_id)
    return await request.app[SINGLE_IMAGES].plan(order_id, order, image_id, options)


def _headers(plan: Plan, extension: str, options: ImageOptions) -> dict[str, str]:
    image = plan.images[0]
    own = own_extension(image.name, extension) if image.is_original else extension
    name = f"{safe_stem(image.name, image.image_id)}.{own}"
    return image_headers(name, extension, is_attachment=options.download)


_TAG = '"2b7e151628aed2a6abf7158809cf4f3c762e7160f38b4da56a784d9045190cfe"'
_BODY = {
    kind: {"schema": {"type": "string", "format": "binary"}}
    # Unaltered photos (`include=original`) may be what no rendition is.
    for kind in map(media_type, (*FORMAT_EXTENSIONS.values(), "heic", "heif", "tif"))
}
_HEADERS = ("Accept-Ranges", "Content-Disposition", "Content-Length", "ETag")
CONDITIONS = (
    Parameter("Range", "bytes=0-99", "One range; a request for several gets the whole image."),
    Parameter("If-Range", _TAG, "The tag of what the caller has."),
    Parameter("If-Match", _TAG, "Only this content; for any other 412."),
    Parameter("If-None-Match", _TAG, "Not this content again; for it 304."),
)
IMAGE_ANSWERS = (
    Answer(200, "The image.", _BODY, _HEADERS),
    Answer(206, "The part asked for.", _BODY, (*_HEADERS, "Content-Range")),
    Answer(304, "The caller has this image already (`If-None-Match`).", headers=_HEADERS),
)
HEAD_ANSWERS = (
    Answer(200, "As far as it is known.", headers=_HEADERS),
    Answer(304, "The caller has this image already.", headers=_HEADERS),
)
IMAGE_CALL: Problems = (*LOOK, ImageNotFound, PreconditionFailed)
"""What can be wrong with an image, or with asking for its order."""
IMAGE_FETCH: Problems = (ImageNotReady, ImageExpired, *NO_PURCHASES, NoImages, RangeNotSatisfiable, StoreFull)
"""What can keep an image's bytes from going out."""

ROUTES = (
    Route(
        "GET",
        "/v1/orders/{order_id}/images/{image_id}",
        image,
        name="image",
        summary="One image by itself",
        who=Who.DOWNLOADER,
        counts=Counts.IMAGES,
        buys=True,
        query=ImageOptions,
        headers=CONDITIONS,
        answers=IMAGE_ANSWERS,
        problems=(*IMAGE_CALL, *IMAGE_FETCH),
    ),
    Route(
        "HEAD",
        "/v1/orders/{order_id}/images/{image_id}",
        describe,
        name="describeImage",
        summary="What is known of one image; nothing is fetched",
        who=Who.DOWNLOADER,
        counts=Counts.IMAGES,
        query=ImageOptions,
        answers=HEAD_ANSWERS,
        problems=IMAGE_CALL,
    ),
)
