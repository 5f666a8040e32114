"""The page at `/` and the files that it is made of (`service/web/`)."""

import mimetypes
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from pathlib import Path

import xxhash
from aiohttp import ETag, web

from service.api.base_path import base_path, in_html
from service.api.query import find_order_id
from service.api.route import Answer, Route, Who, text

_FOLDER = Path(__file__).parent.parent / "web"
_PREFIX = "/web/"
INDEX, DELIVERY = "index.html", "delivery.html"
# Scripts that the page asks for by itself, or not at all.
_ALONE = frozenset({"main.js", "theme.js", "delivery.js"})
_TEXT = frozenset({".html", ".css", ".js", ".svg"})

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
"""Nothing inline, nothing from another host, and no text ever becomes markup."""


PAGE_HEADERS = {"Content-Security-Policy": POLICY, "Cross-Origin-Opener-Policy": "same-origin"}

OWN_REFERRER = {"Referrer-Policy": "same-origin"}
"""Of pages by which a session may buy: where browsers say nothing else, the service knows its own page by this."""


@dataclass(frozen=True, slots=True)
class Asset:
    """A file, or a page, as it is served."""

    body: bytes
    content_type: str
    tag: str


def _load() -> tuple[str, dict[str, Asset]]:
    """Every file by name, and the digest of them all."""
    bodies = {path.name: path.read_bytes() for path in sorted(_FOLDER.iterdir()) if path.suffix in _TEXT}
    version = xxhash.xxh3_64_hexdigest(b"".join(bodies.values()))
    # The address of a file changes with any of them, so that browsers may keep it for good and never mix two versions.
    for name in (INDEX, DELIVERY):
        html = bodies[name].decode().replace("<!-- modules -->", _preloads(bodies))
        bodies[name] = html.replace(_PREFIX, f"{_PREFIX}{version}/").encode()
    return version, {
        name: Asset(body, mimetypes.types_map[Path(name).suffix], xxhash.xxh3_64_hexdigest(body))
        for name, body in bodies.items()
    }


def _preloads(names: Iterable[str]) -> str:
    """All modules are fetched at once, not each when an earlier one turns out to need it."""
    modules = (name for name in names if name.endswith(".js") and name not in _ALONE)
    return "\n  ".join(f'<link rel="modulepreload" href="{_PREFIX}{name}">' for name in modules)


_VERSION, _ASSETS = _load()


def delivery_template() -> str:
    """The page behind a share link, with places for what it shows."""
    return _ASSETS[DELIVERY].body.decode()


def url(name: str) -> str:
    """The URL path of a file of the page, such as `base.css`; the docs use some of them too."""
    return f"{_PREFIX}{_VERSION}/{name}"


async def page(request: web.Request) -> web.Response:
    """`GET /`. Without scripts the form on it leads to the ZIP of the previews."""
    if "download" in request.query and (order_id := find_order_id(request.query.get("order", ""))):
        return web.Response(status=HTTPStatus.SEE_OTHER, headers={"Location": f"/v1/orders/{order_id}/images"})
    response = answer(request, _ASSETS[INDEX], "no-cache")
    response.headers.update(PAGE_HEADERS | OWN_REFERRER)
    return response


async def asset(request: web.Request) -> web.Response:
    """`GET /web/{version}/{name}`. Whoever still holds an older page gets today's file, and is not to keep it."""
    name = request.match_info["name"]
    found = _ASSETS.get(name)
    if found is None or name in (INDEX, DELIVERY):
        raise web.HTTPNotFound
    is_current = request.match_info["version"] == _VERSION
    return answer(request, found, "public, max-age=31536000, immutable" if is_current else "no-cache")


@lru_cache(maxsize=64)
def _below(found: Asset, base: str) -> Asset:
    body = in_html(found.body, base)
    return Asset(body, found.content_type, xxhash.xxh3_64_hexdigest(body))


def answer(request: web.Request, found: Asset, caching: str) -> web.Response:
    """The file, compressed where that is welcome; 304 for who has it already."""
    if found.content_type == "text/html" and (base := base_path(request)):
        found = _below(found, base)
    held = request.if_none_match or ()
    if any(tag.value in ("*", found.tag) for tag in held):
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
        tag="Pages",
        who=Who.OPEN,
        answers=(
            Answer(200, "The page.", text("text/html")),
            Answer(303, "With `order` and `download`, as its form sends them: the ZIP is there.", None, ("Location",)),
        ),
    ),
    Route("GET", "/web/{version:[0-9a-f]+}/{name}", asset, who=Who.OPEN, routine=True),
)
