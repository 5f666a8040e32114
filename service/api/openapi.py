"""The OpenAPI 3.1 document, made from the models that validate requests and the problems that answer them."""

from collections.abc import Iterator
from functools import cache

from aiohttp import web

from service import __version__
from service.api import order_paths, service_paths
from service.api.base_path import base_path
from service.api.operations import HEADERS, SECURITY_SCHEMES, Json, tagged
from service.api.schemas import SCHEMAS

TAGS = {
    "Orders": "What an order holds, its images as one ZIP, and new orders.",
    "Jobs": "The same ZIP, built in the background: follow the build, fetch its result, be called when it ends.",
    "Archives": "A ZIP by its immutable id: resume it, take ranges of it, read its report.",
    "Access": "Signed links for browsers, which must not be given a key, and sessions of callers and administrators.",
    "Sharing": "What a share link opens, without any key: its page, each photo, and all of them as one ZIP.",
    "State": "Live counters, recent errors, probes and metrics.",
    "Pages": "What people look at: the page, this reference, the guide, the help box.",
    "Aliases": "The paths of the first generation. They do the same and stay; new programs use those above.",
}
"""The groups of operations, in the sequence in which they are shown."""


async def openapi(request: web.Request) -> web.Response:
    """`GET /openapi.json`."""
    return web.json_response({**document(), "servers": [{"url": base_path(request) or "/"}]})


@cache
def document() -> Json:
    """The whole document. The same in every process of one version."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Autoenhance Batch",
            "version": __version__,
            "summary": "All enhanced images of an Autoenhance.ai order as one streamed ZIP.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": {
            **tagged("Orders", order_paths.orders()),
            **tagged("Jobs", order_paths.jobs()),
            **tagged("Archives", order_paths.archives()),
            **tagged("Access", service_paths.callers()),
            **tagged("Sharing", service_paths.shared()),
            **tagged("State", service_paths.operators()),
            **tagged("Pages", service_paths.pages()),
        },
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "components": {"schemas": SCHEMAS, "headers": HEADERS, "securitySchemes": SECURITY_SCHEMES},
    }


def failures() -> Iterator[tuple[str, str, str]]:
    """Route, method and status of every answer that says that the service failed."""
    for path, item in document()["paths"].items():
        for method, found in item.items():
            for status in found["responses"]:
                if status.startswith("5"):
                    yield path, method.upper(), status
