"""What the OpenAPI document says of orders, jobs and archives."""

from service import problems as p
from service.api.jobs import JobQuery, NewJob
from service.api.operations import (
    ADMINISTRATORS,
    BODY,
    COUNTED,
    DOWNLOADERS,
    FOREIGN,
    OPEN,
    Json,
    Problems,
    alias,
    answer,
    events,
    headers_only,
    in_header,
    in_path,
    in_query,
    json_body,
    json_of,
    operation,
)
from service.archives.options import ImageOptions, Options
from service.upstream.formats import FORMAT_EXTENSIONS, media_type

ARCHIVE_EXAMPLE = "0f0be2aed9df4adc84e0e913b1e03013"

_ORDER_ID = in_path(
    "order_id",
    "6f1c2b52-0d6e-4c1b-9a35-3f7b1f6f0a11",
    "The order's id at Autoenhance.",
    {"type": "string", "format": "uuid"},
)
_JOB_ID = in_path("job_id", "3c1f9a0be2aed94a8adc0e913b1e8403", "What beginning the job answered.")
_ARCHIVE_ID = in_path("archive_id", ARCHIVE_EXAMPLE, "`X-Archive-Id` of a download, or `archive_id` of a job.")
_ORDER = [_ORDER_ID, *in_query(Options)]
_IMAGE_ID = in_path("image_id", "a", "The image's id; the overview of the order lists them.")
_IMAGE = [_ORDER_ID, _IMAGE_ID, *in_query(ImageOptions)]
_IMAGE_TAG = '"2b7e151628aed2a6abf7158809cf4f3c762e7160f38b4da56a784d9045190cfe"'
_IMAGE_BODY: Json = {
    kind: {"schema": {"type": "string", "format": "binary"}} for kind in map(media_type, FORMAT_EXTENSIONS.values())
}
_IMAGE_HEADERS = ("Accept-Ranges", "Content-Disposition", "Content-Length", "ETag", *COUNTED)
_LOOK: Problems = (
    p.InvalidOrderId,
    p.InvalidParameter,
    p.UpstreamUnauthorized,
    p.OrderNotFound,
    p.UpstreamError,
    p.UpstreamBusy,
    p.BreakerOpen,
    p.NotConfigured,
    p.UpstreamTimeout,
)
ORDER_CALL: Problems = (*_LOOK, p.UnknownImage, p.OrderEmpty, p.TooManyImages)
_IMAGE_CALL: Problems = (*_LOOK, p.ImageNotFound, p.LinkRefused, p.PreconditionFailed)
_IMAGE_FETCH: Problems = (
    p.ImageNotReady,
    p.ImageExpired,
    p.CreditLimit,
    p.NoImages,
    p.RangeNotSatisfiable,
    p.StoreFull,
    *FOREIGN,
    p.PrefetchRefused,
)
_BYTES: Problems = (
    p.LinkRefused,
    p.PreconditionFailed,
    p.RangeUnsafe,
    p.RangeNotSatisfiable,
    p.StoreFull,
    p.StillBuilding,
)
_DOWNLOAD: Problems = (
    *ORDER_CALL,
    p.MaxCreditsExceeded,
    p.CreditLimit,
    p.NoImages,
    p.ImagesMissing,
    *_BYTES,
    *FOREIGN,
    p.PrefetchRefused,
)
_ARCHIVE: Problems = (p.ArchiveNotFound, p.ArchiveGone)
_RESULT: Problems = (p.JobNotFound, p.JobUnfinished, p.JobFailed, p.JobCancelled, p.JobExpired, p.ArchiveGone)
_JOB_DOCUMENT: Problems = (p.JobNotFound, p.JobsUnavailable)
_NEW_JOB: Problems = (
    p.InvalidOrderId,
    p.InvalidParameter,
    p.PayloadTooLarge,
    p.UploadTimeout,
    p.KeyReused,
    p.NotConfigured,
    p.JobsUnavailable,
    *FOREIGN,
)
_NEW_ORDER: Problems = (
    p.AdministratorsOnly,
    p.InvalidParameter,
    p.RequestUnfinished,
    p.RequestsUnavailable,
    *FOREIGN,
    p.UpstreamUnauthorized,
    p.UpstreamError,
    p.UpstreamBusy,
    p.BreakerOpen,
    p.NotConfigured,
    p.UpstreamTimeout,
    p.NothingUploaded,
)
_UPLOADS: Problems = (*BODY, p.FileTooLarge, p.UnsupportedMediaType, p.NotAnImage, p.StoreFull)
_ZIP_HEADERS = (
    "Accept-Ranges",
    "Content-Disposition",
    "Content-Length",
    "ETag",
    "Link",
    "X-Archive-Id",
    "X-Archive-Stale",
    "X-Downloaded",
    "X-Failed",
    "X-Total-Images",
)


