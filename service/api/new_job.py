"""What a request for a job asks for: options, and addresses to be told or to deliver to."""

from aiohttp import web
from multidict import MultiDict
from pydantic import Field
from yarl import URL

from service.api.bodies import checked, read_body, read_document
from service.api.keys import PRESETS, SETTINGS
from service.api.query import read_options
from service.archives.options import Options
from service.archives.renditions import PRESETS_OF_CONTEXT
from service.problems import InvalidParameter
from service.upstream.network import is_public_host

# A presigned address holds a signature, and often a session's token.
_MAX_URL_LENGTH, _MAX_PRESIGNED_LENGTH = 2048, 8000
_ADDRESSES = ("callback_url", "deliver_to")


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


async def read_new_job(request: web.Request) -> tuple[Options, str | None, str | None]:
    """Options, callback address and storage address, from the query, a JSON body, or both.

    Raises `InvalidParameter`, `BadRequest`.
    """
    query = MultiDict(request.query)
    addresses: dict[str, str | None] = {}
    for name in _ADDRESSES:
        given = query.popall(name, [])
        if len(given) > 1:
            raise InvalidParameter(name, "may be given only once")
        if given:
            addresses[name] = given[0]
    presets = request.app[PRESETS]
    options = read_options(query, presets)
    if request.can_read_body and await read_body(request):
        body = await read_document(request, NewJob, {PRESETS_OF_CONTEXT: presets})
        if twice := body.model_fields_set & {*options.model_fields_set, *addresses}:
            raise InvalidParameter(min(twice), "is given in the query and in the body")
        both = options.model_dump(exclude_unset=True) | body.model_dump(exclude_unset=True, exclude={*_ADDRESSES})
        options = checked(Options, both)
        addresses |= body.model_dump(include={*_ADDRESSES} & body.model_fields_set)
    callback_url, deliver_to = (_read_address(request, name, addresses.get(name)) for name in _ADDRESSES)
    return options, callback_url, deliver_to


def _read_address(request: web.Request, name: str, given: str | None) -> str | None:
    """Where something is to be sent, as far as it can be judged without looking it up. Raises `InvalidParameter`."""
    if given is None:
        return None
    settings = request.app[SETTINGS]
    if name == "callback_url" and not settings.callback_secret:
        raise InvalidParameter(name, "callbacks are not configured; the operator must set CALLBACK_SECRET")
    max_length = _MAX_URL_LENGTH if name == "callback_url" else _MAX_PRESIGNED_LENGTH
    reason = _objection(given, max_length, allow_private=settings.callback_allow_private)
    if reason is not None:
        raise InvalidParameter(name, reason)
    return given


def _objection(address: str, max_length: int, *, allow_private: bool) -> str | None:
    """What is wrong with a receiver's address."""
    try:
        url = URL(address)
        host, user = url.host, url.user or url.password
    except ValueError:
        return "is not a URL"
    if not host or not address.isprintable() or len(address) > max_length:
        return f"must be an absolute URL of at most {max_length} characters"
    schemes = ("http", "https") if allow_private else ("https",)
    if url.scheme not in schemes:
        return f"must be an {' or '.join(schemes)} address"
    if user or "#" in address:
        return "must have neither a user nor a fragment"
    if not allow_private and not is_public_host(host):
        return "must not be a private address"
    return None
