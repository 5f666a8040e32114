"""Making an order from uploaded files: `POST /v1/orders`, in front of a real sandbox."""

import asyncio
import io
from collections.abc import AsyncIterator
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aiohttp import ClientResponse, ClientSession, FormData
from blockbuster import BlockBuster
from prometheus_client.parser import text_string_to_metric_families
from yarl import URL

from service import samples
from service.api import parts
from service.api.new_orders import LARGEST_FILE
from service.sandbox import Sandbox, SandboxConfig
from service.sandbox.content import Stored
from tests.e2e.client import PATIENCE, Service, StartService
from tests.fakes.samples import jpeg, png, webp
from tests.process import ServiceProcess

TOKEN = "token-of-the-administrator-0d5e"
ADMIN = {"X-Admin-Token": TOKEN}


class Made(NamedTuple):
    """An answer to making an order."""

    status: int
    headers: Any
    document: dict[str, Any]

    @property
    def outcomes(self) -> dict[str, str]:
        """File name to "uploaded", or the code of its failure."""
        return {file["name"]: file["code"] or file["status"] for file in self.document["files"]}


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """An Autoenhance API that enhances at once."""
    async with Sandbox(SandboxConfig(image_delay=0)) as running:
        yield running


@pytest.fixture
async def service(sandbox: Sandbox, start_service: StartService, tmp_path: Path) -> Service:
    """A service with an administrator, in front of the sandbox; its data is in `tmp_path / "data"`."""
    return await start_service(
        autoenhance_api_base=sandbox.api_base,
        autoenhance_api_key=sandbox.api_key,
        admin_token=TOKEN,
        data_dir=tmp_path / "data",
        max_images_per_order=6,
    )


def form(*files: tuple[str, bytes], **fields: str) -> FormData:
    """A form with fields first."""
    data = FormData()
    for name, value in fields.items():
        data.add_field(name, value)
    for name, content in files:
        data.add_field("files", io.BytesIO(content), filename=name)
    return data


async def make(service: Service, data: Any, headers: dict[str, str] = ADMIN, path: str = "/v1/orders") -> Made:
    """Make an order."""
    async with service.session.post(service.url + path, data=data, headers=headers) as response:
        return await read(response)


async def read(response: ClientResponse) -> Made:
    """The whole answer."""
    return Made(response.status, response.headers, await response.json(content_type=None))


def stored(source: object) -> bytes:
    """What the sandbox was sent."""
    assert isinstance(source, Stored)
    return source.path.read_bytes()


async def test_uploaded_files_become_an_order_that_can_be_downloaded(service: Service, sandbox: Sandbox) -> None:
    """Files of all three kinds arrive whole under their names, and the answer links to their ZIP."""
    files = {"kitchen.JPEG": jpeg(), "bath.png": png(), "hall.webp": webp()}

    made = await make(service, form(*files.items(), name=" 12 Harbour  Lane "))

    assert made.status == HTTPStatus.CREATED
    assert made.outcomes == {"kitchen.jpg": "uploaded", "bath.png": "uploaded", "hall.webp": "uploaded"}
    assert (made.document["total"], made.document["uploaded"], made.document["failed"]) == (3, 3, 0)
    assert made.headers["Location"] == made.document["links"]["overview"]
    order = sandbox.control.order(made.document["order_id"])
    assert order.name == "12 Harbour Lane"
    assert [stored(image.source) for image in order.images] == list(files.values())
    overview = await service.ask(made.document["links"]["overview"])
    assert overview.status == HTTPStatus.OK


async def test_the_first_generation_s_path_does_the_same(service: Service) -> None:
    """`/api/create-order` is the same route."""
    made = await make(service, form(("a.jpg", jpeg())), path="/api/create-order")

    assert made.status == HTTPStatus.CREATED


