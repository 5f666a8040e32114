"""The order call as the rooms above see it: what is sent, and what answers become."""

import logging
import re

import pytest
from aiohttp import ClientConnectionError
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
from service.upstream import transport
from tests.support.mocked import BASE, sent
from tests.support.samples import ORDER, order
from tests.support.transport import (
    KEY,
    VERSION,
    FakeClock,
    Parts,
    open_client,
)
from tests.support.upstream import FakeUpstream

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
    """Key, version, and a wish for JSON; no dev mode, no query."""
    answers.get(ORDER_URL, payload=order(["a"]))

    await lone.client.order(ORDER)

    url, headers = sent(answers)
    assert str(url) == ORDER_URL
    assert headers == {"x-api-key": KEY, "x-api-version": VERSION, "Accept": "application/json"}


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
    monkeypatch.setattr(transport, "MAX_DOCUMENT_BYTES", 1_000)
    upstream.orders[ORDER] = order(["a"], name="x" * 1_000)

    with pytest.raises(UpstreamError):
        await parts.client.order(ORDER)

    assert upstream.calls(ORDER) == 1


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
