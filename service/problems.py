"""Every error a caller can meet: its status, its code and its words (RFC 9457)."""

import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from http import HTTPStatus
from typing import Any, ClassVar

PROBLEM_JSON = "application/problem+json"
_TYPE_BASE = "urn:problem-type:autoenhance-batch:"


class Reason(StrEnum):
    """Why one image is missing from an archive: the code, and in `words` what its person can do."""

    NOT_READY = "not_ready"
    NOT_UPLOADED = "not_uploaded"
    ENHANCEMENT_FAILED = "enhancement_failed"
    EXPIRED = "expired"
    IMAGE_NOT_FOUND = "image_not_found"
    NO_CREDIT = "no_credit"
    REFUSED = "refused"
    REJECTED = "rejected"
    RATE_LIMITED = "rate_limited"
    UPSTREAM_ERROR = "upstream_error"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    TRUNCATED = "truncated"
    NOT_AN_IMAGE = "not_an_image"
    BAD_REDIRECT = "bad_redirect"
    BREAKER_OPEN = "breaker_open"
    STORE_FULL = "store_full"
    INTERNAL_ERROR = "internal_error"

    @property
    def words(self) -> str:
        """One sentence for a person, with the next step."""
        return _WORDS[self]


_WORDS = {
    Reason.NOT_READY: "Autoenhance is still working on it. Ask again later, or with wait=true.",
    Reason.NOT_UPLOADED: "It was registered but never uploaded to Autoenhance. Upload it, then ask again.",
    Reason.ENHANCEMENT_FAILED: "Autoenhance could not enhance it. Process it again there, then ask again.",
    Reason.EXPIRED: "Autoenhance no longer keeps it. Upload it again.",
    Reason.IMAGE_NOT_FOUND: "Autoenhance does not know this image any more.",
    Reason.NO_CREDIT: "The Autoenhance account has no credit left. Top it up, then ask again.",
    Reason.REFUSED: "Autoenhance refuses this service's key for it.",
    Reason.REJECTED: "Autoenhance does not accept the request for it. Try other options.",
    Reason.RATE_LIMITED: "Autoenhance asked to slow down. Ask again in a minute.",
    Reason.UPSTREAM_ERROR: "Autoenhance answered with an error, several times. Ask again later.",
    Reason.TIMEOUT: "It did not arrive in time. Ask again later.",
    Reason.UNREACHABLE: "The connection to Autoenhance failed. Ask again later.",
    Reason.TRUNCATED: "It broke off on the way, several times. Ask again later.",
    Reason.NOT_AN_IMAGE: "What Autoenhance sent is not an image. Ask again later.",
    Reason.BAD_REDIRECT: "Autoenhance pointed to an address that cannot be used. Ask again later.",
    Reason.BREAKER_OPEN: "Autoenhance failed repeatedly and is given a rest. Ask again in a minute.",
    Reason.STORE_FULL: "This service had no room to store it. Ask again later.",
    Reason.INTERNAL_ERROR: "Something went wrong on our side. Ask again later.",
}


class UploadReason(StrEnum):
    """Why one file of a new order did not get there: the code, and in `words` what its person can do."""

    NOT_AN_IMAGE = "not_an_image"
    FILE_TOO_LARGE = "file_too_large"
    TOO_MANY_FILES = "too_many_files"
    REFUSED = "refused"
    RATE_LIMITED = "rate_limited"
    TIMEOUT = "timeout"
    UPSTREAM_ERROR = "upstream_error"
    BREAKER_OPEN = "breaker_open"

    @property
    def words(self) -> str:
        """One sentence for a person, with the next step."""
        return _UPLOAD_WORDS[self]


_UPLOAD_WORDS = {
    UploadReason.NOT_AN_IMAGE: "It is not a JPEG, PNG or WebP image. Convert it, then send it again.",
    UploadReason.FILE_TOO_LARGE: "It is larger than 20 MB. Make it smaller, then send it again.",
    UploadReason.TOO_MANY_FILES: "The order is full. Send it with another order.",
    UploadReason.REFUSED: "Autoenhance does not accept it.",
    UploadReason.RATE_LIMITED: "Autoenhance asked to slow down. Send it again in a minute.",
    UploadReason.TIMEOUT: "It could not be sent to Autoenhance in time. Send it again.",
    UploadReason.UPSTREAM_ERROR: "Autoenhance could not take it. Send it again later.",
    UploadReason.BREAKER_OPEN: "Autoenhance failed repeatedly and is given a rest. Send it again in a minute.",
}


