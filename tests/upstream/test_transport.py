"""One call over real sockets: where it goes, what it carries, and how its failures are told apart."""

import asyncio
import ssl
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import pytest
from aiohttp import ClientResponse, web
from multidict import CIMultiDict
from yarl import URL

from service.reasons import Reason
from service.telemetry.metrics import Circuit
from service.upstream import transport as transport_module
from service.upstream.answers import UpstreamFailure
from service.upstream.breaker import CircuitOpen
from tests.fakes.samples import jpeg
from tests.fakes.upstream import FakeUpstream, Reply
from tests.loopback import free_port
from tests.upstream.helpers import KEY, PATIENCE, VERSION, FakeClock, Parts, open_client, tcp_server


@dataclass
class Got:
    """A whole answer, and the circuits that were asked for it."""

    status: int
    body: bytes
    reached: list[Circuit]


async def get(parts: Parts, url: str, *, seconds: float = PATIENCE, headers: dict[str, str] | None = None) -> Got:
    reached: list[Circuit] = []
    async with parts.transport.get(
        "image",
        URL(url, encoded=True),
        seconds=seconds,
        headers=headers or {},
        api_headers={"x-dev-mode": "true"},
        reach=reached.append,
    ) as response:
        return Got(response.status, await response.read(), reached)


def get_with(parts: Parts, url: str, reach: Callable[[Circuit], None]) -> AbstractAsyncContextManager[ClientResponse]:
    """The answer itself, with a say in each hop."""
    return parts.transport.get("image", URL(url), seconds=PATIENCE, headers={}, api_headers={}, reach=reach)


async def refused(parts: Parts, url: str, *, seconds: float = PATIENCE) -> UpstreamFailure:
    with pytest.raises(UpstreamFailure) as raised:
        await get(parts, url, seconds=seconds)
    return raised.value


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

    async def test_no_cookie_is_kept(self, upstream: FakeUpstream, parts: Parts) -> None:
        """One call leaves nothing for the next."""
        upstream.images["a"] = Reply(body=jpeg(), headers={"Set-Cookie": "session=1; Path=/"})

        for _ in range(2):
            await get(parts, f"{upstream.url}/images/a/enhanced")

        assert "Cookie" not in upstream.requests("a")[1].headers


class TestRedirects:
    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    async def test_every_kind_is_followed(self, upstream: FakeUpstream, parts: Parts, status: int) -> None:
        """With GET, whatever the status."""
        upstream.images["b"] = jpeg()
        upstream.images["a"] = Reply(status=status, headers={"Location": "../b/enhanced?signed=%2Fx%2b1"})

        got = await get(parts, f"{upstream.url}/images/a/enhanced")

        (request,) = upstream.requests("b")
        assert (got.body, request.method, request.query) == (jpeg(), "GET", {"signed": "/x+1"})

    @pytest.mark.parametrize("status", [300, 304, 305])
    async def test_other_3xx_are_no_redirects(self, upstream: FakeUpstream, parts: Parts, status: int) -> None:
        """Nor are they images."""
        upstream.images["a"] = Reply(status=status, headers={"Location": "/elsewhere"})

        failure = await refused(parts, f"{upstream.url}/images/a/enhanced")

        assert (failure.reason, failure.status) == (Reason.NOT_AN_IMAGE, status)

    async def test_five_are_enough(self, upstream: FakeUpstream, parts: Parts) -> None:
        """The sixth is not followed."""
        upstream.images["a"] = jpeg()
        upstream.hops["a"] = 5
        got = await get(parts, f"{upstream.url}/images/a/enhanced")

        upstream.hops["a"] = 6
        failure = await refused(parts, f"{upstream.url}/images/a/enhanced")

        assert (got.status, failure.reason) == (200, Reason.BAD_REDIRECT)

    async def test_connections_are_used_again(self, upstream: FakeUpstream, parts: Parts) -> None:
        """A redirect's small body is read, so that a second call needs no new connection to either host."""
        peers: set[object] = set()

        async def asset(request: web.Request) -> web.StreamResponse:
            assert request.transport is not None
            peers.add(request.transport.get_extra_info("peername"))
            return web.Response(body=jpeg())

        upstream.hops["a"] = 1
        upstream.images["a"] = asset

        async def redirect(request: web.Request) -> web.StreamResponse:
            assert request.transport is not None
            peers.add(request.transport.get_extra_info("peername"))
            raise web.HTTPFound(f"{upstream.assets_url}/assets/a?hop=1", text="over there " * 100)

        upstream.images["start"] = redirect
        for _ in range(3):
            await get(parts, f"{upstream.url}/images/start/enhanced")

        assert len(peers) == 2

    async def test_an_open_circuit_stops_it_between_two_hops(self, upstream: FakeUpstream, parts: Parts) -> None:
        """`reach` is asked before each hop, and may refuse."""
        upstream.images["a"] = jpeg()
        upstream.hops["a"] = 1

        def reach(circuit: Circuit) -> None:
            if circuit is Circuit.ASSETS:
                raise CircuitOpen(circuit, 1)

        with pytest.raises(CircuitOpen):
            async with get_with(parts, f"{upstream.url}/images/a/enhanced", reach):
                pytest.fail("the asset was reached")

        assert upstream.requests("a", "assets") == []


