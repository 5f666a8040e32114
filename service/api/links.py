"""Links that a browser can download by: `POST /v1/links`. They carry no key, open one address, and expire.

One that is to last for days is a record, see `link_sharing`; the others are not kept. Such a link is signed for the
caller who asked for it, with its key or the administrators' token: it counts as that caller's, every replica accepts
it, and it dies with that key.
"""

import re
import time
from datetime import UTC, datetime
from http import HTTPStatus
from urllib.parse import urlencode

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, SecretStr
from yarl import URL

from service.api.base_path import base_path, external
from service.api.bodies import read_document
from service.api.caller import CALLER, Caller
from service.api.documents import answer
from service.api.downloads import ARCHIVE_EXAMPLE, ORDER_CALL
from service.api.keys import PRESETS, SETTINGS
from service.api.limits import Counts
from service.api.link_sharing import Link, share
from service.api.query import is_order_id, read_image_options, read_options
from service.api.route import Answer, Body, Route
from service.api.share_links import MAX_LINK_SECONDS
from service.api.signatures import is_signed, sign, signing_key
from service.archives.renditions import Presets
from service.problems import InvalidParameter, LinkRefused, LinksUnavailable, Unauthorized
from service.settings import ServiceKey

# Only the beginning of a request is judged, so a download may go on for longer. But a browser that lost the connection
# comes back with the same link: 100 images of 4 MB take 6 minutes at 10 Mbit/s.
LIFETIME_SECONDS = 600

_EXPIRES, _SIGNATURE = "expires", "signature"
_ORDER = re.compile(r"(?:/v1)?/orders/([^/]+)/images(?:/([^/]+))?")
_RESULT = re.compile(r"/v1/archives/[0-9a-f]{32}|(?:/v1)?/jobs/[0-9a-f]{32}/download")


class NewLink(BaseModel):
    """What is to be downloaded."""

    model_config = ConfigDict(extra="forbid")

    path: str = Field(
        min_length=1,
        max_length=7000,
        description="`/v1/orders/{order_id}/images` or `/v1/orders/{order_id}/images/{image_id}` with its query, "
        "`/v1/archives/{archive_id}` or `/v1/jobs/{job_id}/download`.",
    )
    expires_in: int | None = Field(
        None,
        strict=True,
        ge=1,
        le=MAX_LINK_SECONDS,
        description="Seconds, up to 30 days: makes a share link to an order or an image, with a page of its own, which "
        "can be revoked. Left out: a signed address for 10 minutes.",
    )


async def create(request: web.Request) -> web.Response:
    """Make a share link, or sign an address. In a service without keys the latter works as it is, for ever."""
    wanted = await read_document(request, NewLink)
    url = _read_path(wanted.path, base_path(request), request.app[PRESETS])
    if wanted.expires_in is not None:
        return await share(request, url, wanted.expires_in)
    expires = None
    settings, caller = request.app[SETTINGS], request[CALLER]
    if settings.service_api_key:
        expires = int(time.time()) + LIFETIME_SECONDS
        url = url.extend_query({_EXPIRES: str(expires)})
        secret = caller.key.secret if caller.key else settings.admin_token
        if secret is None:
            raise Unauthorized
        url = url.extend_query({_SIGNATURE: sign(await _signing_key(secret), _signed(url))})
    expires_at = datetime.fromtimestamp(expires, UTC) if expires else None
    return answer(Link(url=external(request, str(url)), expires_at=expires_at), status=HTTPStatus.CREATED)


def is_link(request: web.Request) -> bool:
    """Whether the request claims to be a signed link."""
    return request.method in ("GET", "HEAD") and _SIGNATURE in request.query


async def maker_of(request: web.Request) -> Caller:
    """Who made the link. Raises `LinkRefused` when it was altered or has expired, or its maker may call no more."""
    url, settings = request.rel_url, request.app[SETTINGS]
    expires, signatures = url.query.get(_EXPIRES, ""), url.query.getall(_SIGNATURE)
    text = _signed(url)
    makers: list[tuple[ServiceKey | None, SecretStr]] = [(key, key.secret) for key in settings.service_keys]
    if settings.admin_token is not None:
        makers.append((None, settings.admin_token))
    found = [maker for maker, secret in makers if is_signed(await _signing_key(secret), text, signatures[0])]
    if not found or len(signatures) > 1 or time.time() >= int(expires):
        raise LinkRefused
    return Caller(found[0], by_link=True)


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


async def _signing_key(secret: SecretStr) -> bytes:
    return await signing_key(secret.get_secret_value(), "link")


def _signed(url: URL) -> str:
    """What the signature stands for: the path and every parameter but itself, in their order."""
    parameters = [(name, value) for name, value in url.query.items() if name != _SIGNATURE]
    return f"{url.raw_path}?{urlencode(parameters, errors='surrogatepass')}"


ROUTES = (
    Route(
        "POST",
        "/v1/links",
        create,
        name="createLink",
        summary="Sign the address of a download for a browser that must not be given a key; or share it for days",
        tag="Access",
        counts=Counts.OVERVIEWS,
        body=Body(NewLink, {"path": f"/v1/archives/{ARCHIVE_EXAMPLE}"}),
        answers=(Answer(201, "The address; without keys and `expires_in` it is as it was, and has no end.", Link),),
        problems=(*ORDER_CALL, LinksUnavailable),
    ),
)
