"""Who may call: a key, a session, a signed link, or an administrator, as the route says."""

from aiohttp import web
from aiohttp.typedefs import Handler

from service.api import delivery_page, session, signatures
from service.api.caller import CALLER, Caller, api_key
from service.api.keys import SETTINGS
from service.api.route import Route, Who, policy_of
from service.problems import AdministratorsOnly, Unauthorized

_SECRET_OF_ITS_OWN = frozenset({Who.OPEN, Who.WEBHOOK, Who.SHARED})


@web.middleware
async def require_caller(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Note who calls, and let those pass whom the route is for. Raises `Unauthorized`, `AdministratorsOnly`."""
    if request.method == "OPTIONS":  # a preflight carries no credentials
        request[CALLER] = Caller()
        return await handler(request)
    route, has_keys = policy_of(request), bool(request.app[SETTINGS].service_api_key)
    request[CALLER] = caller = await _caller(request, route)
    is_for_administrators = route.who is Who.ADMINISTRATOR or (route.who is Who.NAMED and not has_keys)
    if is_for_administrators and not caller.is_administrator:
        raise AdministratorsOnly("Send the token in X-Admin-Token, or sign in on the page.")
    is_known = caller.key is not None or caller.is_administrator or caller.by_link
    if has_keys and route.who not in _SECRET_OF_ITS_OWN and not is_known:
        raise Unauthorized
    return await handler(request)


async def _caller(request: web.Request, route: Route) -> Caller:
    """Judge what the request carries. Raises `LinkRefused`, `LinksUnavailable`, and `RateLimited` for too many wrong
    keys or tokens."""
    if route.who is Who.SHARED:
        return await delivery_page.maker_of(request)
    keys = request.app[SETTINGS].service_keys
    if keys and route.who not in _SECRET_OF_ITS_OWN and signatures.is_link(request):
        return await signatures.maker_of(request)
    token, given = request.headers.get("X-Admin-Token"), api_key(request)
    browser = await session.session_of(request)
    is_administrator = browser.is_administrator if token is None else await session.is_token(request, token)
    if not given or route.who in _SECRET_OF_ITS_OWN:
        # Nothing depends on a key where all are let in, and a webhook's secret looks like one.
        by_session = token is None and not given and (browser.key is not None or browser.is_administrator)
        return Caller(browser.key, is_administrator, by_session=by_session)
    return Caller(await session.find_key(request, given) if keys else None, is_administrator)
