"""Answers a request with one stored image: whole or a range of it (RFC 9110 13 and 14)."""

from contextlib import nullcontext

from aiohttp import web

from service.archives.cutting import cut_on_error
from service.archives.delivery import LOG_FIELDS, send_file
from service.archives.layout import BlobSlice
from service.archives.names import content_disposition
from service.archives.response_heads import PRIVATE, has_already, wanted_range
from service.images.blobs import Blob
from service.images.store import ImageStore
from service.telemetry.metrics import Metrics
from service.telemetry.traces import span
from service.upstream.formats import media_type


def image_headers(name: str, extension: str, *, is_attachment: bool) -> dict[str, str]:
    """What every answer about an image says of it; also before it is stored. `is_attachment`: for a browser to save."""
    return {
        "Content-Type": media_type(extension),
        "Content-Disposition": content_disposition(name, inline=not is_attachment),
        "Accept-Ranges": "bytes",
        **PRIVATE,
    }


async def deliver_image(
    request: web.Request, blob: Blob, headers: dict[str, str], store: ImageStore, metrics: Metrics
) -> web.StreamResponse:
    """Answer GET or HEAD; `headers` are the image's `image_headers`.

    Raises `PreconditionFailed`, `RangeNotSatisfiable`; before the first byte `BlobUnreadable`, or `BlobLost` when the
    image is not in the store any more.
    """
    headers = headers | {"ETag": f'"{blob.digest}"'}
    if has_already(request, blob.digest, f"Its tag is {blob.digest}."):
        return web.Response(status=304, headers=headers)
    part = wanted_range(request, blob.digest)
    start, stop = part.resolve(blob.size) if part else (0, blob.size)
    response = web.StreamResponse(status=206 if part else 200, headers=headers)
    if part:
        response.headers["Content-Range"] = f"bytes {start}-{stop - 1}/{blob.size}"
    response.content_length = stop - start
    if request.method == "HEAD":
        return response
    data = store.in_memory(blob)
    opened = None if data is not None else await store.open_blob(blob, whole=part is None)
    fields = request[LOG_FIELDS] = {"image_bytes": stop - start}
    with opened or nullcontext(), span("stream") as current, cut_on_error(request, metrics, fields, current):
        await response.prepare(request)
        if data is not None:
            await response.write(memoryview(data)[start:stop])
        else:
            await send_file(request, response, BlobSlice(blob, start, stop - start), store, opened=opened)
        await response.write_eof()
    return response
