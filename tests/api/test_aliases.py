"""Version 0's paths say that they are deprecated, and where the same thing is now."""

import re
from http import HTTPStatus

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from service.api import aliases
from service.api.routes import ROUTES
from service.app import create_app
from service.settings import Settings
from tests.support.client import Service, StartService
from tests.support.samples import ORDER, jpeg, order
from tests.support.upstream import FakeUpstream

JOB = "0" * 32
SUCCESSORS = {route.canonical: route.successor for route in ROUTES if route.successor}


def test_every_alias_is_the_same_route_as_its_successor() -> None:
    """Each method has the same handler; nothing else is outside of `/v1` but what never was in it."""
    handlers: dict[str, dict[str, object]] = {}
    for route in create_app(Settings(_env_file=None)).router.routes():
        assert route.resource is not None
        handlers.setdefault(route.resource.canonical, {})[route.method] = route.handler

    assert SUCCESSORS
    for alias, successor in SUCCESSORS.items():
        shared = {method: handlers[successor][method] for method in handlers[alias]}
        assert handlers[alias] == shared
    outside = {path for path in handlers if re.match(r"/(api|orders|jobs)/", path)}
    assert outside == set(SUCCESSORS)


ALIASES = [
    (f"/orders/{ORDER}/images", f"/v1/orders/{ORDER}/images"),
    (f"/orders/{ORDER.upper()}/images?quality=80", f"/v1/orders/{ORDER.upper()}/images"),
    ("/orders/no%20id%0d%0aX-A:%20b/images", "/v1/orders/no%20id%0d%0aX-A:%20b/images"),
    ("/orders/%3E%22/images", "/v1/orders/%3E%22/images"),
    (f"/jobs/{JOB}", f"/v1/jobs/{JOB}"),
    (f"/jobs/{JOB}/download", f"/v1/jobs/{JOB}/download"),
    ("/api/stats", "/v1/stats"),
    ("/api/sentry/issues", "/v1/errors"),
]


@pytest.mark.parametrize(
    ("successor", "links"),
    [
        ("/v1/a/{id}", ['</page>; rel="x"', '</batch/v1/old/7%20a>; rel="successor-version"']),
        ("/v1/stats", ['</page>; rel="x"', '</batch/v1/stats>; rel="successor-version"']),
        (None, ['</page>; rel="x"']),
    ],
)
async def test_only_an_alias_names_its_successor(
    monkeypatch: pytest.MonkeyPatch, successor: str | None, links: list[str]
) -> None:
    """Beside what the answer links to itself; its path as it was sent."""
    monkeypatch.setattr(aliases, "successor_of", lambda _: successor)
    monkeypatch.setattr(aliases, "external", lambda _, path: f"/batch{path}")
    response = web.Response(headers={"Link": '</page>; rel="x"'})

    await aliases.add_headers(make_mocked_request("GET", "/old/7%20a"), response)

    assert response.headers.getall("Link") == links
    assert ("Deprecation" in response.headers) is (successor is not None)


@pytest.mark.parametrize("base", ["", "/batch"])
async def test_its_answers_name_the_successor(upstream: FakeUpstream, start_service: StartService, base: str) -> None:
    """Whatever they are, below a path too; a download's own `Link` stays."""
    upstream.orders[ORDER] = order(["a"])
    upstream.images["a"] = jpeg()
    service = await start_service(base_path=base)

    for path, successor in ALIASES:
        refused = await service.ask(path, method="PUT")
        assert refused.status == HTTPStatus.METHOD_NOT_ALLOWED
        assert refused.headers["Deprecation"] == "@1795824000"
        assert refused.headers["Link"] == f'<{base}{successor}>; rel="successor-version"'
        answer = await service.ask(path)
        links = answer.headers.getall("Link")
        assert answer.headers["Deprecation"] == "@1795824000"
        assert links[-1] == f'<{base}{successor}>; rel="successor-version"'
        assert len(links) == (2 if answer.status == 200 and ORDER in path.lower() else 1), path


async def test_the_paths_that_stay_say_nothing(upstream: FakeUpstream, service: Service) -> None:
    """Nor does what was never there."""
    for path in ("/v1/stats", f"/v1/jobs/{JOB}", "/health", "/sentry-debug", "/orders", "/nowhere"):
        answer = await service.ask(path)
        assert "Deprecation" not in answer.headers