def orders() -> Json:
    """Orders and their downloads."""
    download = {
        "get": _zip("Download an order's images as one ZIP", "download", _ORDER, _DOWNLOAD, counted=True),
        "head": _head(
            "What a download would be, as far as it is known", "describeDownload", _ORDER, ORDER_CALL, counted=True
        ),
    }
    overview = operation(
        "What a download would hold",
        "overview",
        {"200": answer("As it stands.", json_of("Overview"), headers=COUNTED)},
        problems=ORDER_CALL,
        parameters=_ORDER,
    )
    image = {
        "get": operation(
            "One image by itself",
            "image",
            {
                "200": answer("The image.", _IMAGE_BODY, headers=_IMAGE_HEADERS),
                "206": answer("The part asked for.", _IMAGE_BODY, headers=(*_IMAGE_HEADERS, "Content-Range")),
                "304": answer("The caller has this image already (`If-None-Match`).", headers=_IMAGE_HEADERS),
            },
            problems=(*_IMAGE_CALL, *_IMAGE_FETCH),
            parameters=[
                *_IMAGE,
                in_header("Range", "bytes=0-99", "One range; a request for several gets the whole image."),
                in_header("If-Range", _IMAGE_TAG, "The tag of what is held."),
                in_header("If-Match", _IMAGE_TAG, "Only this content; for any other 412."),
                in_header("If-None-Match", _IMAGE_TAG, "Not this content again; for it 304."),
            ],
            security=DOWNLOADERS,
        ),
        "head": headers_only(
            operation(
                "What is known of one image; nothing is fetched",
                "describeImage",
                {
                    "200": answer("As far as it is known.", headers=_IMAGE_HEADERS),
                    "304": answer("The caller has this image already.", headers=_IMAGE_HEADERS),
                },
                problems=_IMAGE_CALL,
                parameters=_IMAGE,
                security=DOWNLOADERS,
            )
        ),
    }
    upload = {"post": _made("Make an order from files", "createOrder", (*_UPLOADS, *_NEW_ORDER), _files())}
    sample = {"post": _made("Make an order from the sample photos", "createSampleOrder", _NEW_ORDER)}
    return {
        "/v1/orders/{order_id}/images": download,
        "/orders/{order_id}/images": alias(download),
        "/v1/orders/{order_id}/images/{image_id}": image,
        "/v1/orders/{order_id}": {"get": overview},
        "/v1/orders": upload,
        "/v1/orders/sample": sample,
        "/api/create-order": alias(upload),
        "/api/create-sample-order": alias(sample),
    }


def shared_downloads(token: Json) -> Json:
    """The photos behind a share link, and their ZIP."""
    image = {
        "200": answer("The image.", _IMAGE_BODY, headers=_IMAGE_HEADERS),
        "206": answer("The part asked for.", _IMAGE_BODY, headers=(*_IMAGE_HEADERS, "Content-Range")),
        "304": answer("The caller has this image already (`If-None-Match`).", headers=_IMAGE_HEADERS),
    }
    one, problems = [token, _IMAGE_ID, *in_query(ImageOptions)], (p.LinkNotFound, p.LinksUnavailable)
    return {
        "/s/{token}/images/{image_id}": {
            "get": operation(
                "One shared photo: as it was shared, or with `preview=true&max_width=480`",
                "sharedImage",
                image,
                problems=(*_IMAGE_CALL, *_IMAGE_FETCH, *problems),
                parameters=one,
                security=OPEN,
            ),
            "head": headers_only(
                operation(
                    "What is known of one shared photo",
                    "describeSharedImage",
                    {"200": image["200"], "304": image["304"]},
                    problems=(*_IMAGE_CALL, *problems),
                    parameters=one,
                    security=OPEN,
                )
            ),
        },
        "/s/{token}/download": {
            "get": _zip(
                "All that was shared as one ZIP",
                "sharedDownload",
                [token],
                (*_DOWNLOAD, *problems),
                counted=True,
                security=OPEN,
            ),
            "head": _head(
                "What the ZIP would be",
                "describeSharedDownload",
                [token],
                (*ORDER_CALL, *problems),
                counted=True,
                security=OPEN,
            ),
        },
    }