@pytest.mark.parametrize("path", ["/v1/orders/sample", "/api/create-sample-order"])
async def test_the_sample_photos_become_an_order(
    service: Service, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """One request without a body; the photos stay where they are."""
    photos = {f"{room}.jpg": jpeg(number) for number, room in enumerate(["bath", "garden", "hall", "kitchen"])}
    for name, content in photos.items():
        (tmp_path / name).write_bytes(content)
    monkeypatch.setattr(samples, "PHOTOS", tmp_path)

    made = await make(service, None, path=path)

    assert made.status == HTTPStatus.CREATED
    assert made.outcomes == dict.fromkeys(photos, "uploaded")
    order = sandbox.control.order(made.document["order_id"])
    assert [stored(image.source) for image in order.images] == list(photos.values())
    assert all((tmp_path / name).exists() for name in photos)


@pytest.mark.parametrize("path", ["/v1/orders", "/v1/orders/sample"])
async def test_only_administrators_make_orders(service: Service, sandbox: Sandbox, path: str) -> None:
    """Without the token, or with a wrong one, it is a 403, and Autoenhance is not called."""
    for headers in ({}, {"X-Admin-Token": "wrong"}):
        made = await make(service, form(("a.jpg", jpeg())), headers=headers, path=path)
        assert made.status == HTTPStatus.FORBIDDEN

    assert not sandbox.control.log


async def test_storage_never_sees_the_key(service: Service, sandbox: Sandbox) -> None:
    """The signed address is all that storage gets, with a length and the type that was signed."""
    await make(service, form(("a.jpg", jpeg())))

    (upload,) = [one for one in sandbox.control.log if one.operation == "upload"]
    assert "x-api-key" not in upload.headers
    assert upload.headers["content-type"] == "application/octet-stream"
    assert upload.status == HTTPStatus.OK


async def test_the_older_name_of_the_upload_address_works_too(sandbox: Sandbox, start_service: StartService) -> None:
    """Accounts on an older API version answer with `s3PutObjectUrl`, and sign the type of the registration."""
    service = await start_service(
        autoenhance_api_base=sandbox.api_base,
        autoenhance_api_key=sandbox.api_key,
        autoenhance_api_version="2025-01-01",
        admin_token=TOKEN,
    )

    made = await make(service, form(("a.jpg", jpeg())))

    assert made.outcomes == {"a.jpg": "uploaded"}


async def test_what_is_no_image_is_never_announced(service: Service, sandbox: Sandbox) -> None:
    """A partial upload is told plainly; the bad files are in no order."""
    files = [("notes.txt", b"buy milk, and then some more milk"), ("a.jpg", jpeg()), ("empty.jpg", b"")]

    made = await make(service, form(*files))

    assert made.status == HTTPStatus.CREATED
    assert made.outcomes == {"notes.txt": "not_an_image", "a.jpg": "uploaded", "empty": "not_an_image"}
    assert made.document["failed"] == 2
    assert made.document["files"][0]["reason"]
    assert sandbox.control.counters.requests["create_image"] == 1


@pytest.mark.parametrize(
    ("name", "content", "status", "code"),
    [
        ("notes.txt", b"only text", HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "not_an_image"),
        ("large.jpg", jpeg(size=LARGEST_FILE + 1), HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "file_too_large"),
    ],
)
async def test_nothing_to_upload_makes_no_order(
    service: Service, sandbox: Sandbox, name: str, content: bytes, status: int, code: str
) -> None:
    """Where no file can be used, the problem says why, and no empty order is left behind."""
    made = await make(service, form((name, content)))

    assert (made.status, made.document["code"]) == (status, code)
    assert list(made.outcomes.values()) == [code]
    assert not sandbox.control.log


async def test_a_file_of_the_largest_size_passes(service: Service) -> None:
    """Exactly 20 MB are allowed."""
    made = await make(service, form(("large.jpg", jpeg(size=LARGEST_FILE))))

    assert made.outcomes == {"large.jpg": "uploaded"}


async def test_a_full_order_takes_no_more_files(service: Service) -> None:
    """Past `MAX_IMAGES_PER_ORDER` files are refused one by one, and the others arrive."""
    made = await make(service, form(*[(f"{number}.jpg", jpeg(number)) for number in range(8)]))

    assert made.document["uploaded"] == 6
    assert list(made.outcomes.values())[6:] == ["too_many_files", "too_many_files"]


async def test_a_failing_upload_is_repeated_and_a_failing_post_is_not(service: Service, sandbox: Sandbox) -> None:
    """A PUT may be sent again; a POST that failed may have worked, so it is not."""
    sandbox.control.add_fault("status", operation="upload", times=2, status=503)
    sandbox.control.add_fault("status", operation="create_image", skip=1, status=500)

    made = await make(service, form(("a.jpg", jpeg()), ("b.jpg", jpeg(2))))

    assert sorted(made.outcomes.values()) == ["uploaded", "upstream_error"]
    assert sandbox.control.counters.requests["create_image"] == 2
    assert sandbox.control.counters.requests["upload"] == 3


async def test_a_post_that_was_turned_away_is_sent_again(service: Service, sandbox: Sandbox) -> None:
    """429 says that nothing was done: the same order is asked for once more, after the wait."""
    sandbox.control.add_fault("status", operation="create_order", status=429)

    made = await make(service, form(("a.jpg", jpeg())))

    assert made.status == HTTPStatus.CREATED
    assert len(sandbox.control.state.orders) == 1


@pytest.mark.parametrize(
    ("status", "answer", "code"),
    [(401, 401, "upstream_unauthorized"), (500, 502, "upstream_error"), (404, 502, "upstream_error")],
)
async def test_an_order_that_cannot_be_made_is_a_problem(
    service: Service, sandbox: Sandbox, status: int, answer: int, code: str
) -> None:
    """What Autoenhance says to the first call decides, in our words."""
    sandbox.control.add_fault("status", operation="create_order", status=status, body="their own words")

    made = await make(service, form(("a.jpg", jpeg())))

    assert (made.status, made.document["code"]) == (answer, code)
    assert "their own words" not in str(made.document)


async def test_files_that_were_all_refused_are_listed(service: Service, sandbox: Sandbox) -> None:
    """The order exists, so the problem names it, and says file by file what happened."""
    sandbox.control.add_fault("status", operation="upload", times=None, status=403)

    made = await make(service, form(("a.jpg", jpeg()), ("b.jpg", jpeg(2))))

    assert (made.status, made.document["code"]) == (422, "nothing_uploaded")
    assert made.outcomes == {"a.jpg": "refused", "b.jpg": "refused"}
    assert made.document["order_id"] in sandbox.control.state.orders


async def test_broken_storage_opens_its_circuit(sandbox: Sandbox, start_service: StartService) -> None:
    """Uploads count for the breaker as other calls do; while it is open they fail at once, and say so."""
    service = await start_service(
        autoenhance_api_base=sandbox.api_base,
        autoenhance_api_key=sandbox.api_key,
        admin_token=TOKEN,
        breaker_failures=1,
        upstream_attempts=1,
    )
    sandbox.control.add_fault("status", operation="upload", times=None, status=500)
    await make(service, form(("a.jpg", jpeg())))

    made = await make(service, form(("b.jpg", jpeg())))

    assert made.outcomes == {"b.jpg": "breaker_open"}
    assert sandbox.control.counters.requests["upload"] == 1


async def test_each_call_is_counted(service: Service, loop_guard: BlockBuster) -> None:
    """The three calls appear in the metrics under their own names."""
    await make(service, form(("a.jpg", jpeg())))

    loop_guard.deactivate()  # prometheus-client reads /proc where it is asked
    text = (await service.ask("/metrics")).body.decode()
    calls = {
        sample.labels["operation"]: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "batch_upstream_requests_total" and sample.labels["status"] == "200"
    }
    assert calls == {"create_order": 1, "register_image": 1, "upload": 1}


@pytest.mark.parametrize(
    ("content_type", "body", "status", "code"),
    [
        ("application/json", b"{}", 415, "unsupported_media_type"),
        ("multipart/form-data", b"--x--", 400, "bad_request"),
        ("multipart/form-data; boundary=x", b"", 400, "bad_request"),
        ("multipart/form-data; boundary=x", b"--x--\r\n", 400, "bad_request"),
        ("multipart/form-data; boundary=x", b"no boundary anywhere", 400, "bad_request"),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data; name=f", 400, "invalid_parameter"),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n' + jpeg(),
            400,
            "bad_request",
        ),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="colour"\r\n\r\nred\r\n--x--\r\n',
            400,
            "invalid_parameter",
        ),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="name"\r\n\r\n' + b"n" * 900 + b"\r\n--x--\r\n",
            400,
            "invalid_parameter",
        ),
        (
            "multipart/form-data; boundary=x",
            b"--x\r\nContent-Type: multipart/mixed; boundary=y\r\n\r\n--y--\r\n--x--\r\n",
            400,
            "bad_request",
        ),
    ],
)
async def test_a_body_that_is_no_form_is_a_clear_problem(
    service: Service, sandbox: Sandbox, content_type: str, body: bytes, status: int, code: str
) -> None:
    """Never a traceback: what cannot be read is a 400, another kind of body a 415."""
    made = await make(service, body, headers={**ADMIN, "Content-Type": content_type})

    assert (made.status, made.document["code"]) == (status, code)
    assert not sandbox.control.state.orders


