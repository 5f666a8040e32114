"""Who may use a route: what it says against what the request proves. No service runs."""

from typing import Any, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from service.api import auth
from service.api.caller import CALLER, Caller
from service.api.keys import SETTINGS
from service.api.route import Who
from service.problems import AdministratorsOnly, Problem, Unauthorized
from service.settings import ServiceKey, Settings

KEY = "key-of-a-caller-1234"
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
async def test_where_there_are_keys(monkeypatch: pytest.MonkeyPatch, who: Who, let_in: set[str]) -> None:
    """Who has none is asked for one, and told of administrators' routes that they are theirs."""
    found = {caller: await judged(monkeypatch, who, caller, keys=True) for caller in CALLERS}

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
