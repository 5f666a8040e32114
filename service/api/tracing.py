"""The span of a request, and what a route and a method are called in it and in the metrics."""

from aiohttp import web
from aiohttp.hdrs import METH_ALL
from aiohttp.typedefs import Handler

from service.api.keys import REQUEST_ID, TRACES
from service.api.route import policy_of
from service.telemetry.traces import mark_failed


@web.middleware
async def trace(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Everything that is done for a request is one trace."""
    if not policy_of(request).traced:
        return await handler(request)
    method, route = method_of(request), route_of(request)
    # Names of the semantic conventions before 1.23, which Sentry reads too. No path: a link's token stands in it.
    attributes = {"http.method": method, "http.route": route}
    with request.app[TRACES].request(f"{method} {route}", request.headers, attributes) as span:
        response = await handler(request)
        span.set_attribute("http.status_code", response.status)
        span.set_attribute("request.id", request[REQUEST_ID])
        if response.status >= 500:
            mark_failed(span, str(response.status))
        return response


def route_of(request: web.Request) -> str:
    """The route's template: labels are bounded, so never the path itself."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "unmatched"


def method_of(request: web.Request) -> str:
    """The method, of the known ones."""
    return request.method if request.method in METH_ALL else "other"
