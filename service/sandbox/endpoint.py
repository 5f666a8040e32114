"""What every route has in common: it is logged, it may be struck by a fault, it may need a key."""

import hmac
import time
from collections.abc import Awaitable, Callable

from aiohttp import web

from .context import CONTEXT, ENTRY, FAULT, Context
from .errors import ApiError
from .faults import Fault
from .misbehaviour import in_place_of_answer, pause, spoil

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
OUTSIDE_API = frozenset({"asset", "storage", "upload"})


def endpoint(operation: str, handler: Handler, *, keyed: bool = True) -> Handler:
    """A route handler that serves `operation`; ApiErrors become their documents."""

    async def serve(request: web.Request) -> web.StreamResponse:
        context = request.app[CONTEXT]
        image_id, order_id = _subject(context, request)
        started = time.monotonic()
        entry = context.log.begin(request, context.state.clock.now(), operation, image_id, order_id)
        request[ENTRY] = entry
        if operation in OUTSIDE_API and "x-api-key" in request.headers:
            context.log.counters.key_leaks += 1
        fault = context.faults.take(operation, image_id, order_id)
        try:
            response = await _answer(request, handler, fault, keyed=keyed)
            entry.status = response.status
            if entry.operation == "storage" and entry.complete and response.status == 200 and image_id:
                context.log.counters.complete_downloads[image_id] += 1
            return response
        finally:
            context.log.landed(entry)
            entry.seconds = time.monotonic() - started

    return serve


async def _answer(request: web.Request, handler: Handler, fault: Fault | None, *, keyed: bool) -> web.StreamResponse:
    context, entry = request.app[CONTEXT], request[ENTRY]
    if fault is not None:
        request[FAULT] = fault
        entry.fault = fault.kind.value
        context.log.counters.faults[fault.kind.value] += 1
    if entry.operation not in OUTSIDE_API:
        await pause(request, context.state.config.api_latency)
    replaced = await in_place_of_answer(request, fault) if fault is not None else None
    if replaced is not None:
        return replaced
    try:
        if entry.operation not in OUTSIDE_API:
            context.limits.count_call()
        if keyed:
            _authorise(request)
        response = await handler(request)
    except ApiError as error:
        response = error.response()
    if fault is not None and isinstance(response, web.Response):
        return await spoil(request, response, fault)
    return response


def _authorise(request: web.Request) -> None:
    given = request.headers.get("x-api-key", "").encode()
    known = request.app[CONTEXT].state.config.api_keys
    if not any(hmac.compare_digest(given, key.encode()) for key in known):
        raise ApiError(401, "Unauthorized")


def _subject(context: Context, request: web.Request) -> tuple[str | None, str | None]:
    """The image and the order a request is about, as far as its path tells."""
    image_id = request.match_info.get("image_id")
    order_id = request.match_info.get("order_id")
    image = context.state.images.get(image_id or "")
    if image is not None:
        order_id = image.order_id
    bracket = context.state.brackets.get(request.match_info.get("bracket_id") or image_id or "")
    if bracket is not None:
        order_id = bracket.order_id
    return image_id, order_id
