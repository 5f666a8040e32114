"""What the OpenAPI document is built of: operations, their parameters, answers, problems and headers."""

from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import BaseModel

from service import problems as p

Json = dict[str, Any]
Problems = tuple[type[p.Problem], ...]

OPEN: list[Json] = []
CALLERS: list[Json] = [{"key": []}, {"bearer": []}, {"administrator": []}, {"session": []}, {}]
DOWNLOADERS: list[Json] = [{"key": []}, {"bearer": []}, {"link": []}, {"administrator": []}, {"session": []}, {}]
ADMINISTRATORS: list[Json] = [{"administrator": []}, {"session": []}]
"""Who may. The empty one: everybody, while the service has no keys."""

SECURITY_SCHEMES: Json = {
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

_HEADERS = {
    "Accept-Ranges": "`bytes`.",
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
HEADERS: Json = {name: {"description": text, "schema": {"type": "string"}} for name, text in _HEADERS.items()}
"""Every header that says something besides what HTTP says."""

BODY: Problems = (p.InvalidParameter, p.PayloadTooLarge, p.UploadTimeout)
"""What can be wrong with a JSON body, besides being none."""

FOREIGN: Problems = (p.OriginRefused, p.HostRefused)
"""What a page of another site meets that would buy or change something, while the service has no keys."""

COUNTED = ("RateLimit", "RateLimit-Policy")
_EXPLAINED = {
    "401": ("WWW-Authenticate",),
    "409": ("Retry-After",),
    "416": ("Content-Range",),
    "429": ("Retry-After", *COUNTED),
    "503": ("Retry-After",),
}
# Whatever is asked: it may be no request, guess at a token, or meet a fault.
_ALWAYS: Problems = (p.BadRequest, p.HeadersTooLarge, p.RateLimited, p.InternalError)


def operation(
    summary: str,
    name: str,
    answers: Json,
    *,
    problems: Iterable[type[p.Problem]] = (),
    parameters: Sequence[Json] = (),
    body: Json | None = None,
    security: list[Json] = CALLERS,
) -> Json:
    """One operation. `answers` are the good ones, by status; what can go wrong with any request is added."""
    found = dict.fromkeys((*problems, *_ALWAYS, *(() if security == OPEN else (p.Unauthorized,))))
    return {
        "summary": summary,
        "operationId": name,
        "parameters": list(parameters),
        **({"requestBody": body} if body else {}),
        "responses": dict(sorted((_refusals(found) | answers).items())),
        "security": security,
    }


def _refusals(problems: Iterable[type[p.Problem]]) -> Json:
    descriptions: dict[str, list[str]] = {}
    for problem in problems:
        descriptions.setdefault(str(int(problem.status)), []).append(f"`{problem.code}`: {problem.title}.")
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        status: answer(" ".join(each), {p.PROBLEM_JSON: {"schema": schema}}, headers=_EXPLAINED.get(status, ()))
        for status, each in descriptions.items()
    }


def answer(description: str, content: Json | None = None, *, headers: Iterable[str] = ()) -> Json:
    """A response, with the headers that it may carry."""
    named = {name: {"$ref": f"#/components/headers/{name}"} for name in ("X-Request-Id", *headers)}
    return {"description": description, "headers": named, **({"content": content} if content else {})}


def headers_only(found: Json) -> Json:
    """An operation as HEAD answers it: without any body."""
    bare = {
        status: {name: value for name, value in response.items() if name != "content"}
        for status, response in found["responses"].items()
    }
    return {**found, "responses": bare}


def alias(item: Json) -> Json:
    """The first generation's path for the same thing."""
    return {
        method: {
            **found,
            "operationId": f"{found['operationId']}Alias",
            "deprecated": True,
            "responses": {status: _of_alias(response) for status, response in found["responses"].items()},
        }
        for method, found in item.items()
    }


def _of_alias(response: Json) -> Json:
    named = {name: {"$ref": f"#/components/headers/{name}"} for name in ("Deprecation", "Link")}
    return {**response, "headers": {**response["headers"], **named}}


def tagged(tag: str, paths: Json) -> Json:
    """The paths as one group; what is an alias belongs to those."""
    return {
        path: {
            method: {**found, "tags": ["Aliases" if found.get("deprecated") else tag]} for method, found in item.items()
        }
        for path, item in paths.items()
    }


def json_of(schema: str) -> Json:
    """The content of an answer that is one of our documents."""
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


def text(kind: str) -> Json:
    """The content of an answer that is some text."""
    return {kind: {"schema": {"type": "string"}}}


def events() -> Json:
    """The content of an answer that is server-sent events."""
    return {"text/event-stream": {"schema": {}}}


def json_body(model: type[BaseModel], example: Json) -> Json:
    """The body of a request that is read by a model."""
    return {
        "required": True,
        "content": {"application/json": {"schema": model.model_json_schema(), "example": example}},
    }


def in_path(name: str, example: str, description: str, schema: Json | None = None) -> Json:
    """A parameter in the path."""
    return {"required": True, **_parameter("path", name, example, description, schema)}


def in_header(name: str, example: str, description: str) -> Json:
    """A header that may be sent."""
    return _parameter("header", name, example, description)


def _parameter(where: str, name: str, example: str, description: str, schema: Json | None = None) -> Json:
    named = {"name": name, "in": where, "description": description}
    return {**named, "schema": schema or {"type": "string"}, "example": example}


def in_query(model: type[BaseModel]) -> list[Json]:
    """The parameters of a query, read off the model that validates them."""
    schema = model.model_json_schema()
    return [
        {"name": name, "in": "query", "schema": _plain(field), "description": field.get("description", "")}
        for name, field in schema["properties"].items()
    ]


def _plain(field: Json) -> Json:
    """A parameter's schema: a query cannot say null, and one that is left out is null already."""
    kinds = [kind for kind in field.get("anyOf", ()) if kind.get("type") != "null"]
    is_left_out = kinds or field.get("default") == []
    dropped = {"anyOf", "title", "description"} | ({"default"} if is_left_out else set())
    return {name: value for name, value in {**field, **(kinds[0] if kinds else {})}.items() if name not in dropped}
