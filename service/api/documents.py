"""What the JSON documents of several resources have in common: their models, and how one is answered."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any

from aiohttp import web
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from service.reasons import Reason

Count = Annotated[int, Field(ge=0)]
Uuid = Annotated[str, Field(json_schema_extra={"format": "uuid"})]
Reference = Annotated[str, Field(json_schema_extra={"format": "uri-reference"})]
Moment = AwareDatetime


class Document(BaseModel):
    """A document that the service gives. What is made as a plain mapping, in hot places, is described by one."""

    model_config = ConfigDict(extra="forbid")


class Failure(Document):
    """An image that is missing, and why."""

    image_id: str
    name: str = Field(description="As the order has it.")
    code: Reason
    reason: str = Field(description="One sentence for a person, with the next step.")
    rendition: str = Field("", description="Which of several it is missing in; left out for an only one.")


class Summary(Document):
    """What overviews, jobs and reports share."""

    order_id: Uuid
    total: Count
    downloaded: Count = Field(description="Images that are here.")
    failed: Count
    bytes: Count = Field(description="Of the images that are here.")
    failures: list[Failure]


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
