"""Autoenhance's webhook: who may call it, what it takes, and what it sets going."""

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.client import TIMEOUT, Answer, Service, StartService
from tests.support.jobs import ended, submit
from tests.support.samples import ORDER, OTHER_ORDER, jpeg, order, photo
from tests.support.upstream import FakeUpstream

SECRET = "Bearer with me: 5c02"
BUSY = order(["a", photo("b", status="processing")], is_processing=True)
DONE = {
    "event": "image_processed",
    "image_id": "b",
    "order_id": ORDER,
    "error": False,
    "order_is_processing": False,
}


@pytest.fixture
async def service(start_service: StartService) -> Service:
    """A service with the webhook, and callers' keys, which the webhook does not need."""
    return await start_service(autoenhance_webhook_secret=SECRET, service_api_key="of-callers")


@pytest.fixture(autouse=True)
def two_images(upstream: FakeUpstream) -> None:
    """An order of two images, of which one is still in the making."""
    upstream.orders[ORDER] = BUSY
    upstream.images |= {"a": jpeg(1), "b": jpeg(2)}


async def notify(service: Service, body: object = DONE, headers: dict[str, str] | None = None) -> Answer:
    """Call the webhook."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {"Authentication": SECRET} if headers is None else headers
    async with service.session.post(f"{service.url}/v1/webhooks/autoenhance", data=data, headers=sent) as response:
        return Answer(response.status, response.headers, await response.read())


@pytest.mark.parametrize(
    "headers",
    [
        {"Authentication": SECRET},
        {"Authorization": SECRET},
        {"Authentication": f"Bearer {SECRET}"},
        {"Authorization": f"bearer  {SECRET}"},
    ],
)
async def test_the_secret_opens(service: Service, headers: dict[str, str]) -> None:
    """In either header, with or without the word Bearer; callers' keys play no part."""
    assert (await notify(service, headers=headers)).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authentication": ""},
        {"Authentication": "wrong"},
        {"Authentication": "Bearer"},
        {"X-API-Key": "of-callers"},
    ],
)
async def test_without_the_secret_it_is_a_401(
    upstream: FakeUpstream, service: Service, headers: dict[str, str]
) -> None:
    """And nothing happens."""
    answer = await notify(service, headers=headers)

    assert (answer.status, answer.problem["code"]) == (401, "webhook_unauthorized")
    assert "WWW-Authenticate" in answer.headers
    assert not upstream.received


async def test_unconfigured_it_does_not_exist(start_service: StartService) -> None:
    """404."""
    assert (await notify(await start_service())).problem["code"] == "not_found"


@pytest.mark.parametrize("body", [b"{", b"\xff\xfe", b"[]", b"1", b"{}", b'{"event": 3}', b"[" * 100_000])
async def test_junk_is_a_400(service: Service, body: bytes) -> None:
    """Whatever it is, it is no event."""
    assert (await notify(service, body)).problem["code"] in ("bad_request", "payload_too_large")


async def test_an_event_with_an_impossible_order_is_a_400(service: Service) -> None:
    """It names an order that no order can be called."""
    assert (await notify(service, DONE | {"order_id": "../secrets"})).status == 400


@pytest.mark.parametrize(
    "body",
    [
        b"",
        {"event": "webhook_updated"},
        {"event": "something_new", "order_id": 7},
        {"event": "image_processed", "image_id": "x", "order_id": None},
    ],
)
async def test_what_is_of_no_interest_is_welcome(service: Service, body: object) -> None:
    """200: unknown events, an empty body as saving the settings sends it, images without an order."""
    assert (await notify(service, body)).status == 200


