"""The download routes of the API: they check, charge, and send the caller on to the asset server."""

from dataclasses import replace

from aiohttp import web

from .content import ImageFile
from .context import CONTEXT, Context, api_version
from .endpoint import Handler
from .errors import ApiError, InvalidInput
from .images import find
from .renditions import FIRST_FORMATS, Asked, Rendition
from .state import FAILED, Image
from .validation import check

REDIRECT_PAGE = (
    "<!doctype html>\n<html lang=en>\n<title>Redirecting...</title>\n"
    '<p>You should be redirected automatically: <a href="{url}">here</a>.\n'
)


async def enhanced(request: web.Request) -> web.StreamResponse:
    """A preview for nothing, or the full picture for a credit, paid once per image."""
    context, image = request.app[CONTEXT], find(request)
    asked = _asked(request)
    early = _not_ready(context, image)
    if early is not None:
        return early
    rendition = _enhanced(context, asked)
    if request.headers.get("x-dev-mode", "").lower() == "true":
        rendition = replace(rendition, watermark=True)
    elif not rendition.preview and not rendition.watermark and not context.buy(image):
        raise ApiError(402, "Payment Required")
    return _redirect(context, image, rendition)


async def original(request: web.Request) -> web.StreamResponse:
    """What was uploaded, byte for byte unless the query asks for a change; free, there as soon as the upload is."""
    context, image = request.app[CONTEXT], find(request)
    asked = _asked(request)
    if image.source is None or image.status(context.state.clock.now()) == "expired":
        raise ApiError(404, "Image not found")
    own_format = image.source.format if isinstance(image.source, ImageFile) else "jpeg"
    rendition = Rendition.of("original", asked.model_copy(update={"format": asked.format or own_format}))
    return _redirect(context, image, rendition)


def older_preview(*, watermark: bool) -> Handler:
    """The keyless routes `/preview` and `/watermark` of before 2024-11."""

    async def serve(request: web.Request) -> web.StreamResponse:
        context, image = request.app[CONTEXT], find(request)
        asked = _asked(request)
        early = _not_ready(context, image)
        rendition = _enhanced(context, asked.model_copy(update={"preview": True, "watermark": watermark}))
        return early if early is not None else _redirect(context, image, rendition)

    return serve


def _asked(request: web.Request) -> Asked:
    """The query, checked as the API version of the request does it. Raises InvalidInput."""
    asked = check(request.query, Asked, "query")
    takes_all = api_version(request) >= request.app[CONTEXT].state.config.more_formats_since
    if not takes_all and asked.format not in (None, *FIRST_FORMATS):
        raise InvalidInput("query", {"format": f"Must be one of: {', '.join(FIRST_FORMATS)}."})
    return asked


def _enhanced(context: Context, asked: Asked) -> Rendition:
    return Rendition.of("enhanced", asked, preview_default=context.state.config.preview_default == "preview")


def _not_ready(context: Context, image: Image) -> web.Response | None:
    """The answer while there is no enhanced picture; None when there is one."""
    status = image.status(context.state.clock.now())
    if status == "processed":
        return None
    if status == "expired":
        raise ApiError(404, "Image has expired")
    code = context.state.config.not_ready
    if code == 202 and status not in FAILED:
        return web.json_response({"status": status}, status=202)
    raise ApiError(code if code != 202 else 422, f"Image is {status}")


def _redirect(context: Context, image: Image, rendition: Rendition) -> web.Response:
    url = context.links.asset(image.image_id, rendition)
    return web.Response(
        status=302,
        headers={"Location": url},
        text=REDIRECT_PAGE.format(url=url.replace("&", "&amp;")),
        content_type="text/html",
    )
