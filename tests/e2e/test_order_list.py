"""The account's orders, found by name: what administrators are shown, page by page."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from service.sandbox import ImageSpec, Sandbox, SandboxConfig
from tests.support.client import Answer, Service, StartService
from tests.support.loopback import serving

TOKEN = "token-of-the-administrator"


@pytest.fixture(params=[0, 4], ids=["full pages", "short pages"])
async def sandbox(request: pytest.FixtureRequest) -> AsyncIterator[Sandbox]:
    """An account with 40 orders; Autoenhance may give fewer on a page than it was asked for."""
    async with Sandbox(SandboxConfig(image_delay=0, page_shortfall=request.param)) as running:
        for number in range(40):
            running.control.add_order([ImageSpec()] * (number % 3), name=f"{number} Harbour Lane")
            running.control.advance(60)
        yield running


@pytest.fixture
async def service(sandbox: Sandbox, start_service: StartService) -> Service:
    """A service of that account."""
    return await start_service(
        autoenhance_api_base=sandbox.api_base, autoenhance_api_key=sandbox.api_key, admin_token=TOKEN
    )


async def ask(service: Service, **query: str) -> Answer:
    """Ask for a page."""
    return await service.ask("/v1/orders", params=query, headers={"X-Admin-Token": TOKEN})


async def pages(service: Service, **query: str) -> list[list[dict[str, Any]]]:
    """All pages, followed by their cursors."""
    found: list[list[dict[str, Any]]] = []
    cursor = None
    while cursor is not None or not found:
        document = (await ask(service, **query, **({"cursor": cursor} if cursor else {}))).document
        found.append(document["items"])
        cursor = document["next_cursor"]
    return found


def names(items: list[dict[str, Any]]) -> list[str]:
    return [item["name"] for item in items]


NEWEST_FIRST = [f"{number} Harbour Lane" for number in reversed(range(40))]


@pytest.mark.parametrize("limit", ["7", "15", "40", "50"])
async def test_every_order_is_listed_once_newest_first(service: Service, limit: str) -> None:
    """In pages of any size, each full but the last."""
    found = await pages(service, limit=limit)

    assert names([item for page in found for item in page]) == NEWEST_FIRST
    assert [len(page) for page in found[:-1]] == [int(limit)] * (len(found) - 1)


async def test_fifty_are_listed_unless_told(service: Service) -> None:
    """Which is all of them here."""
    document = (await ask(service)).document

    assert (len(document["items"]), document["next_cursor"]) == (40, None)


async def test_an_order_says_what_it_is_and_where(service: Service) -> None:
    """Its links lead to it."""
    (item,) = (await ask(service, q="38 harbour")).document["items"]

    overview = await service.ask(item["links"]["overview"])

    assert (item["name"], item["status"], item["total"]) == ("38 Harbour Lane", "processed", 2)
    assert item["created_at"].endswith("+00:00")
    assert overview.document["name"] == item["name"]
    assert (await service.ask(item["links"]["images"])).status == 200


async def test_orders_are_found_by_name_and_state(service: Service) -> None:
    """Both at once too, over all pages."""
    by_name = await pages(service, q=" 3", limit="5")
    by_state = await pages(service, status="waiting", limit="5")
    both = await pages(service, q="1", status="waiting")

    assert names(by_name[0])[:2] == ["39 Harbour Lane", "38 Harbour Lane"]
    assert {name.partition(" ")[0] for page in by_state for name in names(page)} == {str(n) for n in range(0, 40, 3)}
    assert names(both[0]) == [name for name in NEWEST_FIRST if "1" in name and int(name.partition(" ")[0]) % 3 == 0]


async def test_others_are_refused(start_service: StartService, sandbox: Sandbox) -> None:
    """With a key, without one, with a wrong token."""
    service = await start_service(
        autoenhance_api_base=sandbox.api_base,
        autoenhance_api_key=sandbox.api_key,
        admin_token=TOKEN,
        service_api_key="key-of-a-caller-000",
    )

    answers = [
        await service.ask("/v1/orders", headers=headers)
        for headers in ({}, {"X-API-Key": "key-of-a-caller-000"}, {"X-Admin-Token": "wrong"})
    ]

    assert [(answer.status, answer.problem["code"]) for answer in answers] == [(403, "administrators_only")] * 3


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("limit", "0"),
        ("limit", "201"),
        ("status", "done"),
        ("cursor", "WzEsMl0"),
        ("cursor", "nonsense"),
        ("cursor", "WyJub25zZW5zZSIsIDBd"),
        ("cursor", "W251bGwsLTFd"),
        ("query", "x"),
        ("q", "x" * 201),
    ],
)
async def test_what_is_wrong_is_refused_by_name(service: Service, name: str, value: str) -> None:
    """A cursor that is none of ours, or that Autoenhance does not know, too."""
    answer = await ask(service, **{name: value})

    assert (answer.status, answer.problem["parameter"]) == (400, name)


async def test_deleted_and_broken_orders_are_left_out(start_service: StartService) -> None:
    """And names, states and numbers of any kind are taken as they come."""
    ids = [f"0b9f7c1e-4a57-4d6e-9d51-2f3c8a7be00{number}" for number in range(4)]
    listed: list[Any] = [
        {"order_id": ids[0], "name": "deleted", "is_deleted": True, "images": [{"image_id": "a"}]},
        {"order_id": "no-uuid", "name": "broken"},
        {"order_id": ids[1], "name": 7, "status": "strange", "total_images": 3.0, "images": [{"name": "x"}]},
        {"order_id": ids[2], "name": None, "status": "processed", "is_merging": True, "created_at": "never"},
        "nonsense",
    ]

    async def orders(request: web.Request) -> web.Response:
        assert (request.query["per_page"], request.query["sort"]) == ("15", "-date")
        place = request.query.get("offset")
        return web.json_response(
            {"orders": listed if place is None else [], "pagination": {"next_offset": 15 if place is None else None}}
        )

    async with serving(web.get("/v3/orders/", orders)) as url:
        service = await start_service(autoenhance_api_base=f"{url}/v3", admin_token=TOKEN)
        document = (await ask(service)).document

    assert [(item["name"], item["status"], item["total"]) for item in document["items"]] == [
        ("7", None, 3),
        (None, "processing", None),
    ]
    assert document["next_cursor"] is None


@pytest.mark.parametrize(
    ("answer", "status", "code"),
    [
        (web.Response(status=401), 401, "upstream_unauthorized"),
        (web.Response(status=404), 502, "upstream_error"),
        (web.Response(status=500), 502, "upstream_error"),
        (web.Response(text="[]", content_type="application/json"), 502, "upstream_error"),
        (web.Response(text='{"orders": {}}', content_type="application/json"), 502, "upstream_error"),
        (web.Response(text="nonsense"), 502, "upstream_error"),
    ],
)
async def test_trouble_at_autoenhance_is_told(
    start_service: StartService, answer: web.Response, status: int, code: str
) -> None:
    """In our words."""

    async def orders(request: web.Request) -> web.Response:
        return answer.__class__(body=answer.body, status=answer.status, content_type=answer.content_type)

    async with serving(web.get("/v3/orders/", orders)) as url:
        service = await start_service(autoenhance_api_base=f"{url}/v3", admin_token=TOKEN, upstream_attempts=1)
        found = await ask(service)

    assert (found.status, found.problem["code"]) == (status, code)


async def test_a_search_for_a_state_asks_a_bounded_number_of_times(start_service: StartService) -> None:
    """A page may be empty then; its cursor goes on where it stopped."""
    asked: list[str | None] = []

    async def orders(request: web.Request) -> web.Response:
        asked.append(request.query.get("offset"))
        document = {"orders": [], "pagination": {"next_offset": f"page {len(asked)}"}}
        return web.Response(text=json.dumps(document), content_type="application/json")

    async with serving(web.get("/v3/orders/", orders)) as url:
        service = await start_service(autoenhance_api_base=f"{url}/v3", admin_token=TOKEN)
        first = (await ask(service, status="error")).document
        many = len(asked)
        await ask(service, status="error", cursor=first["next_cursor"])

    assert (first["items"], 0 < many <= 20) == ([], True)
    assert asked[many] == f"page {many}"
