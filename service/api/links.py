"""Links for whoever must not be given a key: `/v1/links`.

A share link lasts for days: it is a record, opens a page of its own, and can be revoked. The others are not kept: they
open one address for minutes. Such a link is signed for the caller who asked for it, with its key or the administrators'
token: it counts as that caller's, every replica accepts it, and it dies with that key.
"""

import re
import time
from datetime import UTC, datetime
from http import HTTPStatus
from urllib.parse import unquote, urlencode

from aiohttp import web
from pydantic import Field, field_validator
from yarl import URL

from service.api.base_path import base_path, external
from service.api.bodies import read_document
from service.api.caller import CALLER, is_administrator, tenant
from service.api.documents import Count, Document, Input, Moment, Reference, answer
from service.api.downloads import ARCHIVE_EXAMPLE, ORDER_CALL, require_key, require_version
from service.api.keys import ORDERS, PRESETS, SETTINGS
from service.api.limits import Counts
from service.api.query import read_as, read_image_options, read_options
from service.api.route import Answer, Body, Route, Who, count
from service.api.share_links import (
    ADMINISTRATOR,
    ANYBODY,
    MAX_LINK_SECONDS,
    SHARE_LINKS,
    SharedImage,
    ShareLink,
    link_id_of,
    new_token,
)
from service.api.signatures import signed_link
from service.archives.names import member_name, stems_of
from service.archives.options import Options
from service.archives.planner import choose
from service.archives.renditions import Presets
from service.order_ids import is_order_id
from service.problems import InvalidParameter, LinkNotFound, LinksUnavailable, TooManyLinks, Unauthorized
from service.upstream.formats import FORMAT_EXTENSIONS
from service.upstream.models import HOPELESS, ImageState

# Only the beginning of a request is judged, so a download may go on for longer. But a browser that lost the connection
# comes back with the same link: 100 images of 4 MB take 6 minutes at 10 Mbit/s.
LIFETIME_SECONDS = 600

# It is asked for as it stands, with an expiry and a signature, and a URL may have 8 KiB.
_MAX_SIGNED = 7000

_ORDER = re.compile(r"(?:/v1)?/orders/([^/]+)/images(?:/([^/]+))?")
_RESULT = re.compile(r"/v1/archives/[0-9a-f]{32}|(?:/v1)?/jobs/[0-9a-f]{32}/download")
_ID = re.compile(r"[0-9a-f]{32}")
_ABSENT = HOPELESS | {ImageState.WAITING}
# A link stands for the same photos to its end.
_UNSHARED = ("refresh", "since", "max_credits")
# What says how images are rendered and packed; which of them is in the record.
_KEPT = Options.model_fields.keys() - {"image", "part", "rendition"}


class NewLink(Input):
    """What is to be downloaded."""

    path: str = Field(
        min_length=1,
        description="`/v1/orders/{order_id}/images` or `/v1/orders/{order_id}/images/{image_id}` with its query, "
        f"`/v1/archives/{{archive_id}}` or `/v1/jobs/{{job_id}}/download`. Without `expires_in` up to {_MAX_SIGNED}"
        " characters.",
    )
    expires_in: int | None = Field(
        None,
        strict=True,
        ge=1,
        le=MAX_LINK_SECONDS,
        description="Seconds, up to 30 days: makes a share link to an order or an image, with a page of its own, which "
        "can be revoked. Left out: a signed address for 10 minutes.",
    )


class Link(Document):
    """A URL that can be downloaded from without a key."""

    url: Reference = Field(description="To be asked for as it stands.")
    expires_at: Moment | None
    link_id: str | None = Field(None, description="Of a share link: revokes it.")
    page: Reference | None = Field(None, description="Of a share link: the page to send on.")


class ShareLinkDocument(Document):
    """A share link that works."""

    link_id: str
    url: Reference
    page: Reference
    expires_at: Moment
    created_at: Moment
    order_id: str
    name: str | None = Field(description="The order's.")
    total: Count = Field(description="Photos that it shares.")
    query: str = Field(description="How they are rendered and packed.")


