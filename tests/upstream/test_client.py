"""The client as the rooms above see it: what is sent, and what answers become."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from aiohttp import ClientConnectionError, web
from aioresponses import aioresponses
from yarl import URL

from service.problems import (
    BreakerOpen,
    OrderNotFound,
    Problem,
    UpstreamBusy,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnauthorized,
)
from service.reasons import Reason
from service.telemetry.metrics import Circuit
from service.upstream import client, retry, transport
from service.upstream.client import ImageFailed
from service.upstream.models import Rendering
from tests.fakes.samples import ORDER, jpeg, order, png, webp
from tests.fakes.upstream import FakeUpstream, Reply, Script
from tests.upstream.helpers import (
    KEY,
    PATIENCE,
    VERSION,
    FakeClock,
    MemoryBody,
    Parts,
    download,
    failure,
    missing,
    open_client,
    tcp_server,
)
from tests.upstream.mocked import mocked_answers

# A literal address: it is looked up before the first call, and nothing may be asked of a name server.
BASE = "http://127.0.0.1:9/v3"
ORDER_URL = f"{BASE}/orders/{ORDER}"
ANY_IMAGE = re.compile(rf"{re.escape(BASE)}/images/.*")


@pytest.fixture
def answers() -> Iterator[aioresponses]:
    """Answers without a network; a request that has none fails to connect."""
    with mocked_answers() as mocked:
        yield mocked


@pytest.fixture
async def lone(answers: aioresponses) -> AsyncIterator[Parts]:
    """A client that gets its answers from `answers`, one attempt each."""
    async with open_client(BASE, attempts=1) as parts:
        yield parts


def sent(answers: aioresponses) -> tuple[URL, dict[str, str]]:
    """Address and headers of the only request."""
    ((_, url), (call,)) = next(iter(answers.requests.items()))
    assert len(answers.requests) == 1
    headers = dict(call.kwargs["headers"])
    headers.pop("User-Agent", None)  # the session's own
    return url, headers


def answer_image(answers: aioresponses) -> None:
    """Answer an image call, whatever it asks for."""
    headers = {"Content-Length": str(len(jpeg()))}
    answers.get(ANY_IMAGE, body=jpeg(), content_type="image/jpeg", headers=headers)


class TestOrderCall:
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
        self, answers: aioresponses, lone: Parts, status: int, problem: type[Problem]
    ) -> None:
        """Each refusal in our own terms."""
        answers.get(ORDER_URL, status=status, payload={"message": "no", "detail": {}})

        with pytest.raises(problem):
            await lone.client.order(ORDER)

    @pytest.mark.parametrize(
        ("trouble", "problem"), [(TimeoutError(), UpstreamTimeout), (ClientConnectionError(), UpstreamError)], ids=repr
    )
    async def test_no_answer_becomes_a_problem(
        self, answers: aioresponses, lone: Parts, trouble: Exception, problem: type[Problem]
    ) -> None:
        """Too late is told apart from not at all."""
        answers.get(ORDER_URL, exception=trouble)

        with pytest.raises(problem):
            await lone.client.order(ORDER)

    @pytest.mark.parametrize(("asked", "told"), [("37", "37"), (None, "5")])
    async def test_a_slower_pace_is_passed_on(
        self, answers: aioresponses, lone: Parts, asked: str | None, told: str
    ) -> None:
        """With upstream's own time where it gave one."""
        answers.get(ORDER_URL, status=429, headers={"Retry-After": asked} if asked else {})

        with pytest.raises(UpstreamBusy) as raised:
            await lone.client.order(ORDER)

        assert raised.value.headers["Retry-After"] == told

    @pytest.mark.parametrize(
        "body", ["", "[]", "null", "{", "<html>", '{"images": 1}', '{"images": [1]}', "\x00", "[" * 20_000]
    )
    async def test_what_is_no_order_is_upstreams_error(self, answers: aioresponses, lone: Parts, body: str) -> None:
        """Whatever came with a 200."""
        answers.get(ORDER_URL, body=body, content_type="application/json")

        with pytest.raises(UpstreamError):
            await lone.client.order(ORDER)

    async def test_what_is_sent(self, answers: aioresponses, lone: Parts) -> None:
        """Key, version, and a wish for JSON; no dev mode, no query."""
        answers.get(ORDER_URL, payload=order(["a"]))

        await lone.client.order(ORDER)

        url, headers = sent(answers)
        assert str(url) == ORDER_URL
        assert headers == {"x-api-key": KEY, "x-api-version": VERSION, "Accept": "application/json"}

    async def test_any_document_type_is_read_as_json(self, answers: aioresponses, lone: Parts) -> None:
        """What matters is the body."""
        answers.get(ORDER_URL, payload=order(["a", "b"]), content_type="text/html")

        document = await lone.client.order(ORDER)

        assert [image.image_id for image in document.images] == ["a", "b"]

    async def test_an_order_without_images_is_an_order(self, answers: aioresponses, lone: Parts) -> None:
        """What to make of it is decided elsewhere."""
        answers.get(ORDER_URL, payload=order([], is_merging=True))

        assert (await lone.client.order(ORDER)).images == ()

    async def test_a_deleted_order_is_not_found(self, upstream: FakeUpstream, parts: Parts) -> None:
        """Upstream may still answer for it; and its answer speaks for the API."""
        upstream.orders[ORDER] = order(["a"], is_deleted=True)

        with pytest.raises(OrderNotFound):
            await parts.client.order(ORDER)

        assert upstream.calls(ORDER) == 1

    async def test_a_document_that_is_too_long_is_not_read_to_its_end(
        self, upstream: FakeUpstream, parts: Parts, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nor asked for again."""
        monkeypatch.setattr(transport, "_LONGEST_DOCUMENT", 1_000)
        upstream.orders[ORDER] = order(["a"], name="x" * 1_000)

        with pytest.raises(UpstreamError):
            await parts.client.order(ORDER)

        assert upstream.calls(ORDER) == 1

    async def test_a_passing_failure_is_tried_again(self, upstream: FakeUpstream, parts: Parts) -> None:
        """Errors and documents that are none; counted as retries by reason."""
        upstream.orders[ORDER] = [503, "<html>", order(["a"])]

        document = await parts.client.order(ORDER)

        assert len(document.images) == 1
        assert parts.sample("batch_upstream_retries_total", reason="upstream_error") == 2

    async def test_an_open_circuit_answers_at_once(self, upstream: FakeUpstream, clock: FakeClock) -> None:
        """With the time left, and without a call."""
        upstream.orders[ORDER] = 500
        async with open_client(upstream.url, attempts=1, failures=1) as parts:
            with pytest.raises(UpstreamError):
                await parts.client.order(ORDER)

            with pytest.raises(BreakerOpen) as raised:
                await parts.client.order(ORDER)

        assert raised.value.headers["Retry-After"] == "60"
        assert upstream.calls(ORDER) == 1

    async def test_ids_cannot_leave_their_place_in_the_path(self, answers: aioresponses, lone: Parts) -> None:
        """Every character that means something in an address is escaped."""
        answers.get(re.compile(".*"), payload=order([]))

        await lone.client.order("../x?y#z/ü")

        assert sent(answers)[0].raw_path == "/v3/orders/..%2Fx%3Fy%23z%2F%C3%BC"


class TestImageCall:
    @pytest.mark.parametrize(
        ("rendering", "query"),
        [
            ({}, "format=jpeg&preview=true"),
            ({"preview": False}, "format=jpeg&preview=false"),
            (
                {"format": "webp", "quality": 80, "max_width": 1200, "scale": 0.25},
                "format=webp&preview=true&quality=80&max_width=1200&scale=0.25",
            ),
        ],
        ids=str,
    )
    async def test_what_is_asked_for(
        self, answers: aioresponses, lone: Parts, rendering: dict[str, Any], query: str
    ) -> None:
        """The rendering's options, `preview` always among them."""
        answer_image(answers)

        await download(lone, **rendering)

        url, _ = sent(answers)
        assert url.raw_path == "/v3/images/a/enhanced"
        assert sorted(url.raw_query_string.split("&")) == sorted(query.split("&"))

    @pytest.mark.parametrize("dev_mode", [False, True])
    async def test_dev_mode_is_a_header(self, answers: aioresponses, lone: Parts, dev_mode: bool) -> None:
        """Sent only when it is on, beside key and version; never a coded or partial body on the first attempt."""
        answer_image(answers)

        await download(lone, dev_mode=dev_mode)

        wanted = {"x-api-key": KEY, "x-api-version": VERSION, "Accept": "*/*", "Accept-Encoding": "identity"}
        assert sent(answers)[1] == wanted | ({"x-dev-mode": "true"} if dev_mode else {})

    @pytest.mark.parametrize(
        ("image_id", "segment"),
        [
            ("a/../b", "a%2F..%2Fb"),
            ("a?preview=false", "a%3Fpreview%3Dfalse"),
            ("..", "-"),
            (".", "-"),
            ("ü ", "%C3%BC%20"),
        ],
    )
    async def test_ids_cannot_leave_their_place_in_the_path(
        self, answers: aioresponses, lone: Parts, image_id: str, segment: str
    ) -> None:
        """Not by slashes, nor by a query, nor by dots."""
        answer_image(answers)

        await download(lone, image_id)

        assert sent(answers)[0].raw_path == f"/v3/images/{segment}/enhanced"

    async def test_an_id_that_no_address_can_hold_is_a_failed_image(self, upstream: FakeUpstream, parts: Parts) -> None:
        """JSON can say what UTF-8 cannot; the image fails, not the program."""
        reason, _ = await missing(parts, "\ud800")

        assert reason in (Reason.REJECTED, Reason.IMAGE_NOT_FOUND)

    @pytest.mark.parametrize(
        ("status", "reason", "attempts"),
        [
            (202, Reason.NOT_READY, 1),
            (400, Reason.REJECTED, 1),
            (401, Reason.REFUSED, 1),
            (402, Reason.NO_CREDIT, 1),
            (403, Reason.REFUSED, 1),
            (404, Reason.IMAGE_NOT_FOUND, 1),
            (410, Reason.EXPIRED, 1),
            (422, Reason.REJECTED, 1),
            (429, Reason.RATE_LIMITED, 3),
            (500, Reason.UPSTREAM_ERROR, 3),
            (503, Reason.UPSTREAM_ERROR, 3),
        ],
    )
    async def test_a_refusal_becomes_a_reason(
        self, upstream: FakeUpstream, parts: Parts, status: int, reason: Reason, attempts: int
    ) -> None:
        """And is tried again where that can help; the attempts are told."""
        upstream.images["a"] = status

        outcome = await missing(parts)

        assert outcome == (reason, attempts)
        assert upstream.calls("a") == attempts

    async def test_an_image_arrives_whole(self, upstream: FakeUpstream, parts: Parts) -> None:
        """Its bytes, its announced length, its extension, and the attempts it took."""
        upstream.images["a"] = [503, png(size=300_000)]
        body = MemoryBody()

        extension, attempts = await download(parts, body=body)

        assert (extension, attempts) == ("png", 2)
        assert (bytes(body.content), body.expected) == (png(size=300_000), [300_000])

    async def test_the_bytes_name_the_extension(self, upstream: FakeUpstream, parts: Parts) -> None:
        """Not what was asked for, nor what the type says."""
        upstream.images["a"] = Reply(body=webp(), content_type="image/jpeg")

        extension, _ = await download(parts, format="jpeg")

        assert extension == "webp"

    async def test_a_body_whose_end_cannot_be_told_from_a_break_is_none(self) -> None:
        """Neither a length nor chunks: everything may be there, and nobody could know."""
        head = b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nConnection: close\r\n\r\n"

        async with tcp_server(head + jpeg()) as url, open_client(url) as parts:
            assert await missing(parts) == (Reason.TRUNCATED, 3)

    async def test_time_spent_in_the_line_is_not_upstreams(
        self, upstream: FakeUpstream, parts: Parts, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A second attempt whose time ran out while it waited for a slot is not sent, nor counted as a timeout."""
        monkeypatch.setattr(client, "time", clock)
        monkeypatch.setattr(retry, "time", clock)
        upstream.images["a"] = 503
        slot = await parts.slots.acquire()
        fetch = asyncio.create_task(parts.client.download("a", Rendering(), MemoryBody(), slot))
        others = [await parts.slots.acquire() for _ in range(5)]
        clock.advance(PATIENCE)
        for other in others:
            other.release()

        with pytest.raises(ImageFailed) as raised:
            await fetch

        assert (raised.value.reason, raised.value.attempts) == (Reason.UPSTREAM_ERROR, 1)
        assert upstream.calls("a") == 1

    async def test_a_retry_after_holds_back_nobody_else(self, upstream: FakeUpstream, parts: Parts) -> None:
        """The refused request waits without its slot; six others go through five slots meanwhile."""
        refusal = Reply(status=429, headers={"Retry-After": "1"})
        upstream.images["a"] = [refusal, jpeg()]
        upstream.images |= {f"i{number}": jpeg(number) for number in range(6)}

        first = asyncio.create_task(download(parts, "a"))
        await upstream.until(lambda: upstream.calls("a") == 1)
        for number in range(6):
            await download(parts, f"i{number}")
        outcome = await first

        images = [request.path.split("/")[3] for request in upstream.received]
        assert images == ["a", *(f"i{number}" for number in range(6)), "a"]
        assert outcome == ("jpg", 2)


class TestCircuits:
    async def test_a_rest_that_ends_too_soon_is_the_assets_fault(self, upstream: FakeUpstream) -> None:
        """The body came from there, so that circuit counts it."""
        short = Reply(
            body=jpeg()[700:1_000], status=206, headers={"Content-Range": "bytes 700-999/2000", "ETag": '"v1"'}
        )
        upstream.hops["a"] = 1
        upstream.images["a"] = [Reply(body=jpeg(), etag='"v1"', cut_after=700), short]

        async with open_client(upstream.url, attempts=2, failures=1) as parts:
            outcome = await missing(parts)

            opened = {circuit: breaker.is_open for circuit, breaker in parts.breakers.items()}

        assert outcome == (Reason.TRUNCATED, 2)
        assert opened == {Circuit.API: False, Circuit.ASSETS: True}

    async def test_failing_assets_open_their_circuit_only(self, upstream: FakeUpstream) -> None:
        """Orders can still be asked for; images say why they are missing."""
        upstream.orders[ORDER] = order(["a", "b"])
        upstream.images |= {"a": 500, "b": 500, "c": jpeg()}
        upstream.hops |= {"a": 1, "b": 1, "c": 1}

        async with open_client(upstream.url, attempts=1, failures=2) as parts:
            outcomes = [await missing(parts, image_id) for image_id in ("a", "b", "c")]
            document = await parts.client.order(ORDER)

        assert outcomes == [(Reason.UPSTREAM_ERROR, 1), (Reason.UPSTREAM_ERROR, 1), (Reason.BREAKER_OPEN, 0)]
        assert upstream.requests("c") == []  # asking the API for it could buy what cannot be delivered
        assert len(document.images) == 2

    async def test_an_open_circuit_ends_the_retries(self, upstream: FakeUpstream) -> None:
        """A failure of a dependency that is given a rest is final at once."""
        upstream.images["a"] = 503
        async with open_client(upstream.url, failures=1) as parts:

            async def trip(_: web.Request) -> web.StreamResponse:
                parts.breakers[Circuit.API].admit().settle(failure())
                return web.Response(status=503)

            upstream.images["a"] = trip
            outcome = await missing(parts)

        assert outcome == (Reason.UPSTREAM_ERROR, 1)

    async def test_a_circuit_that_opens_during_a_wait_ends_the_retries_too(
        self, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Open means no traffic, also for an operation that was admitted before."""
        upstream.images["a"] = [503, jpeg()]
        async with open_client(upstream.url, failures=1) as parts:
            sleep = asyncio.sleep

            async def trip_meanwhile(seconds: float) -> None:
                if upstream.calls("a") and not parts.breakers[Circuit.API].is_open:
                    parts.breakers[Circuit.API].admit().settle(failure())
                await sleep(0)

            monkeypatch.setattr(asyncio, "sleep", trip_meanwhile)
            outcome = await missing(parts)

        assert outcome == (Reason.BREAKER_OPEN, 1)
        assert upstream.calls("a") == 1

    async def test_one_broken_image_opens_nothing(self, upstream: FakeUpstream) -> None:
        """However often it is asked for."""
        upstream.images["a"] = 500

        async with open_client(upstream.url, attempts=1, failures=2) as parts:
            outcomes = [await missing(parts) for _ in range(5)]

        assert outcomes == [(Reason.UPSTREAM_ERROR, 1)] * 5

    async def test_retries_have_a_budget(self, upstream: FakeUpstream, parts: Parts) -> None:
        """Twenty, and a tenth of the calls: an outage is not answered with three times the traffic."""
        upstream.images |= {f"i{number}": 503 for number in range(60)}

        for image_id in list(upstream.images):
            await missing(parts, image_id)

        assert 80 <= upstream.image_calls <= 90
        assert parts.sample("batch_upstream_retries_total", reason="upstream_error") == upstream.image_calls - 60


class TestPace:
    @pytest.mark.parametrize(
        ("status", "limit", "has_pace"), [(429, 3, True), (503, 3, False), (500, 5, False), (404, 5, False)]
    )
    async def test_what_makes_us_slower(self, upstream: FakeUpstream, status: int, limit: int, has_pace: bool) -> None:
        """Being told to, or an upstream that is unavailable, by two images; a broken or missing image does not."""
        upstream.images |= {"a": status, "b": status}

        async with open_client(upstream.url, attempts=1) as parts:
            for image_id in ("a", "b"):
                await missing(parts, image_id)

        assert parts.sample("batch_download_concurrency_limit") == limit
        assert (parts.sample("batch_download_pace") > 0) is has_pace

    async def test_timeouts_make_us_slower(self, upstream: FakeUpstream) -> None:
        """An upstream that cannot keep up says nothing at all."""
        upstream.images |= {"a": jpeg(), "b": jpeg()}
        upstream.hold("a")
        upstream.hold("b")

        async with open_client(upstream.url, attempts=1, seconds=0.05) as parts:
            outcomes = [await missing(parts, image_id) for image_id in ("a", "b")]

        assert outcomes == [(Reason.TIMEOUT, 1)] * 2
        assert parts.sample("batch_download_concurrency_limit") == 3


class TestSlot:
    async def test_a_download_ends_without_its_slot(self, upstream: FakeUpstream, parts: Parts) -> None:
        """Whether it went well or not."""
        upstream.images |= {"a": jpeg(), "b": 404}

        await download(parts, "a")
        await missing(parts, "b")

        assert parts.sample("batch_downloads_in_flight") == 0

    async def test_a_body_that_cannot_be_written_is_not_upstreams_failure(
        self, upstream: FakeUpstream, parts: Parts
    ) -> None:
        """The error passes through, once, and the slot is free."""
        upstream.images["a"] = jpeg()

        class Full(MemoryBody):
            async def write(self, chunk: bytes) -> None:
                raise OSError("no space")

        with pytest.raises(OSError, match="no space"):
            await download(parts, body=Full())

        assert upstream.calls("a") == 1
        assert parts.sample("batch_downloads_in_flight") == 0


@pytest.mark.parametrize(
    "script", [Reply(body=jpeg(), content_type="text/plain"), b"GIF89a" + b"\0" * 50, b"", "<html>"]
)
async def test_what_is_no_image_is_not_asked_for_again(upstream: FakeUpstream, parts: Parts, script: Script) -> None:
    """Another attempt would bring the same; nothing of it is kept."""
    upstream.images["a"] = script
    body = MemoryBody()

    with pytest.raises(ImageFailed) as raised:
        await download(parts, body=body)

    assert (raised.value.reason, raised.value.attempts) == (Reason.NOT_AN_IMAGE, 1)
    assert body.content == b""
