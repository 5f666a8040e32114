"""Steering a sandbox, its log and its counters."""

import asyncio
import sys

import pytest

from service.sandbox import SAMPLE_ORDER_ID, ImageSpec, Sandbox, SandboxConfig, serve_sandbox

from .conftest import Caller, StartSandbox


async def test_an_order_is_made_without_uploads(caller: Caller) -> None:
    """Synthetic images of any status, ready to be downloaded."""
    specs = [ImageSpec(name="kitchen.jpg", size=5000), ImageSpec(status="processing"), ImageSpec(status="error")]

    made = caller.control.add_order(specs, name="Mill Road")

    order = await caller.json("GET", f"/orders/{made.order_id}")
    assert order["name"] == "Mill Road"
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


def test_an_image_has_a_status_that_there_is() -> None:
    """Any other is a mistake of the test."""
    with pytest.raises(ValueError, match="unknown status: lost"):
        ImageSpec(status="lost")


@pytest.mark.parametrize(
    ("photo", "order_id"), [("../../secret.jpg", None), (None, SAMPLE_ORDER_ID), (None, "12")], ids=str
)
async def test_an_impossible_order_is_refused(caller: Caller, photo: str | None, order_id: str | None) -> None:
    """A photo that is not there, an id in use, an id that is none: and nothing is left behind."""
    caller.control.add_order(order_id=SAMPLE_ORDER_ID)

    with pytest.raises(ValueError, match=r"unknown photo|order exists|badly formed"):
        caller.control.add_order([ImageSpec(photo=photo)], order_id=order_id)

    assert len(caller.control.state.orders) == 1


async def test_a_sample_order_has_a_known_id(caller: Caller) -> None:
    """For demos: always the same id, and something to download."""
    caller.control.add_sample_order()

    order = await caller.json("GET", f"/orders/{SAMPLE_ORDER_ID}")
    assert order["status"] == "processed"
    assert order["total_images"] >= 1


async def test_an_image_can_be_put_into_any_status(caller: Caller) -> None:
    """And stays there."""
    image_id = caller.control.add_order([ImageSpec(status="processing")]).images[0].image_id
    seen = []

    for status in ("processed", "expired", "processing", "waiting"):
        caller.control.set_status(image_id, status)
        seen.append((await caller.json("GET", f"/images/{image_id}"))["status"])

    assert seen == ["processed", "expired", "processing", "waiting"]


async def test_faults_are_taken_back_one_by_one_or_all(caller: Caller) -> None:
    """Each has an id of its own."""
    first = caller.control.add_fault("status", status=429, operation="get_order")
    second = caller.control.add_fault("reset", image_id="a", times=None)

    assert caller.control.remove_fault(first.fault_id)
    assert not caller.control.remove_fault(first.fault_id)
    left = caller.control.faults
    caller.control.clear_faults()

    assert left == [second]
    assert caller.control.faults == []


async def test_an_unknown_fault_is_refused(caller: Caller) -> None:
    """In place of a fault that never strikes."""
    with pytest.raises(ValueError, match="gremlin"):
        caller.control.add_fault("gremlin")


async def test_configuration_changes_hold_at_once(caller: Caller) -> None:
    """Addresses and unknown names are refused."""
    caller.control.configure(api_keys=("other",))

    assert (await caller.call("GET", "/orders/")).status == 401
    assert (await caller.call("GET", "/orders/", key="other")).status == 200
    for name in ("port", "colour"):
        with pytest.raises(ValueError, match=f"cannot be changed: {name}"):
            caller.control.configure(**{name: 1})


async def test_time_can_be_pushed_forward(caller: Caller) -> None:
    """An image is done without waiting for it."""
    image_id = caller.control.add_order([ImageSpec(delay=3600)]).images[0].image_id

    caller.control.advance(3600)

    assert (await caller.json("GET", f"/images/{image_id}"))["status"] == "processed"


async def test_the_log_tells_every_request(caller: Caller) -> None:
    """What, about whom, with which headers, and how it ended."""
    order = caller.control.add_order([ImageSpec(size=5000)])
    image_id = order.images[0].image_id

    await caller.fetch(f"/images/{image_id}/enhanced?preview=false", headers={"x-api-version": "2025-05-08"})

    log, counters = caller.control.log, caller.control.counters
    first, _, last = log
    assert [entry.operation for entry in log] == ["enhanced", "asset", "storage"]
    assert (first.method, first.path, first.status) == ("GET", f"/v3/images/{image_id}/enhanced", 302)
    assert (first.query, first.headers["x-api-version"]) == ({"preview": "false"}, "2025-05-08")
    assert (last.image_id, last.order_id, last.sent, last.complete) == (image_id, order.order_id, 5000, True)
    assert "x-api-key" not in last.headers
    assert caller.control.credits == 999
    assert (counters.credits_spent, counters.bytes_sent) == (1, 5000)
    assert counters.complete_downloads == {image_id: 1}


async def test_the_log_can_be_reset(caller: Caller) -> None:
    """Entries and counters start again."""
    await caller.call("GET", "/orders/")

    caller.control.reset_log()

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
