"""Reading the small bodies of requests."""

import asyncio
import json
from typing import Any, TypeVar

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from pydantic import BaseModel, ValidationError

from service.api.keys import TIMEOUTS
from service.problems import BadRequest, InvalidParameter, PayloadTooLarge, UploadTimeout
from service.wrong_values import wrong_values

Document = TypeVar("Document", bound=BaseModel)


def require_plain(request: web.Request) -> None:
    """Raises `BadRequest` for a compressed body: none is unpacked."""
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise BadRequest("The body is compressed, which is not supported.")


async def read_body(request: web.Request) -> bytes:
    """The whole of a small body. Raises `PayloadTooLarge`, `UploadTimeout`, and `BadRequest` when it cannot be read."""
    require_plain(request)
    try:
        async with asyncio.timeout(request.app[TIMEOUTS].body):
            return await request.read()
    except TimeoutError:
        raise UploadTimeout from None
    except web.HTTPRequestEntityTooLarge:
        raise PayloadTooLarge from None
    except (web.RequestPayloadError, HttpProcessingError):
        raise BadRequest("The request body is malformed.") from None


async def read_document(request: web.Request, kind: type[Document], context: dict[str, Any] | None = None) -> Document:
    """The JSON document sent, validated in this context.

    Raises as `read_body` does, and `InvalidParameter` for the first member that is wrong.
    """
    try:
        document = json.loads(await read_body(request))
    except (ValueError, RecursionError):
        raise BadRequest("The body is not a JSON document.") from None
    return checked(kind, document, context)


def checked(kind: type[Document], document: object, context: dict[str, Any] | None = None) -> Document:
    """The document as a model: a number is no truth value there, and a text is no number.

    Raises `InvalidParameter` for the first member that is wrong.
    """
    try:
        text = json.dumps(document)
    except RecursionError:
        raise InvalidParameter("body", "is nested too deeply") from None
    try:
        return kind.model_validate_json(text, strict=True, context=context)
    except ValidationError as error:
        name, reason = next(wrong_values(kind, error, what="member"))
        raise InvalidParameter(name[:64] or "body", reason) from None
