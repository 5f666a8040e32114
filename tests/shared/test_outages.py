"""Redis or S3 away, in every way that it can be: what callers see, what is fetched again, what a metric says."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import ClientPayloadError
from obstore.store import S3Store

from tests.support.client import TIMEOUT, Answer, Service, StartService
from tests.support.redis_server import RedisServer
from tests.support.s3_proxy import S3Proxy
from tests.support.s3_server import S3Server
from tests.support.samples import ORDER, jpeg, order, photo
from tests.support.upstream import FakeUpstream

IMAGES = {"a": jpeg(1, 30_000), "b": jpeg(2, 20_000), "c": jpeg(3, 90_000)}
EXPECTED = {f"{name}.jpg": body for name, body in IMAGES.items()}
OTHER = "0b9f7c1e-4a57-4d6e-9d51-2f3c8a7be002"
OTHERS = {"d": jpeg(4, 30_000), "e": jpeg(5, 20_000), "f": jpeg(6, 10_000)}
_HANGING = 3600.0


@pytest.fixture(autouse=True)
def two_orders(upstream: FakeUpstream) -> None:
    """Of three images each."""
    upstream.orders |= {ORDER: order(IMAGES), OTHER: order(OTHERS, order_id=OTHER)}
    upstream.images |= IMAGES | OTHERS


@pytest.fixture
async def proxy(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[S3Proxy]:
    """What instances take for S3."""
    async with S3Proxy(s3.url) as between:
        monkeypatch.setenv("AWS_ENDPOINT_URL", between.url)
        yield between


@pytest.fixture(autouse=True)
def no_tracebacks(caplog: pytest.LogCaptureFixture) -> object:
    """An outage is told of in lines of words."""
    yield
    records = [record for phase in ("setup", "call") for record in caplog.get_records(phase)]
    assert records
    told = [
        str(record.msg) for record in records if record.levelno >= logging.ERROR and record.name != "aiohttp.server"
    ]
    assert told == []


async def metric(service: Service, line: str) -> float:
    """The value of one series."""
    for found in (await service.ask("/metrics")).body.decode().splitlines():
        if found.startswith(f"batch_{line} "):
            return float(found.rpartition(" ")[2])
    raise AssertionError(line)


async def served(service: Service, archive_id: str) -> Answer:
    """The archive by its id, as soon as it is served; until then it is said to be there in a moment."""
    async with asyncio.timeout(3 * TIMEOUT):
        while (answer := await service.ask(f"/v1/archives/{archive_id}")).status != 200:
            assert (answer.status, answer.problem["code"]) == (503, "still_building")
            assert int(answer.headers["Retry-After"]) > 0
            await asyncio.sleep(0.1)
    return answer


async def ended(service: Service, job_id: str) -> str:
    """How a job ended."""
    async with asyncio.timeout(3 * TIMEOUT):
        while (status := (await service.ask(f"/v1/jobs/{job_id}")).document["status"]) in ("queued", "processing"):  # noqa: ASYNC110  # a job's end is looked for from outside
            await asyncio.sleep(0.1)
    return str(status)


@pytest.mark.parametrize(
    "trouble",
    [{"is_stopped": True}, {"status": 500}, {"status": 503}, {"status": 403}, {"seconds": 2.0}, {"seconds": _HANGING}],
    ids=str,
)
async def test_s3_away(
    upstream: FakeUpstream, proxy: S3Proxy, start_member: StartService, trouble: dict[str, Any]
) -> None:
    """What is new is fetched, what is on the disk repeated; afterwards others have all of it, and nothing is fetched
    again."""
    first, second = await start_member(), await start_member()
    known = await first.download()
    await served(second, known.headers["X-Archive-Id"])
    before = await metric(first, 'images_refetched_total{why="uncoordinated"}')
    vars(proxy).update(trouble)

    async with asyncio.timeout(3 * TIMEOUT):
        again, new = await first.download(), await first.download(OTHER, preview="false")
    unknown = await second.ask(f"/v1/archives/{'0' * 32}")
    health = (await first.ask("/health")).document
    up = await metric(first, 'shared_up{what="s3"}')
    proxy.is_stopped, proxy.status, proxy.seconds = False, None, 0.0
    there = await served(second, new.headers["X-Archive-Id"])
    repeated = await second.download(OTHER, preview="false")

    assert again.body == known.body
    assert new.images == {f"{name}.jpg": body for name, body in OTHERS.items()}
    assert unknown.status == 503
    assert (health["s3"], health["redis"], up) == ("unavailable", "ok", 0)
    assert there.body == repeated.body == new.body
    assert upstream.image_calls == len(IMAGES) + len(OTHERS)
    assert await metric(first, 'images_refetched_total{why="uncoordinated"}') - before == len(OTHERS)
    assert await metric(first, 'shared_up{what="s3"}') == 1


async def test_a_repeat_does_not_wait_for_an_s3_that_hangs(
    proxy: S3Proxy, start_member: StartService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long S3 may take by the rules: the disk has it all."""
    service = await start_member()
    known = await service.download()
    monkeypatch.setattr("service.cluster.objects._DOCUMENT_SECONDS", _HANGING)
    proxy.seconds = _HANGING

    async with asyncio.timeout(TIMEOUT):
        again = await service.download()
        by_id = await service.ask(f"/v1/archives/{known.headers['X-Archive-Id']}")

    assert again.body == by_id.body == known.body


