"""The order call as its callers see it: what is sent, and what answers become."""

import asyncio
import gzip
import json
import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, cast

import pytest
from aiohttp import ClientConnectionError, ClientResponse
from aioresponses import aioresponses

from service.problems import (
    BreakerOpen,
    OrderNotFound,
    Problem,
    UpstreamBusy,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnauthorized,
)
from service.upstream import bodies, client
from service.upstream.models import Order
from service.upstream.order_document import MAX_DOCUMENT_BYTES
from service.upstream.transport import Transport
from tests.support.mocked import BASE, sent
from tests.support.samples import ORDER, order
from tests.support.transport import KEY, TIMEOUT, VERSION, FakeClock, Parts, open_client, yield_to_loop
from tests.support.upstream import FakeUpstream, Reply

ORDER_URL = f"{BASE}/orders/{ORDER}"


@pytest.mark.parametrize(
    ("status", "problem"),
    [
        (204, UpstreamError),
        (301, UpstreamError),
        (400, UpstreamError),
        (401, UpstreamUnauthorized),
        (402, UpstreamError),
        (403, UpstreamUnauthorized),
        (404, OrderNotFound),
        (410, OrderNotFound),
        (422, UpstreamError),
        (429, UpstreamBusy),
        (500, UpstreamError),
        (502, UpstreamError),
        (503, UpstreamError),
        (504, UpstreamError),
    ],
)
async def test_a_status_becomes_a_problem(
    answers: aioresponses, lone: Parts, status: int, problem: type[Problem], caplog: pytest.LogCaptureFixture
) -> None:
    """Each refusal in our own terms; an unknown order is its caller's mistake, the others are warned of."""
    refusal = {"message": "no", "detail": {}}
    answers.get(ORDER_URL, status=status, payload=refusal, headers={"Retry-After": "60"})

    with pytest.raises(problem), caplog.at_level(logging.INFO):
        await lone.client.order(ORDER)
    (record,) = [one for one in caplog.records if "order call failed" in str(one.msg)]
    assert record.levelname == ("INFO" if problem is OrderNotFound else "WARNING")


@pytest.mark.parametrize(
    ("trouble", "problem"), [(TimeoutError(), UpstreamTimeout), (ClientConnectionError(), UpstreamError)], ids=repr
)
async def test_no_answer_becomes_a_problem(
    answers: aioresponses, lone: Parts, trouble: Exception, problem: type[Problem]
) -> None:
    """Too late is told apart from not at all."""
    answers.get(ORDER_URL, exception=trouble)

    with pytest.raises(problem):
        await lone.client.order(ORDER)


@pytest.mark.parametrize(("asked", "passed_on"), [("37", "37"), (None, "5")])
async def test_a_slower_pace_is_passed_on(answers: aioresponses, asked: str | None, passed_on: str) -> None:
    """With upstream's own time where it gave one, once there is no time left for another try."""
    answers.get(ORDER_URL, status=429, headers={"Retry-After": asked} if asked else {}, repeat=True)

    async with open_client(BASE, seconds=0.1) as parts:
        with pytest.raises(UpstreamBusy) as raised:
            await parts.client.order(ORDER)

    assert raised.value.headers["Retry-After"] == passed_on


@pytest.mark.parametrize("body", ["", "[]", "null", "{", "<html>", '{"images": 1}', "\x00", "[" * 20_000])
async def test_what_is_no_order_is_upstreams_error(answers: aioresponses, lone: Parts, body: str) -> None:
    """Whatever came with a 200."""
    answers.get(ORDER_URL, body=body, content_type="application/json")

    with pytest.raises(UpstreamError):
        await lone.client.order(ORDER)


async def test_what_is_sent(answers: aioresponses, lone: Parts) -> None:
    """Key and version, any type, packed as it can be read here; no dev mode, no query."""
    answers.get(ORDER_URL, payload=order(["a"]))

    await lone.client.order(ORDER)

    url, headers = sent(answers)
    assert str(url) == ORDER_URL
    requests = {"Accept": "*/*", "Accept-Encoding": "gzip"}
    assert headers == {"x-api-key": KEY, "x-api-version": VERSION, **requests}


async def test_any_document_type_is_read_as_json(answers: aioresponses, lone: Parts) -> None:
    """What matters is the body."""
    answers.get(ORDER_URL, payload=order(["a", "b"]), content_type="text/html")

    document = await lone.client.order(ORDER)

    assert [image.image_id for image in document.images] == ["a", "b"]


