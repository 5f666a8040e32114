"""Images behind redirects: followed a few hops, and the key stays at home."""

import pytest
from aiohttp import web

from tests.support.client import Service
from tests.support.samples import ORDER, jpeg, order
from tests.support.services import API_KEY
from tests.support.upstream import FakeUpstream, Reply


@pytest.fixture(autouse=True)
def one_image(upstream: FakeUpstream) -> None:
    upstream.orders[ORDER] = order(["a"])
    upstream.images["a"] = jpeg()


@pytest.mark.parametrize("hops", [1, 3, 5])
async def test_redirects_are_followed(upstream: FakeUpstream, service: Service, hops: int) -> None:
    """Up to five, relative addresses included."""
    upstream.hops["a"] = hops

    answer = await service.download()

    assert answer.members == {"a.jpg": jpeg()}
    assert len(upstream.requests("a", "assets")) == hops


async def test_a_long_signed_address_is_followed(upstream: FakeUpstream, service: Service) -> None:
    """Signatures and session tokens make addresses long; gateways send long headers of their own."""
    token = "t" * 7_000
    upstream.images["a"] = [
        Reply(status=302, headers={"Location": f"/v3/images/b/enhanced?token={token}", "X-Trace": "x" * 20_000}),
    ]
    upstream.images["b"] = jpeg(2)

    answer = await service.download()

    assert answer.members == {"a.jpg": jpeg(2)}
    assert upstream.requests("b")[0].query["token"] == token


async def test_the_key_goes_to_no_other_host(upstream: FakeUpstream, service: Service) -> None:
    """Neither the key nor any header made for the API follows a redirect to another host."""
    upstream.hops["a"] = 2

    await service.download(dev_mode="true")

    requests = upstream.requests("a", "assets")
    assert len(requests) == 2
    for request in requests:
        assert request.headers.keys().isdisjoint({"x-api-key", "x-dev-mode", "Authorization", "Cookie"})
        assert API_KEY not in f"{request.headers} {request.query}"


async def test_the_key_is_still_sent_within_the_api(upstream: FakeUpstream, service: Service) -> None:
    """A redirect that stays at the API's address keeps the key."""
    upstream.images["elsewhere"] = jpeg()
    upstream.images["a"] = Reply(status=302, headers={"Location": "/v3/images/elsewhere/enhanced"})

    answer = await service.download()

    (request,) = upstream.requests("elsewhere")
    assert answer.status == 200
    assert request.headers["x-api-key"] == API_KEY


async def test_a_key_that_left_home_does_not_come_back(upstream: FakeUpstream, service: Service) -> None:
    """A redirect out and back in carries no key: the other host chose that address."""

    async def send_back(request: web.Request) -> web.StreamResponse:
        if request.path.startswith("/assets"):
            raise web.HTTPFound(f"{upstream.url}/images/home/enhanced")
        return web.Response()

    upstream.hops["a"] = 1
    upstream.images |= {"a": send_back, "home": jpeg()}

    await service.download()

    (request,) = upstream.requests("home")
    assert "x-api-key" not in request.headers


async def test_a_redirect_loop_is_a_failed_image(upstream: FakeUpstream, service: Service) -> None:
    """After five redirects it is enough, and it is not tried again."""
    upstream.hops["a"] = 1_000

    answer = await service.download()

    assert answer.failures == {"a": "bad_redirect"}
    assert len(upstream.requests("a", "assets")) == 5


@pytest.mark.parametrize(
    "location", [None, "", "ftp://127.0.0.1/x", "file:///etc/passwd", "http://", "javascript:alert(1)", "http://[::"]
)
async def test_a_redirect_to_nowhere_is_a_failed_image(
    upstream: FakeUpstream, service: Service, location: str | None
) -> None:
    """Without an http(s) address there is nothing to follow."""
    upstream.images["a"] = Reply(status=302, headers={} if location is None else {"Location": location})

    answer = await service.download()

    assert answer.failures == {"a": "bad_redirect"}


async def test_a_failure_behind_a_redirect_is_tried_again_from_the_start(
    upstream: FakeUpstream, service: Service
) -> None:
    """A signed address may have expired, so each attempt asks the API anew."""
    upstream.hops["a"] = 1
    upstream.images["a"] = [503, jpeg()]

    answer = await service.download()

    assert answer.status == 200
    assert (upstream.calls("a"), len(upstream.requests("a", "assets"))) == (2, 2)
