"""The OpenAPI 3.1 document, made from the models that validate requests and the problems that answer them."""

from functools import cache
from typing import Any

from aiohttp import web

from service import __version__
from service import problems as p
from service.api.ask import Question
from service.api.schemas import SCHEMAS
from service.archives.options import Options

_ORDER_EXAMPLE = "6f1c2b52-0d6e-4c1b-9a35-3f7b1f6f0a11"
_JOB_EXAMPLE = "3c1f9a0be2aed94a8adc0e913b1e8403"
_ARCHIVE_EXAMPLE = "0f0be2aed9df4adc84e0e913b1e03013"

_ORDER_CALL = (
    p.InvalidOrderId,
    p.InvalidParameter,
    p.UnknownImage,
    p.UpstreamUnauthorized,
    p.OrderNotFound,
    p.OrderEmpty,
    p.TooManyImages,
    p.UpstreamError,
    p.UpstreamBusy,
    p.BreakerOpen,
    p.NotConfigured,
    p.UpstreamTimeout,
)
_BYTES = (p.PreconditionFailed, p.RangeNotSatisfiable, p.StoreFull, p.StillBuilding)
_ARCHIVE = (p.ArchiveNotFound, p.ArchiveGone)


Problems = tuple[type[p.Problem], ...]


async def openapi(request: web.Request) -> web.Response:
    """`GET /openapi.json`."""
    return web.json_response(document())


