"""Server-sent events that get through proxies (HTML Standard 9.2)."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress

from aiohttp import web

from service.api.base_path import with_external_links
from service.jobs.events import JobEvent

# Below the idle limits (30 s and more) of common proxies.
HEARTBEAT_SECONDS = 15.0
_RECONNECT_MILLISECONDS = 2000


async def send_events(
    request: web.Request, events: AsyncGenerator[JobEvent, None], stopping: asyncio.Event
) -> web.StreamResponse:
    """Send `events` by name, each with its number as id; a comment when there is silence.

    Ends when `events` does. On `stopping` it ends too, and the client goes on with another instance.
    """
    response = web.StreamResponse(headers={"Cache-Control": "no-store, no-transform", "X-Accel-Buffering": "no"})
    response.content_type = "text/event-stream"
    await response.prepare(request)
    stop = asyncio.create_task(stopping.wait())
    try:
        with suppress(ConnectionError):  # the client left
            await response.write(b"retry: %d\n\n" % _RECONNECT_MILLISECONDS)
            async with aclosing(events):
                await _send_all(request, response, events, stop)
            await response.write_eof()
    finally:
        stop.cancel()
    return response


async def _send_all(
    request: web.Request,
    response: web.StreamResponse,
    events: AsyncGenerator[JobEvent, None],
    stop: asyncio.Task[bool],
) -> None:
    while True:
        # A task, because a heartbeat in between must not cancel the wait.
        upcoming = asyncio.ensure_future(anext(events, None))
        try:
            while not upcoming.done():
                await asyncio.wait({upcoming, stop}, timeout=HEARTBEAT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                if stop.done():
                    return
                if not upcoming.done():
                    await response.write(b": still here\n\n")
            event = upcoming.result()
        finally:
            upcoming.cancel()
            await asyncio.gather(upcoming, return_exceptions=True)
        if event is None:
            return
        document = json.dumps(with_external_links(request, event.data))
        await response.write(f"event: {event.name}\nid: {event.number}\ndata: {document}\n\n".encode())
