"""What every error is made of: a status, a code, a title, advice, and the document they become (RFC 9457)."""

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

    @classmethod
    def type_uri(cls, base_path: str = "") -> str:
        """The address of its row in the docs, which names the type of the error."""
        return f"{base_path}/docs/errors#{cls.code}"

    def document(self, request_id: str, base_path: str = "") -> dict[str, Any]:
        """The RFC 9457 document for this occurrence, told to a caller who reaches the service below `base_path`."""
        return {
            "type": self.type_uri(base_path),
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
            said = f"{said} Autoenhance does not list {unlisted} of them."
        if orders:
            said = f"{said} Orders missing: {', '.join(order['order_id'] for order in orders)}."
        more = {"unlisted": unlisted, "orders": list(orders)}
        super().__init__(said, extra={"failures": list(failures), **{name: one for name, one in more.items() if one}})
