"""An order's archive: `GET /v1/orders/{order_id}/images`."""

import re
from http import HTTPStatus

from aiohttp import web

from service.api.caller import CALLER, identity
from service.api.keys import ARCHIVES, DELIVERY, METRICS, NAMED, ORDERS, PRESETS, SETTINGS
from service.api.limits import Counts
from service.api.origins import is_prefetch
from service.api.query import read_options, read_order_id, read_query
from service.api.route import Answer, Parameter, Problems, Route, Who, count
from service.archives.archive import Archive, State
from service.archives.delivery import DeliveryOptions
from service.archives.names import archive_filename
from service.archives.options import Options
from service.archives.plan import Plan
from service.archives.ranges import parse_range
from service.archives.renditions import RenditionOptions
from service.archives.response_heads import PRIVATE, common_headers, headers, is_not_modified, not_modified
from service.problems import (
    NO_PURCHASES,
    UPSTREAM_DOWN,
    BreakerOpen,
    ImagesMissing,
    InvalidOrderId,
    InvalidParameter,
    MaxCreditsExceeded,
    NoImages,
    NotConfigured,
    NothingNew,
    OrderEmpty,
    OrderNotFound,
    PreconditionFailed,
    PrefetchRefused,
    Problem,
    RangeNotSatisfiable,
    RangeUnsafe,
    StillBuilding,
    StoreFull,
    TooManyImages,
    UnknownImage,
    UpstreamBusy,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnauthorized,
)
from service.telemetry.metrics import CacheResult
from service.upstream.versions import version_needed

_TAG = re.compile('"([0-9a-f]{32})"')


async def download(request: web.Request, asked: tuple[str, Options] | None = None) -> web.StreamResponse:
    """Stream the ZIP of an order's images. `asked`: the order's id and the options, where the request names neither."""
    order_id, options = asked or _read(request)
    archive, result = await _resumed(request, order_id, options), CacheResult.HIT
    if archive is None:
        await count(request)
        try:
            archives = request.app[ARCHIVES]
            archive, result = await archives.get_or_start(order_id, options, identity(request))
        except NothingNew:
            return web.Response(status=HTTPStatus.NO_CONTENT, headers=PRIVATE)
        except UPSTREAM_DOWN as problem:  # an older one is better than nothing
            archive, result = await _stale(request, order_id, options, problem), CacheResult.STALE
    request.app[METRICS].cache_requests.labels(result).inc()
    delivery = DeliveryOptions(
        strict=options.on_failure == "strict",
        complete=options.delivery == "complete",
        note_named=lambda archive_id: request.app[NAMED].add(order_id, options, archive_id),
        stale=result is CacheResult.STALE,
        waits=options.wait,
    )
    return await request.app[DELIVERY].deliver(request, archive, delivery)


async def describe(request: web.Request, asked: tuple[str, Options] | None = None) -> web.StreamResponse:
    """Answer HEAD: the headers of the archive if there is one, else what the order tells. Begins nothing."""
    order_id, options = asked or _read(request)
    await count(request)
    try:
        order = await request.app[ORDERS].get(order_id)
    except UPSTREAM_DOWN as problem:
        return head_of(request, await _stale(request, order_id, options, problem), stale=True)
    try:
        found = await request.app[ARCHIVES].find(order_id, order, options)
    except NothingNew:
        return web.Response(status=HTTPStatus.NO_CONTENT, headers=PRIVATE)
    archive = found if isinstance(found, Archive) else None
    ranges = await _takes_ranges(request, archive, order_id, options)
    if not isinstance(found, Plan):
        return head_of(request, found, ranges=ranges)
    filename = archive_filename(order.name, order_id, part=options.part)
    return empty(common_headers(filename, len(found.images), ranges=ranges))


async def _takes_ranges(request: web.Request, archive: Archive | None, order_id: str, options: Options) -> bool:
    """Whether a bare `Range` would be honoured."""
    try:
        named = await request.app[NAMED].find(order_id, options)
    except StillBuilding:
        return False
    return named is None or (named.is_only and (archive is None or archive.id == named.archive_id))


def head_of(request: web.Request, archive: Archive, *, stale: bool = False, ranges: bool = True) -> web.StreamResponse:
    """The answer to HEAD for a known archive. Raises `PreconditionFailed`."""
    if is_not_modified(request, archive):
        return not_modified(archive, stale=stale)
    return empty(headers(archive, stale=stale, ranges=ranges), archive.length if archive.is_whole else None)


def empty(response_headers: dict[str, str], length: int | None = None) -> web.StreamResponse:
    """A response to HEAD; without `length` it names none."""
    response = web.StreamResponse(headers=response_headers)
    if length is not None:
        response.content_length = length
    return response


def require_key(request: web.Request) -> None:
    """Raises `NotConfigured` while the service has no Autoenhance key."""
    if request.app[SETTINGS].autoenhance_api_key is None:
        raise NotConfigured


def _read(request: web.Request) -> tuple[str, Options]:
    """The order's id and the options, if both can be served. Raises `InvalidOrderId`, `InvalidParameter`, ..."""
    order_id, options = read_order_id(request), read_options(read_query(request), request.app[PRESETS])
    require_key(request)
    require_version(request, options)
    if options.refresh and request.method == "GET":
        if "Range" in request.headers:
            raise InvalidParameter("refresh", "cannot be combined with Range: a part of what you have would not fit")
        if request[CALLER].by_link:
            raise InvalidParameter("refresh", "cannot be used with a signed link")
        if is_prefetch(request):
            raise PrefetchRefused
    return order_id, options


