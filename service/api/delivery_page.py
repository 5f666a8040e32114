"""Behind a share link: `/s/{token}`, its photos and their download. Nothing else can be reached by it."""

from collections.abc import Iterable
from http import HTTPStatus
from urllib.parse import parse_qsl

from aiohttp import web
from multidict import MultiDict

from service.api import downloads, images, page
from service.api.base_path import base_path, in_html
from service.api.caller import Caller, tenant_of
from service.api.delivery_html import PREVIEW_QUERY, gallery, gone
from service.api.downloads import BYTES, CONDITIONS, HEAD_ANSWERS, NOTHING_USABLE, ORDER_CALL, ZIP_ANSWERS
from service.api.images import describe_image, send_image
from service.api.keys import ORDERS, PRESETS, SETTINGS
from service.api.limits import Counts
from service.api.origins import is_prefetch
from service.api.query import read_image_options, read_options
from service.api.route import Answer, Problems, Route, Who, text
from service.api.share_links import ADMINISTRATOR, ANYBODY, SHARE_LINKS, ShareLink, is_token_of, link_id_of
from service.archives.options import ImageOptions, Options
from service.problems import (
    UPSTREAM_DOWN,
    ImageNotFound,
    ImagesMissing,
    InvalidParameter,
    LinkNotFound,
    LinksUnavailable,
    MaxCreditsExceeded,
    OrderEmpty,
    PreconditionFailed,
    PrefetchRefused,
)
from service.settings import Settings
from service.upstream.models import Rendition

SHARED = web.RequestKey("SHARED", ShareLink)
"""The link that a request comes by; not set where there is none that works."""
PREFIX = "/s/"

_PREVIEW = Rendition(preview=True, max_width=480)
_HEADERS = {"X-Robots-Tag": "noindex, nofollow", "Referrer-Policy": "no-referrer"}


async def maker_of(request: web.Request) -> Caller:
    """On whose account the request comes, which is by a share link; `SHARED` is set if that works."""
    token = request.path.removeprefix(PREFIX).partition("/")[0]
    link_id = link_id_of(token)
    link = await request.app[SHARE_LINKS].get(link_id) if link_id else None
    maker = None if link is None or not is_token_of(link, token) else _maker(request.app[SETTINGS], link.maker)
    if link is None or maker is None:
        return Caller()
    request[SHARED] = link
    return maker


async def show(request: web.Request) -> web.Response:
    """The page: the order's name, its photos, each to be saved, and all of them in one ZIP."""
    link = request.get(SHARED)
    if link is None:
        html, status = gone(), HTTPStatus.NOT_FOUND
    else:
        brand, are_previews = request.app[SETTINGS].brand_name, _are_previews(link)
        html, status = gallery(link, link.page, brand, are_previews=are_previews), HTTPStatus.OK
    response = web.Response(
        body=in_html(html.encode(), base_path(request)), status=status, content_type="text/html", charset="utf-8"
    )
    response.headers.update({**page.DELIVERY_HEADERS, "Cache-Control": "no-store"})
    response.enable_compression()
    return response


async def image(request: web.Request) -> web.StreamResponse:
    return await send_image(request, *_read_image(request))


async def describe_one(request: web.Request) -> web.StreamResponse:
    return await describe_image(request, *_read_image(request))


async def download(request: web.Request) -> web.StreamResponse:
    return await downloads.download(request, await _read_download(request))