async def test_it_wakes_a_waiting_download(
    upstream: FakeUpstream, start_service: StartService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By itself it would look again in an hour. News that does not help makes it look once, and wait on."""
    monkeypatch.setattr("service.orders.schedule._FIRST_INTERVAL", 3600.0)
    service = await start_service(autoenhance_webhook_secret=SECRET)
    waiting = asyncio.create_task(service.download(wait="true", wait_timeout="3600"))
    await upstream.until(lambda: upstream.calls("a") == 1)

    await notify(service)
    await upstream.until(lambda: upstream.calls(ORDER) == 2)
    upstream.orders[ORDER] = order(["a", "b"])
    for _ in range(10):  # time enough for a look that nobody asked for
        await service.ask("/livez")
    looks = upstream.calls(ORDER)
    await notify(service)

    async with asyncio.timeout(TIMEOUT):
        assert (await waiting).members.keys() == {"a.jpg", "b.jpg"}
    assert looks == 2


async def test_it_wakes_a_download_that_waits_for_its_first_image(
    upstream: FakeUpstream, start_service: StartService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order lists nothing yet, because its brackets are being merged."""
    monkeypatch.setattr("service.orders.schedule._FIRST_INTERVAL", 3600.0)
    upstream.orders[ORDER] = order([], is_merging=True)
    service = await start_service(autoenhance_webhook_secret=SECRET)
    waiting = asyncio.create_task(service.download(wait="true", wait_timeout="3600"))
    await upstream.until(lambda: upstream.calls(ORDER) == 1)
    upstream.orders[ORDER] = order(["a"])

    async with asyncio.timeout(TIMEOUT):
        while not waiting.done():  # the download begins to wait a moment after its call
            await notify(service)
        assert (await waiting).members.keys() == {"a.jpg"}


async def test_it_wakes_a_waiting_job(
    upstream: FakeUpstream, start_service: StartService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By itself the job would look again in an hour; that of another order stays asleep."""
    monkeypatch.setattr("service.orders.schedule._FIRST_INTERVAL", 3600.0)
    upstream.orders[OTHER_ORDER] = BUSY
    service = await start_service(autoenhance_webhook_secret=SECRET)
    job = await submit(service, wait="true", wait_timeout="3600")
    await submit(service, OTHER_ORDER, wait="true", wait_timeout="3600")
    await upstream.until(lambda: upstream.calls(ORDER) == upstream.calls(OTHER_ORDER) == 1)
    await upstream.until(lambda: upstream.calls("a") == 1)
    upstream.orders[ORDER] = order(["a", "b"])

    await notify(service)

    assert (await ended(service, job))["downloaded"] == 2
    assert upstream.calls(OTHER_ORDER) == 1


async def test_an_order_that_is_done_is_built_by_itself(
    upstream: FakeUpstream, start_service: StartService, tmp_path: Path
) -> None:
    """`AUTO_BATCH`: once, however often it is told; a later download finds it all here."""
    upstream.orders[ORDER] = order(["a", "b"])
    service = await start_service(autoenhance_webhook_secret=SECRET, auto_batch=True, data_dir=tmp_path)

    for answer in await asyncio.gather(*(notify(service) for _ in range(5))):
        assert answer.status == 200
    await upstream.until(lambda: upstream.image_calls == 2)
    await notify(service)
    download = await service.download()

    assert download.members.keys() == {"a.jpg", "b.jpg"}
    assert upstream.image_calls == 2
    assert _jobs(tmp_path) == 1


async def test_it_is_not_believed_before_the_order_says_so_too(
    upstream: FakeUpstream, start_service: StartService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An order that still says it is busy is asked again; then the batch begins."""
    monkeypatch.setattr("service.jobs.webhook_events._CONFIRM_SECONDS", (0.0, 0.05, 0.05))
    upstream.orders[ORDER] = [BUSY, BUSY, order(["a", "b"])]
    service = await start_service(autoenhance_webhook_secret=SECRET, auto_batch=True)

    await notify(service)

    assert upstream.calls(ORDER) >= 3
    await upstream.until(lambda: upstream.image_calls == 2)


@pytest.mark.parametrize("settings", [{"auto_batch": False}, {"auto_batch": True}])
async def test_otherwise_nothing_is_built(
    upstream: FakeUpstream,
    start_service: StartService,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    settings: dict[str, bool],
) -> None:
    """Neither without `AUTO_BATCH`, nor when the order never confirms it."""
    monkeypatch.setattr("service.jobs.webhook_events._CONFIRM_SECONDS", (0.0, 0.01))
    service = await start_service(autoenhance_webhook_secret=SECRET, data_dir=tmp_path, **settings)

    await notify(service)

    assert _jobs(tmp_path) == 0
    assert upstream.image_calls == 0


def _jobs(data_dir: Path) -> int:
    """How many jobs are on record."""
    with closing(sqlite3.connect(data_dir / "batch.sqlite3")) as database:
        return int(database.execute("SELECT count(*) FROM job_records").fetchone()[0])
