"""What an answer of Autoenhance means: pure functions, no sockets."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from service.problems import OrderNotFound, Problem, UpstreamBusy, UpstreamError, UpstreamTimeout, UpstreamUnauthorized
from service.reasons import Reason
from service.telemetry.metrics import Circuit
from service.text import one_line

_TRANSIENT = frozenset({Reason.RATE_LIMITED, Reason.TIMEOUT, Reason.UNREACHABLE, Reason.TRUNCATED})
# Statuses of the 4xx class that pass by themselves.
_PASSING = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY})

_MEANINGS: Mapping[int, Reason] = {
    HTTPStatus.ACCEPTED: Reason.NOT_READY,
    HTTPStatus.TOO_EARLY: Reason.NOT_READY,
    HTTPStatus.REQUEST_TIMEOUT: Reason.TIMEOUT,
    HTTPStatus.UNAUTHORIZED: Reason.REFUSED,
    HTTPStatus.FORBIDDEN: Reason.REFUSED,
    HTTPStatus.PAYMENT_REQUIRED: Reason.NO_CREDIT,
    HTTPStatus.NOT_FOUND: Reason.IMAGE_NOT_FOUND,
    HTTPStatus.GONE: Reason.EXPIRED,
    HTTPStatus.TOO_MANY_REQUESTS: Reason.RATE_LIMITED,
}

_MAX_RETRY_AFTER = 86_400.0


@dataclass(eq=False)
class UpstreamFailure(Exception):
    """One failed call: why, and how long upstream asked to wait."""

    reason: Reason
    detail: str = ""
    """For the log only: may hold upstream's text, never shown to a caller."""
    status: int | None = None
    retry_after: float | None = None
    """Seconds."""
    circuit: Circuit = Circuit.API
    """The dependency that failed."""
    has_begun: bool = False
    """Bytes of the body had arrived."""
    was_sent: bool = True
    """False where no connection was made: then nothing was asked for."""

    def __str__(self) -> str:
        return self.detail

    @property
    def is_transient(self) -> bool:
        """Whether trying again can help. Not with a document that cannot be read."""
        return self.reason in _TRANSIENT or self.status in _PASSING or self._is_server_error

    @property
    def sold_nothing(self) -> bool:
        """Whether the API itself said no, or was not even asked. What a 5xx has done cannot be told."""
        is_no = HTTPStatus.BAD_REQUEST <= (self.status or 0) < HTTPStatus.INTERNAL_SERVER_ERROR
        return self.circuit is Circuit.API and (is_no or not self.was_sent)

    @property
    def is_throttled(self) -> bool:
        """Whether upstream only asks to slow down."""
        return self.reason is Reason.RATE_LIMITED

    @property
    def breaks_circuit(self) -> bool:
        """Whether it speaks against the dependency: a 5xx, no answer in time, no connection, a broken body.

        Not its refusals, not a request to slow down, not a document that cannot be read.
        """
        match self.reason:
            case Reason.UPSTREAM_ERROR:
                return self._is_server_error
            case Reason.TIMEOUT:
                return self.status is None and not self.has_begun
            case _:
                return self.reason in (Reason.UNREACHABLE, Reason.TRUNCATED)

    @property
    def _is_server_error(self) -> bool:
        return self.status is not None and self.status >= HTTPStatus.INTERNAL_SERVER_ERROR


def refusal(status: int, headers: Mapping[str, str], *, now: datetime | None = None) -> UpstreamFailure | None:
    """What a status of an image or order call says against it; None for 200.

    A date in `Retry-After` is measured from the answer's own `Date`; `now` stands in where there is none.
    """
    if status == HTTPStatus.OK:
        return None
    reason = _MEANINGS.get(status)
    if reason is None:
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            reason = Reason.UPSTREAM_ERROR
        else:
            reason = Reason.REJECTED if status >= HTTPStatus.BAD_REQUEST else Reason.NOT_AN_IMAGE
    wait = None
    if reason in (Reason.RATE_LIMITED, Reason.UPSTREAM_ERROR):
        wait = retry_after(headers.get("Retry-After"), now=_date(headers.get("Date")) or now)
    return UpstreamFailure(reason, f"status {status}", status=status, retry_after=wait)


def order_problem(failure: UpstreamFailure, order_id: str | None = None) -> Problem:
    """What a caller is told when a call about an order failed."""
    match failure.reason:
        case Reason.IMAGE_NOT_FOUND | Reason.EXPIRED:
            return OrderNotFound(f"There is no order {order_id}.")
        case Reason.REFUSED:
            return UpstreamUnauthorized()
        case Reason.TIMEOUT:
            return UpstreamTimeout()
        case Reason.RATE_LIMITED:
            return UpstreamBusy(retry_after=failure.retry_after or 5)
        case _:
            return UpstreamError()


def retry_after(value: str | None, *, now: datetime | None = None) -> float | None:
    """Seconds that a `Retry-After` asks for (RFC 9110 10.2.3: seconds or a date); None when it says nothing."""
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return min(float(value[:9]), _MAX_RETRY_AFTER)
    moment = _date(value)
    if moment is None:
        return None
    return min(max(0.0, (moment - (now or datetime.now(UTC))).total_seconds()), _MAX_RETRY_AFTER)


def _date(value: str | None) -> datetime | None:
    """A date of HTTP; None when it is none."""
    try:
        moment = parsedate_to_datetime(value or "")
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def for_the_log(text: str, key: str) -> str:
    """Upstream's text on one line, without our key, and without any piece of it that would help to guess the rest."""
    shortest = max(1, min(len(key), max(4, len(key) // 4)))
    if not any(key[start : start + shortest] in text for start in range(len(key) - shortest + 1)):
        shortest = len(key) + 1  # no piece of it, however long
    for length in range(len(key), shortest - 1, -1):
        for start in range(len(key) - length + 1):
            text = text.replace(key[start : start + length], "***")
    return one_line(text)


def strong_etag(value: str | None) -> str | None:
    """An entity tag that can guard a resumed body (RFC 9110 13.1.5), or None."""
    return value if value and value.startswith('"') and value.endswith('"') and len(value) > 1 else None


def content_range(value: str | None) -> tuple[int, int | None] | None:
    """Start and whole length (None: not told) of a `Content-Range: bytes a-b/n`; None when it is none."""
    match = re.fullmatch(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)", (value or "").strip())
    return (int(match[1]), None if match[2] == "*" else int(match[2])) if match else None