@cache
def document() -> dict[str, Any]:
    """The whole document. The same in every process of one version."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Autoenhance Batch",
            "version": __version__,
            "summary": "All enhanced images of an Autoenhance.ai order as one streamed ZIP.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": _paths(),
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                "administrator": {"type": "apiKey", "in": "header", "name": "X-Admin-Token"},
            },
        },
        "security": [{"key": []}, {}],
    }


def _paths() -> dict[str, Any]:
    download = {
        "get": _zip("Download an order's images as one ZIP", "download", _order(), (*_ORDER_CALL, *_DOWNLOAD)),
        "head": _head("What a download would be, as far as it is known", "describeDownload", _order(), _ORDER_CALL),
    }
    stats = {"get": _json("Live counters", "stats", "Stats", security=[{"key": []}, {"administrator": []}, {}])}
    failures = {"get": _errors()}
    archive = [_path("archive_id", _ARCHIVE_EXAMPLE)]
    sample = {"post": _made("Make an order from the sample photos", "createSampleOrder", _NEW_ORDER)}
    upload = {"post": _made("Make an order from files", "createOrder", (*_UPLOADS, *_NEW_ORDER), _files())}
    return {
        "/v1/orders": upload,
        "/v1/orders/sample": sample,
        "/api/create-order": _alias(upload),
        "/api/create-sample-order": _alias(sample),
        "/v1/orders/{order_id}/images": download,
        "/orders/{order_id}/images": _alias(download),
        "/v1/orders/{order_id}": {
            "get": _json("What a download would hold", "overview", "Overview", _order(), _ORDER_CALL)
        },
        **_jobs(),
        "/v1/archives/{archive_id}": {
            "get": _zip("The same ZIP by its immutable id", "archive", archive, (*_ARCHIVE, *_BYTES)),
            "head": _head("The archive's headers", "describeArchive", archive, _ARCHIVE),
        },
        "/v1/archives/{archive_id}/report": {
            "get": _json("What is in the archive and what is missing", "report", "Report", archive, _ARCHIVE)
        },
        "/v1/stats": stats,
        "/api/stats": _alias(stats),
        "/v1/errors": failures,
        "/api/sentry/issues": _alias(failures),
        "/sentry-debug": {"get": _test_error()},
        "/v1/ask": {"post": _ask()},
        "/health": {"get": _json("The health document", "health", "Health", security=[])},
        "/livez": {"get": _text("200 while the event loop turns", "livez")},
        "/readyz": {"get": _text("503 while starting or stopping", "readyz", 503)},
        "/metrics": {"get": _text("Metrics for Prometheus", "metrics")},
        "/openapi.json": {"get": _document("This document", "openapi", {"type": "object"}, security=[])},
    }


def _errors() -> dict[str, Any]:
    problems = (p.AdministratorsOnly, p.ErrorsUnavailable, p.ErrorsNotConfigured)
    words = "Errors that nobody expected, as Sentry has them; at most a minute old"
    return _json(words, "recentErrors", "Errors", problems=problems, security=[{"administrator": []}])


def _test_error() -> dict[str, Any]:
    words = "Fail on purpose, to see the error arrive at Sentry"
    operation = _operation(words, "testError", [], (p.AdministratorsOnly,))
    return {**operation, "security": [{"administrator": []}]}


def _jobs() -> dict[str, Any]:
    job = [_path("job_id", _JOB_EXAMPLE)]
    address = {
        "get": _json("The job as it stands", "job", "Job", job, _JOB),
        "delete": _json("Cancel the job; what has ended stays as it is", "cancelJob", "Job", job, _JOB),
    }
    result = {
        "get": _zip("The ZIP of a job that is complete", "downloadJob", job, (*_RESULT, *_BYTES)),
        "head": _head("The headers of the job's ZIP", "describeJob", job, _RESULT),
    }
    return {
        "/v1/orders/{order_id}/jobs": {"post": _new_job()},
        "/orders/{order_id}/jobs": _alias({"post": _new_job()}),
        "/v1/jobs/{job_id}": address,
        "/jobs/{job_id}": _alias(address),
        "/v1/jobs/{job_id}/download": result,
        "/jobs/{job_id}/download": _alias(result),
        "/v1/jobs/{job_id}/events": {"get": _job_events(job)},
        "/v1/jobs/{job_id}/callback": {"post": _callback(job)},
        "/v1/webhooks/autoenhance": {"post": _webhook()},
    }


def _new_job() -> dict[str, Any]:
    receiver = {"type": "string", "format": "uri", "maxLength": 2048}
    parameters = [
        *_order(),
        {"name": "callback_url", "in": "query", "schema": receiver, "description": "An https address to be told."},
        _header("Idempotency-Key", "5c0ffe02"),
    ]
    operation = _operation("Build an order's ZIP in the background", "createJob", parameters, _NEW_JOB)
    operation["responses"]["202"] = {
        "description": "The job is on record; it outlives this connection and this process.",
        "headers": {"Location": {"description": "The job.", "schema": {"type": "string"}}},
        "content": _content("Job"),
    }
    return operation


def _job_events(job: list[Any]) -> dict[str, Any]:
    operation = _operation("Follow the job", "jobEvents", [*job, _header("Last-Event-ID", "3")], _JOB)
    operation["responses"] |= {
        "200": {
            "description": "One event per outcome of an image and per change of state; `data` is the job as it stood.",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
        "204": {"description": "The caller has the last event; nothing more will come."},
    }
    return operation


def _callback(job: list[Any]) -> dict[str, Any]:
    problems = (*_JOB, p.AdministratorsOnly, p.JobUnfinished, p.NoCallback, p.JobsUnavailable)
    operation = _operation("Send the job's callback once more", "repeatCallback", job, problems)
    operation["responses"]["202"] = {"description": "It will be sent now.", "content": _content("Job")}
    return {**operation, "security": [{"administrator": []}]}


def _webhook() -> dict[str, Any]:
    problems = (p.BadRequest, p.WebhookUnauthorized, p.NotFound, p.PayloadTooLarge)
    secret = _header("Authentication", "what is configured at Autoenhance")
    operation = _operation("Autoenhance tells that images are done", "webhook", [secret], problems)
    operation["responses"]["200"] = {"description": "Taken.", "content": {"application/json": {"schema": {}}}}
    body = {"schema": {"type": "object"}, "example": {"event": "webhook_updated"}}
    return {**operation, "security": [], "requestBody": {"content": {"application/json": body}}}


def _content(schema: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


_JOB = (p.JobNotFound,)
_RESULT = (*_JOB, p.JobUnfinished, p.JobFailed, p.JobCancelled, p.JobExpired, p.ArchiveGone)
_NEW_JOB = (
    p.InvalidOrderId,
    p.InvalidParameter,
    p.BadRequest,
    p.KeyReused,
    p.RateLimited,
    p.NotConfigured,
    p.JobsUnavailable,
)
_DOWNLOAD = (p.NoImages, p.ImagesMissing, p.RateLimited, *_BYTES)
_NEW_ORDER = (
    p.AdministratorsOnly,
    p.RateLimited,
    p.UpstreamUnauthorized,
    p.UpstreamError,
    p.UpstreamBusy,
    p.BreakerOpen,
    p.NotConfigured,
    p.UpstreamTimeout,
    p.NothingUploaded,
)
_QUESTION = (p.BadRequest, p.InvalidParameter, p.PayloadTooLarge, p.RateLimited)
_UPLOADS = (
    p.BadRequest,
    p.InvalidParameter,
    p.UploadTimeout,
    p.PayloadTooLarge,
    p.FileTooLarge,
    p.UnsupportedMediaType,
    p.NotAnImage,
    p.StoreFull,
)


def _made(summary: str, name: str, problems: Problems, body: dict[str, Any] | None = None) -> dict[str, Any]:
    operation = _operation(summary, name, [], problems)
    operation["responses"]["201"] = {
        "description": "At least one file has arrived; `files` tells of each.",
        "headers": {"Location": {"description": "The order's overview.", "schema": {"type": "string"}}},
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/NewOrder"}}},
    }
    return {**operation, "security": [{"administrator": []}], **({"requestBody": body} if body else {})}


def _ask() -> dict[str, Any]:
    operation = _operation("Ask about the service and its state", "ask", [], (*_QUESTION,))
    operation["responses"]["200"] = {
        "description": "`passage` events (`title`, `url`, `text`), `token` events (`text`), and one `done` (`source`).",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
    body = {"schema": Question.model_json_schema(), "example": {"question": "Why was my ZIP partial?"}}
    return {**operation, "requestBody": {"required": True, "content": {"application/json": body}}}


def _files() -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 200, "description": "The order's name; before the files."},
            "files": {
                "type": "array",
                "items": {"type": "string", "format": "binary"},
                "minItems": 1,
                "description": "JPEG, PNG or WebP, at most 20 MB each.",
            },
        },
        "required": ["files"],
        "additionalProperties": False,
    }
    return {"required": True, "content": {"multipart/form-data": {"schema": schema}}}


def _operation(summary: str, name: str, parameters: list[Any], problems: Problems) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    answers: Problems = (*problems, p.Unauthorized, p.InternalError)
    for problem in answers:
        codes = responses.setdefault(str(int(problem.status)), [])
        codes.append(f"`{problem.code}`: {problem.title}.")
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        "summary": summary,
        "operationId": name,
        "parameters": parameters,
        "responses": {
            status: {"description": " ".join(codes), "content": {p.PROBLEM_JSON: {"schema": schema}}}
            for status, codes in sorted(responses.items())
        },
    }


def _zip(summary: str, name: str, parameters: list[Any], problems: Problems) -> dict[str, Any]:
    ranged = [_header("Range", "bytes=0-99"), _header("If-Range", f'"{_ARCHIVE_EXAMPLE}"')]
    operation = _operation(summary, name, [*parameters, *ranged], problems)
    body = {"application/zip": {"schema": {"type": "string", "format": "binary"}}}
    operation["responses"] |= {
        "200": {"description": "The whole archive.", "headers": _zip_headers(), "content": body},
        "206": {"description": "The part asked for.", "headers": _zip_headers(), "content": body},
        "304": {"description": "The caller has this archive already (If-None-Match)."},
    }
    return operation


def _head(summary: str, name: str, parameters: list[Any], problems: Problems) -> dict[str, Any]:
    operation = _operation(summary, name, parameters, problems)
    for response in operation["responses"].values():
        response.pop("content")
    operation["responses"]["200"] = {"description": "Headers only."}
    return operation


def _json(
    summary: str,
    name: str,
    schema: str,
    parameters: list[Any] | None = None,
    problems: Problems = (),
    security: list[Any] | None = None,
) -> dict[str, Any]:
    operation = _operation(summary, name, parameters or [], problems)
    operation["responses"]["200"] = {"description": summary, "content": _content(schema)}
    return operation if security is None else {**operation, "security": security}


def _document(summary: str, name: str, schema: dict[str, Any], security: list[Any]) -> dict[str, Any]:
    operation = _operation(summary, name, [], ())
    operation["responses"]["200"] = {"description": summary, "content": {"application/json": {"schema": schema}}}
    return {**operation, "security": security}


def _text(summary: str, name: str, *others: int) -> dict[str, Any]:
    content = {"text/plain": {"schema": {"type": "string"}}}
    responses = {str(status): {"description": summary, "content": content} for status in (200, *others)}
    return {"summary": summary, "operationId": name, "responses": responses, "security": []}


def _alias(item: dict[str, Any]) -> dict[str, Any]:
    """The first generation's path for the same thing."""
    return {
        method: {**operation, "operationId": f"{operation['operationId']}Alias", "deprecated": True}
        for method, operation in item.items()
    }


