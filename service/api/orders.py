"""An order before it is downloaded: `GET /v1/orders/{order_id}`."""

import json
from typing import Any

from aiohttp import web
from multidict import MultiDict
from yarl import URL

from service.api.base_path import base_path, external
from service.api.caller import identity
from service.api.downloads import require_key, require_version
from service.api.images import image_path
from service.api.keys import ARCHIVES, ORDERS, OVERVIEW_LIMITER, SETTINGS
from service.api.query import read_options, read_order_id
from service.archives.archive import ImageResult
from service.archives.build import obstacle
from service.archives.names import Names
from service.archives.plan import Plan, parts_of
from service.computing import MANY_IMAGES, compute
from service.images.blobs import Blob
from service.upstream.formats import FORMAT_EXTENSIONS
from service.upstream.models import ImageState

_HOPELESS = frozenset({ImageState.FAILED, ImageState.EXPIRED})


async def overview(request: web.Request) -> web.Response:
    """What a download would hold now: counts, names, and what stands in the way."""
    order_id, options = read_order_id(request), read_options(request.query)
    require_key(request)
    require_version(request, options)
    await request.app[OVERVIEW_LIMITER].count(request, identity(request))
    order = await request.app[ORDERS].get(order_id)
    plan, stored = await request.app[ARCHIVES].preview(order_id, order, options)
    more = {
        "unlisted": order.unlisted,
        "truncated": order.images_beyond > 0,
        "parts": _parts(request, order_id, len(order.images)),
    }
    is_short = len(plan.images) <= MANY_IMAGES
    base = base_path(request)
    text = await compute(lambda: json.dumps(_document(plan, stored, base) | more), is_short=is_short)
    return web.json_response(text=text, headers={"Cache-Control": "private, no-cache"})


def _parts(request: web.Request, order_id: str, images: int) -> list[dict[str, Any]]:
    """The downloads that so many images take, with the options of this request."""
    size = request.app[SETTINGS].max_images_per_order
    count = parts_of(images, size)
    query = MultiDict(request.query)
    for name in ("part", "image"):
        query.popall(name, None)

    def link(part: int) -> str:
        asked = [*query.items(), *([("part", str(part))] if count > 1 else [])]
        return external(request, str(URL(f"/v1/orders/{order_id}/images").with_query(asked)))

    return [
        {"part": part, "images": min(size, images - (part - 1) * size), "link": link(part)}
        for part in range(1, count + 1)
    ]


def _document(plan: Plan, stored: dict[str, Blob], base: str) -> dict[str, Any]:
    names = Names([(image.image_id, image.name) for image in plan.images], FORMAT_EXTENSIONS[plan.rendition.format])
    here = {image.image_id: stored[image.key] for image in plan.images if image.key in stored}
    states = [image.state for image in plan.images]
    processing = (
        states.count(ImageState.PROCESSING) + states.count(ImageState.WAITING) + states.count(ImageState.UNKNOWN)
    )
    hopeless = [
        ImageResult(image.image_id, image.name, None, 0, None, obstacle(image), 0, image.status_reason)
        for image in plan.images
        if image.state in _HOPELESS and image.image_id not in here
    ]
    return {
        "order_id": plan.order_id,
        "name": plan.order_name,
        "status": "processing" if processing else "ready",
        "total": len(plan.images),
        "ready": len(plan.images) - processing - len(hopeless),
        "processing": processing,
        "downloaded": len(here),
        "failed": len(hopeless),
        "bytes": sum(blob.size for blob in here.values()),
        "failures": [result.failure for result in hopeless],
        "to_buy": plan.to_buy(stored),
        "images": [
            {
                "image_id": image.image_id,
                "name": image.name,
                "file_name": names.of(image.image_id),
                "status": image.state,
                "bytes": here[image.image_id].size if image.image_id in here else None,
                "link": base + image_path(plan.order_id, image.image_id, plan.rendition),
            }
            for image in plan.images
        ],
    }