class ShareLinkPage(Document):
    """Some share links of a caller."""

    items: list[ShareLinkDocument] = Field(max_length=200)
    next_cursor: str | None = Field(description="Asks for the next page; null on the last.")


class LinkQuery(Input):
    """Which share links to list."""

    cursor: str | None = Field(None, description="`next_cursor` of the page before.")
    limit: int = Field(50, ge=1, le=200, description="At most so many.")

    @field_validator("cursor")
    @classmethod
    def _is_id(cls, value: str | None) -> str | None:
        if value is not None and not _ID.fullmatch(value):
            raise ValueError("must be the next_cursor of a page")
        return value


async def create(request: web.Request) -> web.Response:
    """Make a share link, or sign an address. In a service without keys the latter works as it is, for ever."""
    wanted = await read_document(request, NewLink)
    url = _read_path(wanted.path, base_path(request), request.app[PRESETS])
    if wanted.expires_in is not None:
        return await _share(request, url, wanted.expires_in)
    if len(wanted.path) > _MAX_SIGNED:
        raise InvalidParameter("path", f"must have at most {_MAX_SIGNED} characters, unless it is shared for longer")
    expires_at, settings, caller = None, request.app[SETTINGS], request[CALLER]
    if settings.service_api_key:
        secret = caller.key.secret if caller.key else settings.admin_token
        if secret is None:
            raise Unauthorized
        if "refresh" in url.query:
            raise InvalidParameter("path", "refresh cannot be used with a signed link")
        expires = int(time.time()) + LIFETIME_SECONDS
        url, expires_at = await signed_link(url, secret, expires), _moment(expires)
    return answer(Link(url=external(request, str(url)), expires_at=expires_at), status=HTTPStatus.CREATED)


async def find(request: web.Request) -> web.Response:
    """The caller's own share links that still work; administrators see all."""
    query = read_as(LinkQuery, request.query)
    maker = None if is_administrator(request) else _maker(request)
    found = await request.app[SHARE_LINKS].find(maker, query.cursor or "", query.limit + 1)
    page = found[: query.limit]
    next_cursor = page[-1].link_id if len(found) > query.limit else None
    return answer(ShareLinkPage(items=[_item(request, link) for link in page], next_cursor=next_cursor))


async def revoke(request: web.Request) -> web.Response:
    """End a share link of the caller's at once; administrators may end any. Raises `LinkNotFound`."""
    link_id = request.match_info["link_id"]
    link = await request.app[SHARE_LINKS].get(link_id) if _ID.fullmatch(link_id) else None
    if link is None or not (is_administrator(request) or link.maker == _maker(request)):
        raise LinkNotFound
    await request.app[SHARE_LINKS].revoke(link)
    return web.Response(status=HTTPStatus.NO_CONTENT, headers={"Cache-Control": "no-store"})


async def _share(request: web.Request, url: URL, seconds: int) -> web.Response:
    """Make a share link to the download at `url`, whose query is valid.

    Raises `InvalidParameter` for what cannot be shared, and what the order call raises.
    """
    path = _ORDER.fullmatch(url.raw_path)
    if path is None:
        raise InvalidParameter("path", "must be the download of an order or an image to be shared for longer")
    for name in _UNSHARED:
        if name in url.query:
            raise InvalidParameter(
                "path", f"{name} cannot be shared: a link always opens the same photos, each by itself too"
            )
    options = _options(url, path[2] and unquote(path[2]), request.app[PRESETS])
    require_key(request)
    require_version(request, options)
    await count(request)
    order_id = path[1].lower()
    order = await request.app[ORDERS].get(order_id)
    chosen = choose(order, options, request.app[SETTINGS].max_images_per_order)
    images = [
        (image.image_id, image.image_name or image.image_id)
        for image in chosen
        if image.image_id and image.state not in _ABSENT
    ]
    if not images:
        raise InvalidParameter("path", "none of these images can be had from Autoenhance")
    stems, rendition = stems_of(images), next(iter(options.renditions.values()))
    given = options.plain.chosen() if path[2] else url.query  # of one image a rendition may have been asked for by name
    kept = [(name, value) for name, value in given.items() if name in _KEPT]
    kept += [("rendition", one.text) for one in options.rendition]  # presets may be others tomorrow
    token, now = new_token(), time.time()
    link = ShareLink(
        link_id=link_id_of(token) or "",
        token=token,
        maker=_maker(request),
        order_id=order_id,
        order_name=order.name,
        query=urlencode(kept),
        images=tuple(
            SharedImage(image_id=image_id, name=member_name(stems[image_id], FORMAT_EXTENSIONS[rendition.format]))
            for image_id, _ in images
        ),
        created=now,
        expires=now + seconds,
    )
    await request.app[SHARE_LINKS].add(link)
    page = external(request, link.page)
    made = Link(link_id=link.link_id, url=f"{page}/download", page=page, expires_at=_moment(link.expires))
    return answer(made, status=HTTPStatus.CREATED)


