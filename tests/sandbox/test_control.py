"""The control routes, the log and the counters."""

import asyncio
import sys
from typing import Any

import pytest

from service.sandbox import SAMPLE_ORDER_ID, ImageSpec, Sandbox, SandboxConfig, serve_sandbox

from .conftest import Answer, Caller, StartSandbox, read


async def control(caller: Caller, method: str, path: str, document: Any = None) -> Answer:
    url = f"{caller.sandbox.control_base}{path}"
    async with caller.session.request(method, url, json=document) as response:
        return await read(response)


async def test_an_order_is_made_without_uploads(caller: Caller) -> None:
    """Synthetic images of any status, ready to be downloaded."""
    specs = [{"name": "kitchen.jpg", "size": 5000}, {"status": "processing"}, {"status": "error", "reason": "dark"}]

    made = await control(caller, "POST", "/orders", {"name": "Mill Road", "images": specs})

    order = await caller.json("GET", f"/orders/{made.json()['order_id']}")
    assert (made.status, order["name"]) == (201, "Mill Road")
    assert [image["status"] for image in order["images"]] == ["processed", "processing", "error"]
    assert len((await caller.fetch(f"/images/{order['images'][0]['image_id']}/enhanced")).body) == 5000


async def test_ids_follow_from_the_order(start: StartSandbox) -> None:
    """Two sandboxes hold the same images for the same order id."""
    ids = []
    for _ in range(2):
        caller = await start()
        order = caller.control.add_order([ImageSpec()], order_id=SAMPLE_ORDER_ID)
        ids.append((order.images[0].image_id, caller.control.expected(order.images[0].image_id)))

    assert ids[0] == ids[1]


@pytest.mark.parametrize(
    "document",
    [
        {"images": [{"colour": "red"}]},
        {"images": [{"status": "lost"}]},
        {"images": [{"photo": "../../secret.jpg"}]},
        {"images": [{"size": "large"}]},
        {"order_id": SAMPLE_ORDER_ID},
        {"order_id": "12", "images": [{}]},
    ],
)
async def test_an_impossible_order_is_refused(caller: Caller, document: Any) -> None:
    """Unknown fields, statuses, photos; no size; an id in use or no id: and nothing is left behind."""
    caller.control.add_order(order_id=SAMPLE_ORDER_ID)

    assert (await control(caller, "POST", "/orders", document)).status == 400
    assert len(caller.control.state.orders) == 1


async def test_a_sample_order_has_a_known_id(caller: Caller) -> None:
    """For demos: always the same id, and something to download."""
    await control(caller, "POST", "/orders", {"sample": True})

    order = await caller.json("GET", f"/orders/{SAMPLE_ORDER_ID}")
    assert order["status"] == "processed"
    assert order["total_images"] >= 1


async def test_an_image_can_be_put_into_any_status(caller: Caller) -> None:
    """And stays there."""
    image_id = caller.control.add_order([ImageSpec(status="processing")]).images[0].image_id
    seen = []

    for status in ("processed", "expired", "processing", "waiting"):
        await control(caller, "PATCH", f"/images/{image_id}", {"status": status})
        seen.append((await caller.json("GET", f"/images/{image_id}"))["status"])

    assert seen == ["processed", "expired", "processing", "waiting"]


async def test_faults_are_scripted_over_http(caller: Caller) -> None:
    """Added, listed, taken back one by one or all."""
    added = await control(
        caller, "POST", "/faults", {"kind": 429, "retry_after": 3, "match": {"operation": "get_order"}}
    )
    await control(caller, "POST", "/faults", {"kind": "reset", "match": {"image_id": "a"}, "times": None})

    listed = (await control(caller, "GET", "/faults")).json()["faults"]
    await control(caller, "DELETE", f"/faults?fault_id={added.json()['fault_id']}")
    left = (await control(caller, "GET", "/faults")).json()["faults"]
    await control(caller, "DELETE", "/faults")

    assert [(fault["kind"], fault["status"], fault["times"]) for fault in listed] == [
        ("status", 429, 1),
        ("reset", 500, None),
    ]
    assert [fault["kind"] for fault in left] == ["reset"]
    assert caller.control.faults == []


@pytest.mark.parametrize("document", [{"kind": "gremlin"}, {"kind": "reset", "force": 1}, {}])
async def test_an_unknown_fault_is_refused(caller: Caller, document: Any) -> None:
    """400 in place of a fault that never strikes."""
    assert (await control(caller, "POST", "/faults", document)).status == 400


