"""Every error a caller can meet: its status, its code and its words (RFC 9457)."""

import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, ClassVar

from service.advice import ADVICE

PROBLEM_JSON = "application/problem+json"
_TYPE_BASE = "urn:problem-type:autoenhance-batch:"


class Problem(Exception):
    """An error with an answer. Raised anywhere, turned into a problem document in one place.

    `occurrence` is a sentence of what happened this time, where the title does not say it all; advice follows it.
    """

    status: ClassVar[HTTPStatus]
    code: ClassVar[str]
    title: ClassVar[str]

    def __init__(
        self, occurrence: str | None = None, *, headers: Mapping[str, str] = {}, extra: Mapping[str, Any] = {}
    ) -> None:
        super().__init__(" ".join(words for words in (occurrence, ADVICE[self.code]) if words))
        self.headers, self.extra = dict(headers), dict(extra)

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
    """A problem that passes by itself; says after how many seconds to try again. Most are a 503."""

    status = HTTPStatus.SERVICE_UNAVAILABLE

    def __init__(self, occurrence: str | None = None, *, retry_after: float = 5) -> None:
        super().__init__(occurrence, headers={"Retry-After": str(max(1, math.ceil(retry_after)))})
        self.retry_after = retry_after


class _CredentialsWanted(Problem):
    """A 401, which must say what it asks for."""

    status = HTTPStatus.UNAUTHORIZED
    challenge: ClassVar[str] = 'ApiKey realm="autoenhance-batch", header="X-API-Key"'

    def __init__(self) -> None:
        super().__init__(headers={"WWW-Authenticate": self.challenge})