def _read_path(path: str, base: str, presets: Presets) -> URL:
    """The address to sign, which may be given with the path that the service is below.

    Raises `InvalidParameter` unless it is a download of ours with a query that can be used.
    """
    if path.startswith(f"{base}/"):
        path = path.removeprefix(base)
    try:
        url = URL(path)
        is_local = not (url.absolute or url.raw_fragment) and path.startswith("/")
    except ValueError:
        raise InvalidParameter("path", "must be a path of this service") from None
    order = _ORDER.fullmatch(url.raw_path)
    if not is_local or not ((order and is_order_id(order[1])) or (_RESULT.fullmatch(url.raw_path) and not url.query)):
        raise InvalidParameter("path", "must be the download of an order, an image, an archive or a job")
    if order and order[2]:
        read_image_options(url.query, presets)
    elif order:
        read_options(url.query, presets)
    return url


def _options(url: URL, image_id: str | None, presets: Presets) -> Options:
    if image_id is None:
        return read_options(url.query, presets)
    wanted = read_image_options(url.query, presets)
    if wanted.include:
        raise InvalidParameter("path", "an original is shared with its order, not by itself")
    return Options(**wanted.plain.model_dump(), image=(image_id,))


def _maker(request: web.Request) -> str:
    return tenant(request) or (ADMINISTRATOR if is_administrator(request) else ANYBODY)


def _item(request: web.Request, link: ShareLink) -> ShareLinkDocument:
    page = external(request, link.page)
    return ShareLinkDocument(
        link_id=link.link_id,
        url=f"{page}/download",
        page=page,
        expires_at=_moment(link.expires),
        created_at=_moment(link.created),
        order_id=link.order_id,
        name=link.order_name,
        total=len(link.images),
        query=link.query,
    )


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


ROUTES = (
    Route(
        "POST",
        "/v1/links",
        create,
        name="createLink",
        summary="Sign the address of a download for a browser that must not be given a key; or share it for days",
        counts=Counts.OVERVIEWS,
        body=Body(NewLink, {"path": f"/v1/archives/{ARCHIVE_EXAMPLE}"}),
        answers=(
            Answer(
                201,
                "The URL. Without keys and without `expires_in` it is the path as it was given, which does not expire.",
                Link,
            ),
        ),
        problems=(*ORDER_CALL, LinksUnavailable, TooManyLinks),
    ),
    Route(
        "GET",
        "/v1/links",
        find,
        name="links",
        summary="The caller's share links that still work, newest first",
        who=Who.NAMED,
        query=LinkQuery,
        answers=(Answer(200, "A page of them. Administrators see all.", ShareLinkPage),),
        problems=(InvalidParameter, LinksUnavailable),
    ),
    Route(
        "DELETE",
        "/v1/links/{link_id}",
        revoke,
        name="revokeLink",
        summary="Revoke a share link",
        answers=(Answer(204, "It opens nothing any more."),),
        problems=(LinkNotFound, LinksUnavailable),
    ),
)