@pytest.mark.parametrize("how", ["they are gone", "they have other bytes", "they end too early", "they are empty"])
async def test_objects_that_are_lost_are_fetched_again(
    upstream: FakeUpstream, proxy: S3Proxy, start_member: StartService, how: str
) -> None:
    """By the first one that misses it: its caller is cut, and goes on when the same bytes are there again, for all.

    Which are gone is looked for with the first one; that one is another is known once it was read.
    """
    first, second = await start_member(), await start_member()
    built = await first.download()
    archive_id = built.headers["X-Archive-Id"]
    await first.stop()
    blobs = [name.removeprefix("PUT /") for name in proxy.requests if name.startswith("PUT") and "/blobs/" in name]
    bucket = S3Store(blobs[0].partition("/")[0], client_options={"allow_http": True})
    for blob in blobs:
        name = blob.partition("/")[2]
        if how == "they are gone":
            await bucket.delete_async(name)
            continue
        data = bytes(await (await bucket.get_async(name)).bytes_async())
        changed = {"they have other bytes": data[::-1], "they end too early": data[:-1], "they are empty": b""}
        await bucket.put_async(name, changed[how])

    for _ in blobs[:1] if how == "they are gone" else blobs:
        with pytest.raises(ClientPayloadError):
            await second.ask(f"/v1/archives/{archive_id}")
    again = await second.ask(f"/v1/archives/{archive_id}")
    refetched = await metric(second, 'images_refetched_total{why="lost"}')
    await second.stop()
    third = await (await start_member()).ask(f"/v1/archives/{archive_id}")

    assert len(blobs) == len(IMAGES)
    assert again.body == third.body == built.body
    assert upstream.image_calls == 2 * len(IMAGES)
    assert refetched == len(IMAGES)


async def empty(proxy: S3Proxy) -> int:
    """Delete every object that was written; returns how many there were."""
    names = {name.removeprefix("PUT /") for name in proxy.requests if name.startswith("PUT")}
    bucket = S3Store(next(iter(names)).partition("/")[0], client_options={"allow_http": True})
    for name in names:
        await bucket.delete_async(name.partition("/")[2])
    return len(names)


async def test_a_bucket_that_was_emptied_is_filled_again(
    upstream: FakeUpstream, proxy: S3Proxy, start_member: StartService, long_timeouts: None
) -> None:
    """What is on a disk is served from there; elsewhere a download is cut once, then fetched again; no old picture
    returns."""
    first, second = await start_member(order_freshness=0), await start_member(order_freshness=0)
    await first.download()
    upstream.orders[ORDER] = order([photo("a", status="processing"), "b", "c"])
    await first.ask(f"/v1/orders/{ORDER}")
    upstream.orders[ORDER] = order(IMAGES)
    upstream.images["a"] = jpeg(9, 5_000)
    built = await first.download()
    await served(second, built.headers["X-Archive-Id"])
    other = await start_member(order_freshness=0)
    calls = upstream.image_calls

    assert await empty(proxy) > len(IMAGES)
    again = [await service.download() for service in (first, second)]
    assert upstream.image_calls == calls
    with pytest.raises(ClientPayloadError):
        await other.download()
    there, new = await other.download(), await other.download(OTHER)

    assert [answer.body for answer in again] == [built.body] * 2
    assert built.images["a.jpg"] == jpeg(9, 5_000)
    assert there.images == built.images
    assert (there.headers["ETag"] == built.headers["ETag"]) is (there.body == built.body)
    assert new.images == {f"{name}.jpg": body for name, body in OTHERS.items()}
    assert upstream.image_calls == calls + len(OTHERS) + len(IMAGES)


