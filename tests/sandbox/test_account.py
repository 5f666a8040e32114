"""Keys, credits, previews: what a call costs and who may make it."""

import pytest

from service.sandbox import ImageSpec

from .conftest import Caller, StartSandbox


def one_image(caller: Caller, **spec: object) -> str:
    order = caller.control.add_order([ImageSpec(**spec)])  # type: ignore[arg-type]
    return order.images[0].image_id


@pytest.mark.parametrize("key", [None, "wrong"])
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/orders/"), ("GET", "/orders/"), ("POST", "/images/"), ("GET", "/images/{image}/enhanced")],
)
async def test_keyed_routes_refuse_an_unknown_key(caller: Caller, method: str, path: str, key: str | None) -> None:
    """401 and the API's error document without a known key."""
    image_id = one_image(caller)

    answer = await caller.call(method, path.format(image=image_id), key=key)

    assert answer.status == 401
    assert answer.json() == {"message": "Unauthorized", "detail": {}}


async def test_reading_by_id_needs_no_key(caller: Caller) -> None:
    """An order, its brackets and an image are open to whoever knows the id."""
    order = caller.control.add_order([ImageSpec()])
    paths = [f"/orders/{order.order_id}", f"/orders/{order.order_id}/brackets", f"/images/{order.images[0].image_id}"]

    statuses = [(await caller.call("GET", path, key=None)).status for path in paths]

    assert statuses == [200, 200, 200]


async def test_full_size_costs_one_credit_once(caller: Caller) -> None:
    """The first full download takes a credit and marks the image; the second is free."""
    image_id = one_image(caller)
    caller.control.set_credits(3)

    for _ in range(2):
        await caller.call("GET", f"/images/{image_id}/enhanced?preview=false")

    document = await caller.json("GET", f"/images/{image_id}")
    assert document["downloaded"] is True
    assert caller.control.credits == 2
    assert caller.control.counters.credits_spent == 1
    assert caller.control.counters.purchases == {image_id: 1}


@pytest.mark.parametrize(
    ("query", "headers"),
    [("preview=true", {}), ("preview=false", {"x-dev-mode": "true"}), ("preview=false&watermark=true", {}), ("", {})],
)
async def test_previews_and_watermarks_cost_nothing(caller: Caller, query: str, headers: dict[str, str]) -> None:
    """Previews, dev mode, watermarked pictures and (as documented) no `preview` at all are free."""
    image_id = one_image(caller)
    caller.control.set_credits(0)

    answer = await caller.call("GET", f"/images/{image_id}/enhanced?{query}", headers=headers)

    assert answer.status == 302
    assert caller.control.counters.credits_spent == 0


async def test_dev_mode_watermarks(caller: Caller) -> None:
    """The asset link of a dev mode request asks for a watermark, at full size."""
    image_id = one_image(caller)

    link = await caller.link(f"/images/{image_id}/enhanced?preview=false", headers={"x-dev-mode": "true"})

    assert (link.query["watermark"], link.query["preview"]) == ("true", "false")


async def test_no_credit_left_is_402(caller: Caller) -> None:
    """Without credit the full size is refused, and the image stays unbought."""
    image_id = one_image(caller)
    caller.control.set_credits(0)

    answer = await caller.call("GET", f"/images/{image_id}/enhanced?preview=false")

    assert answer.status == 402
    assert answer.json()["message"] == "Payment Required"
    assert not caller.control.image(image_id).downloaded


async def test_strict_accounts_take_no_preview_for_full_size(start: StartSandbox) -> None:
    """With `preview_default="full"` leaving the parameter out costs a credit."""
    caller = await start(preview_default="full", credits=0)
    image_id = one_image(caller)

    answer = await caller.call("GET", f"/images/{image_id}/enhanced")

    assert answer.status == 402


async def test_originals_cost_nothing(caller: Caller) -> None:
    """The uploaded file is free at any size."""
    image_id = one_image(caller)

    answer = await caller.fetch(f"/images/{image_id}/original?preview=false")

    assert answer.status == 200
    assert caller.control.counters.credits_spent == 0


@pytest.mark.parametrize(("resells", "spent"), [(False, 1), (True, 2)])
async def test_a_reprocessed_image_is_resold_only_if_configured(
    start: StartSandbox, *, resells: bool, spent: int
) -> None:
    """Whether reprocessing voids the purchase is a switch."""
    caller = await start(image_delay=0, reprocessing_resells=resells)
    image_id = one_image(caller)

    await caller.call("GET", f"/images/{image_id}/enhanced?preview=false")
    await caller.json("POST", f"/images/{image_id}/process", json={})
    await caller.call("GET", f"/images/{image_id}/enhanced?preview=false")

    assert caller.control.counters.credits_spent == spent
