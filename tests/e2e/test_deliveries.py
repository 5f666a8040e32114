"""A job's ZIP put into a storage: one PUT to a presigned address, of which nothing is told to anybody."""

import asyncio
import io
import json
import logging
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3  # type: ignore[import-untyped]
import pytest
from aiohttp import web
from botocore.config import Config  # type: ignore[import-untyped]

from service.jobs import deliveries
from tests.support import jobs
from tests.support.client import TIMEOUT, Answer, Service, StartService
from tests.support.loopback import serving
from tests.support.s3_server import S3Server
from tests.support.samples import ORDER, jpeg, order
from tests.support.upstream import FakeUpstream

IMAGES = {"a": jpeg(1), "b": jpeg(2, size=2_500_000)}
SECRET = "signature-that-nobody-may-see-7c1d"
CALLBACK_SECRET = "whsec_YSBzZWNyZXQgb2YgdGhpcnR5LXR3byBieXRlcy4uLi4="

Put = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture(autouse=True)
def two_images(upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch) -> None:
    upstream.orders[ORDER] = order(IMAGES)
    upstream.images |= IMAGES
    monkeypatch.setattr(deliveries, "RETRY_SECONDS", (0.05, 0.05))


@pytest.fixture
async def service(start_service: StartService) -> Service:
    """A service that may send to this machine."""
    return await start_service(callback_allow_private=True, callback_secret=CALLBACK_SECRET)


@dataclass
class Storage:
    """What a storage was sent."""

    puts: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    callbacks: list[dict[str, Any]] = field(default_factory=list)
    script: list[Put] = field(default_factory=list)
    """How the first requests are answered; then all are taken."""
    url: str = ""
    called: asyncio.Event = field(default_factory=asyncio.Event)
    """Set with the first callback."""

    @property
    def presigned(self) -> str:
        """A presigned address."""
        return f"{self.url}/bucket/house.zip?X-Amz-Signature={SECRET}&X-Amz-Expires=3600"


@pytest.fixture
async def storage() -> AsyncIterator[Storage]:
    """A storage with a script."""
    storage = Storage()

    async def put(request: web.Request) -> web.StreamResponse:
        if storage.script:
            return await storage.script.pop(0)(request)
        storage.puts.append((request.path_qs, dict(request.headers), await request.read()))
        return web.Response()

    async def callback(request: web.Request) -> web.Response:
        storage.callbacks.append(await request.json())
        storage.called.set()
        return web.Response()

    async with serving(web.put("/bucket/{key}", put), web.post("/done", callback)) as url:
        storage.url = url
        yield storage


async def start(service: Service, address: str, **more: str) -> jobs.Document:
    """A job that is delivered there; its address goes in the body."""
    body = {"deliver_to": address, **more}
    async with service.session.post(f"{service.url}/v1/orders/{ORDER}/jobs", json=body) as response:
        answer = Answer(response.status, response.headers, await response.read())
    assert answer.status == 202, answer.body
    return answer.document


async def ended(service: Service, job: jobs.Document) -> jobs.Document:
    """The job once its delivery has ended."""
    async with asyncio.timeout(TIMEOUT):
        while (found := await jobs.status(service, job))["delivery"]["status"] == "pending":  # noqa: ASYNC110
            await asyncio.sleep(0.02)  # events end with the job
    return found


async def test_the_zip_arrives_whole_in_one_put(service: Service, storage: Storage) -> None:
    """With its length, byte for byte what the job's download gives; the job is complete by itself."""
    job = await ended(service, await start(service, storage.presigned))
    downloaded = await service.ask(job["links"]["download"])

    ((path, headers, body),) = storage.puts
    assert job["status"] == "complete"
    assert job["delivery"] == {"status": "delivered", "attempts": 1, "error": None, "next_at": None}
    assert body == downloaded.body
    assert downloaded.members == {f"{image_id}.jpg": content for image_id, content in IMAGES.items()}
    assert (headers["Content-Length"], headers["Content-Type"]) == (str(len(body)), "application/zip")
    assert "Transfer-Encoding" not in headers
    assert storage.presigned.endswith(path)


