"""A browser's session: `/v1/session` trades a caller's key or the administrators' token for a cookie.

An `<img>` or a plain link cannot send a header, and a page had better not keep a key. The cookie holds the time of its
end and a signature by a key derived from what it was traded for: every replica accepts it, nothing is kept here, and it
dies with that key or token.
"""

import re
import time
from dataclasses import replace
from http import HTTPStatus
from urllib.parse import parse_qsl, urlencode

from aiohttp import web
from pydantic import ConfigDict, Field, SecretStr

from service.api.base_path import base_path
from service.api.bodies import read_body, read_document
from service.api.caller import CALLER, Caller, api_key, is_https, may_call
from service.api.documents import Document, Input, answer
from service.api.guesses import GUESSES
from service.api.keys import SETTINGS
from service.api.origins import is_from_own_page
from service.api.route import Answer, Body, Route, Who
from service.api.signatures import is_signed, sign, signing_key
from service.order_ids import find_order_id
from service.problems import AdministratorsOnly, InvalidParameter, OriginRefused, Unauthorized
from service.settings import ServiceKey

COOKIE = "autoenhance_batch_session"
# Of several, browsers send the one of the longest path first: the others are of services above this one.
_FIRST = re.compile(rf"(?:^|;) *{COOKIE}=([^; ]*)")
# A working day: the key or token is asked for again the next morning.
LIFETIME_SECONDS = 8 * 3600

# What is signed for a caller says nothing of an administrator, also where a key and the token are the same.
_FORM = "application/x-www-form-urlencoded"
_ADMINISTRATOR, _CALLER = "session", "caller session"


class Login(Input):
    """What begins a session: a caller's key, or the administrators' token."""

    model_config = ConfigDict(hide_input_in_errors=True)

    key: str = Field(default_factory=str, min_length=1, max_length=1024, description="One of `SERVICE_API_KEY`.")
    token: str = Field(default_factory=str, min_length=1, max_length=1024, description="`ADMIN_TOKEN`.")


class SessionDocument(Document):
    """Who is calling, and how others may."""

    administrator: bool
    caller: str | None = Field(description="The name of the caller's key, if it has one.")
    may_call: bool = Field(description="False where a key is needed and there is none.")
    has_administrators: bool = Field(description="Whether this service has a token for them.")


async def create(request: web.Request) -> web.Response:
    """Begin a session, by a document, by the page's form, or by the key in a header. Raises `Unauthorized` for a wrong
    key, `AdministratorsOnly` for a wrong token, `RateLimited` after too many of them.

    `OriginRefused` for a page of another site: by a form, also one of `text/plain` that looks like JSON, it could have
    the browser call as somebody else, or use up its address's guesses.
    """
    if not is_from_own_page(request):
        raise OriginRefused
    if request.content_type == _FORM:
        return await _by_form(request)
    if not request.can_read_body and (given := api_key(request)):
        login = Login.model_construct(key=given, token="")  # also what no document could have: a wrong key
    else:
        login = await read_document(request, Login)
    if bool(login.key) == bool(login.token):
        raise InvalidParameter("key", "send a caller's key or, as token, the administrators' token")
    if login.token:
        if not await is_token(request, login.token):
            raise AdministratorsOnly("The token is wrong, or this service has none.")
        return await _begun(request, Caller(is_administrator=True), SecretStr(login.token), _ADMINISTRATOR)
    if not request.app[SETTINGS].service_api_key:
        raise InvalidParameter("key", "this service has no keys: callers need no session")
    key = await find_key(request, login.key)
    if key is None:
        raise Unauthorized
    return await _begun(request, Caller(key), key.secret, _CALLER)


async def _by_form(request: web.Request) -> web.Response:
    """Begin a session by the form for browsers without scripts, and lead on to the order's download."""
    given = dict(parse_qsl((await read_body(request)).decode("utf-8", "replace")))
    key = await find_key(request, given.get("key", ""))
    where = {"order": find_order_id(given.get("order", "")) or "", "download": "previews"}
    led = web.Response(status=HTTPStatus.SEE_OTHER, headers={"Cache-Control": "no-store"})
    if key is None:
        where["wrong"] = "key"
    else:
        await _begin(request, led, key.secret, _CALLER)
    led.headers["Location"] = f"/?{urlencode(where)}"
    return led