async def test_what_was_sent_before_the_form_broke_is_told(service: Service) -> None:
    """A form that goes wrong half-way says what has already become of it."""
    data = form(("a.jpg", jpeg()))
    data.add_field("colour", "red")

    made = await make(service, data)

    assert (made.status, made.document["code"]) == (400, "invalid_parameter")
    assert made.outcomes == {"a.jpg": "uploaded"}
    assert made.document["order_id"]


async def test_an_empty_file_field_is_no_file(service: Service) -> None:
    """A browser sends a part without name and content for a field that was left empty."""
    body = (
        b'--x\r\nContent-Disposition: form-data; name="files"; filename=""\r\n\r\n\r\n'
        b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n' + jpeg() + b"\r\n--x--\r\n"
    )

    made = await make(service, body, headers={**ADMIN, "Content-Type": "multipart/form-data; boundary=x"})

    assert made.outcomes == {"a.jpg": "uploaded"}


async def test_a_body_announced_too_large_is_refused_unread(service: Service) -> None:
    """More bytes than a full order can have are a 413 before any of them came."""
    address = URL(service.url)
    reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(
        b"POST /v1/orders HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000000\r\n"
        b"Content-Type: multipart/form-data; boundary=x\r\nX-Admin-Token: " + TOKEN.encode() + b"\r\n\r\n"
    )
    status = await reader.readline()
    writer.transport.abort()

    assert status.startswith(b"HTTP/1.1 413 ")


