"""Redirects are followed by hand: how far, where to, and with what."""

import asyncio

import pytest
from aiohttp import ClientResponse, web
from yarl import URL

from service.reasons import Reason
from service.telemetry.metrics import Circuit
from service.upstream import transport as transport_module
from service.upstream.answers import UpstreamFailure
from service.upstream.breaker import CircuitOpen
from tests.support.samples import jpeg
from tests.support.transport import Parts
from tests.support.transport_calls import get, get_with, refused
from tests.support.upstream import FakeUpstream, Reply


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_every_kind_is_followed(upstream: FakeUpstream, parts: Parts, status: int) -> None:
    """With GET, whatever the status."""
    upstream.images["b"] = jpeg()
    upstream.images["a"] = Reply(status=status, headers={"Location": "../b/enhanced?signed=%2Fx%2b1"})

    got = await get(parts, f"{upstream.url}/images/a/enhanced")

    (request,) = upstream.requests("b")
    assert (got.body, request.method, request.query) == (jpeg(), "GET", {"signed": "/x+1"})


@pytest.mark.parametrize("status", [300, 304, 305])
async def test_other_3xx_are_no_redirects(upstream: FakeUpstream, parts: Parts, status: int) -> None:
    """Nor are they images."""
    upstream.images["a"] = Reply(status=status, headers={"Location": "/elsewhere"})

    failure = await refused(parts, f"{upstream.url}/images/a/enhanced")

    assert (failure.reason, failure.status) == (Reason.NOT_AN_IMAGE, status)


async def test_five_are_enough(upstream: FakeUpstream, parts: Parts) -> None:
    """The sixth is not followed."""
    upstream.images["a"] = jpeg()
    upstream.hops["a"] = 5
    got = await get(parts, f"{upstream.url}/images/a/enhanced")

    upstream.hops["a"] = 6
    failure = await refused(parts, f"{upstream.url}/images/a/enhanced")

    assert (got.status, failure.reason) == (200, Reason.BAD_REDIRECT)


async def test_connections_are_used_again(upstream: FakeUpstream, parts: Parts) -> None:
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


async def test_a_body_that_comes_behind_a_redirects_head_is_read(
    upstream: FakeUpstream, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its connection could not be used again."""
    peers: set[object] = set()
    is_read = asyncio.Event()
    drain = transport_module._drain

    async def noted(response: ClientResponse) -> None:
        is_read.set()
        await drain(response)

    async def redirect(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        peers.add(request.transport.get_extra_info("peername"))
        location = f"{upstream.assets_url}/assets/a?hop=1"
        response = web.StreamResponse(status=302, headers={"Location": location, "Content-Length": "5"})
        await response.prepare(request)
        await is_read.wait()
        await response.write(b"there")
        return response

    monkeypatch.setattr(transport_module, "_drain", noted)
    upstream.images |= {"start": redirect, "a": jpeg()}
    for _ in range(3):
        is_read.clear()
        await get(parts, f"{upstream.url}/images/start/enhanced")

    assert len(peers) == 1


async def test_an_open_circuit_stops_it_between_two_hops(upstream: FakeUpstream, parts: Parts) -> None:
    """`reach` is asked before each hop, and may refuse."""
    upstream.images["a"] = jpeg()
    upstream.hops["a"] = 1

    async def reach(circuit: Circuit) -> None:
        if circuit is Circuit.ASSETS:
            raise CircuitOpen(circuit, 1)

    with pytest.raises(CircuitOpen):
        async with get_with(parts, f"{upstream.url}/images/a/enhanced", reach):
            pytest.fail("the asset was reached")

    assert upstream.requests("a", "assets") == []


class _Redirect:
    """As much of an answer as `_next_url` looks at."""

    def __init__(self, location: str | None) -> None:
        self.headers = {} if location is None else {"Location": location}


def next_url(url: str, location: str | None) -> str:
    return str(transport_module._next_url(URL(url), _Redirect(location)))  # type: ignore[arg-type]


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
    assert next_url("https://api.example/v3/images/a", location) == target


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
        next_url("https://api.example/v3/images/a", location)

    assert raised.value.reason is Reason.BAD_REDIRECT


def test_http_may_lead_to_either() -> None:
    """A plain API, as a sandbox is, can redirect to TLS and to plain addresses."""
    leads = [next_url("http://api.example/a", f"{scheme}://x.example/") for scheme in ("http", "https")]

    assert leads == ["http://x.example/", "https://x.example/"]
