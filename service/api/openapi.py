"""The OpenAPI 3.1 document, made from the models that validate requests and the problems that answer them."""

from functools import cache

from aiohttp import web

from service import __version__
from service.api import order_paths, service_paths
from service.api.operations import HEADERS, SECURITY_SCHEMES, Json
from service.api.schemas import SCHEMAS


async def openapi(request: web.Request) -> web.Response:
    """`GET /openapi.json`."""
    return web.json_response(document())


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
            **order_paths.orders(),
            **order_paths.jobs(),
            **order_paths.archives(),
            **service_paths.callers(),
            **service_paths.operators(),
            **service_paths.pages(),
        },
        "components": {"schemas": SCHEMAS, "headers": HEADERS, "securitySchemes": SECURITY_SCHEMES},
    }
