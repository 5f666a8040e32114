"""Errors of Autoenhance, or on the way there."""

from http import HTTPStatus

from service.problems.base import CredentialsRequired, Problem, RetryableProblem

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