def jobs() -> Json:
    """Jobs, and who tells of them."""
    job = {"200": answer("The job.", json_of("Job"), headers=("Retry-After",))}
    new = {"post": _new_job()}
    address = {
        "get": operation("The job as it stands", "job", job, problems=_JOB_DOCUMENT, parameters=[_JOB_ID]),
        "delete": operation(
            "Cancel the job; what has ended stays as it is",
            "cancelJob",
            job,
            problems=(*_JOB_DOCUMENT, *FOREIGN),
            parameters=[_JOB_ID],
        ),
    }
    result = {
        "get": _zip("The ZIP of a job that is complete", "downloadJob", [_JOB_ID], (*_RESULT, *_BYTES)),
        "head": _head("The headers of the job's ZIP", "describeJob", [_JOB_ID], _RESULT),
    }
    callback = operation(
        "Send the job's callback once more",
        "repeatCallback",
        {"202": answer("It will be sent now.", json_of("Job"))},
        problems=(*_JOB_DOCUMENT, p.AdministratorsOnly, *FOREIGN, p.JobUnfinished, p.NoCallback),
        parameters=[_JOB_ID],
        security=ADMINISTRATORS,
    )
    listing = operation(
        "The caller's jobs, newest first",
        "jobs",
        {"200": answer("A page of them. Administrators see all; without keys only they do.", json_of("Jobs"))},
        problems=(p.InvalidParameter, p.AdministratorsOnly, p.JobsUnavailable),
        parameters=in_query(JobQuery),
    )
    return {
        "/v1/orders/{order_id}/jobs": new,
        "/orders/{order_id}/jobs": alias(new),
        "/v1/jobs": {"get": listing},
        "/v1/jobs/{job_id}": address,
        "/jobs/{job_id}": alias(address),
        "/v1/jobs/{job_id}/download": result,
        "/jobs/{job_id}/download": alias(result),
        "/v1/jobs/{job_id}/events": {"get": _job_events()},
        "/v1/jobs/{job_id}/callback": {"post": callback},
        "/v1/webhooks/autoenhance": {"post": _webhook()},
    }


def archives() -> Json:
    """Archives by id."""
    report = operation(
        "What is in the archive and what is missing",
        "report",
        {"200": answer("Image by image.", json_of("Report"))},
        problems=_ARCHIVE,
        parameters=[_ARCHIVE_ID],
    )
    return {
        "/v1/archives/{archive_id}": {
            "get": _zip("The same ZIP by its immutable id", "archive", [_ARCHIVE_ID], (*_ARCHIVE, *_BYTES)),
            "head": _head("The archive's headers", "describeArchive", [_ARCHIVE_ID], _ARCHIVE),
        },
        "/v1/archives/{archive_id}/report": {"get": report},
    }


def _new_job() -> Json:
    receiver = {"type": "string", "format": "uri", "maxLength": 2048}
    created = operation(
        "Build an order's ZIP in the background",
        "createJob",
        {
            "202": answer(
                "The job is on record; it outlives this connection and this process.",
                json_of("Job"),
                headers=("Location", "Retry-After", "Idempotent-Replayed", *COUNTED),
            )
        },
        problems=_NEW_JOB,
        parameters=[
            *_ORDER,
            {
                "name": "callback_url",
                "in": "query",
                "schema": receiver,
                "description": "An https address to notify when the job ends.",
            },
            in_header("Idempotency-Key", "5c0ffe02", "The same key gives the same job, once."),
        ],
        body={**json_body(NewJob, {"quality": 80, "image": ["a3f6", "b7c1"]}), "required": False},
    )
    return {**created, "callbacks": {"ended": {"{$request.query.callback_url}": {"post": _callback()}}}}


