"""What follows from a route's policy. No service runs."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from service.api.caller import CALLER, Caller
from service.api.keys import LIMITERS
from service.api.limits import Counts
from service.api.route import POLICIES, UNMATCHED, Route, Who, count, policy_of, successor_of


async def handler(_: web.Request) -> web.StreamResponse:
    return web.Response()


@pytest.mark.parametrize(
    ("method", "who", "changes"),
    [
        ("GET", Who.CALLER, False),
        ("HEAD", Who.CALLER, False),
        ("POST", Who.CALLER, True),
        ("DELETE", Who.CALLER, True),
        ("PUT", Who.OPEN, True),
        ("POST", Who.WEBHOOK, False),
    ],
)
def test_which_routes_change_something(method: str, who: Who, changes: bool) -> None:
    """Pages of other sites may not use them; a webhook has a secret of its own."""
    assert Route(method, "/", handler, who=who).changes is changes


def test_an_alias_is_the_same_route_elsewhere() -> None:
    """And says what replaced it."""
    route = Route("GET", "/v1/a", handler, alias="/a", who=Who.DOWNLOADER, counts=Counts.IMAGES, buys=True)

    found, alias = route.with_aliases()

    assert found is route
    assert (alias.path, alias.successor, alias.alias) == ("/a", "/v1/a", None)
    assert (alias.who, alias.counts, alias.buys, alias.handler) == (Who.DOWNLOADER, Counts.IMAGES, True, handler)


GET, HEAD, POST = (Route(method, "/a/{what}", handler, name=method) for method in ("GET", "HEAD", "POST"))
OPEN, CLOSED = Route("POST", "/open", handler, who=Who.OPEN), Route("POST", "/closed", handler)


def asked(method: str, path: str, resource: str | None, *routes: Route) -> web.Request:
    """A request that the router has given this resource."""
    app = web.Application()
    app[POLICIES] = {(route.method, route.canonical): route for route in routes}
    request = make_mocked_request(method, path, app=app)
    found = None if resource is None else SimpleNamespace(canonical=resource)
    request.match_info._route = cast(Any, SimpleNamespace(resource=found))
    return request


@pytest.mark.parametrize(
    ("method", "routes", "expected"),
    [
        ("GET", (GET, HEAD, POST), GET),
        ("HEAD", (GET, HEAD, POST), HEAD),
        ("HEAD", (GET, POST), GET),
        ("POST", (GET, POST), POST),
        ("DELETE", (GET, POST), UNMATCHED),
    ],
)
def test_which_route_a_request_came_by(method: str, routes: tuple[Route, ...], expected: Route) -> None:
    """HEAD by its own, where there is one."""
    assert policy_of(asked(method, "/a/b", "/a/{what}", *routes)) is expected


@pytest.mark.parametrize(("path", "expected"), [("/open", OPEN), ("/closed", UNMATCHED), ("/nowhere", UNMATCHED)])
def test_a_wrong_method_at_an_open_address_needs_no_key(path: str, expected: Route) -> None:
    """Anywhere else it takes one to learn what there is not."""
    assert policy_of(asked("GET", path, None, OPEN, CLOSED)) is expected


ALIAS = Route("GET", "/old/{what}", handler, successor="/v1/a/{what}")


@pytest.mark.parametrize(
    ("method", "path", "resource", "expected"),
    [
        ("GET", "/old/b", "/old/{what}", "/v1/a/{what}"),
        ("PUT", "/old/b%2Fc", None, "/v1/a/{what}"),
        ("PUT", "/old/b/c", None, None),
        ("PUT", "/old/", None, None),
        ("GET", "/a/b", "/a/{what}", None),
        ("PUT", "/a/b", None, None),
    ],
)
def test_an_aliass_successor_is_known_whatever_the_method(
    method: str, path: str, resource: str | None, expected: str | None
) -> None:
    """The router gives a request of another method no resource."""
    assert successor_of(asked(method, path, resource, GET, ALIAS)) == expected


@pytest.mark.parametrize(("apart", "caller"), [("", "address:192.0.2.7"), ("orders", "address:192.0.2.7 orders")])
async def test_a_request_counts_against_its_routes_limit(
    monkeypatch: pytest.MonkeyPatch, apart: str, caller: str
) -> None:
    """For its caller; under a word of its own, apart. What has no limit counts against none."""
    counted: list[str] = []

    async def note(_: web.Request, who: str) -> None:
        counted.append(who)

    monkeypatch.setattr("service.api.route.identity", lambda _: "address:192.0.2.7")
    for counts in (Counts.IMAGES, None):
        request = asked("GET", "/a", "/a", Route("GET", "/a", handler, counts=counts))
        request.app[LIMITERS] = {Counts.IMAGES: cast(Any, SimpleNamespace(count=note))}
        request[CALLER] = Caller()
        await count(request, apart)

    assert counted == [caller]
