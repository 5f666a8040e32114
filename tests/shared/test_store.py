"""Instances that share a storage: any of them serves any byte of any archive."""

import asyncio
import contextlib

import pytest
from aiohttp import ClientError

from tests.support.client import TIMEOUT, Service, StartService
from tests.support.loopback import free_port
from tests.support.s3_proxy import S3Proxy
from tests.support.s3_server import S3Server
from tests.support.samples import ORDER, jpeg, order
from tests.support.upstream import FakeUpstream

IMAGES = {"a": jpeg(1, 300_000), "b": jpeg(2, 200_000), "c": jpeg(3, 9_000_000)}
EXPECTED = {f"{name}.jpg": body for name, body in IMAGES.items()}


@pytest.fixture(autouse=True)
def three_images(upstream: FakeUpstream) -> None:
    """An order of three images, one of them uploaded in parts."""
    upstream.orders[ORDER] = order(IMAGES)
    upstream.images |= IMAGES


async def test_an_archive_of_one_instance_is_every_instances(
    upstream: FakeUpstream, start_member: StartService
) -> None:
    """The same bytes under the same id, without another image call."""
    first, second = await start_member(), await start_member()

    built = await first.download()
    again = await second.download()

    assert built.images == EXPECTED
    assert again.body == built.body
    assert again.headers["ETag"] == built.headers["ETag"]
    assert again.headers["Content-Length"] == str(len(built.body))
    assert upstream.image_calls == len(IMAGES)


@pytest.mark.parametrize("asked", ["bytes=0-99", "bytes=250000-320000", "bytes=-70", "bytes=400000-"])
async def test_any_range_of_it_is_served_by_another_instance(start_member: StartService, asked: str) -> None:
    """From the shared storage, byte for byte."""
    first, second = await start_member(), await start_member()
    built = await first.download()
    path = f"/v1/archives/{built.headers['X-Archive-Id']}"

    part = await second.ask(path, headers={"Range": asked})

    start, _, stop = part.headers["Content-Range"].removeprefix("bytes ").partition("/")[0].partition("-")
    assert part.status == 206
    assert part.body == built.body[int(start) : int(stop) + 1]


async def test_its_report_is_known_everywhere(upstream: FakeUpstream, start_member: StartService) -> None:
    """Image by image, failures included."""
    upstream.images["b"] = 404
    first, second = await start_member(), await start_member()
    built = await first.download()
    path = f"/v1/archives/{built.headers['X-Archive-Id']}/report"

    assert (await second.ask(path)).body == (await first.ask(path)).body


async def test_an_image_is_bought_once_by_all_instances(upstream: FakeUpstream, start_member: StartService) -> None:
    """Also for another archive: here one of a part of the order."""
    first, second = await start_member(), await start_member()
    await first.download(image="a", preview="false")

    whole = await second.download(preview="false")

    assert whole.images == EXPECTED
    assert upstream.calls("a") == 1


async def test_a_download_that_broke_off_goes_on_at_another_instance_while_it_is_built(
    upstream: FakeUpstream, start_member: StartService
) -> None:
    """The first instance still builds; the second follows what it announces."""
    first, second = await start_member(), await start_member()
    gate = upstream.hold("c")
    async with first.request(f"/v1/orders/{ORDER}/images") as response:
        head = await response.content.readexactly(1_000)
        archive_id = response.headers["X-Archive-Id"]
        resuming = asyncio.create_task(second.ask(f"/v1/archives/{archive_id}", headers={"Range": "bytes=1000-"}))
        await asyncio.sleep(0)
        gate.set()
        rest_here = await response.content.read()
    resumed = await resuming

    assert resumed.status == 206
    assert head + resumed.body == head + rest_here
    assert upstream.image_calls == len(IMAGES)


async def test_a_build_whose_instance_is_gone_is_taken_over(upstream: FakeUpstream, start_member: StartService) -> None:
    """Stopped in the middle, it lets go of its archive; the next one that is asked goes on with it."""
    first, second = await start_member(), await start_member()
    gate = upstream.hold("c")
    async with first.request(f"/v1/orders/{ORDER}/images") as response:
        head = await response.content.readexactly(1_000)
        archive_id = response.headers["X-Archive-Id"]
        await upstream.until(lambda: upstream.calls("c") == 1)
        await first.stop()
        with contextlib.suppress(ClientError):
            await response.content.read()
    gate.set()

    resumed = await second.ask(f"/v1/archives/{archive_id}", headers={"Range": "bytes=1000-"})
    whole = await second.ask(f"/v1/archives/{archive_id}")

    assert resumed.status == 206
    assert whole.images == EXPECTED
    assert head + resumed.body == whole.body
    assert (upstream.calls("a"), upstream.calls("b")) == (1, 1)


async def test_what_one_instance_has_seen_of_an_image_all_know(
    upstream: FakeUpstream, start_member: StartService
) -> None:
    """Reprocessed while only the first looked, the image is a new one for the second too."""
    first, second = await start_member(order_freshness=0), await start_member(order_freshness=0)
    upstream.orders[ORDER] = order(["a"])
    await second.download()
    processing = order([{"image_id": "a", "image_name": "a.jpg", "status": "processing", "date_added": 1}])
    upstream.orders[ORDER] = processing
    await first.ask(f"/v1/orders/{ORDER}")
    upstream.orders[ORDER] = order(["a"])
    upstream.images["a"] = jpeg(9, 5_000)

    again = await second.download()

    assert again.images == {"a.jpg": jpeg(9, 5_000)}


async def test_images_that_were_evicted_here_are_read_from_there(
    upstream: FakeUpstream, start_member: StartService
) -> None:
    """The disk is a cache: what it lost, the archive has not."""
    small = await start_member(store_max_bytes=12_000_000)
    built = await small.download()
    other = "0b9f7c1e-4a57-4d6e-9d51-2f3c8a7be002"
    upstream.orders[other] = order(["d"])
    upstream.images["d"] = jpeg(4, 11_000_000)
    await small.download(other)

    again = await small.ask(f"/v1/archives/{built.headers['X-Archive-Id']}")

    assert again.body == built.body
    assert upstream.calls("c") == 1


async def test_an_image_that_finds_no_room_here_is_passed_on_from_there(start_member: StartService) -> None:
    """An instance with a tiny disk serves an archive it could never hold."""
    large, tiny = await start_member(), await start_member(store_max_bytes=1_000_000)
    built = await large.download()

    passed_on = await tiny.ask(f"/v1/archives/{built.headers['X-Archive-Id']}")

    assert passed_on.body == built.body


async def test_without_the_storage_an_instance_goes_on_alone(
    start_member: StartService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Downloads are served, and repeated, from the disk."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    alone: Service = await start_member()

    built = await alone.download()
    again = await alone.download()

    assert built.images == EXPECTED
    assert again.body == built.body


async def test_a_storage_that_fails_for_a_while_is_made_up_for(
    s3: S3Server, start_member: StartService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers 500 to everything while an order is built: the caller is served, and afterwards everybody has it."""
    async with S3Proxy(s3.url) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        first, second = await start_member(), await start_member()
        proxy.status = 500
        built = await first.download()
        proxy.status = None
        async with asyncio.timeout(TIMEOUT):
            while (later := await second.ask(f"/v1/archives/{built.headers['X-Archive-Id']}")).status != 200:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        await first.stop()
        await second.stop()

    assert proxy.refused > 0
    assert built.images == EXPECTED
    assert later.body == built.body
