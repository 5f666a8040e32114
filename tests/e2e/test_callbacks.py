"""Callbacks: signed, repeated until they are heard, and never sent into our own network."""

import asyncio
import base64
import socket
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from tests.support.client import TIMEOUT, Service, StartService
from tests.support.jobs import Document, Receiver, ended, post, status, submit
from tests.support.samples import ORDER, jpeg, order
from tests.support.upstream import FakeUpstream

SECRET = "whsec_" + base64.b64encode(b"a secret of thirty-two bytes ....").decode()
NEW_SECRET = "whsec_" + base64.b64encode(b"b secret of thirty-two bytes ....").decode()
FOREIGN_SECRET = "whsec_" + base64.b64encode(b"c secret of thirty-two bytes ....").decode()


@pytest.fixture(autouse=True)
def two_images(upstream: FakeUpstream) -> None:
    """An order of two images, of which one fails."""
    upstream.orders[ORDER] = order(["a", "b"])
    upstream.images |= {"a": jpeg(1), "b": 404}


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The waits between attempts, so short that a test can see them pass."""
    monkeypatch.setattr("service.jobs.callbacks.RETRY_SECONDS", (0.05, 0.05, 0.05))


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """Somebody who wants to know."""
    async with Receiver() as server:
        yield server


@pytest.fixture
async def service(start_service: StartService) -> Service:
    """A service that may call private addresses, and is rotating its secret."""
    return await start_service(callback_secret=f"{SECRET},{NEW_SECRET}", callback_allow_private=True, admin_token="t")


async def when(service: Service, job: Document, condition: Callable[[Document], bool]) -> Document:
    """The job once its callback meets a condition."""
    async with asyncio.timeout(TIMEOUT):
        while True:
            found = await status(service, job)
            if condition(found["callback"]):
                return found
            await asyncio.sleep(0.02)


async def delivered(service: Service, job: Document) -> Document:
    """The job once its callback will not be attempted any more."""
    return await when(service, job, lambda callback: callback["state"] != "pending")


async def test_the_receiver_is_told_and_can_verify_it(service: Service, receiver: Receiver) -> None:
    """A body with counts and failures, signed so that either secret verifies it, and no other."""
    job = await submit(service, callback_url=receiver.url)
    await receiver.until(lambda: bool(receiver.received))
    told = receiver.received[0]
    done = await delivered(service, job)

    for secret in (SECRET, NEW_SECRET):
        assert Webhook(secret).verify(told.body, told.headers) == told.message
    with pytest.raises(WebhookVerificationError):
        Webhook(FOREIGN_SECRET).verify(told.body, told.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(told.body.replace(b"complete", b"kompleat"), told.headers)
    expected = {name: value for name, value in done.items() if name != "callback"}
    assert told.message == {"type": "job.complete", "timestamp": done["finished_at"], "data": expected}
    assert (expected["downloaded"], expected["failed"], len(expected["failures"])) == (1, 1, 1)
    assert told.headers["Content-Type"] == "application/json"
    assert (done["callback"]["state"], done["callback"]["attempts"]) == ("delivered", 1)


@pytest.mark.parametrize("tail", ["/a%2fb/%41?x=%7e&y=a+b&z=%20", "/a//b/../c?q='(1)'", "/%E4%f6"])
async def test_its_address_is_called_as_it_was_given(service: Service, receiver: Receiver, tail: str) -> None:
    """Byte for byte: what a receiver signs or compares is its own spelling."""
    job = await submit(service, callback_url=receiver.url + tail)
    await delivered(service, job)

    assert [told.path for told in receiver.received] == [tail]


@pytest.mark.parametrize("how", ["error", "cancelled"])
async def test_other_ends_are_told_too(upstream: FakeUpstream, service: Service, receiver: Receiver, how: str) -> None:
    """The type says which."""
    upstream.orders[ORDER] = 404
    gate = upstream.hold(ORDER)
    job = await submit(service, callback_url=receiver.url)
    if how == "cancelled":
        await service.ask(f"/v1/jobs/{job['job_id']}", method="DELETE")
    gate.set()
    await receiver.until(lambda: bool(receiver.received))

    assert receiver.received[0].message["type"] == f"job.{how}"


@pytest.mark.parametrize("refusal", [500, 404, 307])
async def test_a_receiver_that_did_not_hear_is_told_again(service: Service, receiver: Receiver, refusal: int) -> None:
    """Only 2xx is heard; redirects are not followed. The same message under the same id, signed anew."""
    receiver.answers = [refusal, refusal, 200]
    receiver.headers = {"Location": receiver.url} if refusal == 307 else {}
    job = await submit(service, callback_url=receiver.url)
    done = await delivered(service, job)

    assert (done["callback"]["state"], done["callback"]["attempts"]) == ("delivered", 3)
    assert len({told.body for told in receiver.received}) == 1
    assert len({told.headers["webhook-id"] for told in receiver.received}) == 1
    assert len(receiver.received) == 3


async def test_a_receiver_that_is_gone_is_left_alone(service: Service, receiver: Receiver) -> None:
    """410: never again."""
    receiver.answers = [410]
    done = await delivered(service, await submit(service, callback_url=receiver.url))

    assert done["callback"] | {"next_at": None} == done["callback"]
    assert (done["callback"]["state"], done["callback"]["last_status"]) == ("stopped", 410)
    assert len(receiver.received) == 1


async def test_it_is_given_up_in_the_end_and_can_be_sent_again(service: Service, receiver: Receiver) -> None:
    """An administrator has it repeated, under the same id, once the receiver works; nobody else may."""
    receiver.answers = [500] * 4 + [200]
    job = await submit(service, callback_url=receiver.url)
    given_up = await delivered(service, job)
    path = f"/v1/jobs/{job['job_id']}/callback"
    forbidden = await service.ask(path, method="POST")
    repeated = await service.ask(path, method="POST", headers={"X-Admin-Token": "t"})
    done = await delivered(service, job)

    assert (given_up["callback"]["state"], given_up["callback"]["attempts"]) == ("failed", 4)
    assert (forbidden.status, repeated.status) == (403, 202)
    assert (done["callback"]["state"], done["callback"]["attempts"]) == ("delivered", 1)
    assert len({told.headers["webhook-id"] for told in receiver.received}) == 1


async def test_a_job_without_a_receiver_has_nothing_to_repeat(service: Service) -> None:
    """409, and `callback` is null."""
    job = await ended(service, await submit(service))
    answer = await service.ask(f"/v1/jobs/{job['job_id']}/callback", method="POST", headers={"X-Admin-Token": "t"})

    assert (answer.status, answer.problem["code"], job["callback"]) == (409, "no_callback", None)


async def test_a_receiver_that_cannot_be_reached_is_tried_again(service: Service) -> None:
    """Nothing listens there; the job itself is fine."""
    done = await delivered(service, await submit(service, callback_url="http://127.0.0.1:9/"))

    assert (done["status"], done["callback"]["state"]) == ("complete", "failed")
    assert (done["callback"]["last_status"], done["callback"]["last_error"]) == (None, "unreachable")


async def test_a_slow_name_server_holds_up_nobody_else(
    service: Service, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice as many look-ups of receivers as there are threads hang: other names are looked up, callbacks wait."""
    look_up, may_go = socket.getaddrinfo, threading.Event()
    hanging: list[str] = []

    def hang(host: str, *arguments: Any, **options: Any) -> Any:
        if host.endswith(".slow.example"):
            hanging.append(host)
            may_go.wait(TIMEOUT)
            raise socket.gaierror
        return look_up(host, *arguments, **options)

    monkeypatch.setattr("socket.getaddrinfo", hang)
    jobs = [await submit(service, callback_url=f"http://{number}.slow.example/") for number in range(16)]
    await asyncio.gather(*(ended(service, job) for job in jobs))
    async with asyncio.timeout(TIMEOUT):
        while len(hanging) < 8:  # noqa: ASYNC110  # threads know of no event
            await asyncio.sleep(0.02)
        found = await asyncio.get_running_loop().getaddrinfo("localhost", 80)
    at_once = len(hanging)
    may_go.set()

    assert found
    assert at_once == 8


