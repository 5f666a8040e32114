"""Who may use a route: what it says against what the request proves. No service runs."""

from typing import Any, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from service.api import auth, session, signatures
from service.api.caller import CALLER, Caller
from service.api.guesses import GUESSES, Guesses
from service.api.keys import SETTINGS
from service.api.route import Who
from service.problems import AdministratorsOnly, LinkRefused, Problem, Unauthorized
from service.settings import ServiceKey, Settings
from service.telemetry.metrics import Metrics

KEY, TOKEN = "key-of-a-caller-1234", "token-of-the-administrator"
CALLERS = {
    "nobody": Caller(),
    "caller": Caller(ServiceKey(None, cast(Any, KEY))),
    "link": Caller(None, by_link=True),
    "administrator": Caller(None, is_administrator=True),
}


async def judged(
    monkeypatch: pytest.MonkeyPatch, who: Who, caller: str, *, keys: bool, method: str = "GET"
) -> type[Problem] | None:
    """The problem that keeps the caller from a route for `who`, if any."""
    app = web.Application()
    app[SETTINGS] = Settings(_env_file=None, service_api_key=KEY if keys else "")
    request = make_mocked_request(method, "/", app=app)

    class Route:
        pass

    route = cast(Any, Route())
    route.who = who

    async def found(*_: object) -> Caller:
        return CALLERS[caller]

    monkeypatch.setattr(auth, "policy_of", lambda _: route)
    monkeypatch.setattr(auth, "_caller", found)

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response()

    try:
        await auth.require_caller(request, answer)
    except Problem as problem:
        return type(problem)
    assert request[CALLER] == (Caller() if method == "OPTIONS" else CALLERS[caller])
    return None


@pytest.mark.parametrize(
    ("who", "let_in"),
    [
        (Who.OPEN, {"nobody", "caller", "link", "administrator"}),
        (Who.WEBHOOK, {"nobody", "caller", "link", "administrator"}),
        (Who.SHARED, {"nobody", "caller", "link", "administrator"}),
        (Who.CALLER, {"caller", "link", "administrator"}),
        (Who.DOWNLOADER, {"caller", "link", "administrator"}),
        (Who.NAMED, {"caller", "link", "administrator"}),
        (Who.ADMINISTRATOR, {"administrator"}),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE"])
async def test_where_there_are_keys(monkeypatch: pytest.MonkeyPatch, who: Who, let_in: set[str], method: str) -> None:
    """Who has none is asked for one, and told of administrators' routes that they are theirs."""
    found = {caller: await judged(monkeypatch, who, caller, keys=True, method=method) for caller in CALLERS}

    assert {caller for caller, problem in found.items() if problem is None} == let_in
    refusal = AdministratorsOnly if who is Who.ADMINISTRATOR else Unauthorized
    assert {problem for problem in found.values() if problem is not None} <= {refusal}


@pytest.mark.parametrize("who", list(Who))
async def test_without_keys_all_are_callers(monkeypatch: pytest.MonkeyPatch, who: Who) -> None:
    """But nobody is told apart from others: what lists things of callers is for administrators."""
    found = {caller: await judged(monkeypatch, who, caller, keys=False) for caller in CALLERS}

    closed = who in (Who.ADMINISTRATOR, Who.NAMED)
    expected = {caller: AdministratorsOnly if closed and caller != "administrator" else None for caller in CALLERS}
    assert found == expected


@pytest.mark.parametrize("who", list(Who))
async def test_a_preflight_is_never_asked(monkeypatch: pytest.MonkeyPatch, who: Who) -> None:
    """It carries no credentials."""
    assert await judged(monkeypatch, who, "nobody", keys=True, method="OPTIONS") is None


async def proved(who: Who, path: str = "/", *, keys: bool = True, cookie: str = "", **headers: str) -> str:
    """What a request proves, in words. `cookie`: whose session it has."""
    app = web.Application()
    app[SETTINGS] = Settings(_env_file=None, service_api_key=KEY if keys else "", admin_token=TOKEN)
    app[GUESSES] = Guesses(Metrics())
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    if cookie:
        secret, purpose = (KEY, "caller session") if cookie == "caller" else (TOKEN, "session")
        signature = signatures.sign(await signatures.signing_key(secret, purpose), "99999999999")
        given["Cookie"] = f"{session.COOKIE}=99999999999.{signature}"
    route = cast(Any, type("Route", (), {"who": who}))
    caller = await auth._caller(make_mocked_request("GET", path, headers=given, app=app), route)
    words = {
        "key": caller.key is not None,
        "administrator": caller.is_administrator,
        "link": caller.by_link,
        "session": caller.by_session,
    }
    return " ".join(word for word, is_so in words.items() if is_so)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ""),
        ({"X_API_Key": KEY}, "key"),
        ({"Authorization": f"bearer {KEY}"}, "key"),
        ({"Authorization": f"Basic {KEY}"}, ""),
        ({"X_API_Key": "another"}, ""),
        ({"X_API_Key": TOKEN}, ""),
        ({"X_Admin_Token": TOKEN}, "administrator"),
        ({"X_Admin_Token": KEY}, ""),
        ({"X_Admin_Token": TOKEN, "X_API_Key": KEY}, "key administrator"),
        ({"cookie": "caller"}, "key session"),
        ({"cookie": "administrator"}, "administrator session"),
        ({"cookie": "caller", "X_API_Key": "another"}, ""),
        ({"cookie": "administrator", "X_API_Key": KEY}, "key administrator"),
        ({"cookie": "administrator", "X_Admin_Token": "another"}, ""),
        ({"cookie": "caller", "X_Admin_Token": TOKEN}, "key administrator"),
        ({"cookie": "caller", "Sec_Fetch_Site": "cross-site"}, ""),
    ],
)
async def test_what_a_request_proves(given: dict[str, Any], expected: str) -> None:
    """What it says in headers comes before its cookie; who sends both buys not by a session alone."""
    assert await proved(Who.CALLER, **given) == expected


@pytest.mark.parametrize("who", [Who.OPEN, Who.WEBHOOK])
async def test_a_key_is_not_judged_where_nothing_depends_on_it(who: Who) -> None:
    """A wrong one is no guess there: a webhook's secret is sent like one."""
    for _ in range(11):
        assert await proved(who, Authorization="Bearer the-secret-of-the-webhook") == ""
    assert await proved(who, X_API_Key=KEY) == ""
    assert await proved(who, X_API_Key=KEY, cookie="caller") == "key"


async def test_a_signature_is_judged_where_there_are_keys() -> None:
    """Without them every address is open as it is."""
    with pytest.raises(LinkRefused):
        await proved(Who.DOWNLOADER, "/?expires=99999999999&signature=x", X_API_Key=KEY)

    assert await proved(Who.DOWNLOADER, "/?expires=99999999999&signature=x", keys=False) == ""


@pytest.mark.parametrize("who", [Who.OPEN, Who.WEBHOOK])
async def test_a_signature_is_not_judged_where_nothing_depends_on_it(who: Who) -> None:
    """A probe is answered whatever its query says."""
    assert await proved(who, "/?expires=99999999999&signature=x") == ""
