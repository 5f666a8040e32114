"""Routes of brackets, and their merging into images: one image per group of exposures."""

from dataclasses import dataclass
from typing import Any

from aiohttp import web

from . import validation
from .context import CONTEXT, Context, api_version
from .documents import ECHOED, bracket_document, order_document
from .errors import ApiError, InvalidInput
from .links import DEFAULT_UPLOAD_TYPE
from .orders import find as find_order
from .state import Bracket, Image, Order, new_id


async def create(request: web.Request) -> web.Response:
    context = request.app[CONTEXT]
    document = await validation.read_json(request)
    validation.check(document, validation.NewBracket)
    order = context.state.orders.get(document["order_id"])
    if order is None:
        raise ApiError(404, "Order not found")
    context.limits.count_name(document["name"])
    bracket = Bracket(
        bracket_id=new_id(),
        name=document["name"],
        order_id=order.order_id,
        metadata=document.get("metadata"),
    )
    order.brackets.append(bracket)
    context.state.brackets[bracket.bracket_id] = bracket
    url = context.links.upload(bracket.bracket_id, DEFAULT_UPLOAD_TYPE, bracket=True)
    return web.json_response({**bracket_document(context.state, bracket), "upload_url": url})


async def read(request: web.Request) -> web.Response:
    return web.json_response(bracket_document(request.app[CONTEXT].state, _find(request)))


async def delete(request: web.Request) -> web.Response:
    state, bracket = request.app[CONTEXT].state, _find(request)
    state.orders[bracket.order_id].brackets.remove(bracket)
    del state.brackets[bracket.bracket_id]
    return web.Response(status=204)


async def merge(request: web.Request) -> web.Response:
    """Group the uploaded exposures of an order: as given, by number, or (0 or nothing) by the sandbox's own size."""
    context, order = request.app[CONTEXT], find_order(request)
    document = await validation.read_json(request)
    validation.check(document, validation.Merge)
    shots = _shots(context, order)
    groups = _groups(context, shots, document)
    if not groups:
        raise InvalidInput("json", {"images": "The order has no uploaded brackets."})
    now = context.state.clock.now()
    order.merged_at = now + context.state.config.merge_delay
    for group in groups:
        _merge_group(context, order, group, document)
    return web.json_response(order_document(context.state, order, api_version(request)))


@dataclass(frozen=True)
class _Shot:
    """One exposure: a bracket, or an image registered with `hdr` in the older way."""

    shot_id: str
    item: Bracket | Image


def _shots(context: Context, order: Order) -> list[_Shot]:
    free = [b for b in order.brackets if b.image_id is None and context.state.is_uploaded(b)]
    older = [image for image in order.images if image.is_bracket and image.source is not None]
    return [_Shot(b.bracket_id, b) for b in free] + [_Shot(image.image_id, image) for image in older]


def _groups(context: Context, shots: list[_Shot], document: dict[str, Any]) -> list[list[_Shot]]:
    given = document.get("images")
    if given:
        by_id = {shot.shot_id: shot for shot in shots}
        named = [[str(shot_id) for shot_id in group["bracket_ids"]] for group in given]
        if any(shot_id not in by_id for group in named for shot_id in group):
            raise InvalidInput("json", {"images": "Unknown, merged or not uploaded bracket."})
        return [[by_id[shot_id] for shot_id in group] for group in named if group]
    size = document.get("number_of_brackets_per_image") or context.state.config.brackets_per_image
    return [shots[at : at + size] for at in range(0, len(shots), size)]


def _merge_group(context: Context, order: Order, group: list[_Shot], document: dict[str, Any]) -> None:
    state = context.state
    named_after = group[0 if state.config.merged_name == "first" else -1]
    image = Image(
        image_id=new_id(),
        name=named_after.item.name,
        order_id=order.order_id,
        added_at=state.clock.now(),
        source=group[len(group) // 2].item.source,
        settings={name: value for name, value in document.items() if name in ECHOED},
        visible_from=order.merged_at,
    )
    for shot in group:
        if isinstance(shot.item, Bracket):
            shot.item.image_id = image.image_id
        else:
            state.remove_image(shot.item)
    state.add_image(image)
    context.start_processing(image, after=state.config.merge_delay)


def _find(request: web.Request) -> Bracket:
    bracket = request.app[CONTEXT].state.brackets.get(request.match_info["bracket_id"])
    if bracket is None:
        raise ApiError(404, "Bracket not found")
    return bracket
