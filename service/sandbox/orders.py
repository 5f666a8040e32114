"""Routes of orders: create, list page by page, read, rename, delete."""

import base64
import binascii
from typing import Any

from aiohttp import web

from . import validation
from .context import CONTEXT, api_version
from .documents import bracket_document, order_document
from .errors import ApiError, InvalidInput
from .state import Order, State

PER_PAGE_DEFAULT, PER_PAGE_MAX = 5, 15
SORTS = {
    "name": lambda order: (order.name or "", order.number),
    "date": lambda order: (order.created_at, order.number),
}
IMAGE_SORTS = {
    "name": lambda document: document.get("image_name") or document.get("name") or "",
    "date_added": lambda document: document["date_added"],
}


async def create(request: web.Request) -> web.Response:
    state = request.app[CONTEXT].state
    document = await validation.read_json(request)
    validation.check(document, validation.Order)
    order_id = document.get("order_id")
    if order_id in state.orders:
        raise ApiError(409, "An order with this id exists.")
    order = state.add_order(document.get("name"), order_id)
    return web.json_response(order_document(state, order, api_version(request)))


async def list_orders(request: web.Request) -> web.Response:
    state = request.app[CONTEXT].state
    per_page = _per_page(request)
    start = _read_token(request.query.get("offset"))
    orders = _sorted(state, request.query.get("sort", "-date"), request.query.get("q", ""))
    served = max(1, per_page - state.config.page_shortfall)
    page = orders[start : start + served]
    more = start + served < len(orders)
    version = api_version(request)
    return web.json_response(
        {
            "orders": [order_document(state, order, version) for order in page],
            "pagination": {"next_offset": _token(start + served) if more else None, "per_page": per_page},
        }
    )


async def read(request: web.Request) -> web.Response:
    state = request.app[CONTEXT].state
    document = order_document(state, find(request), api_version(request))
    order_by = request.query.get("sort_images_by", "custom")
    if order_by.lstrip("-") in IMAGE_SORTS:
        document["images"].sort(key=IMAGE_SORTS[order_by.lstrip("-")], reverse=order_by.startswith("-"))
    elif order_by != "custom":
        raise InvalidInput("query", {"sort_images_by": "Not a valid choice."})
    return web.json_response(document)


async def update(request: web.Request) -> web.Response:
    state, order = request.app[CONTEXT].state, find(request)
    document = await validation.read_json(request)
    validation.check(document, validation.Order)
    if "name" in document:
        order.name = document["name"]
        order.updated_at = state.clock.now()
    return web.json_response(order_document(state, order, api_version(request)))


async def delete(request: web.Request) -> web.Response:
    request.app[CONTEXT].state.remove_order(find(request))
    return web.Response(status=204)


async def brackets(request: web.Request) -> web.Response:
    state, order = request.app[CONTEXT].state, find(request)
    return web.json_response({"brackets": [bracket_document(state, bracket) for bracket in order.brackets]})


def find(request: web.Request) -> Order:
    """The order in the path; raises ApiError 404."""
    order = request.app[CONTEXT].state.orders.get(request.match_info["order_id"])
    if order is None:
        raise ApiError(404, "Order not found")
    return order


def _per_page(request: web.Request) -> int:
    word = request.query.get("per_page", str(PER_PAGE_DEFAULT))
    if not word.isdecimal() or not 1 <= int(word) <= PER_PAGE_MAX:
        raise InvalidInput("query", {"per_page": f"Must be between 1 and {PER_PAGE_MAX}."})
    return int(word)


def _sorted(state: State, sort: str, needle: str) -> list[Order]:
    if sort.lstrip("-") not in SORTS:
        raise InvalidInput("query", {"sort": "Must be one of: name, -name, date, -date."})
    key: Any = SORTS[sort.lstrip("-")]
    found = [order for order in state.orders.values() if needle.lower() in (order.name or "").lower()]
    return sorted(found, key=key, reverse=sort.startswith("-"))


def _token(start: int) -> str:
    return base64.urlsafe_b64encode(f"page:{start}".encode()).decode()


def _read_token(token: str | None) -> int:
    if not token:
        return 0
    try:
        word = base64.urlsafe_b64decode(token).decode()
        return int(word.removeprefix("page:"))
    except (ValueError, binascii.Error):
        raise InvalidInput("query", {"offset": "Not a valid offset."}) from None
