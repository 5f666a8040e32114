"""What a page of another site may not have a browser do: each judgement by itself."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from pydantic import SecretStr

from service.api import origins
from service.api.caller import CALLER, Caller
from service.api.keys import SETTINGS
from service.api.origins import _is_allowed, _is_own_host, _may_buy, is_from_own_page, is_prefetch
from service.problems import HostRefused, OriginRefused, PrefetchRefused
from service.settings import ServiceKey, Settings


def request(path: str = "/", host: str = "batch.example:8443", **headers: str) -> web.Request:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return make_mocked_request("GET", path, {"Host": host} | sent)


@pytest.mark.parametrize(
    ("headers", "own"),
    [
        ({}, True),
        ({"Sec_Fetch_Site": "same-origin"}, True),
        ({"Sec_Fetch_Site": "none"}, True),
        ({"Sec_Fetch_Site": "same-site"}, False),
        ({"Sec_Fetch_Site": "cross-site"}, False),
        ({"Sec_Fetch_Site": "cross-site", "Origin": "http://batch.example:8443"}, False),
        ({"Origin": "http://batch.example:8443"}, True),
        ({"Origin": "https://batch.example:8443"}, True),
        ({"Origin": "http://batch.example"}, False),
        ({"Origin": "http://batch.example.evil:8443"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": "http://["}, False),
        ({"Referer": "http://batch.example:8443/web"}, True),
        ({"Referer": "http://other.example/"}, False),
        ({"Origin": "http://other.example", "Referer": "http://batch.example:8443/"}, False),
    ],
)
def test_whose_page_asks(headers: dict[str, str], own: bool) -> None:
    """By what says most: the browser's own word, then the origin, then where it was. The proxy may end the TLS."""
    assert is_from_own_page(request(**headers)) is own


@pytest.mark.parametrize(
    ("host", "origin", "own"),
    [
        ("batch.example", "https://batch.example", True),
        ("batch.example", "http://batch.example", True),
        ("Batch.Example", "https://batch.example", True),
        ("batch.example:443", "https://batch.example", True),
        ("batch.example:443", "http://batch.example", False),
        ("batch.example", "https://batch.example:8443", False),
        ("batch.example", "https://other.example", False),
        ("batch.example", "https://other.example//batch.example", False),
        ("batch.example", "app://batch.example", False),
        ("batch.example", "//batch.example", False),
        ("batch.example", "null", False),
        ("batch.example", "https://batch.example:x", False),
        ("[::1]", "https://[::1]", True),
        ("[::1]", "https://[::2]", False),
        ("[", "https://batch.example", False),
        ("", "https:///", False),
    ],
)
def test_a_port_that_goes_without_saying_is_that_of_the_page(host: str, origin: str, own: bool) -> None:
    """Behind a proxy that ends the TLS the connection's scheme is not the page's."""
    assert is_from_own_page(request(host=host, Origin=origin)) is own
    assert is_from_own_page(request(host=host, Referer=f"{origin}/web"), otherwise=False) is own


@pytest.mark.parametrize(("origin", "own"), [("https://batch.example", True), ("http://batch.example", False)])
def test_where_the_scheme_is_known_a_page_of_the_plain_one_is_another(origin: str, own: bool) -> None:
    """Whoever is on the way can make pages of it. Given a connection, or a trusted proxy, that says https."""
    asked = request(host="batch.example", Origin=origin).clone(scheme="https")

    assert is_from_own_page(asked) is own


@pytest.mark.parametrize(("headers", "own"), [({}, False), ({"Referer": "http://batch.example:8443/"}, True)])
def test_for_a_session_silence_is_not_enough(headers: dict[str, str], own: bool) -> None:
    """A page of another site can have its requests say nothing."""
    assert is_from_own_page(request(**headers), otherwise=False) is own


@pytest.mark.parametrize(
    ("query", "buys"),
    [
        ("", False),
        ("?preview=true", False),
        ("?preview=TRUE", False),
        ("?preview=%20yes%20", False),
        ("?preview=false", True),
        ("?preview=0", True),
        ("?preview=", True),
        ("?preview=true&preview=false", True),
        ("?preview=false&dev_mode=true", False),
        ("?preview=false&dev_mode=false", True),
        ("?rendition=print", True),
        ("?rendition=print&dev_mode=1", False),
        ("?quality=80", False),
    ],
)
@pytest.mark.parametrize("may", [True, False])
def test_what_may_spend_credits(monkeypatch: pytest.MonkeyPatch, query: str, buys: bool, may: bool) -> None:
    """On a route that can: full size, or a preset, which may be that; never in dev mode."""
    monkeypatch.setattr(origins, "policy_of", lambda _: SimpleNamespace(buys=may))

    assert _may_buy(request(f"/v1/orders/o/images{query}")) is (buys and may)


@pytest.mark.parametrize(
    ("headers", "ahead"),
    [
        ({}, False),
        ({"Sec_Purpose": "prefetch"}, True),
        ({"Sec_Purpose": "prefetch;prerender"}, True),
        ({"Purpose": "Prefetch"}, True),
        ({"X_Moz": "prefetch"}, True),
        ({"Purpose": "another"}, False),
    ],
)
def test_what_is_asked_for_ahead_of_a_user(headers: dict[str, str], ahead: bool) -> None:
    """However browsers say it."""
    assert is_prefetch(request(**headers)) is ahead


