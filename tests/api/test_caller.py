"""Who is calling, by what a request proves and where it comes from. No service runs."""

from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from pydantic import SecretStr

from service.api.caller import (
    CALLER,
    Caller,
    api_key,
    identity,
    is_administrator,
    is_https,
    matching,
    may_call,
    tenant,
    tenant_of,
)
from service.api.keys import SETTINGS
from service.settings import ServiceKey, Settings

NAMED = ServiceKey("studio", SecretStr("key-of-the-studio-1"))
NAMELESS = ServiceKey(None, SecretStr("key-without-a-name"))


def asked(caller: Caller | None = None, *, peer: str = "192.0.2.7", **headers: str) -> web.Request:
    """A request of this caller, from 192.0.2.7 or by the trusted proxy 10.0.0.1."""
    app = web.Application()
    app[SETTINGS] = Settings(_env_file=None, trusted_proxies="10.0.0.0/24")
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    transport = SimpleNamespace(get_extra_info=lambda name, default=None: (peer, 9) if name == "peername" else default)
    request = make_mocked_request("GET", "/", headers=given, app=app, transport=transport)
    request[CALLER] = caller or Caller()
    return request


@pytest.mark.parametrize(
    ("caller", "whose"),
    [
        (Caller(), None),
        (Caller(is_administrator=True), None),
        (Caller(by_link=True), "administrator"),
        (Caller(NAMED), "caller:studio"),
        (Caller(NAMED, by_link=True), "caller:studio"),
        (Caller(NAMED, is_administrator=True), "caller:studio"),
        (Caller(ServiceKey("studio", SecretStr("its-second-key"))), "caller:studio"),
    ],
)
def test_whose_things_they_are(caller: Caller, whose: str | None) -> None:
    """The caller's by its name; what comes by a link is of who made it. Limits count by that, else by the address."""
    request = asked(caller)

    assert tenant(request) == whose
    assert identity(request) == (whose or "address:192.0.2.7")
    assert is_administrator(request) is caller.is_administrator


def test_a_key_without_a_name_is_a_caller_of_its_own() -> None:
    """Named by a part of its digest: nothing of the key is told."""
    names = {tenant_of(key) for key in (NAMED, NAMELESS, ServiceKey(None, SecretStr("another")))}

    assert len(names) == 3
    assert tenant_of(NAMELESS).startswith("key:")
    assert "key-without" not in tenant_of(NAMELESS)
    assert tenant_of(ServiceKey("x", SecretStr("key-without-a-name"))) == "caller:x"


@pytest.mark.parametrize(
    ("caller", "has_keys", "may"),
    [
        (Caller(), False, True),
        (Caller(), True, False),
        (Caller(by_link=True), True, False),
        (Caller(NAMED), True, True),
        (Caller(is_administrator=True), True, True),
    ],
)
def test_who_may_have_what_callers_may(caller: Caller, has_keys: bool, may: bool) -> None:
    """Everybody where there are no keys; by a link, no more than it opens."""
    settings = Settings(_env_file=None, service_api_key="key-of-a-caller-1234" if has_keys else "")

    assert may_call(settings, caller) is may


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({}, ""),
        ({"X_API_Key": "k"}, "k"),
        ({"Authorization": "Bearer k"}, "k"),
        ({"Authorization": "bEARER   k "}, "k"),
        ({"Authorization": "Basic k"}, ""),
        ({"Authorization": "Bearer"}, ""),
        ({"Authorization": "k"}, ""),
        ({"X_API_Key": "k", "Authorization": "Bearer another"}, "k"),
        ({"X_API_Key": "", "Authorization": "Bearer k"}, "k"),
    ],
)
def test_which_key_is_sent(headers: dict[str, Any], key: str) -> None:
    """In a header of its own, or as a bearer's."""
    assert api_key(asked(**headers)) == key


def test_the_key_that_matches_is_found() -> None:
    """Wherever it stands, whole; also where what was sent is no text."""
    keys = [SecretStr(value) for value in ("one", "two", "größer")]

    assert [matching(given, keys) for given in ("two", "one", "größer")] == [keys[1], keys[0], keys[2]]
    assert [matching(given, keys) for given in ("", "tw", "twos", "\udcff")] == [None] * 4


@pytest.mark.parametrize(
    ("peer", "said", "is_encrypted"),
    [
        ("10.0.0.1", "https", True),
        ("10.0.0.1", "HTTPS", True),
        ("10.0.0.1", "https, http", True),
        ("10.0.0.1", "http, https", False),
        ("10.0.0.1", "http", False),
        ("10.0.0.1", None, False),
        ("192.0.2.7", "https", False),
        ("10.0.1.1", "https", False),
    ],
)
def test_whether_the_callers_own_connection_is_encrypted(peer: str, said: str | None, is_encrypted: bool) -> None:
    """As a trusted proxy says; of several, the one that the caller reached."""
    headers: dict[str, Any] = {} if said is None else {"X_Forwarded_Proto": said}

    assert is_https(asked(peer=peer, **headers)) is is_encrypted
