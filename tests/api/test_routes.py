"""What is answered before a route is."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiohttp import HttpVersion10, HttpVersion11, web
from aiohttp.http import HttpVersion
from aiohttp.test_utils import make_mocked_request

from service.api.route import Who
from service.api.routes import ROUTES, add_routes, answer_expectation


@pytest.mark.parametrize(
    ("version", "headers", "is_told"),
    [
        (HttpVersion11, {"Expect": "100-Continue"}, True),
        (HttpVersion11, {"Expect": "a miracle"}, False),
        (HttpVersion11, {}, False),
        (HttpVersion10, {"Expect": "100-continue"}, False),
    ],
)
async def test_who_waits_to_be_told_to_go_on_is_told(
    version: HttpVersion, headers: dict[str, str], is_told: bool
) -> None:
    """Of HTTP 1.0 nobody would understand it. None of it counts as a part of the answer."""
    written: list[bytes] = []

    async def write(data: bytes) -> None:
        written.append(data)
        writer.output_size += len(data)

    writer = SimpleNamespace(write=write, output_size=0)

    await answer_expectation(make_mocked_request("POST", "/", headers, version=version, writer=cast(Any, writer)))

    assert (written, writer.output_size) == ([b"HTTP/1.1 100 Continue\r\n\r\n"] if is_told else [], 0)


def test_who_may_have_something_may_look_at_it_first() -> None:
    """Also by a link: download managers do."""
    by_method = {(route.method, route.path): route for route in ROUTES}
    heads = [route for route in ROUTES if route.method == "HEAD"]

    assert heads
    assert [route.path for route in heads if route.who is not by_method["GET", route.path].who] == []


@pytest.mark.parametrize(("role", "answers_callers"), [("all", True), ("web", True), ("worker", False)])
def test_an_instance_has_the_routes_of_its_role(role: str, answers_callers: bool) -> None:
    """One that only works is probed, and nobody calls it."""
    added = add_routes(web.Application(), role)

    paths = {route.path for route in added}
    assert {"/livez", "/readyz", "/metrics"} < paths
    assert ("/v1/orders/{order_id}/images" in paths) is answers_callers
    assert (len(added) == len(ROUTES)) is answers_callers


@pytest.mark.parametrize(
    ("who", "names"),
    [
        (Who.NAMED, {"jobs", "links"}),
        (
            Who.ADMINISTRATOR,
            {"orders", "createOrder", "createSampleOrder", "recentErrors", "repeatCallback", "testError"},
        ),
        (Who.WEBHOOK, {"webhook"}),
    ],
)
def test_what_is_not_for_every_caller(who: Who, names: set[str]) -> None:
    """What would show one caller another one's things, and what is done to the account itself."""
    assert {route.name for route in ROUTES if route.who is who and route.successor is None} == names
