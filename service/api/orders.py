"""An order before it is downloaded: `GET /v1/orders/{order_id}`."""

import json
from collections.abc import Mapping
from typing import Any, Literal

from aiohttp import web
from multidict import MultiDict
from pydantic import Field
from yarl import URL

from service.api.base_path import base_path, external
from service.api.documents import Count, Document, Reference, Summary, Unlisted, Uuid
from service.api.downloads import LOOK, require_key, require_version
from service.api.images import image_path, planned_extension
from service.api.keys import ARCHIVES, ORDERS, PRESETS, SETTINGS
from service.api.limits import Counts
from service.api.query import read_options, read_order_id
from service.api.route import Answer, Route, count
from service.archives.options import Options
from service.archives.outcomes import image_failure, obstacle
from service.archives.plan import Plan, PlannedImage
from service.archives.planner import parts_of
from service.images.blobs import Blob
from service.problems import OrderEmpty, StillBuilding, UnknownImage
from service.upstream.models import FINAL, HOPELESS, ImageState, Order

_MAX_LISTED = 10_000


class OverviewImage(Document):
    """An image of an order."""

    image_id: str
    name: str
    file_name: str = Field(description="In the ZIP.")
    status: ImageState
    bytes: int | None = Field(description="Null while it is not here.")
    link: Reference = Field("", description="The image by itself; left out for an original.")
    rendition: str = Field("", description="Which of several, or `original`: an image is listed once for each.")


class OrderPart(Document):
    """One of the downloads that an order takes."""

    part: int = Field(ge=1)
    images: Count
    link: Reference = Field(description="The download.")


class Overview(Summary):
    """An order, and what a download of it would hold."""

    order_id: Uuid
    name: str | None
    status: Literal["processing", "ready"] = Field(
        description="`processing` while images are being enhanced, or are still to be listed."
    )
    ready: Count
    processing: Count
    unlisted: Unlisted
    growing: bool = Field(description="Whether Autoenhance may still list more images of it.")
    to_buy: Count = Field(description="Images that a download with these options would buy, a credit each.")
    truncated: bool = Field(description="Whether there are more files than the 10,000 that are listed here.")
    parts: list[OrderPart] = Field(
        description="The downloads that the order takes: one, unless it has too many images for one archive."
    )
    images: list[OverviewImage]


async def overview(request: web.Request) -> web.Response:
    """What a download would hold now: counts, names, and what stands in the way."""
    order_id, options = read_order_id(request), read_options(request.query, request.app[PRESETS])
    require_key(request)
    require_version(request, options)
    await count(request)
    order = await request.app[ORDERS].get(order_id)
    more: dict[str, Any] = {
        "unlisted": order.left_out,
        "growing": order.may_grow,
        "parts": _parts(request, order_id, order),
    }
    if order.may_grow:
        more["status"] = "processing"
    base, is_truncated = base_path(request), order.images_beyond > 0

    def describe(plan: Plan, stored: Mapping[str, Blob]) -> str:
        return json.dumps(_document(plan, stored, base, is_truncated=is_truncated, is_anew=options.refresh) | more)

    text = await request.app[ARCHIVES].previews.preview(order_id, order, options, describe)
    return web.json_response(text=text, headers={"Cache-Control": "private, no-cache"})


def _parts(request: web.Request, order_id: str, order: Order) -> list[dict[str, Any]]:
    """The downloads that the order's images take, with the options of this request."""
    images, size = len(order.images), request.app[SETTINGS].max_images_per_order
    is_large = order.image_count > size
    query = MultiDict(request.query)
    for name in ("part", "image", *(["since"] if is_large else [])):  # which no part takes
        query.popall(name, None)

    def link(part: int) -> str:
        asked = [*query.items(), *([("part", str(part))] if is_large else [])]
        return external(request, str(URL(f"/v1/orders/{order_id}/images").with_query(asked)))

    return [
        {"part": part, "images": min(size, images - (part - 1) * size), "link": link(part)}
        for part in range(1, parts_of(images, size) + 1)
    ]


def _document(
    plan: Plan, stored: Mapping[str, Blob], base: str, *, is_truncated: bool, is_anew: bool = False
) -> dict[str, Any]:
    """Counts of all files; lists of the first ones. `is_truncated`: the order has more images than the plan. `is_anew`:
    a download fetches what is stored, too."""
    stems = plan.stems
    here = [stored[image.key] for image in plan.images if image.key in stored]
    processing = sum(image.state not in FINAL for image in plan.images)
    hopeless = [
        image_failure(image, reason)
        for image in plan.images
        if image.state in HOPELESS and image.key not in stored and (reason := obstacle(image))
    ]
    return {
        "order_id": plan.order_id,
        "name": plan.orders[0].name,
        "status": "processing" if processing else "ready",
        "total": len(plan.images),
        "ready": len(plan.images) - processing - len(hopeless),
        "processing": processing,
        "downloaded": len(here),
        "failed": len(hopeless),
        "bytes": sum(blob.size for blob in here),
        "failures": [result.failure for result in hopeless[:_MAX_LISTED]],
        "to_buy": plan.to_buy(() if is_anew else stored),
        "truncated": is_truncated or len(plan.images) > _MAX_LISTED,
        "images": [
            {
                "image_id": image.image_id,
                "name": image.name,
                "file_name": plan.file_name(image, stems, blob.extension if blob else planned_extension(plan, image)),
                "status": image.state,
                "bytes": blob.size if blob else None,
                **({"rendition": image.rendition} if image.rendition else {}),
                **(_link(plan, image, base) if not image.is_original else {}),
            }
            for image, blob in ((image, stored.get(image.key)) for image in plan.images[:_MAX_LISTED])
        ],
    }


def _link(plan: Plan, image: PlannedImage, base: str) -> dict[str, str]:
    return {"link": base + image_path(plan.order_id, image.image_id, plan.rendition(image))}


ROUTES = (
    Route(
        "GET",
        "/v1/orders/{order_id}",
        overview,
        name="overview",
        summary="What a download would hold",
        counts=Counts.OVERVIEWS,
        query=Options,
        answers=(Answer(200, "As it stands.", Overview),),
        problems=(*LOOK, UnknownImage, OrderEmpty, StillBuilding),
    ),
)