@pytest.mark.parametrize(
    ("headers", "allowed", "may"),
    [
        ({"Origin": "https://a.example"}, ("https://a.example",), True),
        ({"Origin": "https://b.example"}, ("https://a.example",), False),
        ({"Origin": "https://b.example"}, ("*",), True),
        ({"Referer": "https://a.example/page?x"}, ("https://a.example",), True),
        ({"Origin": "https://b.example", "Referer": "https://a.example/"}, ("https://a.example",), False),
        ({"Referer": "nowhere"}, ("https://a.example",), False),
        ({}, ("https://a.example",), False),
        ({}, ("*",), True),
    ],
)
def test_which_other_pages_may_call(headers: dict[str, str], allowed: tuple[str, ...], may: bool) -> None:
    """Those of an origin that is allowed."""
    assert _is_allowed(request(**headers), allowed) is may


@pytest.mark.parametrize(
    ("host", "allowed", "own"),
    [
        ("localhost:8000", (), True),
        ("LOCALHOST.", (), True),
        ("127.0.0.1:8000", (), True),
        ("[::1]:8000", (), True),
        ("batch.example", (), False),
        ("localhost.evil.example", (), False),
        ("batch.example:80", ("batch.example",), True),
        ("Batch.Example.", ("batch.example",), True),
        ("other.example", ("batch.example",), False),
        ("other.example", ("*",), True),
        ("[", ("*",), False),
        ("", (), False),
    ],
)
def test_which_names_are_this_machines(host: str, allowed: tuple[str, ...], own: bool) -> None:
    """Anybody may give a name of his own its address."""
    assert _is_own_host(host, allowed) is own


def test_the_judged_host_is_the_one_that_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only where the connection came in over loopback can it be a trick."""
    sockets: Any = SimpleNamespace(get_extra_info=lambda name: ("127.0.0.1", 8000) if name == "sockname" else None)
    asked = request()
    monkeypatch.setattr(type(asked), "transport", property(lambda _: sockets))
    assert origins._is_on_loopback(asked)

    monkeypatch.setattr(type(asked), "transport", property(lambda _: None))
    assert not origins._is_on_loopback(asked)


KEY, ADMINISTRATOR = Caller(ServiceKey(None, SecretStr("key-of-a-caller-1234"))), Caller(is_administrator=True)
FOREIGN, OWN = {"Sec_Fetch_Site": "cross-site"}, {"Sec_Fetch_Site": "same-origin"}
PROBLEMS = {OriginRefused: "origin", PrefetchRefused: "prefetch", HostRefused: "host"}


@pytest.mark.parametrize(
    ("caller", "has_keys", "headers", "expected"),
    [
        (Caller(), False, OWN, "passes"),
        (Caller(), False, FOREIGN, "origin"),
        (Caller(), False, {}, "passes"),
        (KEY, True, FOREIGN, "passes"),
        (ADMINISTRATOR, False, FOREIGN, "passes"),
        (replace(KEY, by_session=True), True, OWN, "passes"),
        (replace(KEY, by_session=True), True, {}, "origin"),
        (replace(KEY, by_session=True), True, FOREIGN, "origin"),
        (replace(ADMINISTRATOR, by_session=True), False, {}, "origin"),
        (KEY, True, {"Sec_Purpose": "prefetch"}, "prefetch"),
        (Caller(), False, {"Origin": "https://allowed.example"}, "passes"),
        (Caller(), False, {"Origin": "https://other.example"}, "origin"),
        (Caller(), False, {"Host": "evil.example"}, "host"),
        (Caller(), False, {"Host": "localhost:8000"}, "passes"),
        (KEY, True, {"Host": "evil.example"}, "passes"),
    ],
)
async def test_who_may_spend_credits(
    monkeypatch: pytest.MonkeyPatch, caller: Caller, has_keys: bool, headers: dict[str, str], expected: str
) -> None:
    """Who proves who it is, wherever it is told to from; of who proves nothing, or only by a cookie, our own pages."""
    monkeypatch.setattr(origins, "policy_of", lambda _: SimpleNamespace(buys=True, changes=False))
    app = web.Application()
    app[SETTINGS] = Settings(
        _env_file=None,
        service_api_key="key-of-a-caller-1234" if has_keys else "",
        allowed_origins=("https://allowed.example",),
    )
    transport = SimpleNamespace(
        get_extra_info=lambda name, default=None: ("127.0.0.1", 9) if name == "sockname" else default
    )
    given = {"Host": "127.0.0.1:8000"} | {name.replace("_", "-"): value for name, value in headers.items()}
    asked = make_mocked_request("GET", "/?preview=false", given, app=app, transport=transport)
    asked[CALLER] = caller

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(text="passes")

    try:
        response = await origins.refuse_foreign(asked, answer)
        found = str(response.text)  # type: ignore[attr-defined]
    except tuple(PROBLEMS) as problem:
        found = PROBLEMS[type(problem)]

    assert found == expected
