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

# The longest signature below ends at byte 12.
SIGNATURE_BYTES = 16

_SIGNATURES: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (re.compile(rb"\xff\xd8\xff"), "jpg"),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "png"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "webp"),
    (re.compile(rb"....ftypavi[fs]", re.DOTALL), "avif"),
    (re.compile(rb"....ftypmif1", re.DOTALL), "avif"),
    (re.compile(rb"\xff\x0a|\x00\x00\x00\x0cJXL \r\n\x87\n"), "jxl"),
)

FORMAT_EXTENSIONS = {"jpeg": "jpg", "png": "png", "webp": "webp", "avif": "avif", "jxl": "jxl"}

_TRANSIENT = frozenset(
    {Reason.RATE_LIMITED, Reason.UPSTREAM_ERROR, Reason.TIMEOUT, Reason.UNREACHABLE, Reason.TRUNCATED}
)
# What speaks against the dependency itself: not its refusals, and not its wish for a slower pace.
_BREAKS = _TRANSIENT - {Reason.RATE_LIMITED}

_MEANINGS: Mapping[int, Reason] = {
    HTTPStatus.ACCEPTED: Reason.NOT_READY,
    HTTPStatus.TOO_EARLY: Reason.NOT_READY,
    HTTPStatus.UNAUTHORIZED: Reason.REFUSED,
    HTTPStatus.FORBIDDEN: Reason.REFUSED,
    HTTPStatus.PAYMENT_REQUIRED: Reason.NO_CREDIT,
    HTTPStatus.NOT_FOUND: Reason.IMAGE_NOT_FOUND,
    HTTPStatus.GONE: Reason.EXPIRED,
    HTTPStatus.TOO_MANY_REQUESTS: Reason.RATE_LIMITED,
}

_LONGEST_RETRY_AFTER = 86_400.0


@dataclass(eq=False)
class UpstreamFailure(Exception):
    """One failed call: why, and how long upstream asked to wait."""

    reason: Reason
    detail: str = ""
    """For the log only: may hold upstream's words, never shown to a caller."""
    status: int | None = None
    retry_after: float | None = None
    """Seconds."""
    circuit: Circuit = Circuit.API
    """The dependency that failed."""

    @property
    def is_transient(self) -> bool:
        """Whether trying again can help."""
        return self.reason in _TRANSIENT

    @property
    def breaks_circuit(self) -> bool:
        """Whether it speaks against the dependency."""
        return self.reason in _BREAKS


def refusal(status: int, headers: Mapping[str, str], *, now: datetime | None = None) -> UpstreamFailure | None:
    """What a status of an image or order call says against it; None for 200."""
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
        wait = retry_after(headers.get("Retry-After"), now=now)
    return UpstreamFailure(reason, f"status {status}", status=status, retry_after=wait)


def order_problem(failure: UpstreamFailure, order_id: str | None = None) -> Problem:
    """What a caller is told when a call about an order failed."""
    match failure.reason:
        case Reason.IMAGE_NOT_FOUND | Reason.EXPIRED:
            return OrderNotFound(f"It has no order {order_id}.")
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
        return min(float(value[:9]), _LONGEST_RETRY_AFTER)
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(max(0.0, (moment - (now or datetime.now(UTC))).total_seconds()), _LONGEST_RETRY_AFTER)


def for_the_log(words: str, key: str) -> str:
    """Upstream's words on one line, without our key, and without any piece of it that would help to guess the rest."""
    shortest = max(1, min(len(key), max(4, len(key) // 4)))
    for length in range(len(key), shortest - 1, -1):
        for start in range(len(key) - length + 1):
            words = words.replace(key[start : start + length], "***")
    return "".join(character if character.isprintable() else " " for character in words)


def carries_image(content_type: str | None) -> bool:
    """Whether a body of this type may be an image: image/*, octet-stream (S3 often says so), or nothing said."""
    kind = (content_type or "").partition(";")[0].strip().lower()
    return kind in ("", "application/octet-stream", "binary/octet-stream") or (
        kind.startswith("image/") and kind != "image/svg+xml"
    )


def image_extension(head: bytes) -> str | None:
    """The extension that the first `SIGNATURE_BYTES` of a body name; None when it is no image we know."""
    for pattern, extension in _SIGNATURES:
        if pattern.match(head):
            return extension
    return None


def strong_etag(value: str | None) -> str | None:
    """An entity tag that can guard a resumed body (RFC 9110 13.1.5), or None."""
    return value if value and value.startswith('"') and value.endswith('"') and len(value) > 1 else None


def content_range(value: str | None) -> tuple[int, int | None] | None:
    """Start and whole length (None: not told) of a `Content-Range: bytes a-b/n`; None when it is none."""
    match = re.fullmatch(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)", (value or "").strip())
    return (int(match[1]), None if match[2] == "*" else int(match[2])) if match else None
