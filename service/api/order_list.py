"""The account's orders: `GET /v1/orders`, for administrators."""

import base64
import json
from typing import Any, Literal

from aiohttp import web
from pydantic import Field

from service.api.base_path import with_external_links
from service.api.documents import Count, Document, Input, Moment, Reference, Uuid, answer
from service.api.downloads import UPSTREAM_CALL, require_key
from service.api.keys import UPSTREAM
from service.api.limits import Counts
from service.api.query import read_as
from service.api.route import Answer, Route, Who, count
from service.order_ids import is_order_id
from service.problems import InvalidParameter
from service.upstream.client import UnknownOffset
from service.upstream.models import Order

_STATUSES = ("waiting", "processing", "processed", "error")
# A page of Autoenhance has at most 15 orders, and a state is looked for in all of them: no answer takes more than this.
_MAX_CALLS = 20


class OrderQuery(Input):
    """Which orders to list."""

    q: str = Field("", max_length=200, description="Only orders whose name contains this.")
    status: Literal["waiting", "processing", "processed", "error"] | None = Field(
        None, description="Only orders in this state, as Autoenhance calls it."
    )
    cursor: str | None = Field(None, description="`next_cursor` of the page before.")
    limit: int = Field(50, ge=1, le=200, description="At most so many.")


class ListedOrderLinks(Document):
    """Where to go on from an order."""

    overview: Reference
    images: Reference


class ListedOrder(Document):
    """An order of the account."""

    order_id: Uuid
    name: str | None
    status: Literal["waiting", "processing", "processed", "error"] | None = Field(
        description="As Autoenhance calls it; null for a word that is not known here."
    )
    total: Count | None = Field(description="Images, as Autoenhance counts them.")
    created_at: Moment | None
    links: ListedOrderLinks


class OrderPage(Document):
    """Some orders of the account."""

    items: list[ListedOrder] = Field(max_length=200)
    next_cursor: str | None = Field(description="Asks for the next page; null on the last.")


async def find(request: web.Request) -> web.Response:
    """The orders, newest first. A page may have fewer than asked for; only the last one has no `next_cursor`."""
    query = read_as(OrderQuery, request.query)
    position = _read_cursor(query.cursor)
    require_key(request)
    await count(request)
    items, next_position = await _collect(request, query, position)
    return answer(
        {
            "items": [with_external_links(request, item) for item in items],
            "next_cursor": next_position and _cursor(next_position),
        }
    )


_Position = tuple[str | None, int]
"""In Autoenhance's list: the offset of a page, and how many of its orders were given before."""


async def _collect(
    request: web.Request, query: OrderQuery, position: _Position
) -> tuple[list[dict[str, Any]], _Position | None]:
    """The orders from `position` on that fit, and where the next page begins. Raises `InvalidParameter`."""
    items: list[dict[str, Any]] = []
    offset, given = position
    for _ in range(_MAX_CALLS):
        try:
            page = await request.app[UPSTREAM].orders(query.q.strip(), offset)
        except UnknownOffset:
            raise InvalidParameter("cursor", "must be the next_cursor of a page") from None
        for number, order in enumerate(page.orders[given:], given + 1):
            item = _item(order)
            if item is not None and query.status in (None, item["status"]):
                items.append(item)
                if len(items) == query.limit and number < len(page.orders):
                    return items, (offset, number)
        if page.next_offset in (None, offset):  # the last one, or one that leads to itself
            return items, None
        offset, given = page.next_offset, 0
        if len(items) == query.limit:
            break
    return items, (offset, 0)


def _item(order: Order) -> dict[str, Any] | None:
    """An order as it is listed; None for one that is deleted, or that has no URL."""
    if order.is_deleted or not is_order_id(order.order_id):
        return None
    path = f"/v1/orders/{order.order_id}"
    is_busy = order.is_processing or order.is_merging
    return {
        "order_id": order.order_id,
        "name": order.name,
        "status": "processing" if is_busy else order.status if order.status in _STATUSES else None,
        "total": order.total_images,
        "created_at": order.created_at and order.created_at.isoformat(),
        "links": {"overview": path, "images": f"{path}/images"},
    }


def _cursor(position: _Position) -> str:
    return base64.urlsafe_b64encode(json.dumps(position).encode()).decode().rstrip("=")


def _read_cursor(cursor: str | None) -> _Position:
    if cursor is None:
        return None, 0
    try:
        position = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, RecursionError):
        position = None
    match position:
        case [str() | None as offset, int(given)] if 0 <= given <= 1000:
            return offset, given
    raise InvalidParameter("cursor", "must be the next_cursor of a page")


ROUTES = (
    Route(
        "GET",
        "/v1/orders",
        find,
        name="orders",
        summary="The account's orders, newest first",
        who=Who.ADMINISTRATOR,
        counts=Counts.OVERVIEWS,
        query=OrderQuery,
        answers=(
            Answer(
                200,
                "A page of them. It may have fewer than asked for; the last one has no `next_cursor`.",
                OrderPage,
            ),
        ),
        problems=(InvalidParameter, *UPSTREAM_CALL),
    ),
)
