"""Reading the small bodies of requests."""

import json
from typing import TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from service.problems import BadRequest, InvalidParameter

Document = TypeVar("Document", bound=BaseModel)


async def read_document(request: web.Request, kind: type[Document]) -> Document:
    """The JSON document sent. Raises `BadRequest`, and `InvalidParameter` for the first member that is wrong."""
    try:
        document = json.loads(await request.read())
    except (ValueError, RecursionError):
        raise BadRequest("The body is no JSON document.") from None
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = str(first["loc"][0])[:64] if first["loc"] else "body"
        raise InvalidParameter(name, first["msg"]) from None
