"""The asset server, which renders and redirects, and the storage behind it, which sends and takes bytes."""

import asyncio
from pathlib import Path

from aiohttp import hdrs, web

from .config import SandboxConfig
from .content import Body, BytesBody, CutBody, ImageFile, format_of, looks_like_photo
from .context import CONTEXT, ENTRY, FAULT, Context
from .errors import ApiError, StorageError
from .faults import Fault, FaultKind
from .misbehaviour import pause, spoiled_content
from .ranges import wanted_range
from .renditions import Rendition
from .sending import Delivery, deliver
from .state import Bracket, Image, new_id

CHUNK = 1024 * 1024


async def asset(request: web.Request) -> web.StreamResponse:
    """Render, then redirect to the storage."""
    context, image, rendition = _wanted(request)
    config = context.state.config
    if context.renderer.is_first(image, rendition):
        await pause(request, config.first_render_delay)
    await context.renderer.body(image, rendition)
    now = context.state.clock.now()
    expires = None if config.link_lifetime is None else now + config.link_lifetime
    url = context.links.storage(image.image_id, rendition, expires, relative=config.relative_redirect)
    return web.Response(status=302, headers={"Location": url})


async def storage(request: web.Request) -> web.StreamResponse:
    """Send the bytes of a rendition, whole or the range asked for."""
    links, state = request.app[CONTEXT].links, request.app[CONTEXT].state
    links.check_download(request.path, request.query, state.clock.now())
    context, image, rendition = _wanted(request)
    config, fault = state.config, request.get(FAULT)
    body, headers = _described(config, await context.renderer.body(image, rendition), fault)
    part = wanted_range(request.headers, body.size, headers.get("ETag")) if config.ranges else None
    if part is not None:
        headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{body.size}"
    await pause(request, config.download_latency + image.latency)
    delivery = Delivery(
        body=body,
        part=part or range(body.size),
        status=200 if part is None else 206,
        headers=headers,
        chunked=not config.content_length,
        rate=image.rate or config.download_rate,
        fault=fault,
    )
    return await deliver(request, delivery)


async def upload(request: web.Request) -> web.StreamResponse:
    """Take the bytes of an image or a bracket, if their Content-Type is the one that was signed."""
    context = request.app[CONTEXT]
    context.links.check_upload(request.path, request.query, request.headers.get(hdrs.CONTENT_TYPE, ""))
    target = _target(request)
    path = context.state.uploads / new_id()
    size, start = await _receive(request, path)
    source = ImageFile(path, size, format_of(start) or "jpeg")
    if isinstance(target, Bracket):
        target.source, target.uploaded_at = source, context.state.clock.now()
    else:
        target.source = source
        if context.state.config.check_uploads and not looks_like_photo(start):
            target.outcome, target.reason = "error", "The file is not an image"
        if not target.is_bracket:
            context.start_processing(target)
    request[ENTRY].complete = True
    return web.Response()


async def loop(request: web.Request) -> web.StreamResponse:
    """Redirects without end."""
    number = request.query.get("n", "0")
    step = int(number) + 1 if number.isdecimal() else 0
    return web.Response(status=302, headers={"Location": f"/loop?n={step}"})


async def drop_content_type(_: web.Request, response: web.StreamResponse) -> None:
    """On preparing a response: sends it without a type where the sandbox is set so."""
    if response.headers.get(hdrs.CONTENT_TYPE) == "":
        del response.headers[hdrs.CONTENT_TYPE]


def _described(config: SandboxConfig, body: Body, fault: Fault | None) -> tuple[Body, dict[str, str]]:
    """What to send, and the headers that tell about it."""
    types = {"image": body.media_type, "octet-stream": "application/octet-stream", "none": ""}
    media_type = types[config.content_type]
    if fault is not None and fault.kind is FaultKind.WRONG_TYPE:
        media_type = fault.content_type
    if fault is not None and fault.kind is FaultKind.WRONG_BYTES:
        body = BytesBody(spoiled_content(fault), media_type)
    if fault is not None and fault.kind is FaultKind.INCOMPLETE:
        body = CutBody(body, body.size // 2 if fault.after_bytes is None else fault.after_bytes)
    headers = {"Content-Type": media_type}
    if config.etags != "none":
        headers["ETag"] = f'{"W/" if config.etags == "weak" else ""}"{body.tag}"'
    if config.ranges:
        headers["Accept-Ranges"] = "bytes"
    return body, headers


def _wanted(request: web.Request) -> tuple[Context, Image, Rendition]:
    context = request.app[CONTEXT]
    image = context.state.find_image(request.match_info["image_id"])
    if image is None or image.source is None:
        raise StorageError(404, "NoSuchKey", "The specified key does not exist.")
    try:
        return context, image, Rendition.from_link(request.match_info["kind"], request.query)
    except ApiError as error:
        raise StorageError(400, "InvalidArgument", error.message) from error


def _target(request: web.Request) -> Image | Bracket:
    state, target_id = request.app[CONTEXT].state, request.match_info["image_id"]
    target = state.images.get(target_id) or state.brackets.get(target_id)
    if target is None:
        raise StorageError(404, "NoSuchKey", "The specified key does not exist.")
    return target


async def _receive(request: web.Request, path: Path) -> tuple[int, bytes]:
    """Write the body to a file; returns its size and its first bytes."""
    size, start = 0, b""
    async for chunk in request.content.iter_chunked(CHUNK):
        start = start or chunk[:16]
        size += len(chunk)
        await asyncio.to_thread(_append, path, chunk)
    return size, start


def _append(path: Path, chunk: bytes) -> None:
    with path.open("ab") as file:
        file.write(chunk)
