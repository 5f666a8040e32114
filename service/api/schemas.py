"""The shapes of the JSON documents that the service gives, as JSON Schema."""

from typing import Any

from service.archives.archive import State
from service.jobs.job import CallbackState
from service.reasons import Reason, UploadReason
from service.telemetry.metrics import JobStatus
from service.upstream.models import ImageState

_TEXT = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 0}
_OPTIONAL = {"type": ["string", "null"]}


def _object(properties: dict[str, Any], *, optional: tuple[str, ...] = (), extra: bool = False) -> dict[str, Any]:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": extra}


FAILURE = _object(
    {
        "image_id": _TEXT,
        "name": {**_TEXT, "description": "As the order has it."},
        "code": {"enum": [*Reason]},
        "reason": {**_TEXT, "description": "One sentence for a person, with the next step."},
    }
)

_SUMMARY = {
    "order_id": {"type": "string", "format": "uuid"},
    "total": _COUNT,
    "downloaded": {**_COUNT, "description": "Images that are here."},
    "failed": _COUNT,
    "bytes": {**_COUNT, "description": "Of the images that are here."},
    "failures": {"type": "array", "items": {"$ref": "#/components/schemas/Failure"}},
}

OVERVIEW = _object(
    {
        **_SUMMARY,
        "name": {"type": ["string", "null"]},
        "status": {"enum": ["processing", "ready"]},
        "ready": _COUNT,
        "processing": _COUNT,
        "unlisted": {**_COUNT, "description": "Images that Autoenhance counts but does not list."},
        "to_buy": {**_COUNT, "description": "Images that a download with these options would buy, a credit each."},
        "truncated": {"type": "boolean", "description": "Whether the order has more images than are listed here."},
        "parts": {
            "type": "array",
            "description": "The downloads that the order takes: one, unless it has too many images for one archive.",
            "items": _object(
                {
                    "part": {"type": "integer", "minimum": 1},
                    "images": _COUNT,
                    "link": {"type": "string", "format": "uri-reference", "description": "The download."},
                }
            ),
        },
        "images": {
            "type": "array",
            "items": _object(
                {
                    "image_id": _TEXT,
                    "name": _TEXT,
                    "file_name": {**_TEXT, "description": "In the ZIP."},
                    "status": {"enum": [*ImageState]},
                    "bytes": {"type": ["integer", "null"], "description": "Null while it is not here."},
                    "link": {"type": "string", "format": "uri-reference", "description": "The image by itself."},
                }
            ),
        },
    }
)

NEW_ORDER = _object(
    {
        "order_id": _TEXT,
        "name": {"type": ["string", "null"]},
        "total": _COUNT,
        "uploaded": _COUNT,
        "failed": _COUNT,
        "files": {"type": "array", "items": {"$ref": "#/components/schemas/NewFile"}},
        "links": _object({"overview": {"type": "string", "format": "uri-reference"}, "images": _TEXT}),
    }
)

NEW_FILE = _object(
    {
        "name": {**_TEXT, "description": "As it is called in the order."},
        "bytes": _COUNT,
        "image_id": {"type": ["string", "null"], "description": "Null when Autoenhance does not know it."},
        "status": {"enum": ["uploaded", "failed"]},
        "code": {"enum": [*UploadReason, None]},
        "reason": {"type": ["string", "null"], "description": "One sentence for a person, with the next step."},
    }
)

REPORT = _object(
    {
        **_SUMMARY,
        "archive_id": _TEXT,
        "status": {"enum": [*State]},
        "unlisted": {**_COUNT, "description": "Images that Autoenhance counts but does not list."},
        "images": {
            "type": "array",
            "items": _object(
                {
                    "image_id": _TEXT,
                    "original_name": _TEXT,
                    "name": {"type": ["string", "null"], "description": "In the ZIP; null when missing there."},
                    "bytes": _COUNT,
                    "crc": {"type": ["integer", "null"], "description": "CRC-32."},
                    "outcome": {"enum": ["downloaded", "failed"]},
                    "code": {"enum": [*Reason, None]},
                    "attempts": {**_COUNT, "description": "0: the image was here already."},
                }
            ),
        },
    }
)

_MOMENT = {"type": ["string", "null"], "format": "date-time"}
_LINK = {"type": ["string", "null"]}

JOB = _object(
    {
        **_SUMMARY,
        "job_id": _TEXT,
        "status": {"enum": [*JobStatus]},
        "archive_id": {**_LINK, "description": "Known from the start of the build on."},
        "error": {
            "oneOf": [{"type": "null"}, _object({"code": _TEXT, "title": _TEXT, "detail": _TEXT})],
            "description": "Why the job failed; the same codes as problems have.",
        },
        "created_at": _TEXT,
        "started_at": _MOMENT,
        "finished_at": _MOMENT,
        "expires_at": {**_MOMENT, "description": "Until when the ZIP is kept."},
        "retry_at": {**_MOMENT, "description": "When it is tried again, after a problem that passes by itself."},
        "callback": {
            "oneOf": [
                {"type": "null"},
                _object(
                    {
                        "state": {"enum": [*CallbackState]},
                        "attempts": _COUNT,
                        "last_status": {"type": ["integer", "null"]},
                        "last_error": {"type": ["string", "null"]},
                        "next_at": _MOMENT,
                    }
                ),
            ]
        },
        "links": _object({"self": _TEXT, "events": _TEXT, "download": _LINK, "archive": _LINK, "report": _LINK}),
    }
)

