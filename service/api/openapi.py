"""The OpenAPI 3.1 document, made from the routes: their policy, the models that they name, and their problems."""

import asyncio
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache

from aiohttp import web

from service import __version__
from service import problems as p
from service.api.base_path import base_path
from service.api.openapi_schemas import Schemas
from service.api.route import POLICIES, Answer, Json, Parameter, Problems, Route, Who

TAGS = {
    "Orders": "What an order holds, its images as one ZIP, and new orders.",
    "Jobs": "The same ZIP, built in the background: follow the build, fetch its result, be called when it ends.",
    "Archives": "A ZIP by its immutable id: resume it, take ranges of it, read its report.",
    "Access": "Signed links for browsers, which must not be given a key, and sessions of callers and administrators.",
    "Sharing": "What a share link opens, without any key: its page, each photo, and all of them as one ZIP.",
    "State": "Live counters, recent errors, probes and metrics.",
    "Pages": "What people look at: the page, this reference, the guide, the help box.",
    "Aliases": "The paths of version 0. They do the same and stay; new programs use those above.",
}
"""The groups of operations, in the sequence in which they are shown."""

HEADERS = {
    "Accept-Ranges": "`bytes`; `none` where a `Range` alone could bring a part of another archive.",
    "Content-Disposition": "The file's name, also as `filename*` (RFC 8187).",
    "Content-Length": "Bytes, when they are known.",
    "Content-Range": "Which bytes these are; the total length is `*` while it is unknown.",
    "Deprecation": "Since when the path is deprecated (RFC 9745).",
    "ETag": "The archive's id, or the digest of an image, as a strong entity tag.",
    "Idempotent-Replayed": "`true`: a request with this `Idempotency-Key` was answered before, with this.",
    "Link": 'The report (`rel="describedby"`); of an alias its successor (`rel="successor-version"`).',
    "Location": "Where what was made is found.",
    "RateLimit": "Where the caller stands: `r` left, for `t` seconds.",
    "RateLimit-Policy": "The limit: `q` in `w` seconds.",
    "Retry-After": "After how many seconds to try again.",
    "Set-Cookie": "The session.",
    "WWW-Authenticate": "What is missing.",
    "X-Archive-Id": "The archive's id.",
    "X-Archive-Stale": "`true`: Autoenhance is down, and this archive is older than the order may be.",
    "X-Downloaded": "Images in the archive, once that is final.",
    "X-Failed": "Images missing, once that is final.",
    "X-Request-Id": "Names this request in the log; the caller's own, if it sent one.",
    "X-Total-Images": "Images asked for.",
}
"""Every header that says something besides what HTTP says."""

_PATH = {
    parameter.name: parameter
    for parameter in (
        Parameter("order_id", "6f1c2b52-0d6e-4c1b-9a35-3f7b1f6f0a11", "The order's id at Autoenhance.", "path", "uuid"),
        Parameter("job_id", "3c1f9a0be2aed94a8adc0e913b1e8403", "As the answer that accepted the job has it.", "path"),
        Parameter(
            "archive_id",
            "0f0be2aed9df4adc84e0e913b1e03013",
            "`X-Archive-Id` of a download, or `archive_id` of a job.",
            "path",
        ),
        Parameter("image_id", "a", "The image's id; the overview of the order lists them.", "path"),
        Parameter("link_id", "967e5bb1c0a4c0e9d0b54cb47bb8ad3d", "What making it answered.", "path"),
        Parameter("token", "aSmpwX3J5bC1jL0dQ2fXkq8VbWn7hT4Z", "Of the share link.", "path"),
        Parameter("page", "quick-start", "A page or picture of the guide.", "path"),
    )
}
"""Every part of a path that a caller fills in."""

_SECURITY_SCHEMES: Json = {
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "One of `SERVICE_API_KEY`."},
    "bearer": {"type": "http", "scheme": "bearer", "description": "The same key as `Authorization: Bearer`."},
    "link": {
        "type": "apiKey",
        "in": "query",
        "name": "signature",
        "description": "Of a signed link, with its `expires`: `POST /v1/links` makes them. Opens that address alone.",
    },
    "administrator": {"type": "apiKey", "in": "header", "name": "X-Admin-Token", "description": "`ADMIN_TOKEN`."},
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": "autoenhance_batch_session",
        "description": "`POST /v1/session` sets it, for a caller or an administrator; for the service's own page.",
    },
}
# The empty one: everybody, while the service has no keys.
_SECURITY: Mapping[Who, list[Json]] = {
    Who.OPEN: [],
    Who.WEBHOOK: [],
    Who.SHARED: [],
    Who.CALLER: [{"key": []}, {"bearer": []}, {"administrator": []}, {"session": []}, {}],
    Who.DOWNLOADER: [{"key": []}, {"bearer": []}, {"link": []}, {"administrator": []}, {"session": []}, {}],
    Who.NAMED: [{"key": []}, {"bearer": []}, {"administrator": []}, {"session": []}],
    Who.ADMINISTRATOR: [{"administrator": []}, {"session": []}],
}
_COUNTED = ("RateLimit", "RateLimit-Policy")
_HEADERS_OF_STATUS = {
    401: ("WWW-Authenticate",),
    409: ("Retry-After",),
    416: ("Content-Range",),
    429: ("Retry-After",),
    503: ("Retry-After",),
}
# Whatever is asked: it may be no request, guess at a token, or meet a fault.
_ALWAYS: Problems = (p.BadRequest, p.HeadersTooLarge, p.RateLimited, p.InternalError)


