"""The list of orders, page by page: where a page begins, what is on it, and how often Autoenhance is asked for it."""

import base64
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from pydantic import SecretStr

from service.api import order_list
from service.api.keys import SETTINGS, UPSTREAM
from service.api.order_list import OrderQuery, _collect, _cursor, _item, _read_cursor
from service.problems import InvalidParameter
from service.settings import Settings
from service.upstream.client import Autoenhance, UnknownOffset
from service.upstream.models import Order, OrdersPage
from tests.support.samples import ORDER


class Listing:
    """Autoenhance's list: pages of these sizes, whose orders are numbered. It is asked by offset."""

    def __init__(self, *pages: Sequence[Order]) -> None:
        self._pages = pages
        self.asked: list[tuple[str, str | None]] = []

    async def orders(self, search: str, offset: str | None) -> OrdersPage:
        self.asked.append((search, offset))
        number = int(offset or 0)
        if number >= len(self._pages):
            raise UnknownOffset
        following = str(number + 1) if number + 1 < len(self._pages) else None
        return OrdersPage(tuple(self._pages[number]), following)


def numbered(number: int, status: str = "processed", **fields: Any) -> Order:
    return Order(order_id=f"00000000-0000-0000-0000-{number:012}", status=status, **fields)


def listing(*sizes: int) -> Listing:
    numbers = iter(range(sum(sizes)))
    return Listing(*([numbered(next(numbers)) for _ in range(size)] for size in sizes))


async def collect(found: Listing, query: OrderQuery, position: Any = (None, 0)) -> tuple[list[int], Any]:
    """The numbers of the orders on a page, and where the next one begins."""
    app = web.Application()
    app[UPSTREAM] = cast(Autoenhance, found)
    items, following = await _collect(make_mocked_request("GET", "/v1/orders", app=app), query, position)
    return [int(item["order_id"][-12:]) for item in items], following


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 6, 7, 50])
async def test_every_order_is_on_one_page(limit: int) -> None:
    """However pages here and there divide them; the last page says that it is."""
    seen: list[int] = []
    position: Any = (None, 0)
    while position is not None:
        page, position = await collect(listing(3, 3), OrderQuery(limit=limit), position)
        assert len(page) <= limit
        seen += page

    assert seen == [0, 1, 2, 3, 4, 5]


async def test_a_list_that_leads_to_itself_has_an_end() -> None:
    """Else who follows it to the last page would never be there."""
    found = listing(2, 2)
    found.orders = same_offset(found)  # type: ignore[method-assign]

    seen, position = await collect(found, OrderQuery())

    assert (seen, position) == ([0, 1, 2, 3], None)


def same_offset(found: Listing) -> Any:
    """The list's pages, of which the last one names its own offset as the next."""
    pages = found.orders

    async def orders(search: str, offset: str | None) -> OrdersPage:
        page = await pages(search, offset)
        return OrdersPage(page.orders, page.next_offset or offset)

    return orders


@pytest.mark.parametrize(
    ("limit", "asked", "following"),
    [(2, [None], (None, 2)), (3, [None], ("1", 0)), (4, [None, "1"], ("1", 1)), (6, [None, "1"], None)],
)
async def test_no_more_is_asked_than_the_page_needs(limit: int, asked: list[str | None], following: object) -> None:
    """Within a page of Autoenhance the next one begins behind its last order; at its end with the next of theirs."""
    found = listing(3, 3)

    _, next_position = await collect(found, OrderQuery(q=" a house ", limit=limit))

    assert (found.asked, next_position) == ([("a house", offset) for offset in asked], following)


async def test_a_state_is_looked_for_in_so_many_pages() -> None:
    """Then the caller may go on, with none of it or some."""
    found = Listing(*([numbered(number, "error" if number == 30 else "processed")] for number in range(31)))
    query = OrderQuery(status="error")

    page, position = await collect(found, query)
    assert (page, position, len(found.asked)) == ([], ("20", 0), 20)
    assert await collect(found, query, position) == ([30], None)


async def test_an_offset_that_is_gone_is_the_cursors_fault() -> None:
    """It came from there."""
    with pytest.raises(InvalidParameter, match="cursor"):
        await collect(listing(1), OrderQuery(), ("9", 0))


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"status": "processed"}, "processed"),
        ({"status": "waiting"}, "waiting"),
        ({"status": "error"}, "error"),
        ({"status": "another"}, None),
        ({"status": None}, None),
        ({"status": "processed", "is_processing": True}, "processing"),
        ({"status": "error", "is_merging": True}, "processing"),
    ],
)
def test_what_state_an_order_is_in(fields: dict[str, Any], status: str | None) -> None:
    """A flag says more than the word; a word that nobody here knows says nothing."""
    item = _item(Order(order_id=ORDER, **fields))

    assert item is not None
    assert item["status"] == status


@pytest.mark.parametrize("order", [Order(order_id=ORDER, is_deleted=True), Order(order_id="7"), Order()])
def test_what_has_no_url_is_not_listed(order: Order) -> None:
    """Nor what is deleted."""
    assert _item(order) is None


def test_an_order_as_it_is_listed() -> None:
    """With the moment in which it was made, as far as that is known."""
    made = datetime(2026, 3, 2, 9, 15, tzinfo=UTC)

    assert _item(Order(order_id=ORDER, name="A house", total_images=3, created_at=made)) == {
        "order_id": ORDER,
        "name": "A house",
        "status": None,
        "total": 3,
        "created_at": "2026-03-02T09:15:00+00:00",
        "links": {"overview": f"/v1/orders/{ORDER}", "images": f"/v1/orders/{ORDER}/images"},
    }


@pytest.mark.parametrize("position", [(None, 3), ("15", 0), ("a/b?c", 1000), ("x" * 5_000, 0)])
def test_a_cursor_is_read_back(position: Any) -> None:
    """It fits an address as it is, and is taken at whatever length Autoenhance's offset gives it."""
    cursor = _cursor(position)

    assert cursor.replace("-", "").replace("_", "").isalnum()
    assert _read_cursor(OrderQuery(cursor=cursor).cursor) == position


def written(position: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(position).encode()).decode()


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "a" * 5,
        "\u00e4",
        *map(written, ([], ["15"], [15, 0], ["15", -1], ["15", 1001], ["15", "0"], {"a": 1}, 7)),
    ],
)
def test_what_is_no_cursor_is_refused(cursor: str) -> None:
    """By its name."""
    assert _read_cursor(None) == (None, 0)
    with pytest.raises(InvalidParameter, match="cursor"):
        _read_cursor(cursor)


async def test_each_page_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before Autoenhance is asked for anything."""
    found, asked = listing(3), list[int]()

    async def count(_: web.Request) -> None:
        asked.append(len(found.asked))

    monkeypatch.setattr(order_list, "count", count)
    app = web.Application()
    app[UPSTREAM] = cast(Autoenhance, found)
    app[SETTINGS] = Settings(_env_file=None, autoenhance_api_key=SecretStr("key"))

    await order_list.find(make_mocked_request("GET", "/v1/orders", app=app))

    assert (asked, len(found.asked)) == ([0], 1)
