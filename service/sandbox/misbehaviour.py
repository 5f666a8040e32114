"""What a fault does to an answer: one takes its place, another spoils it on the way out."""

import asyncio
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from aiohttp import web

from .content import BytesBody
from .context import CONTEXT
from .errors import ApiError
from .faults import BODY_KINDS, Fault, FaultKind
from .sending import Delivery, deliver, reset

PAGE = "<!doctype html><html><head><title>Error</title></head><body><h1>Something went wrong</h1></body></html>"


async def in_place_of_answer(request: web.Request, fault: Fault) -> web.StreamResponse | None:
    """The answer a fault gives before the request is looked at; None when the handler must answer after all."""
    context = request.app[CONTEXT]
    match fault.kind:
        case FaultKind.STATUS:
            return _status(fault)
        case FaultKind.RESET if fault.after_bytes is None:
            reset(request)
            return web.Response()
        case FaultKind.BLACK_HOLE:
            await context.closing.wait()
            reset(request)
            return web.Response()
        case FaultKind.HTML:
            return web.Response(text=fault.body or PAGE, content_type="text/html")
        case FaultKind.INVALID_JSON:
            return web.Response(text=fault.body or '{"order_id": "6f1c2b', content_type="application/json")
        case FaultKind.REDIRECT_LOOP:
            return web.Response(status=302, headers={"Location": f"{context.links.asset_base}/loop?n=1"})
        case FaultKind.REDIRECT_TO:
            return web.Response(status=302, headers={"Location": fault.location})
        case FaultKind.REDIRECT_NOWHERE:
            return web.Response(status=302)
        case FaultKind.SLOW_FIRST_BYTE:
            await pause(request, fault.delay)
    return None


async def spoil(request: web.Request, response: web.Response, fault: Fault) -> web.StreamResponse:
    """Send a finished answer the way a fault of the body wants it."""
    if fault.kind not in BODY_KINDS and fault.kind is not FaultKind.RESET:
        return response
    content = response.body if isinstance(response.body, bytes) else b""
    headers = {name: value for name, value in response.headers.items() if name.lower() not in {"content-length"}}
    if fault.kind is FaultKind.WRONG_BYTES:
        content = spoiled_content(fault)
    if fault.kind is FaultKind.WRONG_TYPE:
        headers["Content-Type"] = fault.content_type
    body = BytesBody(content, "")
    delivery = Delivery(body=body, part=range(body.size), status=response.status, headers=headers, fault=fault)
    return await deliver(request, delivery)


def spoiled_content(fault: Fault) -> bytes:
    """What is sent in place of the right bytes."""
    return (PAGE if fault.body is None else fault.body).encode()


async def pause(request: web.Request, seconds: float) -> None:
    """Wait, but not past the sandbox's end."""
    if seconds > 0:
        closing = request.app[CONTEXT].closing
        try:
            await asyncio.wait_for(closing.wait(), seconds)
        except TimeoutError:
            return


def _status(fault: Fault) -> web.Response:
    if fault.body is None:
        response = ApiError(fault.status).response()
    else:
        response = web.Response(status=fault.status, text=fault.body, content_type="text/html")
    if fault.retry_after is not None:
        response.headers["Retry-After"] = _retry_after(fault.retry_after, as_date=fault.retry_after_date)
    return response


def _retry_after(seconds: float, *, as_date: bool) -> str:
    if not as_date:
        return f"{seconds:g}"
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)
