"""What the JSON documents of several resources have in common: their models, and how one is answered."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any

from aiohttp import web
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from service import problems
from service.reasons import Reason

Count = Annotated[int, Field(ge=0)]
Unlisted = Annotated[
    Count,
    Field(
        description="Images that no download has: Autoenhance counts them but does not list them, or lists more than"
        " 10,000."
    ),
]
Uuid = Annotated[str, Field(json_schema_extra={"format": "uuid"})]
Reference = Annotated[str, Field(json_schema_extra={"format": "uri-reference"})]
Moment = AwareDatetime

COMMON_HEADERS = {
    "Server": "autoenhance-batch",  # aiohttp would name its version, and Python's
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""What every answer carries."""


class Document(BaseModel):
    """A document that the service gives. What is made as a plain mapping, in hot places, is described by one."""

    model_config = ConfigDict(extra="forbid")


class Input(BaseModel):
    """What a caller sends. A member that is not known here is wrong."""

    model_config = ConfigDict(extra="forbid")


class Failure(Document):
    """An image that is missing, and why."""

    image_id: str
    name: str = Field(description="As the order has it.")
    code: Reason
    reason: str = Field(description="One sentence for a person, with the next step.")
    rendition: str = Field("", description="Which of several it is missing in; left out for an only one.")
    order_id: str = Field("", description="Which of several orders it is of; left out for an only one.")


class Summary(Document):
    """What overviews, jobs and reports share."""

    total: Count
    downloaded: Count = Field(description="Images that are here.")
    failed: Count
    bytes: Count = Field(description="Of the images that are here.")
    failures: list[Failure]


class OrderSummary(Document):
    """One order of an archive."""

    order_id: Uuid
    name: str | None
    folder: str | None = Field(description="Its folder in the ZIP; an order alone has none.")
    total: Count
    downloaded: Count
    failed: Count
    unlisted: Unlisted
    code: str | None = Field(description="Why nothing of it can be had; the codes are those of problems.")
    reason: str | None = Field(description="The same for a person, with the next step.")


class OrdersSummary(Summary):
    """What jobs and reports share: one order, or several."""

    order_id: Uuid | None = Field(description="Null where there are several.")
    orders: list[OrderSummary] = Field(
        description="Each order; none while the archive is not known, and in events of single images."
    )


class Problem(BaseModel):
    """An error (RFC 9457)."""

    model_config = ConfigDict(extra="allow")

    type: Reference
    title: str
    status: int = Field(ge=400, le=599)
    detail: str
    code: str = Field(description="What programs should look at.")
    request_id: str
    failures: list[Failure] = []


def answer(
    document: Document | Mapping[str, Any], *, status: int = HTTPStatus.OK, headers: Mapping[str, str] = {}
) -> web.Response:
    """A document as JSON, kept by no cache unless `headers` say otherwise; members that were never set are left out."""
    values = document.model_dump(mode="json", exclude_unset=True) if isinstance(document, Document) else document
    return web.json_response(values, status=status, headers={"Cache-Control": "no-store", **headers})


def problem_response(problem: problems.Problem, request_id: str, base_path: str) -> web.Response:
    """The problem document, for a caller who reaches the service below `base_path`."""
    return web.Response(
        body=json.dumps(problem.document(request_id, base_path)).encode(),
        status=problem.status,
        headers=problem.headers | {"Cache-Control": "no-store"},
        content_type=problems.PROBLEM_JSON,
    )
