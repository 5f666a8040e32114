"""One call over real sockets: where it goes, what it carries, and how its failures are told apart."""

import asyncio
import json
import ssl
from types import SimpleNamespace
from typing import cast

import pytest
from aiohttp import ServerDisconnectedError, StreamReader, web
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import RawResponseMessage
from multidict import CIMultiDict

from service.problems import UpstreamError
from service.reasons import Reason
from service.telemetry.metrics import Circuit
from service.upstream import connection
from tests.support.loopback import free_port
from tests.support.samples import ORDER, jpeg, order
from tests.support.transport import KEY, VERSION, Parts, open_client, tcp_server
from tests.support.transport_calls import get, get_with, refused
from tests.support.upstream import FakeUpstream, Reply


class TestHeaders:
    async def test_the_api_gets_key_and_version(self, upstream: FakeUpstream, parts: Parts) -> None:
        """With what the caller adds for the API, and what goes along everywhere."""
        upstream.images["a"] = jpeg()

        got = await get(parts, f"{upstream.url}/images/a/enhanced", headers={"Accept-Encoding": "identity"})

        (request,) = upstream.requests("a")
        wanted = {"x-api-key": KEY, "x-api-version": VERSION, "x-dev-mode": "true", "Accept-Encoding": "identity"}
        assert request.headers.items() >= CIMultiDict(wanted).items()
        assert request.headers["Accept"] == "*/*"
        assert (got.body, got.reached) == (jpeg(), [Circuit.API])

    async def test_no_version_means_no_header(self, upstream: FakeUpstream) -> None:
        """The account's own version is in force then."""
        upstream.images["a"] = jpeg()

        async with open_client(upstream.url, version=None) as parts:
            await get(parts, f"{upstream.url}/images/a/enhanced")

        assert "x-api-version" not in upstream.requests("a")[0].headers

    async def test_another_origin_gets_neither(self, upstream: FakeUpstream, parts: Parts) -> None:
        """Only the headers that go along all the way; and it is another circuit."""
        upstream.images["a"] = jpeg()
        upstream.hops["a"] = 2

        got = await get(parts, f"{upstream.url}/images/a/enhanced", headers={"Accept-Encoding": "identity"})

        for request in upstream.requests("a", "assets"):
            assert request.headers.keys().isdisjoint({"x-api-key", "x-api-version", "x-dev-mode"})
            assert KEY not in str(request)
            assert request.headers["Accept-Encoding"] == "identity"
        assert got.reached == [Circuit.API, Circuit.ASSETS, Circuit.ASSETS]

    async def test_another_port_is_another_origin(self, upstream: FakeUpstream, parts: Parts) -> None:
        """The same host is not enough."""
        async with FakeUpstream() as other:
            other.images["a"] = jpeg()
            upstream.images["a"] = Reply(status=302, headers={"Location": f"{other.url}/images/a/enhanced"})

            await get(parts, f"{upstream.url}/images/a/enhanced")

            assert "x-api-key" not in other.requests("a")[0].headers

    async def test_who_is_sent_back_to_the_api_brings_no_key(self, upstream: FakeUpstream, parts: Parts) -> None:
        """Whoever is between would choose what is asked for with it."""
        async with FakeUpstream() as other:
            other.images["a"] = Reply(status=302, headers={"Location": f"{upstream.url}/images/b/enhanced"})
            upstream.images["a"] = Reply(status=302, headers={"Location": f"{other.url}/images/a/enhanced"})
            upstream.images["b"] = jpeg()

            got = await get(parts, f"{upstream.url}/images/a/enhanced")

        assert "x-api-key" not in upstream.requests("b")[0].headers
        assert got.reached == [Circuit.API, Circuit.ASSETS, Circuit.ASSETS]

    async def test_no_cookie_is_kept(self, upstream: FakeUpstream, parts: Parts) -> None:
        """One call leaves nothing for the next."""
        upstream.images["a"] = Reply(body=jpeg(), headers={"Set-Cookie": "session=1; Path=/"})

        for _ in range(2):
            await get(parts, f"{upstream.url}/images/a/enhanced")

        assert "Cookie" not in upstream.requests("a")[1].headers