class Problem(Exception):
    """An error with an answer. Raised anywhere, turned into a problem document in one place."""

    status: ClassVar[HTTPStatus]
    code: ClassVar[str]
    title: ClassVar[str]

    def __init__(
        self,
        detail: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail or self.title)
        self.headers = dict(headers or {})
        self.extra = dict(extra or {})

    def document(self, request_id: str) -> dict[str, Any]:
        """The RFC 9457 document for this occurrence."""
        return {
            "type": _TYPE_BASE + self.code,
            "title": self.title,
            "status": int(self.status),
            "detail": str(self),
            "code": self.code,
            "request_id": request_id,
            **self.extra,
        }


class RetryableProblem(Problem):
    """A problem that passes by itself; says after how many seconds to try again."""

    def __init__(self, detail: str | None = None, *, retry_after: float = 5) -> None:
        super().__init__(detail, headers={"Retry-After": str(max(1, math.ceil(retry_after)))})
        self.retry_after = retry_after


class InvalidParameter(Problem):
    status, code, title = HTTPStatus.BAD_REQUEST, "invalid_parameter", "A parameter cannot be used"

    def __init__(self, parameter: str, reason: str) -> None:
        super().__init__(f"{parameter}: {reason}", extra={"parameter": parameter})


class InvalidOrderId(Problem):
    status, code, title = HTTPStatus.BAD_REQUEST, "invalid_order_id", "The order id is not a UUID"


class UnknownImage(Problem):
    status, code, title = HTTPStatus.BAD_REQUEST, "unknown_image", "An image id is not part of this order"

    def __init__(self, image_ids: Sequence[str]) -> None:
        super().__init__(
            "image: not in this order: " + ", ".join(image_ids),
            extra={"parameter": "image", "image_ids": list(image_ids)},
        )


class BadRequest(Problem):
    status, code, title = HTTPStatus.BAD_REQUEST, "bad_request", "The request cannot be understood"


class Unauthorized(Problem):
    status, code, title = HTTPStatus.UNAUTHORIZED, "unauthorized", "A valid X-API-Key is needed"

    def __init__(self) -> None:
        super().__init__(headers={"WWW-Authenticate": 'ApiKey realm="autoenhance-batch", header="X-API-Key"'})


class LinkRefused(Problem):
    status, code, title = HTTPStatus.UNAUTHORIZED, "link_refused", "This link has expired, or was altered"

    def __init__(self) -> None:
        super().__init__(headers={"WWW-Authenticate": 'ApiKey realm="autoenhance-batch", header="X-API-Key"'})


class WebhookUnauthorized(Problem):
    status, code, title = HTTPStatus.UNAUTHORIZED, "webhook_unauthorized", "The webhook's secret is needed"

    def __init__(self) -> None:
        super().__init__(headers={"WWW-Authenticate": 'Bearer realm="autoenhance-batch"'})


class AdministratorsOnly(Problem):
    status, code, title = HTTPStatus.FORBIDDEN, "administrators_only", "This is for administrators"


class OriginRefused(Problem):
    status, code, title = HTTPStatus.FORBIDDEN, "origin_refused", "Pages of this origin may not do that"


class NotFound(Problem):
    status, code, title = HTTPStatus.NOT_FOUND, "not_found", "There is nothing at this address"


class MethodNotAllowed(Problem):
    status, code, title = (
        HTTPStatus.METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "This address takes other methods",
    )


class OrderNotFound(Problem):
    status, code, title = HTTPStatus.NOT_FOUND, "order_not_found", "Autoenhance does not know this order"


class OrderEmpty(Problem):
    status, code, title = HTTPStatus.NOT_FOUND, "order_empty", "This order has no images"


class ArchiveNotFound(Problem):
    status, code, title = HTTPStatus.NOT_FOUND, "archive_not_found", "There is no such archive"


class ArchiveGone(Problem):
    status, code, title = HTTPStatus.GONE, "archive_gone", "This archive is no longer kept"


class PreconditionFailed(Problem):
    status, code, title = HTTPStatus.PRECONDITION_FAILED, "precondition_failed", "The archive is not the one you hold"


class RangeNotSatisfiable(Problem):
    status = HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
    code, title = "range_not_satisfiable", "The archive has no such bytes"

    def __init__(self, length: int) -> None:
        super().__init__(headers={"Content-Range": f"bytes */{length}"})


class PayloadTooLarge(Problem):
    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    code, title = "payload_too_large", "The request is too large"


class HeadersTooLarge(Problem):
    status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
    code, title = "headers_too_large", "The address or a header of the request is too long"


class TooManyImages(Problem):
    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    code, title = "too_many_images", "The order has more images than one archive may hold"

    def __init__(self, images: int, limit: int) -> None:
        super().__init__(
            f"The request covers {images} images; the limit is {limit}. Ask for a subset with image=...",
            extra={"images": images, "limit": limit},
        )


