"""The list of orders as its callers see it: what is asked, what answers become, and how a page is read."""

import json
import re
from typing import Any

import pytest
from aioresponses import aioresponses

from service.problems import Problem, UpstreamBusy, UpstreamError, UpstreamUnauthorized
from service.upstream import json_stream
from service.upstream.client import UnknownOffset
from service.upstream.json_stream import InvalidDocument
from service.upstream.order_document import read_orders
from tests.support.mocked import BASE, sent
from tests.support.samples import ORDER
from tests.support.transport import Parts

LIST = re.compile(rf"{re.escape(BASE)}/orders/\?.*")
PAGE = {"orders": [{"order_id": ORDER, "name": "A house", "images": [{"image_id": "a"}]}], "pagination": {}}


def page(*orders: object, **pagination: object) -> bytes:
    return json.dumps({"orders": list(orders), "pagination": pagination}).encode()


@pytest.mark.parametrize(
    ("asked", "more"),
    [
        ({}, {}),
        ({"search": "house & garden"}, {"q": "house & garden"}),
        ({"offset": "15"}, {"offset": "15"}),
        ({"offset": ""}, {"offset": ""}),
        ({"search": "house", "offset": "0"}, {"q": "house", "offset": "0"}),
    ],
)
async def test_what_is_asked(answers: aioresponses, lone: Parts, asked: dict[str, str], more: dict[str, str]) -> None:
    """As many as a page may have, the newest first; an offset as it was told, whatever it is."""
    answers.get(LIST, payload=PAGE)

    found = await lone.client.orders(**asked)

    url, _ = sent(answers)
    assert (url.path, dict(url.query)) == ("/v3/orders/", {"per_page": "15", "sort": "-date"} | more)
    assert [one.order_id for one in found.orders] == [ORDER]


@pytest.mark.parametrize(
    ("status", "offset", "problem"),
    [
        (400, "15", UnknownOffset),
        (422, "15", UnknownOffset),
        (400, None, UpstreamError),
        (404, "15", UpstreamError),
        (404, None, UpstreamError),
        (410, None, UpstreamError),
        (401, "15", UpstreamUnauthorized),
        (429, "15", UpstreamBusy),
        (503, "15", UpstreamError),
    ],
)
async def test_a_refusal_becomes_a_problem(
    answers: aioresponses, lone: Parts, status: int, offset: str | None, problem: type[Problem | UnknownOffset]
) -> None:
    """A list that is not there is no order that is not; only an offset can be what was refused."""
    answers.get(LIST, status=status, headers={"Retry-After": "60"})

    with pytest.raises(problem):
        await lone.client.orders(offset=offset)


@pytest.mark.parametrize(
    ("given", "read"), [("abc", "abc"), (15, "15"), (15.0, "15"), (1.5, "1.5"), (None, None), (True, None), ("", None)]
)
def test_where_the_next_page_begins(given: object, read: str | None) -> None:
    """A number or a text, to be given back as it came."""
    assert read_orders(page(next_offset=given)).next_offset == read


def test_each_order_has_its_own_fields() -> None:
    """Nothing of the one before; its images are passed over, whatever they are called."""
    found = read_orders(
        page(
            {"id": "o1", "order_name": "First", "status": "processed", "total_images": 3, "images": [{"name": "a"}]},
            {"order_id": "o2", "is_processing": True, "settings": {"name": "b", "status": "error"}},
        )
    )

    told = [(one.order_id, one.name, one.status, one.total_images, one.is_processing) for one in found.orders]
    assert told == [("o1", "First", "processed", 3, False), ("o2", None, None, None, True)]
    assert all(one.images == () for one in found.orders)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"orders": {}}', b'{"orders": [}', b'{"orders": ["\xff"]}'])
def test_what_is_no_list_is_refused(body: bytes) -> None:
    """An account without orders has an empty one."""
    assert read_orders(page()).orders == ()
    with pytest.raises(InvalidDocument):
        read_orders(body)


@pytest.mark.parametrize(("parts", "is_read"), [(10, True), (9, False)])
def test_a_list_without_end_is_refused(monkeypatch: pytest.MonkeyPatch, parts: int, is_read: bool) -> None:
    """It was made to waste time."""
    monkeypatch.setattr(json_stream, "_MAX_PARTS", parts)
    body: Any = json.dumps({"orders": [{"id": "o1", "name": "n"}]}).encode()  # eleven parts, counted from 0

    if is_read:
        assert len(read_orders(body).orders) == 1
        return
    with pytest.raises(InvalidDocument):
        read_orders(body)
