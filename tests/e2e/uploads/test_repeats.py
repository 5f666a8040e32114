"""`Idempotency-Key` of a request that makes an order."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from service.sandbox import Sandbox
from tests.e2e.uploads.orders import ADMIN, TOKEN, form, make, until
from tests.support.client import Service, StartService
from tests.support.samples import jpeg

KEYED = {**ADMIN, "Idempotency-Key": "once"}


async def test_the_same_key_makes_one_order(service: Service, sandbox: Sandbox) -> None:
    """The second answer is the first one's, and says so."""
    first, again = [await make(service, form(("a.jpg", jpeg())), headers=KEYED) for _ in range(2)]

    assert (first.status, again.status) == (201, 201)
    assert again.document == first.document
    assert again.headers["Location"] == first.headers["Location"]
    assert ("Idempotent-Replayed" in first.headers, again.headers["Idempotent-Replayed"]) == (False, "true")
    assert len(sandbox.control.state.orders) == 1


async def test_it_outlives_a_restart(sandbox: Sandbox, start_service: StartService, tmp_path: Path) -> None:
    """The answer is on the disk before it is given."""
    settings = {
        "autoenhance_api_base": sandbox.api_base,
        "autoenhance_api_key": sandbox.api_key,
        "admin_token": TOKEN,
        "data_dir": tmp_path / "data",
    }
    service = await start_service(**settings)
    first = await make(service, form(("a.jpg", jpeg())), headers=KEYED)
    await service.stop()

    again = await make(await start_service(**settings), form(("a.jpg", jpeg())), headers=KEYED)

    assert again.document == first.document
    assert again.headers["Idempotent-Replayed"] == "true"


async def test_without_a_key_or_with_another_each_request_makes_its_own(service: Service, sandbox: Sandbox) -> None:
    """The sample's keys are apart, too."""
    for headers in (ADMIN, ADMIN, KEYED, {**ADMIN, "Idempotency-Key": "twice"}):
        made = await make(service, form(("a.jpg", jpeg())), headers=headers)
        assert made.status == 201
    sample = await make(service, None, headers=KEYED, path="/v1/orders/sample")

    assert (sample.status, "Idempotent-Replayed" in sample.headers) == (201, False)
    assert len(sandbox.control.state.orders) == 5


async def test_a_request_that_failed_may_be_sent_again(service: Service, sandbox: Sandbox) -> None:
    """Its key is free."""
    failed = await make(service, form(("a.txt", b"no picture at all")), headers=KEYED)

    made = await make(service, form(("a.jpg", jpeg())), headers=KEYED)

    assert (failed.status, made.status) == (415, 201)
    assert "Idempotent-Replayed" not in made.headers


async def test_while_the_first_one_goes_on_the_second_is_told_to_come_back(service: Service, sandbox: Sandbox) -> None:
    """409 with `Retry-After`, and no second order; afterwards it has the first one's answer."""
    gate = asyncio.Event()
    part = b'--x\r\nContent-Disposition: form-data; name="files"; filename="%s"\r\n\r\n'

    async def slowly() -> AsyncIterator[bytes]:
        # So much that the service need not wait for more to see where the first file ends.
        yield part % b"a.jpg" + jpeg() + b"\r\n" + part % b"b.jpg" + jpeg(2) + bytes(1 << 18)
        await gate.wait()
        yield b"\r\n--x--\r\n"

    headers = {**KEYED, "Content-Type": "multipart/form-data; boundary=x"}
    first = asyncio.create_task(make(service, slowly(), headers=headers))
    await until(lambda: sandbox.control.state.orders)
    second = await make(service, form(("a.jpg", jpeg())), headers=KEYED)
    gate.set()
    made = await first
    again = await make(service, form(("a.jpg", jpeg())), headers=KEYED)

    assert (second.status, second.document["code"]) == (409, "request_unfinished")
    assert second.headers["Retry-After"]
    assert (made.status, again.document) == (201, made.document)
    assert len(sandbox.control.state.orders) == 1


@pytest.mark.parametrize("key", ["", " ", "k\u00e9y", "k" * 256])
async def test_a_key_that_is_none_is_refused(service: Service, sandbox: Sandbox, key: str) -> None:
    """Before anything is uploaded."""
    made = await make(service, form(("a.jpg", jpeg())), headers={**ADMIN, "Idempotency-Key": key})

    assert (made.status, made.document["parameter"]) == (400, "Idempotency-Key")
    assert not sandbox.control.state.orders