async def describe(request: web.Request) -> web.StreamResponse:
    return await downloads.describe(request, await _read_download(request))


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Signal handler: nothing behind a link is for search engines."""
    if request.path.startswith(PREFIX):
        response.headers.update(_HEADERS)


def _maker(settings: Settings, maker: str) -> Caller | None:
    """On whose account a link is; None when its maker may call no more."""
    if maker == ANYBODY:
        return None if settings.service_api_key else Caller()
    if maker == ADMINISTRATOR:
        return None if settings.admin_token is None else Caller(by_link=True)
    keys = [key for key in settings.service_keys if tenant_of(key) == maker]
    return Caller(keys[0], by_link=True) if keys else None


def _shared(request: web.Request) -> ShareLink:
    """The link that the request comes by. Raises `LinkNotFound`."""
    if SHARED not in request:
        raise LinkNotFound
    return request[SHARED]


def _refuse_prefetch(request: web.Request, renditions: Iterable[Rendition]) -> None:
    """Raises `PrefetchRefused` for what would buy."""
    if is_prefetch(request) and any(rendition.buys for rendition in renditions):
        raise PrefetchRefused


def _options(link: ShareLink) -> Options:
    """How the link renders and packs its images. Its renditions are written out: presets may be others by now."""
    return read_options(MultiDict(parse_qsl(link.query)), {})


def _are_previews(link: ShareLink) -> bool:
    """Whether it shows photos that are smaller than they can be had."""
    try:
        return all(one.preview for one in _options(link).renditions.values())
    except InvalidParameter:  # options that an earlier version took
        return False


def _read_image(request: web.Request) -> tuple[str, str, ImageOptions]:
    """Raises `ImageNotFound` for any other image, `InvalidParameter` for any other rendition, and `PrefetchRefused`."""
    link, image_id = _shared(request), request.match_info["image_id"]
    if image_id not in {shared.image_id for shared in link.images}:
        raise ImageNotFound
    shared = next(iter(_options(link).renditions.values()))
    wanted = read_image_options(request.query, request.app[PRESETS])
    if wanted.include:
        raise InvalidParameter("include", "this link opens its photos as they were shared")
    given = {name for name in request.query if name in Rendition.model_fields or name == "rendition"}
    rendition = wanted.plain if given else shared
    if rendition not in (shared, _PREVIEW):
        raise InvalidParameter(min(given), f"this link opens its photos as they were shared, or with {PREVIEW_QUERY}")
    _refuse_prefetch(request, [rendition])
    return link.order_id, image_id, ImageOptions(**rendition.model_dump(), download=wanted.download)


async def _read_download(request: web.Request) -> tuple[str, Options]:
    """Raises `InvalidParameter` for any option, `PrefetchRefused`, what the order call raises, and `OrderEmpty` if all
    images are gone.
    """
    link = _shared(request)
    for name in request.query:
        raise InvalidParameter(name[:64], "this link downloads what was shared, and takes no options")
    options = _options(link)
    _refuse_prefetch(request, options.renditions.values())
    chosen = [shared.image_id for shared in link.images]
    try:
        order = await request.app[ORDERS].get(link.order_id)
    except UPSTREAM_DOWN:
        pass  # an older archive may be here
    else:
        listed = {record.image_id for record in order.images}
        chosen = [image_id for image_id in chosen if image_id in listed]
        if not chosen:
            raise OrderEmpty
    return link.order_id, options.model_copy(update={"image": tuple(chosen)})


_PROBLEMS: Problems = (LinkNotFound, LinksUnavailable)

ROUTES = (
    Route(
        "GET",
        "/s/{token}",
        show,
        name="sharePage",
        summary="The page of a share link",
        who=Who.SHARED,
        answers=(
            Answer(200, "The photos; it works without scripts.", text("text/html")),
            Answer(404, "A page that says that the link does not work, or no longer.", text("text/html")),
        ),
        problems=(LinksUnavailable,),
    ),
    Route(
        "GET",
        "/s/{token}/images/{image_id}",
        image,
        name="sharedImage",
        summary="One shared photo: as it was shared, or with `preview=true&max_width=480`",
        who=Who.SHARED,
        counts=Counts.IMAGES,
        buys=True,
        query=ImageOptions,
        headers=images.CONDITIONS,
        answers=images.IMAGE_ANSWERS,
        problems=(*images.IMAGE_CALL, *images.IMAGE_FETCH, *_PROBLEMS),
    ),
    Route(
        "HEAD",
        "/s/{token}/images/{image_id}",
        describe_one,
        name="describeSharedImage",
        summary="What is known of one shared photo",
        who=Who.SHARED,
        counts=Counts.IMAGES,
        query=ImageOptions,
        answers=images.HEAD_ANSWERS,
        problems=(*images.IMAGE_CALL, *_PROBLEMS),
    ),
    Route(
        "GET",
        "/s/{token}/download",
        download,
        name="sharedDownload",
        summary="All that was shared as one ZIP",
        who=Who.SHARED,
        counts=Counts.DOWNLOADS,
        buys=True,
        headers=CONDITIONS,
        answers=ZIP_ANSWERS,
        problems=(*ORDER_CALL, MaxCreditsExceeded, *NOTHING_USABLE, ImagesMissing, *BYTES, *_PROBLEMS),
    ),
    Route(
        "HEAD",
        "/s/{token}/download",
        describe,
        name="describeSharedDownload",
        summary="What the ZIP would be",
        who=Who.SHARED,
        counts=Counts.OVERVIEWS,
        answers=HEAD_ANSWERS,
        problems=(*ORDER_CALL, PreconditionFailed, *_PROBLEMS),
    ),
)
