"""Every route of the service."""

from collections.abc import Iterable
from dataclasses import replace

from aiohttp import web

from service.api import (
    archives,
    ask,
    delivery_page,
    docs,
    downloads,
    errors,
    health,
    images,
    job_list,
    jobs,
    links,
    new_orders,
    order_list,
    orders,
    page,
    session,
    webhooks,
)
from service.api.route import POLICIES, Route

_BY_TAG = {
    "Orders": (*downloads.ROUTES, *images.ROUTES, *orders.ROUTES, *order_list.ROUTES, *new_orders.ROUTES),
    "Jobs": (*jobs.ROUTES, *job_list.ROUTES, *webhooks.ROUTES),
    "Archives": archives.ROUTES,
    "Access": (*links.ROUTES, *session.ROUTES),
    "Sharing": delivery_page.ROUTES,
    "State": (*health.ROUTES, *errors.ROUTES),
    "Pages": (*page.ROUTES, *ask.ROUTES, *docs.ROUTES),
}
"""Routes by the group that the reference shows them in."""


def _by_path(routes: Iterable[Route]) -> tuple[Route, ...]:
    """Those of one path together: aiohttp makes them one resource, whose preflight allows every method."""
    found: dict[str, list[Route]] = {}
    for route in routes:
        found.setdefault(route.path, []).append(route)
    return tuple(route for together in found.values() for route in together)


ROUTES = _by_path(
    each for tag, routes in _BY_TAG.items() for route in routes for each in replace(route, tag=tag).with_aliases()
)
"""All of them, and version 0's paths for them."""


def add_routes(app: web.Application, role: str) -> list[Route]:
    """Add the routes of an instance in this role; returns them."""
    routes = [route for route in ROUTES if role in route.roles]
    app[POLICIES] = policies = {(route.method, route.canonical): route for route in routes}
    for route in routes:
        has_own = ("HEAD", route.canonical) in policies
        app.router.add_routes([route.definition(allow_head=route.head and not has_own)])
    return routes