async def test_an_older_signature_covers_no_content_type(service: Service, storage: Storage) -> None:
    """One that was signed as absent must not be sent."""
    await ended(service, await start(service, f"{storage.url}/bucket/a.zip?Signature=x&Expires=1&AWSAccessKeyId=k"))

    ((_, headers, body),) = storage.puts
    assert "Content-Type" not in headers
    assert headers["Content-Length"] == str(len(body))


async def test_the_callback_follows_the_delivery(service: Service, storage: Storage) -> None:
    """And tells of it."""
    job = await start(service, storage.presigned, callback_url=f"{storage.url}/done")
    async with asyncio.timeout(TIMEOUT):
        await storage.called.wait()

    (told,) = storage.callbacks
    assert len(storage.puts) == 1
    assert (told["data"]["job_id"], told["data"]["delivery"]["status"]) == (job["job_id"], "delivered")
    assert SECRET not in json.dumps(told)


def refusing(status: int, **headers: str) -> Put:
    """Answers without taking the body."""

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, headers=headers)

    return answer


def taking(status: int) -> Put:
    """Answers when all has come."""

    async def answer(request: web.Request) -> web.StreamResponse:
        await request.read()
        return web.Response(status=status)

    return answer


async def cutting(request: web.Request) -> web.StreamResponse:
    """Hangs up in the middle."""
    await request.content.readexactly(100_000)
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


@pytest.mark.parametrize(
    "trouble",
    [taking(500), taking(503), taking(429), cutting, refusing(500)],
    ids=["500", "503", "429", "cut", "early"],
)
async def test_what_may_pass_is_tried_again(service: Service, storage: Storage, trouble: Put) -> None:
    """The next attempt sends all of it from the start."""
    storage.script = [trouble]

    job = await ended(service, await start(service, storage.presigned))

    assert (job["delivery"]["status"], job["delivery"]["attempts"]) == ("delivered", 2)
    assert zipfile.ZipFile(io.BytesIO(storage.puts[0][2])).testzip() is None


async def test_attempts_are_bounded(service: Service, storage: Storage) -> None:
    """Three here; the job stays complete, and its ZIP can be downloaded."""
    storage.script = [taking(500)] * 9

    job = await ended(service, await start(service, storage.presigned))

    assert job["delivery"] == {"status": "failed", "attempts": 3, "error": "status_500", "next_at": None}
    assert len(storage.script) == 6
    assert (job["status"], (await service.ask(job["links"]["download"])).status) == ("complete", 200)


@pytest.mark.parametrize("status", [400, 403, 404, 301, 307])
async def test_a_refusal_is_final(service: Service, storage: Storage, status: int) -> None:
    """An address that has expired does not come back, and redirects are not followed."""

    async def refuse(request: web.Request) -> web.StreamResponse:
        await request.read()
        return web.Response(status=status, headers={"Location": f"{storage.url}/bucket/elsewhere.zip"})

    storage.script = [refuse]

    job = await ended(service, await start(service, storage.presigned))

    assert job["delivery"] == {"status": "failed", "attempts": 1, "error": f"status_{status}", "next_at": None}
    assert storage.puts == []