async def test_a_redis_that_lost_everything_is_used_again(
    upstream: FakeUpstream, redis: RedisServer, start_member: StartService, long_timeouts: None
) -> None:
    """Its jobs are lost, and so is what its keys named; archives stay, no image is fetched again, new jobs run."""
    first, second = await start_member(), await start_member()
    built = await first.download()
    old = (await first.ask(f"/v1/orders/{ORDER}/jobs", method="POST")).document["job_id"]
    await ended(first, old)
    redis.command("FLUSHALL")

    again = [await service.download() for service in (first, second)]
    lost = await second.ask(f"/v1/jobs/{old}")
    new = await second.ask(f"/v1/orders/{ORDER}/jobs", method="POST")

    assert [answer.images for answer in again] == [EXPECTED] * 2
    assert (await served(second, built.headers["X-Archive-Id"])).body == built.body
    assert lost.status == 404
    assert await ended(first, new.document["job_id"]) == "complete"
    assert upstream.image_calls == len(IMAGES)


def full(redis: RedisServer) -> None:
    """It takes nothing more."""
    redis.command("CONFIG", "SET", "maxmemory", "1")


@pytest.mark.parametrize("take", [RedisServer.kill, RedisServer.freeze, full])
async def test_redis_away(
    upstream: FakeUpstream, redis: RedisServer, start_member: StartService, take: Callable[[RedisServer], None]
) -> None:
    """Each goes on alone, and counts what another may have fetched too."""
    service = await start_member()
    known = await service.download()
    take(redis)

    try:
        async with asyncio.timeout(TIMEOUT):
            again, new = await service.download(), await service.download(OTHER)
            job = await service.ask(f"/v1/orders/{ORDER}/jobs", method="POST")
            health = (await service.ask("/health")).document
    finally:
        redis.thaw()

    assert again.body == known.body
    assert new.images == {f"{name}.jpg": body for name, body in OTHERS.items()}
    assert (job.status, job.problem["code"]) == (503, "jobs_unavailable")
    assert (health["redis"], health["s3"]) == ("unavailable", "ok")
    assert await metric(service, 'images_refetched_total{why="uncoordinated"}') == len(OTHERS)
    assert upstream.image_calls == len(IMAGES) + len(OTHERS)


@pytest.mark.parametrize("lose", ["flushed", "killed"])
async def test_redis_lost_in_the_middle_of_a_build(
    upstream: FakeUpstream, redis: RedisServer, start_member: StartService, lose: str
) -> None:
    """Its caller notices nothing, and the id is the same for others from the end on."""
    first, second = await start_member(), await start_member()
    gate = upstream.hold("c")
    downloading = asyncio.create_task(first.download())
    await upstream.until(lambda: upstream.calls("c") == 1)
    if lose == "flushed":
        redis.command("FLUSHALL")
    else:
        redis.kill()
    gate.set()
    built = await downloading
    if lose == "killed":
        redis.start()
    there = await served(second, built.headers["X-Archive-Id"])

    assert built.images == EXPECTED
    assert there.body == built.body
    assert upstream.image_calls == len(IMAGES)


async def test_an_image_whose_generation_was_overtaken_while_s3_was_away_does_not_come_back(
    upstream: FakeUpstream, proxy: S3Proxy, start_member: StartService, long_timeouts: None
) -> None:
    """An old picture that is shared late does not take the place of the new one."""
    first, second = await start_member(order_freshness=0), await start_member(order_freshness=0)
    proxy.status = 503
    old = await first.download()
    proxy.status = None
    processing = order([{"image_id": "a", "image_name": "a.jpg", "status": "processing", "date_added": 1}, "b", "c"])
    await served(second, old.headers["X-Archive-Id"])
    upstream.orders[ORDER] = processing
    await second.ask(f"/v1/orders/{ORDER}")
    upstream.orders[ORDER] = order(IMAGES)
    upstream.images["a"] = jpeg(9, 5_000)

    new = [(await service.download()).images for service in (second, first, second)]

    assert [images["a.jpg"] for images in new] == [jpeg(9, 5_000)] * 3