JOBS = _object(
    {
        "items": {"type": "array", "maxItems": 200, "items": {"$ref": "#/components/schemas/Job"}},
        "next_cursor": {**_LINK, "description": "Asks for the next page; null on the last."},
    }
)

CALLBACK = _object(
    {
        "type": {"enum": ["job.complete", "job.error", "job.cancelled"]},
        "timestamp": {**_TEXT, "format": "date-time"},
        "data": {"type": "object", "description": "The job, as at its own address, without `callback`."},
    }
)

ERRORS = _object(
    {
        "issues": {
            "type": "array",
            "maxItems": 25,
            "items": _object(
                {
                    **dict.fromkeys(("id", "title", "culprit", "level"), _OPTIONAL),
                    "count": {"type": ["integer", "null"]},
                    **dict.fromkeys(("first_seen", "last_seen", "link"), _OPTIONAL),
                }
            ),
        }
    }
)
STATS = _object(
    {
        "uptime_seconds": _COUNT,
        "orders_processed": _COUNT,
        "images_downloaded": _COUNT,
        "images_failed": _COUNT,
        "zips_served": _COUNT,
        "limits": _object({"max_concurrent_downloads": _COUNT, "max_images_per_order": _COUNT}),
        "recent_errors": {
            "type": "array",
            "description": "For administrators only.",
            "items": _object({"time": _TEXT, "code": _TEXT, "route": _TEXT, "request_id": _TEXT}),
        },
        "credits": {
            **_object(
                {
                    "spent_today": {"type": ["integer", "null"], "description": "Null when it cannot be told."},
                    "limit": {"type": ["integer", "null"], "description": "`MAX_CREDITS_PER_DAY`; null: none."},
                    "left": {"type": ["integer", "null"], "description": "Of the limit, until midnight UTC."},
                }
            ),
            "description": "For administrators only: images that were bought today (UTC), or are being bought.",
        },
    },
    optional=("recent_errors", "credits"),
)

LINK = _object(
    {
        "url": {"type": "string", "format": "uri-reference", "description": "To be asked for as it stands."},
        "expires_at": {"type": ["string", "null"], "format": "date-time"},
        "link_id": {**_TEXT, "description": "Of a share link: revokes it."},
        "page": {"type": "string", "format": "uri-reference", "description": "Of a share link: the page to send on."},
    },
    optional=("link_id", "page"),
)

SHARE_LINKS = _object(
    {
        "items": {
            "type": "array",
            "maxItems": 200,
            "items": _object(
                {
                    "link_id": _TEXT,
                    "url": {"type": "string", "format": "uri-reference"},
                    "page": {"type": "string", "format": "uri-reference"},
                    "expires_at": {"type": "string", "format": "date-time"},
                    "created_at": {"type": "string", "format": "date-time"},
                    "order_id": _TEXT,
                    "name": {**_OPTIONAL, "description": "The order's."},
                    "total": {**_COUNT, "description": "Photos that it shares."},
                    "query": {**_TEXT, "description": "How they are rendered and packed."},
                }
            ),
        },
        "next_cursor": {**_LINK, "description": "Asks for the next page; null on the last."},
    }
)

SESSION = _object(
    {
        "administrator": {"type": "boolean"},
        "caller": {**_OPTIONAL, "description": "The name of the caller's key, if it has one."},
        "may_call": {"type": "boolean", "description": "False where a key is needed and there is none."},
        "has_administrators": {"type": "boolean", "description": "Whether this service has a token for them."},
    }
)

HEALTH = _object(
    {
        "status": {"const": "ok"},
        "api_key_configured": {"type": "boolean"},
        "version": _TEXT,
        "store": {"enum": ["ok", "unusable"]},
        "circuits": {"type": "object", "additionalProperties": {"enum": ["closed", "half-open", "open"]}},
        "redis": {"enum": ["ok", "unavailable"]},
        "s3": {"enum": ["ok", "unavailable"]},
    },
    optional=("redis", "s3"),
)

VERSION = _object({"version": _TEXT})

PROBLEM = _object(
    {
        "type": {"type": "string", "format": "uri-reference"},
        "title": _TEXT,
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": _TEXT,
        "code": {**_TEXT, "description": "What programs should look at."},
        "request_id": _TEXT,
        "failures": {"type": "array", "items": {"$ref": "#/components/schemas/Failure"}},
    },
    optional=("failures",),
    extra=True,
)

SCHEMAS = {
    "Failure": FAILURE,
    "Overview": OVERVIEW,
    "NewOrder": NEW_ORDER,
    "NewFile": NEW_FILE,
    "Report": REPORT,
    "Job": JOB,
    "Jobs": JOBS,
    "Callback": CALLBACK,
    "Stats": STATS,
    "Errors": ERRORS,
    "Link": LINK,
    "ShareLinks": SHARE_LINKS,
    "Session": SESSION,
    "Health": HEALTH,
    "Version": VERSION,
    "Problem": PROBLEM,
}
