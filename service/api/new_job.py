"""What a request for a job asks for: options, and addresses to be told or to deliver to."""

import re
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit

from aiohttp import web
from pydantic import Field, field_validator
from yarl import URL

from service.api.bodies import checked, read_body, read_document
from service.api.documents import Uuid
from service.api.keys import PRESETS, SETTINGS
from service.api.query import read_as
from service.archives.options import Options
from service.archives.renditions import PRESETS_OF_CONTEXT
from service.hosts import address_of
from service.order_ids import is_order_id
from service.problems import InvalidParameter
from service.settings import Settings
from service.text import printable
from service.upstream.network import is_public_host

# A presigned address holds a signature, and often a session's token.
_MAX_URL_LENGTH, _MAX_PRESIGNED_LENGTH = 2048, 8000
_OF_ONE_ORDER = ("image", "part", "since")
_MAX_ORDERS = 20
_NAME = re.compile(r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")


class NewJob(Options):
    """The body of a request for a job: the options of a download, where they do not fit an address."""

    callback_url: str | None = Field(
        None,
        max_length=_MAX_URL_LENGTH,
        description="An https address to notify when the job ends.",
        json_schema_extra={"format": "uri"},
    )
    deliver_to: str | None = Field(
        None,
        max_length=_MAX_PRESIGNED_LENGTH,
        description="A presigned https address that the finished ZIP is put to, better in the body, since proxies log"
        " queries. Shown to nobody afterwards.",
        json_schema_extra={"format": "uri"},
    )


class NewJobOfSeveral(NewJob):
    """The body of a request for a job of several orders."""

    order_ids: Annotated[tuple[Uuid, ...], Field(min_length=1, max_length=_MAX_ORDERS)] = Field(
        description="The orders, a folder each; up to 20. `image`, `part` and `since` are of an order by itself."
    )

    @field_validator("order_ids", mode="before")
    @classmethod
    def _distinct_ids(cls, value: object) -> object:
        if not isinstance(value, list) or not 0 < len(value) <= _MAX_ORDERS or not all(map(is_order_id, value)):
            raise ValueError(f"must be a list of 1 to {_MAX_ORDERS} order ids (UUIDs)")
        ids = [order_id.lower() for order_id in value]
        if len(set(ids)) < len(ids):
            raise ValueError("has the same order twice")
        return tuple(ids)


Spec = TypeVar("Spec", bound=NewJob)


async def read_job_of_several(request: web.Request) -> NewJobOfSeveral:
    """A job of several orders, from a JSON body. Raises `InvalidParameter`, `BadRequest`."""
    for name in request.query:
        raise InvalidParameter(printable(name), "belongs in the JSON body")
    spec = await read_new_job(request, NewJobOfSeveral)
    for name in _OF_ONE_ORDER:
        if getattr(spec, name):
            raise InvalidParameter(name, "cannot be combined with order_ids: ask for that order by itself")
    return spec


async def read_new_job(request: web.Request, kind: type[Spec]) -> Spec:
    """A job, from the query, a JSON body, or both. Raises `InvalidParameter`, `BadRequest`."""
    context = {PRESETS_OF_CONTEXT: request.app[PRESETS]}
    query = read_as(NewJob, request.query, context).model_dump(exclude_unset=True)
    body: dict[str, Any] = {}
    if request.can_read_body and await read_body(request):
        body = (await read_document(request, kind, context)).model_dump(exclude_unset=True)
    if twice := query.keys() & body.keys():
        raise InvalidParameter(min(twice), "is given in the query and in the body")
    spec = checked(kind, query | body)
    _check_addresses(spec, request.app[SETTINGS])
    return spec


def _check_addresses(spec: NewJob, settings: Settings) -> None:
    """Raises `InvalidParameter` where nothing can be sent, as far as that can be judged without looking it up."""
    if spec.callback_url is not None and not settings.callback_secret:
        raise InvalidParameter("callback_url", "callbacks are not configured; the operator must set CALLBACK_SECRET")
    for name in ("callback_url", "deliver_to"):
        address = getattr(spec, name)
        if address is not None and (reason := _objection(address, allow_private=settings.callback_allow_private)):
            raise InvalidParameter(name, reason)


def _objection(address: str, *, allow_private: bool) -> str | None:
    """What is wrong with a receiver's address."""
    try:
        url, has_user = URL(address), "@" in urlsplit(address).netloc
        host, port = url.raw_host, url.port
    except ValueError:
        return "is not a URL"
    if port == 0:
        return "is not a URL"
    if not host or not address.isprintable():
        return "must be an absolute URL"
    schemes = ("http", "https") if allow_private else ("https",)
    if url.scheme not in schemes:
        return f"must be an {' or '.join(schemes)} address"
    if has_user or "#" in address:
        return "must have neither a user nor a fragment"
    if not _NAME.fullmatch(host) and address_of(host) is None:
        return "must have a valid host name"
    if not allow_private and not is_public_host(host):
        return "must not be a private address"
    return None
