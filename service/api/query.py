"""Reading a request: the order's id, the query that downloads and jobs share, and its `Idempotency-Key`."""

import re
from difflib import get_close_matches
from typing import Any, TypeVar

from aiohttp import web
from multidict import MultiDict, MultiMapping
from pydantic import BaseModel, ValidationError

from service.api.caller import CALLER, tenant
from service.api.signatures import LINK_PARAMETERS
from service.archives.options import ImageOptions, Options
from service.archives.renditions import PRESETS_OF_CONTEXT, Presets
from service.images.identity import digest
from service.order_ids import is_order_id
from service.problems import InvalidOrderId, InvalidParameter
from service.text import printable
from service.wrong_values import wrong_values

Query = TypeVar("Query", bound=BaseModel)

_REPEATABLE = frozenset({"image", "include", "rendition"})

_KEY_HEADER = "Idempotency-Key"
REPLAYED = {"Idempotent-Replayed": "true"}
"""Goes with an answer to a request that was answered before."""

_KEY = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?")


def read_order_id(request: web.Request) -> str:
    """The order's id from the path, in lower case. Raises `InvalidOrderId`."""
    order_id = request.match_info["order_id"]
    if not is_order_id(order_id):
        raise InvalidOrderId(f"{printable(order_id)} is not valid.")
    return order_id.lower()


def read_query(request: web.Request) -> MultiMapping[str]:
    """The query, without what makes it a signed link; a caller by any other way has no such parameters."""
    if not request[CALLER].by_link:
        return request.query
    return MultiDict((name, value) for name, value in request.query.items() if name not in LINK_PARAMETERS)


def read_options(query: MultiMapping[str], presets: Presets) -> Options:
    """The validated query of a download or a job. Raises as `read_as`."""
    return read_as(Options, query, {PRESETS_OF_CONTEXT: presets})


def read_image_options(query: MultiMapping[str], presets: Presets) -> ImageOptions:
    """The validated query of one image by itself. Raises as `read_as`."""
    return read_as(ImageOptions, query, {PRESETS_OF_CONTEXT: presets}).resolved


def read_as(model: type[Query], query: MultiMapping[str], context: dict[str, Any] | None = None) -> Query:
    """The validated query. Raises `InvalidParameter`, which names the first parameter that is wrong."""
    values: dict[str, object] = {}
    for name in query:
        given = query.getall(name)
        if name in _REPEATABLE:
            values[name] = given
        elif len(given) > 1:
            raise InvalidParameter(printable(name), "may be given only once")
        else:
            values[name] = given[0]
    try:
        return model.model_validate(values, context=context)
    except ValidationError as error:
        name, reason = next(wrong_values(model, error, what="parameter"))
        hint = _given(values.get(name)) if reason.startswith("must be") else ""
        if name not in model.model_fields:
            hint = _meant(name, model)
        raise InvalidParameter(printable(name), f"{reason}{hint}") from None


def read_key(request: web.Request, *scope: str) -> str | None:
    """A digest of the request's `Idempotency-Key`, apart from those of callers with another API key and of other
    scopes; None without one.

    Raises `InvalidParameter`.
    """
    given = request.headers.getall(_KEY_HEADER, [])
    if not given:
        return None
    if len(given) > 1 or not _KEY.fullmatch(given[0]):
        raise InvalidParameter(_KEY_HEADER, "must be one value of 1 to 255 printable ASCII characters")
    return digest(*scope, tenant(request), given[0])


def _meant(name: str, model: type[BaseModel]) -> str:
    close = get_close_matches(name.lower()[:64], model.model_fields, n=1)
    return f"; perhaps you mean {close[0]}" if close else ""


def _given(value: object) -> str:
    return f", not {printable(value)}" if isinstance(value, str) and value else ""
