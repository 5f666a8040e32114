"""What can go wrong on the way of files into the service, and what it costs."""

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession
from yarl import URL

from service.api import parts
from service.api.order_form import LARGEST_FILE
from service.sandbox import Sandbox
from tests.e2e.uploads.orders import ADMIN, TOKEN, form, make, read, until
from tests.support.client import TIMEOUT, Service
from tests.support.process import ServiceProcess
from tests.support.samples import jpeg


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


@pytest.mark.parametrize("name", ["", "x.jpg"], ids=["left empty", "empty files"])
async def test_parts_without_end_are_refused(service: Service, name: str) -> None:
    """Hundreds of thousands of them, small as they are, hold nobody up: 413 after some more than files are taken."""
    part = f'--x\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n\r\n'.encode()
    headers = {**ADMIN, "Content-Type": "multipart/form-data; boundary=x"}

    made = await make(service, io.BytesIO(part * 200_000 + b"--x--\r\n"), headers=headers)

    assert (made.status, made.document["code"]) == (413, "payload_too_large")
    assert len(made.document.get("files", ())) <= 1_000 + 100


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
        await asyncio.sleep(TIMEOUT)

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
        await asyncio.sleep(TIMEOUT)

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
    sandbox.control.add_fault("black_hole", operation="upload", times=None)
    call = asyncio.create_task(make(service, form(*[(f"{n}.jpg", jpeg(n, 1_000_000)) for n in range(6)])))

    await until(lambda: len(list(incoming.iterdir())) == 4)
    for _ in range(50):  # a fifth would be there at once
        await asyncio.sleep(0.005)
        assert len(list(incoming.iterdir())) == 4
    assert sandbox.control.counters.requests["create_image"] == 3
    call.cancel()


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