async def read(request: web.Request) -> web.Response:
    caller = request[CALLER]
    if (given := api_key(request)) and request.app[SETTINGS].service_api_key:  # of an open route nobody looks at it
        caller = replace(caller, key=await find_key(request, given))
    return answer(_document(request, caller))


async def delete(request: web.Request) -> web.Response:
    response = web.Response(status=HTTPStatus.NO_CONTENT, headers={"Cache-Control": "no-store"})
    _set_cookie(request, response, "", 0)
    return response


async def is_token(request: web.Request, given: str) -> bool:
    """Whether it is the administrator's token. Raises `RateLimited` when this address guessed wrong too often."""
    token = request.app[SETTINGS].admin_token
    if token is None:
        return False
    return await request.app[GUESSES].judge(request, [given], [token]) is not None


async def find_key(request: web.Request, given: str) -> ServiceKey | None:
    """The configured key that was given. Raises `RateLimited` when this address guessed wrong too often."""
    keys = request.app[SETTINGS].service_keys
    secret = await request.app[GUESSES].judge(request, [given], [key.secret for key in keys])
    return next((key for key in keys if key.secret == secret), None)


async def session_of(request: web.Request) -> Caller:
    """Who the request's cookie says is calling, if that lasts and the request comes from a page of ours (or from none).

    Browsers keep the cookie from other sites (`SameSite=Strict`), but not from other hosts and ports of the same site.
    """
    found = _FIRST.search(request.headers.get("Cookie", ""))
    if found is None or not is_from_own_page(request):
        return Caller()
    expires, _, signature = found[1].partition(".")
    is_moment = expires.isascii() and expires.isdecimal() and len(expires) <= 12
    if not is_moment or time.time() >= int(expires):
        return Caller()
    settings = request.app[SETTINGS]
    if settings.admin_token is not None and await _is_of(settings.admin_token, _ADMINISTRATOR, expires, signature):
        return Caller(is_administrator=True)
    keys = [key for key in settings.service_keys if await _is_of(key.secret, _CALLER, expires, signature)]
    return Caller(keys[0]) if keys else Caller()


async def _is_of(secret: SecretStr, purpose: str, expires: str, signature: str) -> bool:
    return is_signed(await signing_key(secret.get_secret_value(), purpose), expires, signature)


async def _begun(request: web.Request, caller: Caller, secret: SecretStr, purpose: str) -> web.Response:
    response = answer(_document(request, caller))
    await _begin(request, response, secret, purpose)
    return response


async def _begin(request: web.Request, response: web.Response, secret: SecretStr, purpose: str) -> None:
    expires = str(int(time.time()) + LIFETIME_SECONDS)
    signature = sign(await signing_key(secret.get_secret_value(), purpose), expires)
    _set_cookie(request, response, f"{expires}.{signature}", LIFETIME_SECONDS)


def _document(request: web.Request, caller: Caller) -> SessionDocument:
    settings = request.app[SETTINGS]
    return SessionDocument(
        administrator=caller.is_administrator,
        caller=caller.key.name if caller.key else None,
        may_call=may_call(settings, caller),
        has_administrators=settings.admin_token is not None,
    )


def _set_cookie(request: web.Request, response: web.Response, value: str, seconds: int) -> None:
    response.set_cookie(
        COOKIE,
        value,
        max_age=seconds,
        path=base_path(request) or "/",
        httponly=True,
        samesite="Strict",
        secure=is_https(request),
    )


ROUTES = (
    Route(
        "POST",
        "/v1/session",
        create,
        name="signIn",
        summary="Sign in with a caller's key, or as an administrator",
        who=Who.OPEN,
        body=Body(Login, {"key": "SERVICE_API_KEY"}, required=False),
        answers=(
            Answer(200, "The cookie lasts 8 hours.", SessionDocument, ("Set-Cookie",)),
            Answer(303, "After the page's form for browsers without scripts.", headers=("Location", "Set-Cookie")),
        ),
        problems=(AdministratorsOnly, OriginRefused, Unauthorized),
    ),
    Route(
        "GET",
        "/v1/session",
        read,
        name="session",
        summary="Who is calling",
        who=Who.OPEN,
        answers=(Answer(200, "Who.", SessionDocument),),
    ),
    Route(
        "DELETE",
        "/v1/session",
        delete,
        name="signOut",
        summary="Sign out",
        who=Who.OPEN,
        answers=(Answer(204, "The cookie is gone.", headers=("Set-Cookie",)),),
    ),
)
