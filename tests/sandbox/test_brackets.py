"""Brackets: uploaded one by one, merged into one image per group."""

from typing import Any

import pytest

from service.sandbox import SandboxConfig

from .conftest import Caller, StartSandbox

JPEG = b"\xff\xd8\xff\xe0exposure"


async def upload_brackets(caller: Caller, number: int) -> tuple[str, list[str]]:
    order = caller.control.add_order()
    ids = []
    for index in range(number):
        body = {"name": f"DSC_{index}.jpg", "order_id": order.order_id}
        bracket = await caller.json("POST", "/brackets/", json=body)
        assert (await caller.put(bracket["upload_url"], JPEG + bytes([index]))).status == 200
        ids.append(bracket["bracket_id"])
    return order.order_id, ids


async def test_an_order_shows_no_images_while_it_is_merged(caller: Caller) -> None:
    """Merging with empty images, then processing, then processed."""
    order_id, _ = await upload_brackets(caller, 6)
    seen: list[Any] = [await caller.json("POST", f"/orders/{order_id}/process", json={})]

    for _ in range(2):
        caller.control.advance(60)
        seen.append(await caller.json("GET", f"/orders/{order_id}"))

    assert [(o["is_merging"], o["is_processing"], len(o["images"])) for o in seen] == [
        (True, False, 0),
        (False, True, 2),
        (False, False, 2),
    ]


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ({}, ["DSC_0.jpg", "DSC_3.jpg"]),
        ({"number_of_brackets_per_image": 2}, ["DSC_0.jpg", "DSC_2.jpg", "DSC_4.jpg"]),
        ({"number_of_brackets_per_image": 5}, ["DSC_0.jpg", "DSC_5.jpg"]),
    ],
)
async def test_brackets_are_grouped_by_number(start: StartSandbox, body: Any, names: list[str]) -> None:
    """Each group becomes one image, named after its first bracket."""
    caller = await start(image_delay=0, merge_delay=0)
    order_id, _ = await upload_brackets(caller, 6)

    await caller.json("POST", f"/orders/{order_id}/process", json=body)

    order = await caller.json("GET", f"/orders/{order_id}")
    assert [image["image_name"] for image in order["images"]] == names


async def test_how_many_brackets_make_an_image_is_a_switch(start: StartSandbox) -> None:
    """Where the call does not say it."""
    caller = await start(image_delay=0, merge_delay=0, brackets_per_image=2)
    order_id, _ = await upload_brackets(caller, 6)

    await caller.json("POST", f"/orders/{order_id}/process", json={})

    assert len((await caller.json("GET", f"/orders/{order_id}"))["images"]) == 3


async def test_brackets_are_grouped_as_told(start: StartSandbox) -> None:
    """Explicit groups, named after the last bracket when configured; each bracket tells its image."""
    caller = await start(image_delay=0, merge_delay=0, merged_name="last")
    order_id, ids = await upload_brackets(caller, 3)
    groups = [{"bracket_ids": [ids[2], ids[0]]}, {"bracket_ids": [ids[1]]}]

    order = await caller.json("POST", f"/orders/{order_id}/process", json={"images": groups})

    brackets = (await caller.json("GET", f"/orders/{order_id}/brackets"))["brackets"]
    first, second = [image["image_id"] for image in order["images"]]
    assert [image["image_name"] for image in order["images"]] == ["DSC_0.jpg", "DSC_1.jpg"]
    assert [bracket["image_id"] for bracket in brackets] == [first, second, first]


async def test_unknown_or_missing_brackets_are_422(caller: Caller) -> None:
    """Nothing to merge, or something that is not there."""
    order_id, _ = await upload_brackets(caller, 1)
    empty = caller.control.add_order().order_id

    unknown = await caller.call("POST", f"/orders/{order_id}/process", json={"images": [{"bracket_ids": ["x"]}]})
    nothing = await caller.call("POST", f"/orders/{empty}/process", json={})

    assert (unknown.status, nothing.status) == (422, 422)


async def test_an_upload_shows_after_a_while(start: StartSandbox) -> None:
    """`is_uploaded` follows the PUT by `bracket_delay`."""
    caller = await start(bracket_delay=30)
    _, (bracket_id,) = await upload_brackets(caller, 1)

    before = await caller.json("GET", f"/brackets/{bracket_id}")
    caller.control.advance(30)
    after = await caller.json("GET", f"/brackets/{bracket_id}")

    assert (before["is_uploaded"], after["is_uploaded"]) == (False, True)


async def test_a_bracket_can_be_deleted_and_needs_a_plain_name(caller: Caller) -> None:
    """204 then 404; a slash in the name is 422."""
    order_id, (bracket_id,) = await upload_brackets(caller, 1)

    deleted = await caller.call("DELETE", f"/brackets/{bracket_id}")
    slash = await caller.call("POST", "/brackets/", json={"name": "a/b.jpg", "order_id": order_id})

    assert deleted.status == 204
    assert (await caller.call("GET", f"/brackets/{bracket_id}")).status == 404
    assert slash.status == 422


async def test_images_registered_for_hdr_are_merged_in_the_older_way(start: StartSandbox) -> None:
    """`hdr: true` images wait for `/merge` and are replaced by the merged one."""
    caller = await start(image_delay=0, merge_delay=0)
    order_id = caller.control.add_order().order_id
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        image = await caller.json("POST", "/images/", json={"image_name": name, "order_id": order_id, "hdr": True})
        await caller.put(image["upload_url"], JPEG)
    before = await caller.json("GET", f"/orders/{order_id}")

    await caller.json("POST", f"/orders/{order_id}/merge", json={})

    after = await caller.json("GET", f"/orders/{order_id}")
    assert [image["status"] for image in before["images"]] == ["waiting"] * 3
    assert [(image["image_name"], image["status"]) for image in after["images"]] == [("a.jpg", "processed")]


def test_merging_takes_a_while_unless_told_otherwise() -> None:
    """The default configuration has a merging phase."""
    assert SandboxConfig().merge_delay > 0
