"""Errors of this service and its configuration."""

from http import HTTPStatus

from service.problems.base import Problem, RetryableProblem


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
