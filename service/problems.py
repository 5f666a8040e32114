"""Every error that a caller can meet, one class each: status, code, title and advice together (RFC 9457)."""

import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, ClassVar

PROBLEM_JSON = "application/problem+json"


class Problem(Exception):
    """An error with an answer. Raised anywhere, turned into a problem document in one place.

    `occurrence` is a sentence about this occurrence, where the title does not say it all; the class's advice follows
    it. The docstring of a class with a code is part of the public docs.
    """

    status: ClassVar[HTTPStatus]
    code: ClassVar[str]
    title: ClassVar[str]
    advice: ClassVar[str]
    detail_has_advice: ClassVar[bool] = True
    """False where every occurrence says itself what to do; the advice is in the docs only."""

    def __init__(
        self, occurrence: str | None = None, *, headers: Mapping[str, str] = {}, extra: Mapping[str, Any] = {}
    ) -> None:
        sentences = (occurrence, self.advice if self.detail_has_advice or not occurrence else None)
        super().__init__(" ".join(sentence for sentence in sentences if sentence))
        self.headers, self.extra = dict(headers), dict(extra)

    def document(self, request_id: str, base_path: str = "") -> dict[str, Any]:
        """The RFC 9457 document for this occurrence, told to a caller who reaches the service below `base_path`."""
        return {
            "type": f"{base_path}/docs/errors#{self.code}",  # the address of its row in the docs
            "title": self.title,
            "status": int(self.status),
            "detail": str(self),
            "code": self.code,
            "request_id": request_id,
            **self.extra,
        }


class RetryableProblem(Problem):
    """A temporary problem, usually a 503. `retry_after`: seconds until the next try."""

    status = HTTPStatus.SERVICE_UNAVAILABLE

    def __init__(self, occurrence: str | None = None, *, retry_after: float = 5) -> None:
        super().__init__(occurrence, headers={"Retry-After": str(max(1, math.ceil(retry_after)))})
        self.retry_after = retry_after


class CredentialsRequired(Problem):
    """A 401, which must name the scheme it asks for."""

    status = HTTPStatus.UNAUTHORIZED
    challenge: ClassVar[str] = 'ApiKey realm="autoenhance-batch", header="X-API-Key"'

    def __init__(self) -> None:
        super().__init__(headers={"WWW-Authenticate": self.challenge})