class _Redirect:
    """As much of an answer as `_next_address` looks at."""

    def __init__(self, location: str | None) -> None:
        self.headers = {} if location is None else {"Location": location}


def next_address(url: str, location: str | None) -> str:
    return str(transport_module._next_address(URL(url), _Redirect(location)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("https://assets.example/a", "https://assets.example/a"),
        ("https://assets.example/%2Fa%41?s=a%2Bb+c%20d", "https://assets.example/%2Fa%41?s=a%2Bb+c%20d"),
        ("//assets.example/a", "https://assets.example/a"),
        ("/b", "https://api.example/b"),
        ("b", "https://api.example/v3/images/b"),
        ("?x=1", "https://api.example/v3/images/a?x=1"),
        ("https://assets.example/a#part", "https://assets.example/a"),
        ("https://assets.example/a b?name=ü", "https://assets.example/a%20b?name=%C3%BC"),
        ("https://bücher.example/", "https://xn--bcher-kva.example/"),
    ],
)
def test_where_a_redirect_leads(location: str, target: str) -> None:
    """Relative or absolute; a signed address is kept to the letter."""
    assert next_address("https://api.example/v3/images/a", location) == target


@pytest.mark.parametrize(
    "location",
    [
        None, "", "http://api.example/a", "HTTP://api.example/a", "ftp://api.example/a", "file:///etc/passwd",
        "javascript:alert(1)", "data:image/png;base64,AAAA", "https://user@host/", "https://user:pw@host/",
        "https://[::", "https://host:99999/", "https://host:port/",
    ],
)  # fmt: skip
def test_where_a_redirect_may_not_lead(location: str | None) -> None:
    """From https to anything but https, to no host, with credentials, or nowhere."""
    with pytest.raises(UpstreamFailure) as raised:
        next_address("https://api.example/v3/images/a", location)

    assert raised.value.reason is Reason.BAD_REDIRECT


def test_http_may_lead_to_either() -> None:
    """A plain API, as a sandbox is, can redirect to TLS and to plain addresses."""
    leads = [next_address("http://api.example/a", f"{scheme}://x.example/") for scheme in ("http", "https")]

    assert leads == ["http://x.example/", "https://x.example/"]


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
        """Also when the head came in time, and of whoever sent it."""

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

    async def test_the_seconds_are_for_all_hops_together(
        self, upstream: FakeUpstream, parts: Parts, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A hop has what those before it left over: here next to nothing."""
        monkeypatch.setattr(transport_module, "time", clock)
        upstream.images["a"] = jpeg()
        upstream.hops["a"] = 1
        upstream.hold("a")

        def reach(circuit: Circuit) -> None:
            if circuit is Circuit.ASSETS:
                clock.advance(PATIENCE)

        with pytest.raises(UpstreamFailure) as raised:
            async with get_with(parts, f"{upstream.url}/images/a/enhanced", reach):
                pytest.fail("the asset arrived")

        assert (raised.value.reason, raised.value.circuit) == (Reason.TIMEOUT, Circuit.ASSETS)

    async def test_nobody_listens(self, upstream: FakeUpstream, parts: Parts) -> None:
        """A refused connection is no timeout."""
        failure = await refused(parts, f"http://127.0.0.1:{free_port()}/v3/images/a/enhanced")

        assert failure.reason is Reason.UNREACHABLE
        assert parts.sample("batch_upstream_requests_total", operation="image", status="error") == 1

    async def test_a_server_that_hangs_up_is_unreachable(self, parts: Parts) -> None:
        """Without a word."""
        async with tcp_server(b"") as url:
            failure = await refused(parts, f"{url}/a")

        assert failure.reason is Reason.UNREACHABLE

    async def test_a_server_that_speaks_no_http_is_unreachable(self, parts: Parts) -> None:
        """What it says cannot be read."""
        async with tcp_server(b"220 smtp.example ready\r\n\r\n") as url:
            failure = await refused(parts, f"{url}/a")

        assert failure.reason is Reason.UNREACHABLE

    async def test_a_server_without_tls_is_unreachable(self, upstream: FakeUpstream, parts: Parts) -> None:
        """A failed handshake is a connection error."""
        failure = await refused(parts, f"{upstream.url.replace('http:', 'https:')}/images/a/enhanced")

        assert failure.reason is Reason.UNREACHABLE
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
            async with get_with(parts, f"{upstream.url}/images/a/enhanced", lambda _: None):
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