class NoImages(Problem):
    status = HTTPStatus.UNPROCESSABLE_ENTITY
    code, title = "no_images", "None of the images could be fetched"

    def __init__(self, failures: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(extra={"failures": list(failures)})


class ImagesMissing(Problem):
    status = HTTPStatus.UNPROCESSABLE_ENTITY
    code, title = "images_missing", "Some images could not be fetched, and on_failure=strict was asked for"

    def __init__(self, failures: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(extra={"failures": list(failures)})


class RateLimited(RetryableProblem):
    status, code, title = HTTPStatus.TOO_MANY_REQUESTS, "rate_limited", "Too many requests in a short time"


class UnsupportedMediaType(Problem):
    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    code, title = "unsupported_media_type", "Files are sent as multipart/form-data"


class NothingUploaded(Problem):
    status = HTTPStatus.UNPROCESSABLE_ENTITY
    code, title = "nothing_uploaded", "None of the files reached Autoenhance"

    def __init__(self, files: Sequence[Mapping[str, Any]], order_id: str | None) -> None:
        super().__init__(extra={"files": list(files), "order_id": order_id})


class NotAnImage(NothingUploaded):
    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    code, title = "not_an_image", "Only JPEG, PNG and WebP images can be uploaded"


class FileTooLarge(NothingUploaded):
    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    code, title = "file_too_large", "A file may have at most 20 MB"


class UploadTimeout(Problem):
    status, code, title = HTTPStatus.REQUEST_TIMEOUT, "upload_timeout", "The request's body came too slowly"


class UpstreamUnauthorized(Problem):
    status = HTTPStatus.UNAUTHORIZED
    code, title = "upstream_unauthorized", "Autoenhance refuses this service's API key"

    def __init__(self) -> None:
        super().__init__(headers={"WWW-Authenticate": 'ApiKey realm="autoenhance"'})


class UpstreamError(Problem):
    status, code, title = HTTPStatus.BAD_GATEWAY, "upstream_error", "Autoenhance cannot be used at the moment"


class UpstreamTimeout(Problem):
    status, code, title = HTTPStatus.GATEWAY_TIMEOUT, "upstream_timeout", "Autoenhance did not answer in time"


class UpstreamBusy(RetryableProblem):
    status = HTTPStatus.SERVICE_UNAVAILABLE
    code, title = "upstream_busy", "Autoenhance asks us to slow down"


class BreakerOpen(RetryableProblem):
    status = HTTPStatus.SERVICE_UNAVAILABLE
    code, title = "breaker_open", "Autoenhance failed repeatedly and is given a rest"


class NotConfigured(Problem):
    status = HTTPStatus.SERVICE_UNAVAILABLE
    code, title = "not_configured", "This service has no Autoenhance API key yet"


class StoreFull(RetryableProblem):
    status, code, title = HTTPStatus.SERVICE_UNAVAILABLE, "store_full", "The image store has no room left"


class JobNotFound(Problem):
    status, code, title = HTTPStatus.NOT_FOUND, "job_not_found", "There is no such job"


class JobUnfinished(RetryableProblem):
    status, code, title = HTTPStatus.CONFLICT, "job_unfinished", "The job has not finished yet"


class JobFailed(Problem):
    status = HTTPStatus.UNPROCESSABLE_ENTITY
    code, title = "job_failed", "The job failed"

    def __init__(self, error: Mapping[str, Any], failures: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(str(error["detail"]), extra={"error": dict(error), "failures": list(failures)})


class JobCancelled(Problem):
    status, code, title = HTTPStatus.GONE, "job_cancelled", "The job was cancelled"


class JobExpired(Problem):
    status, code, title = HTTPStatus.GONE, "job_expired", "The job's result is no longer kept"


class JobCrashed(Problem):
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    code, title = "job_crashed", "The job was stopped: this service died several times while it ran"


class NoCallback(Problem):
    status, code, title = HTTPStatus.CONFLICT, "no_callback", "The job has no callback_url"


class KeyReused(Problem):
    status = HTTPStatus.UNPROCESSABLE_ENTITY
    code, title = "idempotency_key_reused", "This Idempotency-Key was used for another request"


class JobsUnavailable(RetryableProblem):
    status, code, title = HTTPStatus.SERVICE_UNAVAILABLE, "jobs_unavailable", "Jobs cannot be recorded at the moment"


class ErrorsNotConfigured(Problem):
    status = HTTPStatus.SERVICE_UNAVAILABLE
    code, title = "errors_not_configured", "This service is not told where errors are collected"


class ErrorsUnavailable(RetryableProblem):
    status, code, title = HTTPStatus.BAD_GATEWAY, "errors_unavailable", "Sentry cannot be asked at the moment"


class StillBuilding(RetryableProblem):
    status = HTTPStatus.SERVICE_UNAVAILABLE
    code, title = "still_building", "The archive is still being built, and this range needs its end"


class Draining(RetryableProblem):
    status, code, title = HTTPStatus.SERVICE_UNAVAILABLE, "draining", "This instance is shutting down"


class InternalError(Problem):
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    code, title = "internal_error", "Something went wrong on our side"