def _order() -> list[Any]:
    """The path and the query of everything about an order, read off the model that validates them."""
    schema = Options.model_json_schema()
    return [
        _path("order_id", _ORDER_EXAMPLE, {"type": "string", "format": "uuid"}),
        *(
            {"name": name, "in": "query", "schema": _plain(field), "description": field.get("description", "")}
            for name, field in schema["properties"].items()
        ),
    ]


def _plain(field: dict[str, Any]) -> dict[str, Any]:
    """A parameter's schema: a query cannot say null, and one that is left out is null already."""
    kinds = [kind for kind in field.get("anyOf", ()) if kind.get("type") != "null"]
    dropped = {"anyOf", "title", "description"} | ({"default"} if kinds else set())
    return {name: value for name, value in {**field, **(kinds[0] if kinds else {})}.items() if name not in dropped}


def _path(name: str, example: str, schema: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": schema or {"type": "string"}, "example": example}


def _header(name: str, example: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "schema": {"type": "string"}, "example": example}


def _zip_headers() -> dict[str, Any]:
    said = {
        "X-Archive-Id": "The archive's id.",
        "ETag": "The id, as a strong entity tag.",
        "Link": "The report.",
        "X-Total-Images": "Images asked for.",
        "X-Downloaded": "Images in the archive, once that is final.",
        "X-Failed": "Images missing, once that is final.",
        "X-Archive-Stale": "`true`: upstream is down, and this archive is older than the order may be.",
    }
    return {name: {"description": words, "schema": {"type": "string"}} for name, words in said.items()}
