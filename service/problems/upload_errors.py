"""Errors of a new order's files."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from service.problems.base import Problem, RetryableProblem


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