async def test_an_order_without_images_is_an_order(answers: aioresponses, lone: Parts) -> None:
    """What to make of it is decided elsewhere."""
    answers.get(ORDER_URL, payload=order([], is_merging=True))

    assert (await lone.client.order(ORDER)).images == ()


async def test_a_deleted_order_says_so(upstream: FakeUpstream, parts: Parts) -> None:
    """Upstream may still answer for it: what to make of that is decided elsewhere."""
    upstream.orders[ORDER] = order(["a"], is_deleted=True)

    assert (await parts.client.order(ORDER)).is_deleted


async def test_a_document_that_is_too_long_is_not_read_to_its_end(
    upstream: FakeUpstream, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor asked for again."""
    monkeypatch.setattr(bodies, "MAX_DOCUMENT_BYTES", 1_000)
    upstream.orders[ORDER] = order(["a"], name="x" * 1_000)

    with pytest.raises(UpstreamError):
        await parts.client.order(ORDER)

    assert upstream.calls(ORDER) == 1


def packed(body: bytes, coding: str = "gzip") -> Reply:
    """A document in gzip, said to be in `coding`."""
    return Reply(body=gzip.compress(body), content_type="application/json", headers={"Content-Encoding": coding})


@pytest.mark.parametrize("images", [1, 5_000], ids=["short", "long"])
@pytest.mark.parametrize("coding", ["gzip", "GZIP", "x-gzip"])
async def test_a_packed_document_is_read(upstream: FakeUpstream, parts: Parts, images: int, coding: str) -> None:
    """However long it is when it is unpacked."""
    document = json.dumps(order([f"image-{number}" for number in range(images)])).encode()
    assert (len(document) > bodies.LONG_DOCUMENT) is (images > 1)
    upstream.orders[ORDER] = packed(document, coding)

    assert len((await parts.client.order(ORDER)).images) == images


async def test_what_a_few_bytes_unpack_into_is_bounded(
    upstream: FakeUpstream, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """200 MB in 200 kB: no more of it than a document may have is unpacked, and not on the event loop."""
    sizes: list[int] = []

    async def compute(work: Callable[[], bytearray]) -> bytearray:
        sizes.append(len(body := work()))
        return body

    monkeypatch.setattr(bodies, "compute", compute)
    upstream.orders[ORDER] = packed(b" " * 200_000_000)

    with pytest.raises(UpstreamError):
        await parts.client.order(ORDER)

    assert sizes == [MAX_DOCUMENT_BYTES - bodies.LONG_DOCUMENT]
    assert upstream.calls(ORDER) == 1


async def test_a_document_in_a_coding_that_nobody_asked_for_is_none(upstream: FakeUpstream, parts: Parts) -> None:
    """It is not guessed at."""
    upstream.orders[ORDER] = packed(json.dumps(order(["a"])).encode(), "br")

    with pytest.raises(UpstreamError):
        await parts.client.order(ORDER)


@pytest.mark.parametrize("keep", [0, 5, 20, -9], ids=str)
async def test_a_packed_document_without_its_end_is_asked_for_again(
    upstream: FakeUpstream, parts: Parts, keep: int
) -> None:
    """Its announced length was met: it was cut before it was sent."""
    whole = packed(json.dumps(order(["a"])).encode())
    upstream.orders[ORDER] = [replace(whole, body=whole.body[:keep]), order(["a"])]

    assert len((await parts.client.order(ORDER)).images) == 1


async def test_what_is_not_packed_as_it_says_is_no_document(upstream: FakeUpstream, parts: Parts) -> None:
    """As any other that cannot be read."""
    upstream.orders[ORDER] = Reply(body=json.dumps(order(["a"])).encode(), headers={"Content-Encoding": "gzip"})

    with pytest.raises(UpstreamError):
        await parts.client.order(ORDER)


async def test_the_words_of_a_packed_refusal_are_logged(
    upstream: FakeUpstream, parts: Parts, caplog: pytest.LogCaptureFixture
) -> None:
    """They say what is wrong."""
    upstream.orders[ORDER] = replace(packed(b'{"message": "no such thing"}'), status=400)

    with pytest.raises(UpstreamError):
        await parts.client.order(ORDER)

    assert "no such thing" in caplog.text


async def test_a_passing_failure_is_tried_again(upstream: FakeUpstream, parts: Parts) -> None:
    """Counted as retries by reason."""
    upstream.orders[ORDER] = [503, 500, order(["a"])]

    document = await parts.client.order(ORDER)

    assert len(document.images) == 1
    assert parts.sample("batch_upstream_retries_total", reason="upstream_error") == 2


@pytest.mark.parametrize("text", ["<html>", "[]", '{"images":' + "[" * 2_000_000], ids=["page", "list", "long"])
async def test_what_cannot_be_read_is_not_asked_for_again(upstream: FakeUpstream, parts: Parts, text: str) -> None:
    """The same again would be as unreadable, and may be 16 MiB."""
    upstream.orders[ORDER] = [text, order(["a"])]

    with pytest.raises(UpstreamError):
        await parts.client.order(ORDER)

    assert upstream.calls(ORDER) == 1


async def test_an_open_circuit_answers_at_once(upstream: FakeUpstream, clock: FakeClock) -> None:
    """With the time left, and without a call."""
    upstream.orders[ORDER] = 500
    async with open_client(upstream.url, attempts=1, failures=1) as parts:
        with pytest.raises(UpstreamError):
            await parts.client.order(ORDER)

        with pytest.raises(BreakerOpen) as raised:
            await parts.client.order(ORDER)

    assert raised.value.headers["Retry-After"] == "60"
    assert upstream.calls(ORDER) == 1


async def test_ids_cannot_leave_their_place_in_the_path(answers: aioresponses, lone: Parts) -> None:
    """Every character that means something in an address is escaped."""
    answers.get(re.compile(".*"), payload=order([]))

    await lone.client.order("../x?y#z/ü")

    assert sent(answers)[0].raw_path == "/v3/orders/..%2Fx%3Fy%23z%2F%C3%BC"


@pytest.mark.parametrize("images", [1, 5_000], ids=["short", "long"])
async def test_a_long_document_is_read_beside_the_loop(
    upstream: FakeUpstream, parts: Parts, monkeypatch: pytest.MonkeyPatch, images: int
) -> None:
    """A short one is read at once."""
    told: list[bool] = []

    async def compute(work: Callable[[], Order], *, is_short: bool) -> Order:
        told.append(is_short)
        return work()

    monkeypatch.setattr(client, "compute", compute)
    upstream.orders[ORDER] = order([f"image-{number}" for number in range(images)])

    await parts.client.order(ORDER)

    assert told == [images == 1]


async def test_so_many_long_documents_are_held_at_once(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each may take three times its 16 MiB: the others wait before they are taken."""
    taken: list[asyncio.Event] = []

    async def read_body(_: object, wait: Callable[[], Awaitable[None]]) -> bytearray:
        await wait()
        taken.append(gate := asyncio.Event())
        await gate.wait()
        return bytearray(b"{}")

    monkeypatch.setattr(client, "read_body", read_body)
    async with asyncio.timeout(TIMEOUT):
        reading = [asyncio.create_task(parts.client._read(cast(ClientResponse, None), bytes)) for _ in range(4)]
        await yield_to_loop()
        assert len(taken) == 2

        taken[0].set()
        await reading[0]
        await yield_to_loop()
        assert len(taken) == 3

        for gate in taken:
            gate.set()
        await asyncio.gather(*reading[1:3])
        await yield_to_loop()
        taken[3].set()
        await reading[3]


async def test_what_was_not_answered_is_asked_for_over_another_connection(
    upstream: FakeUpstream, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connections that were kept die together."""
    asked: list[bool] = []
    get = Transport.get

    def noted(*arguments: Any, is_fresh: bool, **more: Any) -> Any:
        asked.append(is_fresh)
        return get(*arguments, is_fresh=is_fresh, **more)

    monkeypatch.setattr(Transport, "get", noted)
    upstream.orders[ORDER] = [503, 503, order(["a"])]

    await parts.client.order(ORDER)

    assert asked == [False, True, True]


async def test_a_reason_that_quotes_the_key_is_told_without_it(answers: aioresponses, lone: Parts) -> None:
    """It is shown to callers; the other reasons stay as they are."""
    document = order(["a", "b", "c"])
    for image, reason in zip(document["images"], (f"Not allowed for {KEY}.", "Too dark.", None), strict=True):
        image["status_reason"] = reason
    answers.get(ORDER_URL, payload=document)

    found = await lone.client.order(ORDER)

    assert [image.status_reason for image in found.images] == ["Not allowed for ***.", "Too dark.", None]