async def openapi(request: web.Request) -> web.Response:
    found = await asyncio.to_thread(document, tuple(request.app[POLICIES].values()))
    return web.json_response({**found, "servers": [{"url": base_path(request) or "/"}]})


@cache
def document(routes: tuple[Route, ...]) -> Json:
    """The whole document; `routes` are those of all roles, aliases included. Takes some 50 ms, once."""
    groups = list(TAGS)
    described = sorted((route for route in routes if route.name), key=lambda route: groups.index(_tag(route)))
    schemas = Schemas(described)
    paths: Json = {}
    for route in described:
        paths.setdefault(route.canonical, {})[route.method.lower()] = _operation(route, schemas)
    found: Json = {
        "openapi": "3.1.0",
        "info": {
            "title": "Autoenhance Batch",
            "version": __version__,
            "summary": "All enhanced images of an Autoenhance.ai order as one streamed ZIP.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "components": {
            "schemas": schemas.components,
            "parameters": schemas.parameters,
            "headers": {name: {"description": text, "schema": {"type": "string"}} for name, text in HEADERS.items()},
            "securitySchemes": _SECURITY_SCHEMES,
        },
    }
    referred = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(found)))
    for name in schemas.components.keys() - referred:  # pydantic lists models, too, that are described by words alone
        del schemas.components[name]
    return found


def problems_of(route: Route) -> Problems:
    """Everything that can go wrong: in the handler, and by the route's policy and body."""
    found = [*route.problems]
    if route.body is not None and route.body.media_type == "application/json":
        found += [p.InvalidParameter, p.PayloadTooLarge, p.UploadTimeout]
    if _SECURITY[route.who]:
        found.append(p.Unauthorized)
    if route.who in (Who.NAMED, Who.ADMINISTRATOR):
        found.append(p.AdministratorsOnly)
    elif route.changes or route.buys:
        found += [p.OriginRefused, p.HostRefused]
    if route.who is Who.DOWNLOADER:
        found.append(p.LinkRefused)
    if route.buys:
        found.append(p.PrefetchRefused)
    return tuple(dict.fromkeys((*found, *_ALWAYS)))


def failures(routes: Iterable[Route]) -> Iterator[tuple[str, str, str]]:
    """Canonical path, method and status of every answer that says that the service failed."""
    for route in routes:
        if route.name:
            statuses = {*(problem.status for problem in problems_of(route)), *(one.status for one in route.answers)}
            yield from ((route.canonical, route.method, str(int(status))) for status in statuses if status >= 500)


def _tag(route: Route) -> str:
    return "Aliases" if route.successor else route.tag


def _operation(route: Route, schemas: Schemas) -> Json:
    answers = {str(answer.status): _answer(answer, schemas) for answer in route.answers}
    responses = dict(sorted((_refusals(problems_of(route)) | answers).items()))
    if route.method == "HEAD":
        for response in responses.values():
            response.pop("content", None)
    added = (("Deprecation", "Link") if route.successor else ()) + (_COUNTED if route.counts is not None else ())
    for response in responses.values():
        response["headers"] |= _named(added)
    parts = [schemas.parameter(_PATH[name]) for name in route.parts]
    found: Json = {
        "summary": route.summary,
        "operationId": f"{route.name}Alias" if route.successor else route.name,
        "tags": [_tag(route)],
        **({"deprecated": True} if route.successor else {}),
        "parameters": [*parts, *schemas.query(route.query), *map(schemas.parameter, route.headers)],
        "responses": responses,
        "security": _SECURITY[route.who],
    }
    if (body := route.body) is not None:
        example = {"example": body.example} if body.example is not None else {}
        content = {body.media_type: {"schema": schemas.of(body.model, "validation"), **example}}
        found["requestBody"] = {"required": body.required, "content": content}
    if (callback := route.callback) is not None:
        sent: Json = {
            "summary": callback.summary,
            "parameters": [*map(schemas.parameter, callback.parameters)],
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": schemas.of(callback.model, "validation")}},
            },
            "responses": {status: {"description": text} for status, text in callback.answers},
            "security": [],  # its signature is in its headers
        }
        found["callbacks"] = {"ended": {callback.address: {"post": sent}}}
    return found


def _answer(answer: Answer, schemas: Schemas) -> Json:
    content = answer.content
    if isinstance(content, type):
        content = {"application/json": {"schema": schemas.of(content)}}
    return _response(answer.description, content, answer.headers)


def _refusals(problems: Problems) -> Json:
    descriptions: dict[int, list[str]] = {}
    for problem in problems:
        descriptions.setdefault(int(problem.status), []).append(f"`{problem.code}`: {problem.title}.")
    content = {p.PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        str(status): _response(" ".join(each), content, _HEADERS_OF_STATUS.get(status, ()))
        for status, each in descriptions.items()
    }


def _response(description: str, content: Mapping[str, Json] | None, headers: Iterable[str]) -> Json:
    named = _named(("X-Request-Id", *headers))
    return {"description": description, "headers": named, **({"content": dict(content)} if content else {})}


def _named(headers: Iterable[str]) -> Json:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in headers}