class ImagesFailed(Problem):
    """The outcome of a build, with every image that failed."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY

    def __init__(
        self, failures: Sequence[Mapping[str, Any]], unlisted: int = 0, orders: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        """`orders`: those of which nothing could be had, where there are several."""
        said = f"Images missing: {len(failures) + unlisted}."
        if unlisted:
            said = f"{said} Autoenhance does not list {unlisted} of them, or lists more than 10,000."
        if orders:
            said = f"{said} Orders missing: {', '.join(order['order_id'] for order in orders)}."
        more = {"unlisted": unlisted, "orders": list(orders)}
        super().__init__(said, extra={"failures": list(failures), **{name: one for name, one in more.items() if one}})


# The request itself: its form, its sender, and how often it comes.


class BadRequest(Problem):
    status, code = HTTPStatus.BAD_REQUEST, "bad_request"
    title = "Malformed request"
    advice = "Compare it with the API reference at /docs."


class InvalidParameter(Problem):
    """`parameter` names it."""

    status, code = HTTPStatus.BAD_REQUEST, "invalid_parameter"
    title = "Invalid parameter"
    advice = "The detail says what is allowed; the API reference at /docs lists every parameter."
    detail_has_advice = False

    def __init__(self, parameter: str, reason: str) -> None:
        super().__init__(f"{parameter}: {reason}.", extra={"parameter": parameter})


class InvalidOrderId(Problem):
    status, code = HTTPStatus.BAD_REQUEST, "invalid_order_id"
    title = "The order id is not a UUID"
    advice = "An order id looks like 6f1c2b52-0d6e-4c1b-9a35-3f7b1f6f0a11; Autoenhance shows it in the order's URL."


class Unauthorized(CredentialsRequired):
    code = "unauthorized"
    title = "Missing or invalid API key"
    advice = "Send a valid key in the X-API-Key header. The operator of this service issues keys."


class LinkRefused(CredentialsRequired):
    """It was altered, or the key that signed it is no longer accepted."""

    code = "link_refused"
    title = "The link has expired or is invalid"
    advice = "Ask for a new link; programs create one with POST /v1/links."


class LinkNotFound(Problem):
    """It never existed, has expired, or was revoked: nobody is told which."""

    status, code = HTTPStatus.NOT_FOUND, "link_not_found"
    title = "This link has expired or does not work"
    advice = "Ask whoever sent it for a new one."


class TooManyLinks(Problem):
    status, code = HTTPStatus.CONFLICT, "too_many_links"
    title = "You have as many share links as one caller may have"
    advice = (
        "Revoke those that are no longer needed (GET /v1/links lists them), or wait until some have expired. "
        "Where several instances share, what was made in the last 30 days counts, revoked or not."
    )


class LinksUnavailable(RetryableProblem):
    """The storage that keeps links cannot be reached."""

    code = "links_unavailable"
    title = "Links cannot be looked up at the moment"
    advice = "Try again after the number of seconds in Retry-After."


class WebhookUnauthorized(CredentialsRequired):
    code = "webhook_unauthorized"
    title = "Missing or invalid webhook secret"
    advice = "The operator must set AUTOENHANCE_WEBHOOK_SECRET to the value configured at Autoenhance."
    challenge = 'Bearer realm="autoenhance-batch"'


class AdministratorsOnly(Problem):
    """The token is missing or wrong, or this service has none."""

    status, code = HTTPStatus.FORBIDDEN, "administrators_only"
    title = "Administrators only"
    advice = "The operator of this service has the token."


class OriginRefused(Problem):
    """A browser asked for what buys or changes something, and did not say that a page of this service wants it."""

    status, code = HTTPStatus.FORBIDDEN, "origin_refused"
    title = "Origin not allowed"
    advice = (
        "Open it from the page of this service. The operator can let other pages call by ALLOWED_ORIGINS, but not sign "
        "in, nor use a session."
    )


class HostRefused(Problem):
    """Without keys, on the loopback: a request that buys or changes something came under another host name."""

    status, code = HTTPStatus.FORBIDDEN, "host_refused"
    title = "This service is not known by this host name"
    advice = "Use http://127.0.0.1 or http://localhost; the operator can list the name in ALLOWED_HOSTS."


class PrefetchRefused(Problem):
    """A browser fetched ahead what would spend credits."""

    status, code = HTTPStatus.FORBIDDEN, "prefetch_refused"
    title = "Full-size images are not prefetched"
    advice = "They cost credits: open the URL itself."


class NotFound(Problem):
    status, code = HTTPStatus.NOT_FOUND, "not_found"
    title = "No such URL"
    advice = "The API reference at /docs lists every URL."


class MethodNotAllowed(Problem):
    """`Allow` lists the methods of this URL."""

    status, code = HTTPStatus.METHOD_NOT_ALLOWED, "method_not_allowed"
    title = "Method not allowed"
    advice = "The API reference at /docs lists the methods of every URL."


class UploadTimeout(Problem):
    """Nothing arrived for 30 seconds during an upload, or a small body took longer than 15."""

    status, code = HTTPStatus.REQUEST_TIMEOUT, "upload_timeout"
    title = "The request body arrived too slowly"
    advice = "Send it again, with fewer files or over a faster connection."


class PayloadTooLarge(Problem):
    status, code = HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "payload_too_large"
    title = "The request body is too large"
    advice = "Send less data in one request."


class HeadersTooLarge(Problem):
    """Each may have up to 8 KiB."""

    status, code = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "headers_too_large"
    title = "The URL or a header is too long"
    advice = "Request fewer images at a time."


class RateLimited(RetryableProblem):
    """The `RateLimit` header shows what is left."""

    status, code = HTTPStatus.TOO_MANY_REQUESTS, "rate_limited"
    title = "Too many requests"
    advice = "Try again after the number of seconds in Retry-After. Resuming an interrupted download does not count."
    detail_has_advice = False


# An order, its images and its archive.

_DOWNLOAD_AGAIN = "Download the order again; stored images are not fetched again."


class UnknownImage(Problem):
    """`image_ids` lists them."""

    status, code = HTTPStatus.BAD_REQUEST, "unknown_image"
    title = "An image is not part of this order"
    advice = "GET /v1/orders/{order_id} lists the ids of the order's images."

    def __init__(self, image_ids: Sequence[str]) -> None:
        super().__init__(
            f"Not in this order: {', '.join(image_ids)}.",
            extra={"parameter": "image", "image_ids": list(image_ids)},
        )


class NothingNew(Problem):
    """A download answers without a body; for a job it is the error."""

    status, code = HTTPStatus.NO_CONTENT, "nothing_new"
    title = "Nothing is new since that archive"
    advice = "It holds all of the order's images as they are; leave out since to have them again."


class ImageNotFound(Problem):
    status, code = HTTPStatus.NOT_FOUND, "image_not_found"
    title = "There is no such image in this order"
    advice = "GET /v1/orders/{order_id} lists the ids of the order's images."


class ImageNotReady(RetryableProblem):
    """`failures` has the reason."""

    status, code = HTTPStatus.CONFLICT, "image_not_ready"
    title = "The image is not finished yet"
    advice = "Try again later."
    detail_has_advice = False

    def __init__(self, failure: Mapping[str, Any]) -> None:
        super().__init__(failure["reason"], retry_after=10)
        self.extra["failures"] = [dict(failure)]


class ImageExpired(Problem):
    """`failures` has the reason."""

    status, code = HTTPStatus.GONE, "image_expired"
    title = "Autoenhance no longer has this image"
    advice = "Upload it again."
    detail_has_advice = False

    def __init__(self, failure: Mapping[str, Any]) -> None:
        super().__init__(failure["reason"], extra={"failures": [dict(failure)]})


class OrderNotFound(Problem):
    status, code = HTTPStatus.NOT_FOUND, "order_not_found"
    title = "Autoenhance does not know this order"
    advice = "Check the id, and that the order belongs to the Autoenhance account of this service."


class OrderEmpty(Problem):
    status, code = HTTPStatus.NOT_FOUND, "order_empty"
    title = "This order has no images"
    advice = "Upload photos to it, or try again later if they were just uploaded."


class ArchiveNotFound(Problem):
    status, code = HTTPStatus.NOT_FOUND, "archive_not_found"
    title = "No such archive"
    advice = _DOWNLOAD_AGAIN


class ArchiveGone(Problem):
    status, code = HTTPStatus.GONE, "archive_gone"
    title = "The archive has expired"
    advice = _DOWNLOAD_AGAIN


class PreconditionFailed(Problem):
    """`If-Match` names another one."""

    status, code = HTTPStatus.PRECONDITION_FAILED, "precondition_failed"
    title = "This is not the file you have"
    advice = "Send the request without If-Match, or to the URL of the archive you have."


class RangeUnsafe(Problem):
    """This URL has named another archive, or none that is known here."""

    status, code = HTTPStatus.PRECONDITION_FAILED, "range_unsafe"
    title = "The rest of your download is not at this URL"
    advice = "Delete the partial file and download again, or resume with If-Range or at /v1/archives/{archive_id}."


class RangeNotSatisfiable(Problem):
    """`Content-Range` gives its length."""

    status, code = HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, "range_not_satisfiable"
    title = "The range starts after the end of the file"
    advice = "If your file already has that size, it is complete."

    def __init__(self, length: int) -> None:
        super().__init__(f"The file has {length} bytes.", headers={"Content-Range": f"bytes */{length}"})


class TooManyImages(Problem):
    """The limit is `MAX_IMAGES_PER_ORDER`."""

    status, code = HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_many_images"
    title = "Too many images for one archive"
    advice = "Download it in parts: part=1, part=2 and so on. The overview of the order links them."

    def __init__(self, images: int, limit: int) -> None:
        super().__init__(
            f"The request covers {images} images; the limit is {limit}.",
            extra={"images": images, "limit": limit},
        )


class MaxCreditsExceeded(Problem):
    """`to_buy` is the number of images that would be bought. Nothing was bought."""

    status, code = HTTPStatus.CONFLICT, "max_credits_exceeded"
    title = "This would buy more images than max_credits allows"
    advice = "Raise max_credits to the number in `to_buy`, or ask for fewer images."

    def __init__(self, to_buy: int, max_credits: int) -> None:
        super().__init__(
            f"It would buy {to_buy} images, a credit each; max_credits is {max_credits}.",
            extra={"to_buy": to_buy, "max_credits": max_credits},
        )


class CreditLimit(RetryableProblem):
    """What is stored can still be downloaded."""

    code = "credit_limit"
    title = "This service may spend no more credits today"
    advice = "Try again tomorrow (UTC). The operator can raise MAX_CREDITS_PER_DAY."


class CreditsUnknown(RetryableProblem):
    """Several instances share `MAX_CREDITS_PER_DAY`, and their Redis does not answer. What is stored can still be
    downloaded."""

    code = "credits_unknown"
    title = "How much was spent today cannot be told at the moment, so nothing is bought"
    advice = "Try again in a few seconds."


NO_PURCHASES = (CreditLimit, CreditsUnknown)
"""Nothing is bought just now."""


class NoImages(ImagesFailed):
    """`failures` lists them."""

    code = "no_images"
    title = "None of the images could be downloaded"
    advice = "`failures` gives the reason for each image. Resolve it, then try again."


class NoOrders(Problem):
    """Of several in one ZIP; it is the error of a job. `detail` has the reason for each."""

    status, code = HTTPStatus.UNPROCESSABLE_ENTITY, "no_orders"
    title = "None of the orders could be downloaded"
    advice = "Resolve the reason for each order, then try again."

    def __init__(self, orders: Sequence[Mapping[str, Any]]) -> None:
        reasons = (f"{order['order_id']}: {order['reason']}" for order in orders)
        super().__init__(" ".join(reasons), extra={"orders": list(orders)})


class ImagesMissing(ImagesFailed):
    """Only with `on_failure=strict`. `failures` lists them."""

    code = "images_missing"
    title = "Some images could not be downloaded"
    advice = "`failures` gives the reason for each. Try again, or use on_failure=partial to get the others."


class StillBuilding(RetryableProblem):
    """The requested range needs its end."""

    code = "still_building"
    title = "The archive is still being built"
    advice = "The build continues. Try again after the number of seconds in Retry-After."


class StoreFull(RetryableProblem):
    code = "store_full"
    title = "No storage space left"
    advice = "Try again later, or with fewer images. The operator can free disk space or raise STORE_MAX_BYTES."


# Background jobs.

_NEW_JOB = "Start a new job; stored images are not fetched again."


class JobNotFound(Problem):
    status, code = HTTPStatus.NOT_FOUND, "job_not_found"
    title = "No such job"
    advice = _NEW_JOB


class JobUnfinished(RetryableProblem):
    status, code = HTTPStatus.CONFLICT, "job_unfinished"
    title = "The job has not finished yet"
    advice = "Follow its events, or try again later."


class JobFailed(Problem):
    """`error` is the problem that ended it, `failures` lists the images."""

    status, code = HTTPStatus.UNPROCESSABLE_ENTITY, "job_failed"
    title = "The job failed"
    advice = "`error` says what to do, `failures` gives the reason for each image. Then start a new job."

    def __init__(self, error: Mapping[str, Any], failures: Sequence[Mapping[str, Any]]) -> None:
        # The title: the detail ends with advice of its own, which is in `error`.
        super().__init__(f"{error['title']}.", extra={"error": dict(error), "failures": list(failures)})


class JobCancelled(Problem):
    status, code = HTTPStatus.GONE, "job_cancelled"
    title = "The job was cancelled"
    advice = _NEW_JOB


class JobExpired(Problem):
    status, code = HTTPStatus.GONE, "job_expired"
    title = "The result of the job has expired"
    advice = _NEW_JOB


class JobCrashed(Problem):
    status, code = HTTPStatus.INTERNAL_SERVER_ERROR, "job_crashed"
    title = "The service crashed several times while running this job"
    advice = "The operator can find the cause in the log. Then start a new job."


class NoCallback(Problem):
    status, code = HTTPStatus.CONFLICT, "no_callback"
    title = "The job has no callback_url"
    advice = "Set callback_url when you start a job to be notified when it ends."


class KeyReused(Problem):
    status, code = HTTPStatus.UNPROCESSABLE_ENTITY, "idempotency_key_reused"
    title = "This Idempotency-Key was used for another request"
    advice = "Use a new key for each new request."


class JobsUnavailable(RetryableProblem):
    code = "jobs_unavailable"
    title = "Jobs are temporarily unavailable"
    advice = "Try again later, or download the order without a job."


# A new order's files.


class UnsupportedMediaType(Problem):
    status, code = HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type"
    title = "Files must be sent as multipart/form-data"
    advice = "With curl: -F files=@kitchen.jpg."


class NothingUploaded(Problem):
    """`files` lists them; `order_id` is the order that was created, which may be empty."""

    status, code = HTTPStatus.UNPROCESSABLE_ENTITY, "nothing_uploaded"
    title = "None of the files could be uploaded"
    advice = "`files` gives the reason for each. Resolve it, then upload them again."

    def __init__(self, files: Sequence[Mapping[str, Any]], order_id: str | None) -> None:
        super().__init__(f"Files rejected: {len(files)}.", extra={"files": list(files), "order_id": order_id})


class NotAnImage(NothingUploaded):
    """`files` lists what was sent."""

    status, code = HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "not_an_image"
    title = "Only JPEG, PNG and WebP images can be uploaded"
    advice = "Convert the listed files, then upload them again."


class FileTooLarge(NothingUploaded):
    """`files` lists what was sent."""

    status, code = HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "file_too_large"
    title = "Files may have at most 20 MB each"
    advice = "Reduce the size of the listed files, then upload them again."


class RequestUnfinished(RetryableProblem):
    status, code = HTTPStatus.CONFLICT, "request_unfinished"
    title = "The first request with this Idempotency-Key has not ended yet"
    advice = "Send it again in a few seconds, with the same key, to get its answer."


class RequestsUnavailable(RetryableProblem):
    code = "requests_unavailable"
    title = "It is not known at the moment whether this Idempotency-Key was used before"
    advice = "Send it again in a few seconds, with the same key."


# Autoenhance, or the way there.

_TRY_AGAIN = "Images that were already downloaded are kept. Try again in a minute."


class UpstreamUnauthorized(CredentialsRequired):
    code = "upstream_unauthorized"
    title = "Autoenhance rejected the API key of this service"
    advice = "The operator must check AUTOENHANCE_API_KEY."
    challenge = 'ApiKey realm="autoenhance"'


class UpstreamError(Problem):
    status, code = HTTPStatus.BAD_GATEWAY, "upstream_error"
    title = "Autoenhance is failing or unreachable"
    advice = _TRY_AGAIN


class UpstreamTimeout(Problem):
    status, code = HTTPStatus.GATEWAY_TIMEOUT, "upstream_timeout"
    title = "Autoenhance did not respond in time"
    advice = _TRY_AGAIN


class UpstreamBusy(RetryableProblem):
    code = "upstream_busy"
    title = "Autoenhance is limiting our requests"
    advice = _TRY_AGAIN


class BreakerOpen(RetryableProblem):
    code = "breaker_open"
    title = "Autoenhance is failing; requests are paused"
    advice = "Stored archives can still be downloaded. Try again in a minute."


UPSTREAM_DOWN = (BreakerOpen, UpstreamBusy, UpstreamError, UpstreamTimeout)
"""Autoenhance cannot be asked just now."""


# This service and its configuration.


class NotConfigured(Problem):
    status, code = HTTPStatus.SERVICE_UNAVAILABLE, "not_configured"
    title = "This service has no Autoenhance API key"
    advice = "The operator must set AUTOENHANCE_API_KEY."


class ErrorsNotConfigured(Problem):
    status, code = HTTPStatus.SERVICE_UNAVAILABLE, "errors_not_configured"
    title = "Reading errors from Sentry is not configured"
    advice = "The operator must set SENTRY_AUTH_TOKEN, SENTRY_ORG and SENTRY_PROJECT."


class ErrorsUnavailable(RetryableProblem):
    status, code = HTTPStatus.BAD_GATEWAY, "errors_unavailable"
    title = "Sentry is unavailable"
    advice = "Try again in a minute; the log has the cause."


class Draining(RetryableProblem):
    code = "draining"
    title = "This instance is shutting down"
    advice = "Try again: another instance, or this one after its restart, continues."


class InternalError(Problem):
    status, code = HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error"
    title = "Internal error"
    advice = "Try again. If it happens again, send the request_id to the operator."
