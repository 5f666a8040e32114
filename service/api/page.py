"""The page at `/` and the files that it is made of (`service/web/`)."""

import hashlib
import mimetypes
import re
from base64 import b64encode
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from http import HTTPStatus
from pathlib import Path
from string import Template
from typing import Self

import xxhash
from aiohttp import ETag, web

from service.api.base_path import base_path, in_html
from service.api.caller import CALLER, may_call
from service.api.keys import PRESETS, SETTINGS
from service.api.page_files import page_files
from service.api.route import Answer, Route, Who, text
from service.archives.renditions import Presets, RenditionOptions
from service.order_ids import find_order_id
from service.settings import Settings
from service.upstream.formats import FORMAT_EXTENSIONS
from service.upstream.versions import takes_format

_PREFIX = "/web/"
INDEX, DELIVERY, SIGN_IN = "index.html", "delivery.html", "sign_in.html"
_PAGES = (INDEX, DELIVERY, SIGN_IN)

# The way to the order that the sandbox begins with.
_SAMPLE = (
    '<p class="sample">'
    '<a class="button small" href="/?order=6f1c2b52-0d6e-4c1b-9a35-3f7b1f6f0a11">Try it with the sample order</a></p>'
)
_SANDBOX_KEY = "sandbox-key"
_LABELS = {"print": "Print", "mls": "Listing (MLS)", "web": "Web"}
_CHOSEN = frozenset({"print", "mls", "web"})
_FORMATS = {"webp": "WebP", "jxl": "JPEG XL"}

_INLINE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)


def _policy(html: str) -> str:
    """Nothing from another host, no text that becomes markup, and within the page only what it came with."""
    allowed: dict[str, list[str]] = {"script": ["'self'"], "style": ["'self'"]}
    for kind, content in _INLINE.findall(html):
        allowed[kind].append(f"'sha256-{b64encode(hashlib.sha256(content.encode()).digest()).decode()}'")
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {' '.join(allowed['script'])}",
            f"style-src {' '.join(allowed['style'])}",
            "img-src 'self'",
            "connect-src 'self'",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )


def _page_headers(html: str) -> dict[str, str]:
    return {"Content-Security-Policy": _policy(html), "Cross-Origin-Opener-Policy": "same-origin"}


OWN_REFERRER = {"Referrer-Policy": "same-origin"}
"""Of pages by which a session may buy: where browsers say nothing else, the service knows its own page by this."""


@dataclass(frozen=True, slots=True)
class Asset:
    """A file, or a page, as it is served."""

    body: bytes
    content_type: str
    tag: str

    @classmethod
    def of(cls, body: bytes, content_type: str = "text/html") -> Self:
        """These bytes, with the tag that stands for them."""
        return cls(body, content_type, xxhash.xxh3_64_hexdigest(body))


def _load() -> tuple[str, dict[str, Asset]]:
    """Every file by name, and the digest of them all."""
    texts = page_files()
    version = xxhash.xxh3_64_hexdigest("".join(texts.values()).encode())
    # The address of a file changes with any of them, so that browsers may keep it for good and never mix two versions.
    for name in _PAGES:
        texts[name] = texts[name].replace(_PREFIX, f"{_PREFIX}{version}/")
    types = mimetypes.types_map
    return version, {name: Asset.of(text.encode(), types[Path(name).suffix]) for name, text in texts.items()}


_VERSION, _ASSETS = _load()
_HEADERS = _page_headers(_ASSETS[INDEX].body.decode()) | OWN_REFERRER
_SIGN_IN_HEADERS = _page_headers(_ASSETS[SIGN_IN].body.decode()) | OWN_REFERRER
DELIVERY_TEMPLATE = Template(_ASSETS[DELIVERY].body.decode())
"""The page behind a share link, with places for what it shows."""
DELIVERY_HEADERS = _page_headers(DELIVERY_TEMPLATE.template)


def url(name: str) -> str:
    """The URL path of a file of the page, such as `base.css`; the docs use some of them too."""
    return f"{_PREFIX}{_VERSION}/{name}"


async def page(request: web.Request) -> web.Response:
    """`GET /`. Without scripts the form on it leads to the ZIP of the previews, past a page to sign in if need be."""
    settings = request.app[SETTINGS]
    if "download" in request.query and (order_id := find_order_id(request.query.get("order", ""))):
        if may_call(settings, request[CALLER]):
            return web.Response(status=HTTPStatus.SEE_OTHER, headers={"Location": f"/v1/orders/{order_id}/images"})
        found, headers = _sign_in(order_id, is_wrong="wrong" in request.query), _SIGN_IN_HEADERS
    else:
        found = _index(
            _sizes(request.app[PRESETS]),
            settings.autoenhance_api_version,
            has_sample=_is_sandbox(settings),
            needs_key=bool(settings.service_api_key),
        )
        headers = _HEADERS
    response = answer(request, found, "no-cache")
    response.headers.update(headers)
    response.headers.update(_early(request))
    return response