class TestRefusals:
    @pytest.mark.parametrize(
        ("status", "reason"), [(401, Reason.REFUSED), (404, Reason.IMAGE_NOT_FOUND), (503, Reason.UPSTREAM_ERROR)]
    )
    async def test_upstreams_words_are_kept_for_the_log_without_the_key(
        self, upstream: FakeUpstream, parts: Parts, status: int, reason: Reason
    ) -> None:
        """The fake echoes the key in its error; the log must not."""
        upstream.images["a"] = status

        failure = await refused(parts, f"{upstream.url}/images/a/enhanced")

        assert (failure.reason, failure.status) == (reason, status)
        assert "words-of-upstream" in failure.detail
        assert "***" in failure.detail
        assert KEY not in failure.detail

    @pytest.mark.parametrize("chunked", [False, True])
    async def test_a_long_error_is_cut_short(self, upstream: FakeUpstream, parts: Parts, chunked: bool) -> None:
        """However much upstream has to say."""
        upstream.images["a"] = Reply(body=b"<p>sorry" * 100_000, status=500, content_type="text/html", chunked=chunked)

        failure = await refused(parts, f"{upstream.url}/images/a/enhanced")

        assert 0 < len(failure.detail) < 400

    async def test_an_error_in_no_language_is_still_an_error(self, upstream: FakeUpstream, parts: Parts) -> None:
        """Bytes that are no text do no harm."""
        upstream.images["a"] = Reply(body=b"\xff\xfe\x00" * 10, status=500)

        failure = await refused(parts, f"{upstream.url}/images/a/enhanced")

        assert failure.reason is Reason.UPSTREAM_ERROR

    @pytest.mark.parametrize(
        "reply",
        [
            Reply(body=b"not found", status=404, cut_after=0),
            Reply(body=b"not gzip", status=404, headers={"Content-Encoding": "gzip"}),
        ],
        ids=["cut off", "wrong coding"],
    )
    async def test_a_refusal_stands_without_its_words(self, upstream: FakeUpstream, parts: Parts, reply: Reply) -> None:
        """The status has said it all, so a 404 whose body breaks is a 404."""
        upstream.images["a"] = reply

        failure = await refused(parts, f"{upstream.url}/images/a/enhanced")

        assert failure.reason is Reason.IMAGE_NOT_FOUND

    async def test_half_a_key_is_not_logged_either(self, upstream: FakeUpstream, parts: Parts) -> None:
        """Where the words are cut in the middle of the key, its beginning goes as well."""
        upstream.images["a"] = Reply(body=b"x" * (300 - len(KEY) + 1) + KEY.encode(), status=401)

        failure = await refused(parts, f"{upstream.url}/images/a/enhanced")

        assert KEY[:-1] not in failure.detail

    async def test_who_refused_is_known(self, upstream: FakeUpstream, parts: Parts) -> None:
        """Behind a redirect it is the assets."""
        upstream.images["a"] = 503
        upstream.hops["a"] = 1

        failure = await refused(parts, f"{upstream.url}/images/a/enhanced")

        assert failure.circuit is Circuit.ASSETS