async def test_credits_and_configuration_are_set_over_http(caller: Caller) -> None:
    """Changes hold at once; addresses and unknown names are refused."""
    await control(caller, "PUT", "/credits", {"credits": 2})
    changed = await control(caller, "PATCH", "/config", {"not_ready": 422, "api_keys": ["other"]})
    refused = await control(caller, "PATCH", "/config", {"port": 1})

    assert caller.control.credits == 2
    assert (changed.json()["not_ready"], refused.status) == (422, 400)
    assert (await caller.call("GET", "/orders/")).status == 401
    assert (await caller.call("GET", "/orders/", key="other")).status == 200


async def test_time_can_be_pushed_forward(caller: Caller) -> None:
    """An image is done without waiting for it."""
    image_id = caller.control.add_order([ImageSpec(delay=3600)]).images[0].image_id

    await control(caller, "POST", "/clock", {"advance": 3600})

    assert (await caller.json("GET", f"/images/{image_id}"))["status"] == "processed"


async def test_the_log_tells_every_request(caller: Caller) -> None:
    """What, about whom, with which headers, and how it ended."""
    order = caller.control.add_order([ImageSpec(size=5000)])
    image_id = order.images[0].image_id

    await caller.fetch(f"/images/{image_id}/enhanced?preview=false", headers={"x-api-version": "2025-05-08"})

    log = (await control(caller, "GET", "/log")).json()
    first, _, last = log["requests"]
    assert [entry["operation"] for entry in log["requests"]] == ["enhanced", "asset", "storage"]
    assert (first["method"], first["path"], first["status"]) == ("GET", f"/v3/images/{image_id}/enhanced", 302)
    assert (first["query"], first["headers"]["x-api-version"]) == ({"preview": "false"}, "2025-05-08")
    assert (last["image_id"], last["order_id"], last["sent"], last["complete"]) == (
        image_id,
        order.order_id,
        5000,
        True,
    )
    assert "x-api-key" not in last["headers"]
    assert log["credits"] == 999
    assert log["counters"]["credits_spent"] == 1
    assert log["counters"]["bytes_sent"] == 5000
    assert log["counters"]["complete_downloads"] == {image_id: 1}


async def test_the_log_can_be_reset(caller: Caller) -> None:
    """Entries and counters start again."""
    await caller.call("GET", "/orders/")

    await control(caller, "POST", "/reset")

    assert caller.control.log == []
    assert caller.control.counters.requests == {}


async def test_downloads_under_way_are_counted(start: StartSandbox) -> None:
    """The maximum is that of the client, not one more, however often it comes back."""
    caller = await start(download_latency=0.01)
    images = caller.control.add_order([ImageSpec(size=300_000)] * 12).images
    slots = asyncio.Semaphore(3)

    async def download(image_id: str) -> None:
        async with slots:
            await caller.fetch(f"/images/{image_id}/enhanced")

    await asyncio.gather(*(download(image.image_id) for image in images))

    assert caller.control.counters.max_in_flight == 3
    assert caller.control.counters.in_flight == 0
    assert caller.control.counters.complete_downloads.total() == 12


async def test_unknown_paths_get_the_error_document(caller: Caller) -> None:
    """404 and 405 in JSON."""
    unknown = await caller.call("GET", "/presets/")
    wrong = await caller.call("PUT", "/orders/")

    assert [unknown.status, wrong.status] == [404, 405]
    assert unknown.json() == {"message": "Not Found", "detail": {}}


async def test_a_served_sandbox_tells_when_it_is_ready() -> None:
    """It listens and holds the sample order by then, and stops when cancelled."""
    ready: asyncio.Queue[Sandbox] = asyncio.Queue()

    task = asyncio.create_task(serve_sandbox(SandboxConfig(), ready=ready.put_nowait))
    sandbox = await asyncio.wait_for(ready.get(), 5)
    held = sandbox.control.order(SAMPLE_ORDER_ID)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert sandbox.api_base.startswith("http://127.0.0.1:")
    assert held.images


async def test_synthetic_images_need_no_pillow(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra, downloads of synthetic images work, and uploads come back as they are."""
    monkeypatch.setitem(sys.modules, "PIL", None)
    synthetic = caller.control.add_order([ImageSpec()]).images[0].image_id
    uploaded = await caller.json("POST", "/images/", json={"image_name": "a.jpg"})
    await caller.put(uploaded["upload_url"], b"\xff\xd8\xffphoto")
    caller.control.advance(60)

    answers = [await caller.fetch(f"/images/{name}/enhanced") for name in (synthetic, uploaded["image_id"])]

    assert [answer.body for answer in answers] == [caller.control.expected(synthetic), b"\xff\xd8\xffphoto"]


async def test_pillow_is_loaded_by_rendering_only() -> None:
    """Importing the sandbox does not need the extra."""
    code = "import service.sandbox, sys; sys.exit('PIL' in sys.modules)"

    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code)

    assert await process.wait() == 0
