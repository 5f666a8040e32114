"""The limits that Autoenhance publishes, each a switch that is off at first."""

import pytest

from service.sandbox import ImageSpec

from .conftest import Answer, Caller, StartSandbox

JPEG = b"\xff\xd8\xff\xe0" + bytes(100)


async def register(caller: Caller, name: str) -> Answer:
    return await caller.call("POST", "/images/", json={"image_name": name})


async def enhance(caller: Caller) -> tuple[str, str | None]:
    """Upload an image; returns its status and the reason once it is settled."""
    image = await caller.json("POST", "/images/", json={"image_name": "a.jpg"})
    await caller.put(image["upload_url"], JPEG)
    document = await caller.json("GET", f"/images/{image['image_id']}")
    return document["status"], document["status_reason"]


async def test_a_file_name_is_taken_so_often_an_hour(start: StartSandbox) -> None:
    """Then 429 for this name, of images and brackets together; another name and the next hour are free."""
    caller = await start(same_name_per_hour=2)
    order = caller.control.add_order()
    bracket = {"name": "a.jpg", "order_id": order.order_id}

    statuses = [
        (await register(caller, "a.jpg")).status,
        (await caller.call("POST", "/brackets/", json=bracket)).status,
        (await register(caller, "a.jpg")).status,
        (await caller.call("POST", "/brackets/", json=bracket)).status,
        (await register(caller, "b.jpg")).status,
    ]
    caller.control.advance(3600)

    assert statuses == [200, 200, 429, 429, 200]
    assert (await register(caller, "a.jpg")).status == 200


async def test_a_refused_name_makes_no_image(start: StartSandbox) -> None:
    """Nor an order for it."""
    caller = await start(same_name_per_hour=1)

    await register(caller, "a.jpg")
    refused = await register(caller, "a.jpg")

    assert refused.json() == {"message": "This file name was used too often.", "detail": {}}
    assert len(caller.control.state.images) == len(caller.control.state.orders) == 1


async def test_images_past_the_daily_limit_go_to_error(start: StartSandbox) -> None:
    """No 429: the reason is in `status_reason`. The next day is another."""
    caller = await start(enhancements_per_day=2, image_delay=0)

    first, second, third = [await enhance(caller) for _ in range(3)]
    caller.control.advance(86_400)

    assert first == second == ("processed", None)
    assert third[0] == "error"
    assert "Daily enhancement limit reached" in str(third[1])
    assert (await enhance(caller))[0] == "processed"


async def test_calls_are_limited_by_the_second(start: StartSandbox) -> None:
    """429 clears at once; pictures, which come from other hosts, do not count."""
    caller = await start(requests_per_second=3)
    image_id = caller.control.add_order([ImageSpec()]).images[0].image_id
    path = f"/images/{image_id}/enhanced"

    await caller.fetch(path)
    statuses = [(await caller.call("GET", path)).status for _ in range(3)]
    caller.control.advance(1)

    assert statuses == [302, 302, 429]
    assert (await caller.call("GET", path)).status == 302


@pytest.mark.parametrize(("wait", "header"), [(None, None), (30.0, "30")])
async def test_whether_a_limit_says_when_to_come_back_is_a_switch(
    start: StartSandbox, wait: float | None, header: str | None
) -> None:
    """Nobody documents it."""
    caller = await start(same_name_per_hour=0, limit_retry_after=wait)

    assert (await register(caller, "a.jpg")).headers.get("Retry-After") == header


async def test_no_limit_holds_unless_it_is_set(caller: Caller) -> None:
    """Tests may do what they like."""
    statuses = {(await register(caller, "a.jpg")).status for _ in range(40)}

    assert statuses == {200}
