"""Which routes there are, and for whom."""

import pytest
from aiohttp import web

from service.api.route import Who
from service.api.routes import ROUTES, add_routes


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