class _Unfetched(Problem):
    """What a build came to, with each image that failed."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY

    def __init__(self, failures: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(f"Images missing: {len(failures)}.", extra={"failures": list(failures)})


class InvalidParameter(Problem):
    status, code, title = HTTPStatus.BAD_REQUEST, "invalid_parameter", "A parameter cannot be used"

    def __init__(self, parameter: str, reason: str) -> None:
        super().__init__(f"{parameter}: {reason}.", extra={"parameter": parameter})


class InvalidOrderId(Problem):
    status, code, title = HTTPStatus.BAD_REQUEST, "invalid_order_id", "The order id is not a UUID"


class UnknownImage(Problem):
    status, code, title = HTTPStatus.BAD_REQUEST, "unknown_image", "An image id is not part of this order"

    def __init__(self, image_ids: Sequence[str]) -> None:
        super().__init__(
            f"Not in this order: {', '.join(image_ids)}.",
            extra={"parameter": "image", "image_ids": list(image_ids)},
        )


class BadRequest(Problem):
    status, code, title = HTTPStatus.BAD_REQUEST, "bad_request", "The request cannot be understood"


class Unauthorized(_CredentialsWanted):
    code, title = "unauthorized", "A valid X-API-Key is needed"


class LinkRefused(_CredentialsWanted):
    code, title = "link_refused", "This link has expired, or was altered"


class WebhookUnauthorized(_CredentialsWanted):
    code, title = "webhook_unauthorized", "The webhook's secret is needed"
    challenge = 'Bearer realm="autoenhance-batch"'


class AdministratorsOnly(Problem):
    status, code, title = HTTPStatus.FORBIDDEN, "administrators_only", "This is for administrators"


class OriginRefused(Problem):
    status, code, title = HTTPStatus.FORBIDDEN, "origin_refused", "Pages of this origin may not do that"


class HostRefused(Problem):
    status, code, title = HTTPStatus.FORBIDDEN, "host_refused", "This service is not known by this host name"


class PrefetchRefused(Problem):
    status, code, title = HTTPStatus.FORBIDDEN, "prefetch_refused", "Full-size images are not fetched ahead of time"


class NotFound(Problem):
    status, code, title = HTTPStatus.NOT_FOUND, "not_found", "There is nothing at this address"


class MethodNotAllowed(Problem):
    status, code, title = HTTPStatus.METHOD_NOT_ALLOWED, "method_not_allowed", "This address takes other methods"


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
        super().__init__(f"It has {length} bytes.", headers={"Content-Range": f"bytes */{length}"})


class PayloadTooLarge(Problem):
    status, code, title = HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "payload_too_large", "The request is too large"


class HeadersTooLarge(Problem):
    status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
    code, title = "headers_too_large", "The address or a header of the request is too long"


class TooManyImages(Problem):
    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    code, title = "too_many_images", "The order has more images than one archive may hold"

    def __init__(self, images: int, limit: int) -> None:
        super().__init__(
            f"The request covers {images} images; the limit is {limit}.",
            extra={"images": images, "limit": limit},
        )


class NoImages(_Unfetched):
    code, title = "no_images", "None of the images could be fetched"


class ImagesMissing(_Unfetched):
    code, title = "images_missing", "Some images could not be fetched, and on_failure=strict was asked for"


class RateLimited(RetryableProblem):
    status, code, title = HTTPStatus.TOO_MANY_REQUESTS, "rate_limited", "Too many requests in a short time"


class UnsupportedMediaType(Problem):
    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    code, title = "unsupported_media_type", "Files are sent as multipart/form-data"


class NothingUploaded(Problem):
    status, code, title = HTTPStatus.UNPROCESSABLE_ENTITY, "nothing_uploaded", "None of the files reached Autoenhance"

    def __init__(self, files: Sequence[Mapping[str, Any]], order_id: str | None) -> None:
        super().__init__(f"Files refused: {len(files)}.", extra={"files": list(files), "order_id": order_id})


class NotAnImage(NothingUploaded):
    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    code, title = "not_an_image", "Only JPEG, PNG and WebP images can be uploaded"


class FileTooLarge(NothingUploaded):
    status, code, title = HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "file_too_large", "A file may have at most 20 MB"


class UploadTimeout(Problem):
    status, code, title = HTTPStatus.REQUEST_TIMEOUT, "upload_timeout", "The request's body came too slowly"


class UpstreamUnauthorized(_CredentialsWanted):
    code, title = "upstream_unauthorized", "Autoenhance refuses this service's API key"
    challenge = 'ApiKey realm="autoenhance"'


class UpstreamError(Problem):
    status, code, title = HTTPStatus.BAD_GATEWAY, "upstream_error", "Autoenhance cannot be used at the moment"


class UpstreamTimeout(Problem):
    status, code, title = HTTPStatus.GATEWAY_TIMEOUT, "upstream_timeout", "Autoenhance did not answer in time"


class UpstreamBusy(RetryableProblem):
    code, title = "upstream_busy", "Autoenhance asks us to slow down"


class BreakerOpen(RetryableProblem):
    code, title = "breaker_open", "Autoenhance failed repeatedly and is given a rest"


class NotConfigured(Problem):
    status = HTTPStatus.SERVICE_UNAVAILABLE
    code, title = "not_configured", "This service has no Autoenhance API key yet"


class StoreFull(RetryableProblem):
    code, title = "store_full", "The image store has no room left"


class JobNotFound(Problem):
    status, code, title = HTTPStatus.NOT_FOUND, "job_not_found", "There is no such job"


class JobUnfinished(RetryableProblem):
    status, code, title = HTTPStatus.CONFLICT, "job_unfinished", "The job has not finished yet"


class JobFailed(Problem):
    status, code, title = HTTPStatus.UNPROCESSABLE_ENTITY, "job_failed", "The job failed"

    def __init__(self, error: Mapping[str, Any], failures: Sequence[Mapping[str, Any]]) -> None:
        # The title: the detail ends with a next step of its own, and stands in `error`.
        super().__init__(f"{error['title']}.", extra={"error": dict(error), "failures": list(failures)})


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
    code, title = "jobs_unavailable", "Jobs cannot be recorded at the moment"


class ErrorsNotConfigured(Problem):
    status = HTTPStatus.SERVICE_UNAVAILABLE
    code, title = "errors_not_configured", "This service is not told where errors are collected"


class ErrorsUnavailable(RetryableProblem):
    status, code, title = HTTPStatus.BAD_GATEWAY, "errors_unavailable", "Sentry cannot be asked at the moment"


class StillBuilding(RetryableProblem):
    code, title = "still_building", "The archive is still being built, and this range needs its end"


class Draining(RetryableProblem):
    code, title = "draining", "This instance is shutting down"


UPSTREAM_DOWN = (RetryableProblem, UpstreamError, UpstreamTimeout)
"""What passes by itself, sooner or later."""


class InternalError(Problem):
    status, code, title = HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error", "Something went wrong on our side"
