"""Images: registered, uploaded, processed, reprocessed, reported, deleted."""

import uuid
from urllib.parse import parse_qs, urlsplit

import pytest

from service.sandbox import ImageSpec

from .conftest import Caller, StartSandbox

JPEG = b"\xff\xd8\xff\xe0" + bytes(300_000)


async def test_an_upload_is_processed_after_a_while(caller: Caller) -> None:
    """`waiting`, then after the PUT `processing`, then by the clock `processed`."""
    order = caller.control.add_order()
    image = await caller.json("POST", "/images/", json={"image_name": "kitchen.jpg", "order_id": order.order_id})
    path = f"/images/{image['image_id']}"

    uploaded = await caller.put(image["upload_url"], JPEG)
    processing = await caller.json("GET", path)
    caller.control.advance(60)
    processed = await caller.json("GET", path)

    assert (uploaded.status, uploaded.body) == (200, b"")
    assert [image["status"], processing["status"], processed["status"]] == ["waiting", "processing", "processed"]


async def test_an_upload_comes_back_as_the_original(caller: Caller) -> None:
    """A file that cannot be rendered is given back byte by byte."""
    image = await caller.json("POST", "/images", json={"image_name": "a.jpg"})
    await caller.put(image["upload_url"], JPEG)

    answer = await caller.fetch(f"/images/{image['image_id']}/original")

    assert answer.body == JPEG
    assert answer.content_type == "image/jpeg"


async def test_an_image_without_an_order_gets_one(caller: Caller) -> None:
    """The answer names the new order, and the order holds the image."""
    image = await caller.json("POST", "/images/", json={"image_name": "a.jpg"})

    order = await caller.json("GET", f"/orders/{image['order_id']}")

    assert [item["image_id"] for item in order["images"]] == [image["image_id"]]


async def test_an_order_nobody_created_gives_no_upload_address(caller: Caller) -> None:
    """As the real API was seen to do."""
    image = await caller.json("POST", "/images/", json={"image_name": "a.jpg", "order_id": str(uuid.uuid4())})

    assert "upload_url" not in image


async def test_older_versions_name_the_upload_address_otherwise(caller: Caller) -> None:
    """Before 2025-05-05 it is `s3PutObjectUrl`, signed for the type announced."""
    image = await caller.json(
        "POST",
        "/images/",
        json={"image_name": "a.jpg", "contentType": "image/jpeg"},
        headers={"x-api-version": "2025-01-01"},
    )

    url = image["s3PutObjectUrl"]
    assert "upload_url" not in image
    assert parse_qs(urlsplit(url).query)["content-type"] == ["image/jpeg"]
    assert (await caller.put(url, JPEG, "image/jpeg")).status == 200


@pytest.mark.parametrize(("version", "name"), [("2025-05-04", "s3PutObjectUrl"), ("2025-05-05", "upload_url")])
async def test_which_version_an_account_has_is_a_switch(start: StartSandbox, version: str, name: str) -> None:
    """It counts where the call names none."""
    caller = await start(account_version=version)

    image = await caller.json("POST", "/images/", json={"image_name": "a.jpg", "contentType": "image/jpeg"})

    assert {"s3PutObjectUrl", "upload_url"} & image.keys() == {name}


async def test_another_content_type_than_signed_is_refused(caller: Caller) -> None:
    """403 in XML, and the image stays waiting."""
    image = await caller.json("POST", "/images/", json={"image_name": "a.jpg"})

    refused = await caller.put(image["upload_url"], JPEG, "image/jpeg")

    assert (refused.status, refused.content_type) == (403, "application/xml")
    assert "SignatureDoesNotMatch" in refused.text
    assert (await caller.json("GET", f"/images/{image['image_id']}"))["status"] == "waiting"


@pytest.mark.parametrize(("checks", "status"), [(True, "error"), (False, "processed")])
async def test_a_file_that_is_no_image_ends_in_error(start: StartSandbox, *, checks: bool, status: str) -> None:
    """Unless the check is off."""
    caller = await start(image_delay=0, check_uploads=checks)
    image = await caller.json("POST", "/images/", json={"image_name": "a.jpg"})

    await caller.put(image["upload_url"], b"%PDF-1.7")

    assert (await caller.json("GET", f"/images/{image['image_id']}"))["status"] == status


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({}, "image_name"),
        ({"image_name": "a", "order_id": ""}, "order_id"),
        ({"image_name": "a", "image_id": "one"}, "image_id"),
        ({"image_name": "a", "rating": 6}, "rating"),
        ({"image_name": "a", "enhance": "yes"}, "enhance"),
        ({"image_name": "a", "enhance_type": "cold"}, "enhance_type"),
        ({"image_name": "a", "cloud_type": "RAIN"}, "cloud_type"),
        ({"image_name": "a", "metadata": []}, "metadata"),
    ],
)
async def test_a_wrong_registration_is_422(caller: Caller, document: object, field: str) -> None:
    """The field is named."""
    answer = await caller.call("POST", "/images/", json=document)

    assert answer.status == 422
    assert list(answer.json()["detail"]["json"]) == [field]


async def test_settings_are_echoed(caller: Caller) -> None:
    """What was asked for is shown, unknown properties are accepted."""
    asked = {"image_name": "a.jpg", "enhance_type": "warm", "metadata": {"camera": "front"}, "novelty": 1}

    image = await caller.json("POST", "/images/", json=asked)

    assert (image["enhance_type"], image["metadata"]) == ("warm", {"camera": "front"})


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_reprocessing_gives_another_picture(caller: Caller, method: str) -> None:
    """Back to `processing`; settings left out stay; then other bytes than before."""
    order = caller.control.add_order([ImageSpec(status="error")])
    image_id = order.images[0].image_id
    old = caller.control.expected(image_id)

    answer = await caller.json(method, f"/images/{image_id}/process", json={"sky_replacement": True})
    caller.control.advance(60)
    done = await caller.json("GET", f"/images/{image_id}")

    assert (answer["status"], answer["sky_replacement"], answer["lens_correction"]) == ("processing", True, True)
    assert done["status"] == "processed"
    assert caller.control.expected(image_id) != old


async def test_a_report_needs_known_categories(caller: Caller) -> None:
    """200 with them, 422 without."""
    image_id = caller.control.add_order([ImageSpec()]).images[0].image_id
    path = f"/images/{image_id}/report"

    fine = await caller.call("POST", path, json={"categories": ["NOISE"], "score": 2, "source": "API"})
    missing = await caller.call("POST", path, json={"score": 2})
    unknown = await caller.call("POST", path, json={"categories": ["TASTE"]})

    assert [fine.status, missing.status, unknown.status] == [200, 422, 422]


async def test_a_deleted_image_is_gone(caller: Caller) -> None:
    """204, then 404, and its order no longer shows it."""
    order = caller.control.add_order([ImageSpec(), ImageSpec()])
    first, second = order.images

    deleted = await caller.call("DELETE", f"/images/{first.image_id}")

    document = await caller.json("GET", f"/orders/{order.order_id}")
    assert deleted.status == 204
    assert (await caller.call("GET", f"/images/{first.image_id}")).status == 404
    assert [image["image_id"] for image in document["images"]] == [second.image_id]