async def test_callbacks_survive_a_restart(
    start_service: StartService, receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next process makes the attempts that are left."""
    monkeypatch.setattr("service.jobs.callbacks.RETRY_SECONDS", (1.0,))
    receiver.answers = [500, 200]
    settings = {"data_dir": tmp_path / "kept", "callback_secret": SECRET, "callback_allow_private": True}
    before = await start_service(**settings)
    job = await submit(before, callback_url=receiver.url)
    await when(before, job, lambda callback: callback["attempts"] == 1)
    await before.stop()

    after = await start_service(**settings)
    done = await delivered(after, job)

    assert (done["callback"]["state"], done["callback"]["attempts"]) == ("delivered", 2)


async def test_by_default_nothing_is_sent_into_our_own_network(
    start_service: StartService, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that leads inwards is noticed where the connection would be made; the receiver hears nothing."""
    monkeypatch.setattr("service.api.new_job.is_public_host", lambda host: True)
    service = await start_service(callback_secret=SECRET)
    port = receiver.url.rpartition(":")[2]
    for host in ("localhost", "127.0.0.1", "[::1]"):
        done = await delivered(service, await submit(service, callback_url=f"https://{host}:{port}/done"))
        assert (done["callback"]["state"], done["callback"]["last_error"]) == ("failed", "forbidden_address")

    assert not receiver.received


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "https://127.0.0.1/",
        "https://10.1.2.3/",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[64:ff9b::7f00:1]/",
        "https://[2002:7f00:1::]/",
        "https://169.254.169.254/latest",
        "https://localhost/",
        "https://LOCALHOST./",
        "https://user:word@example.com/",
        "https://example.com/#part",
        "https:///path",
        "https://example.com:99999/",
        "ftp://example.com/",
        "example.com",
        "",
        "https://example.com/" + "x" * 2048,
    ],
)
async def test_an_address_that_cannot_be_used_is_refused_at_once(
    upstream: FakeUpstream, start_service: StartService, url: str
) -> None:
    """400 that names the parameter."""
    service = await start_service(callback_secret=SECRET)

    answer = await post(service, callback_url=url)

    assert (answer.status, answer.problem["parameter"]) == (400, "callback_url")
    assert not upstream.received