def require_version(request: web.Request, options: RenditionOptions) -> None:
    """Raises `InvalidParameter` for a format that the API's version does not have."""
    several = isinstance(options, Options) and bool(options.rendition)
    renditions = options.renditions.values() if isinstance(options, Options) else (options,)
    for rendition in renditions:
        needed = version_needed(request.app[SETTINGS].autoenhance_api_version, rendition.format)
        if needed is not None:
            name = "rendition" if several else "format"
            raise InvalidParameter(name, f"{needed}; ask for jpeg, png or webp")


async def _resumed(request: web.Request, order_id: str, options: Options) -> Archive | None:
    """The archive of which the caller holds a part and wants the rest.

    It is as if the caller had asked at the archive's own URL: no new one is started, so nothing is counted, and
    Autoenhance is asked for nothing but what was lost here. A lost connection shall not cost a second download.
    Without `If-Range` it is the only archive that this URL has named; raises `RangeUnsafe` when there is none, or more
    than one, and `StillBuilding` when that cannot be told.
    """
    wanted = parse_range(request.headers.get("Range"))
    if wanted is None:
        return None
    if "If-Range" in request.headers:
        tag = _TAG.fullmatch(request.headers["If-Range"].strip())
        return await _resumable(request, tag[1], order_id, options) if tag else None
    named = await request.app[NAMED].find(order_id, options)
    if named is not None and named.is_only:
        archive = await _resumable(request, named.archive_id, order_id, options)
        if archive is not None:
            return archive
    if not wanted.starts_at_zero or (named is not None and not named.is_only):
        raise RangeUnsafe
    return None


async def _resumable(request: web.Request, archive_id: str, order_id: str, options: Options) -> Archive | None:
    """The archive with this id, if the options ask for just it; `strict` asks for none that lacks an image."""
    archive = await request.app[ARCHIVES].resumable(archive_id, order_id, options)
    is_strict = options.on_failure == "strict"
    if is_strict and archive is not None and (archive.state is not State.COMPLETE or archive.failures):
        return None
    return archive


async def _stale(request: web.Request, order_id: str, options: Options, problem: Problem) -> Archive:
    """The older archive. Raises `problem` when there is none."""
    archive = await request.app[ARCHIVES].stale(order_id, options)
    if archive is None:
        raise problem from None
    return archive


ARCHIVE_EXAMPLE = "0f0be2aed9df4adc84e0e913b1e03013"
_ZIP_HEADERS = (
    "Accept-Ranges",
    "Content-Disposition",
    "Content-Length",
    "ETag",
    "Link",
    "X-Archive-Id",
    "X-Archive-Stale",
    "X-Downloaded",
    "X-Failed",
    "X-Total-Images",
)
_ZIP = {"application/zip": {"schema": {"type": "string", "format": "binary"}}}
ZIP_ANSWERS = (
    Answer(200, "The complete archive.", _ZIP, _ZIP_HEADERS),
    Answer(206, "The part asked for.", _ZIP, (*_ZIP_HEADERS, "Content-Range")),
    Answer(304, "The caller has this archive already (`If-None-Match`).", headers=_ZIP_HEADERS),
)
NOTHING_NEW = Answer(204, "Nothing is new (`since`).")
HEAD_ANSWERS = (Answer(200, "As far as it is known.", headers=_ZIP_HEADERS), ZIP_ANSWERS[-1])
CONDITIONS = (
    Parameter("Range", "bytes=0-99", "One range; a request for several gets the complete archive."),
    Parameter("If-Range", f'"{ARCHIVE_EXAMPLE}"', "What the caller has; without it an order may refuse `Range`."),
    Parameter("If-Match", f'"{ARCHIVE_EXAMPLE}"', "Only this archive; for any other 412."),
    Parameter("If-None-Match", f'"{ARCHIVE_EXAMPLE}"', "Not this archive again; for it 304."),
)
UPSTREAM_CALL: Problems = (
    UpstreamUnauthorized,
    UpstreamError,
    UpstreamBusy,
    BreakerOpen,
    NotConfigured,
    UpstreamTimeout,
)
"""What can be wrong with asking Autoenhance."""
LOOK: Problems = (InvalidOrderId, InvalidParameter, OrderNotFound, *UPSTREAM_CALL)
"""What can be wrong with asking for an order."""
ORDER_CALL: Problems = (*LOOK, UnknownImage, OrderEmpty, TooManyImages)
"""What can be wrong with an order."""
NOTHING_USABLE: Problems = (NoImages, OrderNotFound, BreakerOpen, *NO_PURCHASES)
"""How a build may end that has none of its images."""
BYTES: Problems = (PreconditionFailed, RangeUnsafe, RangeNotSatisfiable, StoreFull, StillBuilding)
"""What can keep an archive's bytes from going out."""

ROUTES = (
    Route(
        "GET",
        "/v1/orders/{order_id}/images",
        download,
        name="download",
        summary="Download an order's images as one ZIP",
        alias="/orders/{order_id}/images",
        who=Who.DOWNLOADER,
        counts=Counts.DOWNLOADS,
        buys=True,
        query=Options,
        headers=CONDITIONS,
        answers=(*ZIP_ANSWERS, NOTHING_NEW),
        problems=(*ORDER_CALL, MaxCreditsExceeded, *NOTHING_USABLE, ImagesMissing, *BYTES),
    ),
    Route(
        "HEAD",
        "/v1/orders/{order_id}/images",
        describe,
        name="describeDownload",
        summary="What a download would be, as far as it is known",
        alias="/orders/{order_id}/images",
        who=Who.DOWNLOADER,
        counts=Counts.OVERVIEWS,
        query=Options,
        answers=(*HEAD_ANSWERS, NOTHING_NEW),
        problems=(*ORDER_CALL, MaxCreditsExceeded, PreconditionFailed, StillBuilding),
    ),
)