async def test_a_silent_uploader_is_not_waited_for(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who stops sending is answered with 408, and nothing of the file stays on the disk."""
    monkeypatch.setattr(parts, "SILENCE_SECONDS", 0.2)

    async def stalled() -> AsyncIterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n' + jpeg(size=3_000_000)
        await asyncio.sleep(PATIENCE)

    made = await make(service, stalled(), headers={**ADMIN, "Content-Type": "multipart/form-data; boundary=x"})

    assert (made.status, made.document["code"]) == (408, "upload_timeout")
    assert not list((tmp_path / "data" / "images" / "incoming").iterdir())


async def test_a_vanished_uploader_leaves_nothing_behind(service: Service, sandbox: Sandbox, tmp_path: Path) -> None:
    """Who hangs up in the middle of the second file leaves neither its bytes on the disk nor an upload under way."""
    incoming = tmp_path / "data" / "images" / "incoming"
    sandbox.control.add_fault("black_hole", operation="upload", times=None)
    begun = asyncio.Event()

    async def vanishing() -> AsyncIterator[bytes]:
        head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n'
        yield head + jpeg() + b"\r\n" + head + jpeg(size=3_000_000)
        begun.set()
        await asyncio.sleep(PATIENCE)

    headers = {**ADMIN, "Content-Type": "multipart/form-data; boundary=x"}
    call = asyncio.create_task(make(service, vanishing(), headers=headers))
    await begun.wait()
    await until(lambda: len(list(incoming.iterdir())) == 2)
    call.cancel()

    await until(lambda: not list(incoming.iterdir()))
    await until(lambda: [one.operation for one in sandbox.control.log if one.seconds is None] == [])


async def test_files_wait_with_the_caller_while_storage_is_slow(
    service: Service, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Three files are on their way, a fourth waits on the disk, and the next are not taken in: disk is bounded too."""
    incoming = tmp_path / "data" / "images" / "incoming"
    sandbox.control.add_fault("slow_first_byte", operation="upload", times=6, delay=0.3)
    call = asyncio.create_task(make(service, form(*[(f"{n}.jpg", jpeg(n, 1_000_000)) for n in range(6)])))
    most = 0

    while not call.done():
        most = max(most, len(list(incoming.iterdir())))
        await asyncio.sleep(0.005)

    assert (await call).document["uploaded"] == 6
    assert most == 4
    assert not list(incoming.iterdir())


async def test_what_is_uploaded_never_fills_the_memory(sandbox: Sandbox, tmp_path: Path) -> None:
    """120 MB pass through, and the process needs less than a quarter of that for them."""
    settings = {"AUTOENHANCE_API_BASE": sandbox.api_base, "AUTOENHANCE_API_KEY": sandbox.api_key, "ADMIN_TOKEN": TOKEN}
    async with ServiceProcess(tmp_path / "data", **settings) as process, ClientSession() as session:
        before = process.peak_memory
        files = [(f"{number}.jpg", jpeg(number, LARGEST_FILE)) for number in range(6)]
        async with session.post(f"{process.url}/v1/orders", data=form(*files), headers=ADMIN) as response:
            made = await read(response)

        assert made.document["uploaded"] == 6
        assert process.peak_memory - before < 30_000_000


async def until(condition: Any) -> None:
    """Wait for a condition. Raises `TimeoutError`."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110  # a folder announces nothing
            await asyncio.sleep(0.01)