def _early(request: web.Request) -> dict[str, str]:
    """What the browser may begin to fetch before it reads the page: the order that a plain address names, exactly as
    the page's scripts ask for it (`early.js`), and these scripts."""
    order_id = find_order_id(request.query.get("order", ""))
    if not order_id or len(request.query) > 1 or not may_call(request.app[SETTINGS], request[CALLER]):
        return {}
    order = f"</v1/orders/{order_id}?>; rel=preload; as=fetch; crossorigin=anonymous"
    return {"Link": f"{order}, <{url('main.js')}>; rel=modulepreload"}


@lru_cache(maxsize=8)
def _index(choices: str, version: str | None, *, has_sample: bool, needs_key: bool) -> Asset:
    """The page of this service, with its own presets, the formats that this version of the API takes, and whether it
    wants a key."""
    html = _ASSETS[INDEX].body.decode().replace("<!-- sizes -->", choices)
    for image_format in FORMAT_EXTENSIONS:
        if not takes_format(version, image_format):
            html = re.sub(rf'\s*<option value="{image_format}">.*?</option>', "", html)
    html = html.replace("<!-- sample -->", _SAMPLE if has_sample else "")
    if needs_key:
        html = html.replace("<html ", "<html data-keyed ", 1)
    return Asset.of(html.encode())


def _sign_in(order_id: str, *, is_wrong: bool) -> Asset:
    problem = "That key is not accepted. Check it, or ask the operator." if is_wrong else ""
    return Asset.of(Template(_ASSETS[SIGN_IN].body.decode()).substitute(order_id=order_id, problem=problem).encode())


def _is_sandbox(settings: Settings) -> bool:
    """Whether Autoenhance is the sandbox: its key is one that opens nothing else."""
    key = settings.autoenhance_api_key
    return key is not None and key.get_secret_value() == _SANDBOX_KEY


def _sizes(presets: Presets) -> str:
    """A tick for each preset, with its pixels and its price, as HTML."""
    return "\n".join(_size(name, options) for name, options in presets.items())


def _size(name: str, options: RenditionOptions) -> str:
    buys = not options.preview
    label = _LABELS.get(name, name.replace("-", " ").capitalize())
    hint = f"{_pixels(options)}, {'uses credits' if buys else 'free'}"
    return (
        f'<label class="check"><input type="checkbox" name="rendition" value="{escape(name)}"'
        f"{' data-buys' if buys else ''}{' checked' if name in _CHOSEN else ''}>"
        f' <span>{escape(label)} <span class="hint">{hint}</span></span></label>'
    )


def _pixels(options: RenditionOptions) -> str:
    size = "preview" if options.preview else "full size"
    if options.max_width is not None:
        size = f"up to {options.max_width} pixels wide"
    elif options.scale is not None:
        size = f"{options.scale:.0%} of {size}"
    return size if options.format == "jpeg" else f"{size}, {_FORMATS.get(options.format, options.format.upper())}"


async def asset(request: web.Request) -> web.Response:
    """`GET /web/{version}/{name}`. Whoever still holds an older page gets today's file, and is not to keep it."""
    name = request.match_info["name"]
    found = _ASSETS.get(name)
    if found is None or name in _PAGES:
        raise web.HTTPNotFound
    is_current = request.match_info["version"] == _VERSION
    return answer(request, found, "public, max-age=31536000, immutable" if is_current else "no-cache")


@lru_cache(maxsize=64)
def _below(found: Asset, base: str) -> Asset:
    return Asset.of(in_html(found.body, base), found.content_type)


def answer(request: web.Request, found: Asset, caching: str) -> web.Response:
    """The file, compressed where that is welcome; 304 for who has it already."""
    if found.content_type == "text/html" and (base := base_path(request)):
        found = _below(found, base)
    tags = request.if_none_match or ()
    if any(tag.value in ("*", found.tag) for tag in tags):
        response = web.Response(status=304)
    else:
        response = web.Response(body=found.body, content_type=found.content_type, charset="utf-8")
        response.enable_compression()
    response.etag = ETag(found.tag, is_weak=True)  # weak: it stands for the compressed form too
    response.headers["Cache-Control"] = caching
    response.headers["Vary"] = "Accept-Encoding"
    return response


ROUTES = (
    Route(
        "GET",
        "/",
        page,
        name="page",
        summary="The page",
        who=Who.OPEN,
        answers=(
            Answer(200, "The page.", text("text/html")),
            Answer(303, "With `order` and `download`, as its form sends them: the ZIP is there.", None, ("Location",)),
        ),
    ),
    Route("GET", "/web/{version:[0-9a-f]+}/{name}", asset, who=Who.OPEN, routine=True),
)
