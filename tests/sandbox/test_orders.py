"""Orders: created, listed page by page, read, renamed, deleted; their state and their dates."""

import uuid
from datetime import datetime
from typing import Any

import pytest

from service.sandbox import ImageSpec

from .conftest import Caller, StartSandbox


@pytest.mark.parametrize("path", ["/orders/", "/orders"])
async def test_an_order_is_created_empty_and_waiting(caller: Caller, path: str) -> None:
    """With or without the slash; the answer is the order document."""
    order = await caller.json("POST", path, json={"name": "12 Harbour Lane"})

    assert uuid.UUID(order["order_id"]).version == 4
    assert (order["name"], order["status"], order["images"]) == ("12 Harbour Lane", "waiting", [])
    assert (order["is_processing"], order["is_merging"], order["total_images"]) == (False, False, 0)


async def test_an_order_id_is_taken_once(caller: Caller) -> None:
    """An own id is kept; the second order with it is a conflict."""
    own = str(uuid.uuid4())

    first = await caller.json("POST", "/orders/", json={"order_id": own})
    second = await caller.call("POST", "/orders/", json={"order_id": own})

    assert (first["order_id"], second.status) == (own, 409)


async def test_a_wrong_name_is_422(caller: Caller) -> None:
    """The error document names the place and the field."""
    answer = await caller.call("POST", "/orders/", json={"name": 5})

    assert answer.status == 422
    assert answer.json() == {"message": "Validation error", "detail": {"json": {"name": ["Not a valid string."]}}}


async def test_malformed_json_is_400(caller: Caller) -> None:
    """A body that is no JSON is refused with an error document."""
    answer = await caller.call("POST", "/orders/", data=b"{")

    assert answer.status == 400
    assert answer.json()["detail"] == {}


async def pages(caller: Caller, query: str) -> list[list[str]]:
    """The names on every page, following the tokens."""
    found: list[list[str]] = []
    offset: str | None = ""
    while offset is not None:
        document = await caller.json("GET", f"/orders/?{query}", params={"offset": offset})
        found.append([order["name"] for order in document["orders"]])
        offset = document["pagination"]["next_offset"]
    return found


async def test_the_list_is_paged_newest_first(caller: Caller) -> None:
    """Five per page unless told otherwise; null ends it."""
    for number in range(7):
        caller.control.add_order(name=f"order {number}")

    default = await pages(caller, "")
    by_three = await pages(caller, "per_page=3&sort=name")

    assert default == [[f"order {n}" for n in (6, 5, 4, 3, 2)], ["order 1", "order 0"]]
    assert by_three == [[f"order {n}" for n in page] for page in ((0, 1, 2), (3, 4, 5), (6,))]


async def test_a_page_may_hold_fewer_than_asked(start: StartSandbox) -> None:
    """With `page_shortfall` only a null token tells the end."""
    caller = await start(page_shortfall=2)
    for number in range(4):
        caller.control.add_order(name=str(number))

    assert await pages(caller, "per_page=4&sort=date") == [["0", "1"], ["2", "3"]]


async def test_the_list_is_searched_by_name(caller: Caller) -> None:
    """`q` keeps the orders whose name contains it."""
    for name in ("Harbour Lane", "Mill Road", "New Harbour"):
        caller.control.add_order(name=name)

    assert await pages(caller, "q=harbour&sort=name") == [["Harbour Lane", "New Harbour"]]


@pytest.mark.parametrize("query", ["per_page=16", "per_page=0", "per_page=x", "sort=size", "offset=5"])
async def test_a_wrong_list_query_is_422(caller: Caller, query: str) -> None:
    """Pages over 15, unknown sorts and made-up tokens are refused, naming the item."""
    answer = await caller.call("GET", f"/orders/?{query}")

    assert answer.status == 422
    assert list(answer.json()["detail"]["query"]) == [query.split("=")[0]]


async def test_an_order_is_renamed_and_deleted(caller: Caller) -> None:
    """PATCH changes the name; DELETE is 204 without a body, and the images go too."""
    order = caller.control.add_order([ImageSpec()])
    path, image_id = f"/orders/{order.order_id}", order.images[0].image_id

    renamed = await caller.json("PATCH", path, json={"name": "Mill Road"})
    deleted = await caller.call("DELETE", path)

    assert renamed["name"] == "Mill Road"
    assert (deleted.status, deleted.body) == (204, b"")
    assert (await caller.call("GET", path)).status == 404
    assert (await caller.call("GET", f"/images/{image_id}")).status == 404


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
async def test_an_unknown_order_is_404(caller: Caller, method: str) -> None:
    """With the API's error document."""
    answer = await caller.call(method, f"/orders/{uuid.uuid4()}", json={})

    assert (answer.status, answer.json()) == (404, {"message": "Order not found", "detail": {}})