def _callback() -> Json:
    """What a receiver is sent, signed as Standard Webhooks has it."""
    return {
        "summary": "The job has ended",
        "parameters": [
            in_header("webhook-id", "msg_3c1f9a0b", "The same for every attempt."),
            in_header(
                "webhook-signature", "v1,K5oZfzN95Z9UVu1EsfQm", "With `webhook-timestamp`, as Standard Webhooks."
            ),
        ],
        "requestBody": {"required": True, "content": json_of("Callback")},
        "responses": {
            "2XX": {"description": "It was heard. Any other answer is tried again, for three days."},
            "410": {"description": "Never again for this job."},
        },
    }


def _job_events() -> Json:
    description = (
        "`image` events, one per outcome, and `status` events; the id is the number of outcomes, at the end one more."
    )
    return operation(
        "Follow the job",
        "jobEvents",
        {
            "200": answer(description, events()),
            "204": answer("The caller has the last event; nothing more will come."),
        },
        problems=_JOB_DOCUMENT,
        parameters=[_JOB_ID, in_header("Last-Event-ID", "3", "Go on after this one.")],
    )


def _webhook() -> Json:
    schema = {"type": "object", "properties": {"event": {"type": "string"}}, "required": ["event"]}
    return operation(
        "Autoenhance tells that images are done",
        "webhook",
        {"200": answer("Taken.", {"application/json": {"schema": {"type": "object"}}})},
        problems=(p.WebhookUnauthorized, p.NotFound, p.PayloadTooLarge, p.UploadTimeout),
        parameters=[in_header("Authentication", "AUTOENHANCE_WEBHOOK_SECRET", "What is configured at Autoenhance.")],
        body={"content": {"application/json": {"schema": schema, "example": {"event": "webhook_updated"}}}},
        security=OPEN,
    )


def _made(summary: str, name: str, problems: Problems, body: Json | None = None) -> Json:
    description = "At least one file has arrived; `files` tells of each."
    made = {"201": answer(description, json_of("NewOrder"), headers=("Location", "Idempotent-Replayed", *COUNTED))}
    key = in_header("Idempotency-Key", "5c0ffe02", "The same key gives the same order, once, for a day.")
    return operation(summary, name, made, problems=problems, parameters=[key], body=body, security=ADMINISTRATORS)


def _files() -> Json:
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


def _zip(
    summary: str,
    name: str,
    parameters: list[Json],
    problems: Problems,
    *,
    counted: bool = False,
    security: list[Json] = DOWNLOADERS,
) -> Json:
    conditions = [
        in_header("Range", "bytes=0-99", "One range; a request for several gets the complete archive."),
        in_header("If-Range", f'"{ARCHIVE_EXAMPLE}"', "The tag of what is held; needed with `Range` on an order."),
        in_header("If-Match", f'"{ARCHIVE_EXAMPLE}"', "Only this archive; for any other 412."),
        in_header("If-None-Match", f'"{ARCHIVE_EXAMPLE}"', "Not this archive again; for it 304."),
    ]
    body = {"application/zip": {"schema": {"type": "string", "format": "binary"}}}
    headers = (*_ZIP_HEADERS, *(COUNTED if counted else ()))
    answers = {
        "200": answer("The complete archive.", body, headers=headers),
        "206": answer("The part asked for.", body, headers=(*headers, "Content-Range")),
        "304": answer("The caller has this archive already (`If-None-Match`).", headers=headers),
    }
    return operation(
        summary, name, answers, problems=problems, parameters=[*parameters, *conditions], security=security
    )


def _head(
    summary: str,
    name: str,
    parameters: list[Json],
    problems: Problems,
    *,
    counted: bool = False,
    security: list[Json] = DOWNLOADERS,
) -> Json:
    headers = (*_ZIP_HEADERS, *(COUNTED if counted else ()))
    found = {"200": answer("As far as it is known.", headers=headers)}
    return headers_only(
        operation(
            summary,
            name,
            found,
            problems=(*problems, p.LinkRefused),
            parameters=parameters,
            security=security,
        )
    )
