"""Errors of the request itself: its form, its sender, and how often it comes."""

from http import HTTPStatus

from service.problems.base import CredentialsRequired, Problem, RetryableProblem


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
    title = "This link does not work, or no longer"
    advice = "Ask whoever sent it for a new one."


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