async def test_an_order_is_processing_until_its_last_image_is_done(caller: Caller) -> None:
    """Statuses follow from the clock."""
    order = caller.control.add_order([ImageSpec(), ImageSpec(delay=60, status="error", reason="Too dark")])

    before = await caller.json("GET", f"/orders/{order.order_id}")
    caller.control.advance(60)
    after = await caller.json("GET", f"/orders/{order.order_id}")

    assert (before["status"], before["is_processing"]) == ("processing", True)
    assert [image["status"] for image in before["images"]] == ["processed", "processing"]
    assert (after["status"], after["is_processing"]) == ("processed", False)
    assert [image["status"] for image in after["images"]] == ["processed", "error"]
    assert [image["status_reason"] for image in after["images"]] == [None, "Too dark"]


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [([], "waiting"), (["waiting", "processed"], "waiting"), (["error", "expired"], "error"), (["failed"], "error")],
)
async def test_the_status_of_an_order_sums_up_its_images(caller: Caller, statuses: list[str], expected: str) -> None:
    """Nothing or something to come is waiting; nothing but failures is an error."""
    order = caller.control.add_order([ImageSpec(status=status) for status in statuses])

    document = await caller.json("GET", f"/orders/{order.order_id}")

    assert (document["status"], document["is_processing"]) == (expected, False)


async def test_images_of_an_order_can_be_sorted(caller: Caller) -> None:
    """`sort_images_by` orders the images; unknown words are 422."""
    order = caller.control.add_order([ImageSpec(name=name) for name in ("b", "c", "a")])
    path = f"/orders/{order.order_id}"

    document = await caller.json("GET", f"{path}?sort_images_by=-name")
    wrong = await caller.call("GET", f"{path}?sort_images_by=size")

    assert [image["image_name"] for image in document["images"]] == ["c", "b", "a"]
    assert wrong.status == 422


async def first_order(caller: Caller) -> Any:
    order = caller.control.add_order([ImageSpec(status="error"), ImageSpec()], name="Mill Road")
    return await caller.json("GET", f"/orders/{order.order_id}")


async def test_dates_have_no_zone_and_microseconds(caller: Caller) -> None:
    """As observed at the real service."""
    order = await first_order(caller)

    created = datetime.fromisoformat(order["created_at"])
    assert created.tzinfo is None
    assert len(order["created_at"].partition(".")[2]) == 6
    assert order["images"][0]["date_added"] < 10**11


async def test_documents_have_their_historical_variants(start: StartSandbox) -> None:
    """Short names, booleans for status, numbers for versions, milliseconds, zones and float totals."""
    caller = await start(
        field_names="short",
        state_fields="booleans",
        numeric_ai_version=True,
        dates="utc",
        date_added="ms",
        float_totals=True,
    )

    order = await first_order(caller)

    failed, fine = order["images"]
    assert {"id", "name"} <= failed.keys()
    assert not {"image_id", "image_name", "status"} & failed.keys()
    assert [(image["enhanced"], image["error"]) for image in (failed, fine)] == [(False, True), (True, False)]
    assert fine["ai_version"] == 5.0
    assert fine["date_added"] > 10**11
    assert order["created_at"].endswith("Z")
    assert isinstance(order["total_images"], float)


@pytest.mark.parametrize(
    ("version", "ai_version", "window_field"),
    [
        ("2024-08-01", 5.0, "window_pull"),
        ("2025-05-08", "5.x", "window_pull"),
        ("2025-09-01", "5.x", "window_pull_type"),
    ],
)
async def test_documents_follow_the_api_version(
    caller: Caller, version: str, ai_version: object, window_field: str
) -> None:
    """The header chooses the shape."""
    order = caller.control.add_order([ImageSpec()])

    document = await caller.json("GET", f"/orders/{order.order_id}", headers={"x-api-version": version})

    image = document["images"][0]
    assert image["ai_version"] == ai_version
    assert [name for name in image if name.startswith("window_pull")] == [window_field]


async def test_undocumented_fields_change_at_every_request(start: StartSandbox) -> None:
    """They say nothing about the picture: what is documented stays the same."""
    caller = await start(volatile_fields=True)
    order_id = caller.control.add_order([ImageSpec()]).order_id

    first, second = [(await caller.json("GET", f"/orders/{order_id}"))["images"][0] for _ in range(2)]

    changed = {name for name in first if first[name] != second[name]}
    assert changed == {"preview_url", "views", "last_accessed", "expires_at", "account"}


async def test_a_listing_can_be_shorter_than_its_total(start: StartSandbox) -> None:
    """Images that are counted and not listed."""
    caller = await start(unlisted_images=498)
    order_id = caller.control.add_order([ImageSpec()] * 2).order_id

    order = await caller.json("GET", f"/orders/{order_id}")

    assert (order["total_images"], len(order["images"])) == (500, 2)