class TestFailures:
    async def test_a_head_that_does_not_come_is_a_timeout(self, upstream: FakeUpstream, parts: Parts) -> None:
        """The call's own seconds are up."""
        upstream.images["a"] = jpeg()
        upstream.hold("a")

        failure = await refused(parts, f"{upstream.url}/images/a/enhanced", seconds=0.05)

        assert (failure.reason, failure.circuit) == (Reason.TIMEOUT, Circuit.API)
        assert parts.sample("batch_upstream_requests_total", operation="image", status="timeout") == 1

    async def test_a_body_that_stalls_is_a_timeout(self, upstream: FakeUpstream, parts: Parts) -> None:
        """Also when the head came in time, and of whoever sent it: the seconds are for all hops together."""

        async def stall(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            await response.write(b"\xff\xd8\xff")
            await asyncio.Event().wait()
            return response

        upstream.images["a"] = stall
        upstream.hops["a"] = 1

        failure = await refused(parts, f"{upstream.url}/images/a/enhanced", seconds=1)

        assert (failure.reason, failure.circuit) == (Reason.TIMEOUT, Circuit.ASSETS)

    async def test_nobody_listens(self, upstream: FakeUpstream, parts: Parts) -> None:
        """A refused connection is no timeout."""
        failure = await refused(parts, f"http://127.0.0.1:{free_port()}/v3/images/a/enhanced")

        assert (failure.reason, failure.was_sent) == (Reason.UNREACHABLE, False)
        assert parts.sample("batch_upstream_requests_total", operation="image", status="error") == 1

    async def test_a_server_that_hangs_up_is_unreachable(self, parts: Parts) -> None:
        """Without a word."""
        async with tcp_server(b"") as url:
            failure = await refused(parts, f"{url}/a")

        assert (failure.reason, failure.was_sent) == (Reason.UNREACHABLE, True)

    async def test_a_server_that_speaks_no_http_is_unreachable(self, parts: Parts) -> None:
        """What it says cannot be read."""
        async with tcp_server(b"220 smtp.example ready\r\n\r\n") as url:
            failure = await refused(parts, f"{url}/a")

        assert failure.reason is Reason.UNREACHABLE

    async def test_a_server_without_tls_is_unreachable(self, upstream: FakeUpstream, parts: Parts) -> None:
        """A failed handshake is a connection error."""
        failure = await refused(parts, f"{upstream.url.replace('http:', 'https:')}/images/a/enhanced")

        assert (failure.reason, failure.was_sent) == (Reason.UNREACHABLE, False)
        assert isinstance(failure.__cause__, ssl.SSLError | OSError)

    async def test_a_body_that_breaks_off_is_truncated(self, upstream: FakeUpstream, parts: Parts) -> None:
        """It is the reading within the block that fails."""
        upstream.images["a"] = Reply(body=jpeg(), cut_after=100)

        failure = await refused(parts, f"{upstream.url}/images/a/enhanced")

        assert failure.reason is Reason.TRUNCATED

    async def test_a_cancellation_stays_one(self, upstream: FakeUpstream, parts: Parts) -> None:
        """Hanging up ourselves is no failure of upstream."""
        upstream.images["a"] = jpeg()
        upstream.hold("a")

        call = asyncio.create_task(get(parts, f"{upstream.url}/images/a/enhanced"))
        await upstream.until(lambda: upstream.calls("a") == 1)
        call.cancel()
        await asyncio.wait([call])

        assert call.cancelled()

    async def test_other_errors_of_the_reader_pass_through(self, upstream: FakeUpstream, parts: Parts) -> None:
        """A full disk is not upstream's fault."""
        upstream.images["a"] = jpeg()

        with pytest.raises(OSError, match="no space"):
            async with get_with(parts, f"{upstream.url}/images/a/enhanced"):
                raise OSError("no space")


async def test_calls_are_counted_by_operation_and_status(upstream: FakeUpstream, parts: Parts) -> None:
    """Each hop is a call; what lies behind the API is an `asset`."""
    upstream.images |= {"a": jpeg(), "b": 404}
    upstream.hops["a"] = 2

    await get(parts, f"{upstream.url}/images/a/enhanced")
    await refused(parts, f"{upstream.url}/images/b/enhanced")

    counts = {
        (operation, status): parts.sample("batch_upstream_requests_total", operation=operation, status=status)
        for operation, status in [("image", "302"), ("asset", "302"), ("asset", "200"), ("image", "404")]
    }
    assert counts == {("image", "302"): 1, ("asset", "302"): 1, ("asset", "200"): 1, ("image", "404"): 1}
    assert parts.sample("batch_upstream_request_duration_seconds_count", operation="asset", status="200") == 1


@pytest.mark.parametrize(("interim", "is_answered"), [(3, True), (64, True), (65, False), (5_000, False)])
async def test_interim_responses_are_not_read_for_ever(interim: int, is_answered: bool) -> None:
    """A few may come before the response; one request has no more than so many, and is tried on a new connection."""
    document = json.dumps(order(["a"])).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(document)
    async with (
        tcp_server(b"HTTP/1.1 103 Early Hints\r\n\r\n" * interim + head + document) as url,
        open_client(url) as parts,
    ):
        if is_answered:
            assert len((await parts.client.order(ORDER)).images) == 1
        else:
            with pytest.raises(UpstreamError):
                await parts.client.order(ORDER)
            assert parts.sample("batch_upstream_retries_total", reason="unreachable") == 2


async def test_interim_responses_are_counted_for_each_request_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that is used again has as many for the next one."""
    monkeypatch.setattr(connection, "_MAX_INTERIM", 2)
    reader = cast(StreamReader, None)
    kept = connection.Connection(asyncio.get_running_loop())
    taken: list[int] = []

    def feed_data(_: object, data: tuple[RawResponseMessage, StreamReader], size: int) -> None:
        taken.append(data[0].code)

    monkeypatch.setattr(ResponseHandler, "feed_data", feed_data)

    for code in (103, 100, 200, 103, 103, 304, 103):
        kept.feed_data((cast(RawResponseMessage, SimpleNamespace(code=code)), reader))

    assert taken == [103, 100, 200, 103, 103, 304, 103]


async def test_a_connection_that_brings_nothing_but_interim_responses_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """What came with the last of them is passed over."""
    monkeypatch.setattr(connection, "_MAX_INTERIM", 2)
    cut: list[str] = []
    monkeypatch.setattr(ResponseHandler, "abort", lambda _: cut.append("cut"))
    monkeypatch.setattr(ResponseHandler, "feed_data", lambda *_: None)
    kept = connection.Connection(asyncio.get_running_loop())

    for code in (103, 103, 103, 103, 200):
        kept.feed_data((cast(RawResponseMessage, SimpleNamespace(code=code)), cast(StreamReader, None)))

    assert cut == ["cut"]
    assert isinstance(kept.exception(), ServerDisconnectedError)
