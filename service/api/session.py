"""An administrator in a browser: `/v1/session` trades the token for a cookie that is worth less than the token.

The cookie holds the time of its end and a signature by a key derived from `ADMIN_TOKEN`: every replica accepts it,
nothing is kept here, and another `ADMIN_TOKEN` ends every session.
"""

import time
from http import HTTPStatus

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from service.api.base_path import base_path
from service.api.bodies import read_document
from service.api.caller import is_administrator, is_https
from service.api.guesses import GUESSES
from service.api.keys import SETTINGS
from service.api.origins import is_from_own_page
from service.api.signatures import is_signed, sign, signing_key
from service.problems import AdministratorsOnly

COOKIE = "autoenhance_batch_session"
# A working day: the token is asked for again the next morning.
LIFETIME_SECONDS = 8 * 3600

_UNCACHED = {"Cache-Control": "no-store"}


class Login(BaseModel):
    """What an administrator sends to begin a session."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    token: str = Field(min_length=1, max_length=1024, description="`ADMIN_TOKEN`.")


async def create(request: web.Request) -> web.Response:
    """Begin a session. Raises `AdministratorsOnly` for a wrong token, `RateLimited` after too many of them."""
    login = await read_document(request, Login)
    if not await is_token(request, login.token):
        raise AdministratorsOnly("The token is wrong, or this service has none.")
    response = web.json_response({"administrator": True}, headers=_UNCACHED)
    _set_cookie(request, response, await _value(request, int(time.time()) + LIFETIME_SECONDS), LIFETIME_SECONDS)
    return response


async def read(request: web.Request) -> web.Response:
    """Whether the caller is an administrator."""
    return web.json_response({"administrator": is_administrator(request)}, headers=_UNCACHED)


async def delete(request: web.Request) -> web.Response:
    """End the session in this browser."""
    response = web.Response(status=HTTPStatus.NO_CONTENT, headers=_UNCACHED)
    _set_cookie(request, response, "", 0)
    return response


async def is_token(request: web.Request, given: str) -> bool:
    """Whether it is the administrator's token. Raises `RateLimited` when this address guessed wrong too often."""
    token = request.app[SETTINGS].admin_token
    if token is None:
        return False
    return await request.app[GUESSES].judge(request, [given], [token]) is not None


async def has_session(request: web.Request) -> bool:
    """Whether the request carries the cookie of a session that lasts, and comes from a page of ours (or from none).

    Browsers keep the cookie from other sites (`SameSite=Strict`), but not from other hosts and ports of the same site.
    """
    value = request.cookies.get(COOKIE)
    if value is None or request.app[SETTINGS].admin_token is None or not is_from_own_page(request):
        return False
    expires = value.partition(".")[0]
    if not (expires.isascii() and expires.isdecimal() and len(expires) <= 12):
        return False
    return is_signed(await _key(request), expires, value.partition(".")[2]) and time.time() < int(expires)


async def _value(request: web.Request, expires: int) -> str:
    return f"{expires}.{sign(await _key(request), str(expires))}"


async def _key(request: web.Request) -> bytes:
    token = request.app[SETTINGS].admin_token
    if token is None:
        raise AdministratorsOnly
    return await signing_key(token.get_secret_value(), "session")


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