async def test_a_storage_that_stops_taking_is_given_up(
    service: Service, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And tried again."""
    monkeypatch.setattr(deliveries, "_STALL_SECONDS", 0.5)
    monkeypatch.setattr(deliveries, "_ANSWER_SECONDS", 0.5)

    async def waiting(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(TIMEOUT)
        return web.Response()

    storage.script = [waiting, waiting, waiting]

    job = await ended(service, await start(service, storage.presigned))

    assert (job["delivery"]["status"], job["delivery"]["error"]) == ("failed", "timeout")


async def test_what_is_not_complete_is_not_delivered(
    service: Service, storage: Storage, upstream: FakeUpstream
) -> None:
    """A job that fails tells its receiver at once."""
    upstream.orders[ORDER] = 404
    job = await start(service, storage.presigned, callback_url=f"{storage.url}/done")
    async with asyncio.timeout(TIMEOUT):
        await storage.called.wait()

    assert (await jobs.status(service, job))["delivery"]["attempts"] == 0
    assert storage.puts == []


async def test_a_delivery_goes_on_after_a_restart(
    start_service: StartService, storage: Storage, tmp_path: Path, upstream: FakeUpstream
) -> None:
    """Of what was in the middle of it, too; nothing is fetched again."""
    arrived = asyncio.Event()

    async def holding(request: web.Request) -> web.StreamResponse:
        arrived.set()
        await asyncio.sleep(TIMEOUT)
        return web.Response()

    storage.script = [holding]
    settings: dict[str, object] = {"data_dir": tmp_path / "kept", "callback_allow_private": True}
    service = await start_service(**settings)
    job = await start(service, storage.presigned)
    async with asyncio.timeout(TIMEOUT):
        await arrived.wait()
    await service.stop()

    again = await start_service(**settings)
    delivered = await ended(again, job)

    assert delivered["delivery"]["status"] == "delivered"
    assert zipfile.ZipFile(io.BytesIO(storage.puts[0][2])).testzip() is None
    assert upstream.image_calls == len(IMAGES)


@pytest.mark.parametrize(
    "address",
    [
        "http://storage.example/x",
        "https://127.0.0.1/x",
        "https://10.0.0.1/x",
        "ftp://storage.example/x",
        "x",
        "https://",
    ],
)
async def test_addresses_are_judged_as_those_of_callbacks(start_service: StartService, address: str) -> None:
    """Encrypted and public; it needs no secret of callbacks."""
    service = await start_service()

    refused = await jobs.post(service, deliver_to=address)
    taken = await jobs.post(service, deliver_to="https://storage.example/x?signature=1")

    assert (refused.status, refused.problem["parameter"]) == (400, "deliver_to")
    assert SECRET not in refused.text
    assert taken.status == 202


async def test_a_name_that_leads_inside_is_not_connected_to(
    start_service: StartService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What its address is, is only known then."""
    service = await start_service()
    monkeypatch.setattr(
        "service.upstream.network.socket.getaddrinfo", lambda *_, **__: [(2, 1, 6, "", ("127.0.0.1", 443))]
    )

    job = await ended(service, await jobs.submit(service, deliver_to="https://storage.example/x"))

    assert (job["delivery"]["status"], job["delivery"]["error"]) == ("failed", "forbidden_address")


async def test_the_address_is_told_to_nobody(
    service: Service, storage: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    """Not in documents, events or logs, whatever happens; the host is."""
    storage.script = [taking(500), cutting]
    with caplog.at_level(logging.DEBUG):
        job = await start(service, storage.presigned)
        async with jobs.events(service, job) as events:
            documents = [event.job async for event in events]
        documents.append(await ended(service, job))

    logged = caplog.text + "".join(str(record.msg) + str(record.args) for record in caplog.records)
    assert "'delivery'" in logged
    for text in (logged, json.dumps(documents)):
        assert SECRET not in text
        assert "house.zip" not in text
    assert str(urlsplit(storage.url).hostname) in logged


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    """A server that speaks S3."""
    server = S3Server()
    yield server
    server.stop()


@asynccontextmanager
async def bucket_of(s3: S3Server, version: str) -> AsyncIterator[tuple[Any, str]]:
    """A client of the server, and a bucket."""
    bucket = s3.make_bucket().removeprefix("s3://").partition("/")[0]
    client = boto3.client(
        "s3",
        endpoint_url=s3.url,
        aws_access_key_id="access",
        aws_secret_access_key="secret",
        region_name="us-east-1",
        config=Config(signature_version=version),
    )
    yield client, bucket
    client.close()


@pytest.mark.parametrize("version", ["s3v4", "s3"])
async def test_a_presigned_address_of_s3_takes_it(service: Service, s3: S3Server, version: str) -> None:
    """Signed in either way; what is there then is the ZIP."""
    async with bucket_of(s3, version) as (client, bucket):
        target = {"Bucket": bucket, "Key": "houses/12 Harbour Lane.zip"}
        address = client.generate_presigned_url("put_object", Params=target, ExpiresIn=600)

        job = await ended(service, await start(service, address))
        found = await asyncio.to_thread(lambda: client.get_object(**target)["Body"].read())

    assert job["delivery"]["status"] == "delivered"
    assert found == (await service.ask(job["links"]["download"])).body
