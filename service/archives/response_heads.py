"""The heads of answers with an archive: what they say of it, and what a request makes conditional (RFC 9110 13, 14)."""

from aiohttp import web

from service.archives.archive import Archive
from service.archives.names import archive_filename, content_disposition
from service.archives.ranges import ByteRange, parse_range
from service.problems import PreconditionFailed

PRIVATE = {"Cache-Control": "private, no-transform"}


def common_headers(filename: str, images: int, *, ranges: bool = True) -> dict[str, str]:
    """What every answer about a ZIP says of it, also of one that is not begun. `ranges`: whether a bare range is safe
    at its URL."""
    return {
        "Content-Type": "application/zip",
        "Content-Disposition": content_disposition(filename),
        "Accept-Ranges": "bytes" if ranges else "none",
        **PRIVATE,
        "X-Total-Images": str(images),
    }


def headers(archive: Archive, *, stale: bool = False, ranges: bool = True) -> dict[str, str]:
    """What every answer about the archive's bytes says of it; `ranges` as above."""
    named_by = next((order for order in archive.orders if order.code is None), archive.orders[0])
    filename = archive_filename(named_by.name, named_by.order_id, part=named_by.part, more=len(archive.orders) - 1)
    found = common_headers(filename, archive.total, ranges=ranges) | {
        "ETag": f'"{archive.id}"',
        "Link": f'</v1/archives/{archive.id}/report>; rel="describedby"',
        "X-Accel-Buffering": "no",
        "X-Archive-Id": archive.id,
    }
    if archive.is_whole:
        found |= {"X-Downloaded": str(archive.downloaded), "X-Failed": str(len(archive.failures))}
    return found | ({"X-Archive-Stale": "true"} if stale else {})


def whole(archive: Archive) -> tuple[web.StreamResponse, int, int | None]:
    """The head of an answer with all of it; where its bytes start, and where they stop (None: not known yet)."""
    response = web.StreamResponse()
    if archive.is_whole:
        response.content_length = archive.length
    else:
        response.enable_chunked_encoding()
    return response, 0, archive.length if archive.is_whole else None


def part_of(archive: Archive, span: ByteRange) -> tuple[web.StreamResponse, int, int]:
    """The head of an answer with a range of it, whose end is known; where it starts and stops."""
    start, stop = span.resolve(archive.length)
    total = str(archive.length) if archive.is_whole else "*"
    response = web.StreamResponse(status=206, headers={"Content-Range": f"bytes {start}-{stop - 1}/{total}"})
    response.content_length = stop - start
    return response, start, stop


def not_modified(archive: Archive, *, stale: bool = False) -> web.Response:
    """The caller has these bytes."""
    return web.Response(status=304, headers=headers(archive, stale=stale))


def is_not_modified(request: web.Request, archive: Archive) -> bool:
    """Evaluate `If-Match` (raises `PreconditionFailed`) and `If-None-Match`."""
    # A star means any archive that exists, and one that has just begun does not exist yet.
    return has_already(request, archive.id, f"This is archive {archive.id}.", exists=archive.is_whole)


def has_already(request: web.Request, tag: str, occurrence: str, *, exists: bool = True) -> bool:
    """Whether the caller has what `tag` names (`If-None-Match`).

    Raises `PreconditionFailed` with the `occurrence` when `If-Match` asks for something else.
    """
    if request.if_match is not None and not any(
        given.value in (tag, "*") and not given.is_weak for given in request.if_match
    ):
        raise PreconditionFailed(occurrence)
    return any(given.value == tag or (given.value == "*" and exists) for given in request.if_none_match or ())


def wanted_range(request: web.Request, tag: str) -> ByteRange | None:
    """The range that a GET asks for, if it asks for one of what `tag` names."""
    if request.method != "GET":
        return None
    if_range = request.headers.get("If-Range")
    if if_range is not None and if_range.strip() != f'"{tag}"':
        return None
    return parse_range(request.headers.get("Range"))
