"""`/docs`: the API reference, and the guide for people. Everything comes from files that ship with the service."""

import asyncio
from collections.abc import Iterator
from functools import cache
from html import escape
from pathlib import Path
from string import Template

import xxhash
from aiohttp import web

from service.api import page
from service.api.openapi import TAGS, openapi
from service.api.route import Answer, Json, Route, Who, text
from service.docs import library
from service.problems import NotFound

_WEB = Path(__file__).parent.parent / "web"
_SWAGGER_UI = _WEB / "vendor" / "swagger-ui"
_TEMPLATE = Template((_WEB / "docs" / "page.html").read_text("utf-8"))
_FILES = {
    path.name: path
    for path in (
        _WEB / "docs" / "docs.css",
        _WEB / "docs" / "reference.js",
        _SWAGGER_UI / "swagger-ui.css",
        _SWAGGER_UI / "swagger-ui-bundle.js",
    )
}
_VERSION = xxhash.xxh3_64_hexdigest(b"".join(path.read_bytes() for path in _FILES.values()))
_PICTURES = {path.name: path for path in library.FOLDER.glob("*.svg")}
# Swagger UI gives its groups these ids.
# Swagger UI's own way there takes a second, and ends elsewhere if something is drawn meanwhile; not with this class.
_GROUP = '<li><a class="noZensmooth" href="#operations-tag-{name}">{name}</a></li>'
_GROUPS = "".join(("<ul>", *(_GROUP.format(name=name) for name in TAGS), "</ul>"))
_FOREVER = "public, max-age=31536000, immutable"

_GUIDE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# Swagger UI asks for what it documents, and its style sheet holds small pictures.
_REFERENCE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


async def reference(request: web.Request) -> web.Response:
    return _page(request, await asyncio.to_thread(_reference), _REFERENCE_POLICY)


async def first_page(request: web.Request) -> web.Response:
    slug = next(iter(await asyncio.to_thread(library.pages)))
    return web.Response(status=302, headers={"Location": f"{library.ADDRESS}/{slug}"})


async def errors(_: web.Request) -> web.Response:
    """`GET /docs/errors`: where the `type` of a problem document leads, to the row of its code."""
    return web.Response(status=302, headers={"Location": f"{library.ADDRESS}/errors"})


async def guide(request: web.Request) -> web.StreamResponse:
    """`GET /docs/guide/{page}`: a page of the guide, or a picture in it."""
    slug = request.match_info["page"]
    if slug in _PICTURES:
        return web.FileResponse(_PICTURES[slug], headers={"Cache-Control": "no-cache"})
    if slug not in await asyncio.to_thread(library.pages):
        raise web.HTTPNotFound
    return _page(request, await asyncio.to_thread(_guide, slug), _GUIDE_POLICY)


async def file(request: web.Request) -> web.StreamResponse:
    """`GET /docs/files/{version}/{name}`. An older version's address gives today's file, not to be kept."""
    path = _FILES.get(request.match_info["name"])
    if path is None:
        raise web.HTTPNotFound
    caching = _FOREVER if request.match_info["version"] == _VERSION else "no-cache"
    return web.FileResponse(path, headers={"Cache-Control": caching, "Vary": "Accept-Encoding"})


def _page(request: web.Request, asset: page.Asset, policy: str) -> web.Response:
    response = page.answer(request, asset, "no-cache")
    response.headers["Content-Security-Policy"] = policy
    response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
    response.headers.update(page.OWN_REFERRER)
    return response


@cache
def _guide(slug: str) -> page.Asset:
    shown = library.pages()[slug]
    return _render(shown.title, slug, shown.html, content="prose")


@cache
def _reference() -> page.Asset:
    head = f'<link rel="stylesheet" href="{_file_url("swagger-ui.css")}">'
    scripts = "".join(f'<script src="{_file_url(name)}"></script>' for name in ("swagger-ui-bundle.js", "reference.js"))
    body = (
        '<h1 class="visually-hidden">API reference</h1><div id="reference"></div>'
        f'<noscript><p>The reference needs JavaScript. Without it, read <a href="/openapi.json">/openapi.json</a>'
        f' or <a href="{library.ADDRESS}">the guide</a>.</p></noscript>{scripts}'
    )
    return _render("API reference", None, body, head=head, kind="wide-body")


def _render(
    title: str, current: str | None, body: str, *, head: str = "", kind: str = "", content: str = ""
) -> page.Asset:
    html = _TEMPLATE.substitute(
        title=escape(title),
        head=head,
        kind=kind,
        content=content,
        body=body,
        links="\n".join(
            [
                _link("/docs", "API reference", is_current=current is None, below="" if current else _GROUPS),
                *_doors(current),
            ]
        ),
        style=_file_url("docs.css"),
        base=page.url("base.css"),
        theme=page.url("theme.js"),
        icon=page.url("icon.svg"),
    ).encode()
    return page.Asset.of(html)


def _doors(current: str | None) -> Iterator[str]:
    """The pages of the guide by whom they are for."""
    shown = library.pages()
    for door, slugs in library.DOORS.items():
        links = (_link(f"{library.ADDRESS}/{slug}", shown[slug].title, is_current=slug == current) for slug in slugs)
        yield f'<li class="apart"><strong>{door}</strong><ul>{"".join(links)}</ul></li>'


def _link(url: str, label: str, *, is_current: bool, below: str = "") -> str:
    mark = ' aria-current="page"' if is_current else ""
    return f'<li><a href="{url}"{mark}>{escape(label)}</a>{below}</li>'


def _file_url(name: str) -> str:
    return f"/docs/files/{_VERSION}/{name}"


_THERE = (Answer(302, "It is there.", headers=("Location",)),)
_GUIDE_PAGE = "A page of the guide, or a picture in it"
_GUIDE_FILE = text("text/html", "image/svg+xml")
_DESCRIBED: dict[str, Json] = {"application/json": {"schema": {"type": "object"}}}

ROUTES = (
    Route(
        "GET",
        "/docs",
        reference,
        name="reference",
        summary="This reference, to read and try out",
        who=Who.OPEN,
        answers=(Answer(200, "The reference.", text("text/html")),),
    ),
    Route(
        "GET",
        "/docs/errors",
        errors,
        name="errorTypes",
        summary="The explanation of an error, by its code",
        who=Who.OPEN,
        answers=_THERE,
    ),
    Route(
        "GET",
        "/docs/guide",
        first_page,
        name="guide",
        summary="The first page of the guide",
        who=Who.OPEN,
        answers=_THERE,
    ),
    Route(
        "GET",
        "/docs/guide/{page}",
        guide,
        name="guidePage",
        summary=_GUIDE_PAGE,
        who=Who.OPEN,
        answers=(
            Answer(200, _GUIDE_PAGE, _GUIDE_FILE, ("Accept-Ranges",)),
            Answer(206, "The part asked for.", _GUIDE_FILE, ("Accept-Ranges", "Content-Range")),
            Answer(304, "The caller has it already.", _GUIDE_FILE, ("Accept-Ranges",)),
        ),
        problems=(NotFound,),
    ),
    Route("GET", "/docs/files/{version:[0-9a-f]+}/{name}", file, who=Who.OPEN, routine=True),
    Route(
        "GET",
        "/openapi.json",
        openapi,
        name="openapi",
        summary="This document",
        who=Who.OPEN,
        answers=(Answer(200, "The document.", _DESCRIBED),),
    ),
)
