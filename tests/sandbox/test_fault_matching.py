"""Which requests a scripted fault strikes, and how often."""

from typing import Any

import pytest

from service.sandbox import ImageSpec

from .conftest import Caller


async def test_a_fault_strikes_as_often_as_told(caller: Caller) -> None:
    """Some requests pass, some are struck, the rest pass; used up faults are gone from the list."""
    caller.control.add_fault("status", operation="list_orders", skip=1, times=2)

    statuses = [(await caller.call("GET", "/orders/")).status for _ in range(4)]

    assert statuses == [200, 500, 500, 200]
    assert caller.control.faults == []


async def test_a_fault_without_end_lasts_until_it_is_cleared(caller: Caller) -> None:
    """`times=None` is for ever."""
    caller.control.add_fault("status", times=None)
    struck = [(await caller.call("GET", "/orders/")).status for _ in range(3)]

    caller.control.clear_faults()

    assert struck == [500] * 3
    assert (await caller.call("GET", "/orders/")).status == 200


async def test_the_first_fault_that_fits_strikes(caller: Caller) -> None:
    """In the order of their making."""
    caller.control.add_fault("status", status=503)
    caller.control.add_fault("status", status=429)

    assert [(await caller.call("GET", "/orders/")).status for _ in range(3)] == [503, 429, 200]


@pytest.mark.parametrize(
    ("match", "struck"),
    [
        ({}, {"get_order"}),
        ({"operation": "get_image"}, {"get_image"}),
        ({"operation": ["get_image", "get_order"]}, {"get_order"}),
        ({"operation": "download"}, {"enhanced"}),
        ({"operation": "storage"}, {"storage"}),
        ({"operation": "asset"}, {"asset"}),
        ({"order_id": "its own"}, {"get_order"}),
        ({"image_id": "its own"}, {"enhanced"}),
        ({"image_id": "its own", "operation": "storage"}, {"storage"}),
        ({"image_id": "another"}, set()),
        ({"order_id": "another"}, set()),
    ],
)
async def test_a_fault_strikes_what_it_is_meant_for(caller: Caller, match: dict[str, Any], struck: set[str]) -> None:
    """By operation, image and order; alone, an image means its download routes."""
    order = caller.control.add_order([ImageSpec()])
    image_id = order.images[0].image_id
    own = {"order_id": order.order_id, "image_id": image_id}
    criteria: dict[str, Any] = {k: own[k] if v == "its own" else v for k, v in match.items()}
    caller.control.add_fault("status", **criteria)

    await caller.call("GET", f"/orders/{order.order_id}")
    await caller.call("GET", f"/images/{image_id}")
    url = f"{caller.sandbox.api_base}/images/{image_id}/enhanced"
    async with caller.session.get(url, headers={"x-api-key": "sandbox-key"}) as response:
        await response.read()

    assert {entry.operation for entry in caller.control.log if entry.fault} == struck
    assert caller.control.counters.faults.total() == len(struck)
