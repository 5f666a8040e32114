"""`/v1/session`: an administrator in a browser."""

import time
from collections.abc import Callable, Mapping
from http.cookies import Morsel, SimpleCookie
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from pydantic import SecretStr

from service.api import session, signatures
from service.api.caller import Caller
from service.api.keys import SETTINGS
from service.problems import InvalidParameter, OriginRefused, Unauthorized
from service.settings import ServiceKey, Settings
from tests.api.conftest import FIRST, TOKEN
from tests.support.client import Answer, Service, StartService
from tests.support.samples import ORDER, jpeg, order
from tests.support.sending import send
from tests.support.upstream import FakeUpstream

SESSION = "/v1/session"
FOR_ADMINISTRATORS = "/v1/orders/sample"
OWN_PAGE = {"Sec-Fetch-Site": "same-origin"}


async def sign_in(service: Service, token: object = TOKEN, **headers: str) -> Answer:
    """Try to begin a session."""
    return await send(service, "POST", SESSION, {"token": token}, headers)


def cookie(answer: Answer) -> Morsel[str]:
    """The cookie that the answer sets."""
    return SimpleCookie(answer.headers["Set-Cookie"])[session.COOKIE]


async def signed_in(service: Service) -> dict[str, str]:
    """The headers of a browser that has a session."""
    return {"Cookie": f"{session.COOKIE}={cookie(await sign_in(service)).value}"}


async def is_administrator(service: Service, headers: dict[str, str]) -> bool:
    """What the service says."""
    answer = await send(service, "GET", SESSION, headers=headers)
    assert answer.status == 200
    found = answer.document["administrator"]
    assert isinstance(found, bool)
    return found


async def test_the_right_token_begins_a_session(service: Service) -> None:
    """The cookie that it gives makes its bearer an administrator."""
    answer = await sign_in(service)

    assert (answer.status, answer.document["administrator"]) == (200, True)
    assert await is_administrator(service, await signed_in(service))
    assert not await is_administrator(service, {})


async def test_scripts_and_other_sites_never_see_the_cookie(service: Service) -> None:
    """HttpOnly, SameSite=Strict, with an end; and the token is not in it."""
    answer = await sign_in(service)

    found = cookie(answer)
    assert found["httponly"]
    assert found["samesite"] == "Strict"
    assert found["path"] == "/"
    assert int(found["max-age"]) == session.LIFETIME_SECONDS == 8 * 3600
    assert TOKEN not in answer.text
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("token", ["wrong", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "t\u00f6ken"])
async def test_a_wrong_token_begins_nothing(service: Service, token: str) -> None:
    """403, and no cookie."""
    answer = await sign_in(service, token)

    assert (answer.status, answer.problem["code"]) == (403, "administrators_only")
    assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize("token", ["", 5, None, ["x"], "x" * 2000])
async def test_what_cannot_be_a_token_is_a_bad_request(service: Service, token: object) -> None:
    """400, and what was sent is not repeated."""
    answer = await sign_in(service, token)

    assert (answer.status, answer.problem["parameter"]) == (400, "token")


@pytest.mark.parametrize("key", ["x" * 2000, "ÿ", "wrong"])
async def test_a_header_without_the_right_key_begins_nothing(start_service: StartService, key: str) -> None:
    """401, whatever it has; no document is sent with it."""
    service = await start_service(service_api_key="key-of-a-caller")

    answer = await service.raw(
        f"POST {SESSION} HTTP/1.1\nHost: {service.url.removeprefix('http://')}\nX-API-Key: {key}\nConnection: close\n\n"
    )

    assert answer.startswith(b"HTTP/1.1 401 ")


async def test_without_a_configured_token_nobody_is_an_administrator(start_service: StartService) -> None:
    """403 for every token and on every route for administrators; an old cookie is worth nothing."""
    headers = await signed_in(await start_service(admin_token=TOKEN))
    service = await start_service()

    answers = [
        await sign_in(service),
        await send(service, "POST", FOR_ADMINISTRATORS, headers={"X-Admin-Token": TOKEN}),
        await send(service, "POST", FOR_ADMINISTRATORS, headers=headers),
        await send(service, "POST", FOR_ADMINISTRATORS, headers={"X-Admin-Token": ""}),
    ]

    assert [answer.status for answer in answers] == [403] * 4
    assert not await is_administrator(service, headers)


@pytest.mark.parametrize("path", [FOR_ADMINISTRATORS, f"/v1/jobs/{'0' * 32}/callback"])
@pytest.mark.parametrize("headers", [{}, {"X-Admin-Token": "wrong"}, {"X-API-Key": FIRST}])
async def test_routes_for_administrators_need_one(service: Service, path: str, headers: dict[str, str]) -> None:
    """403, with a caller's key or without any: a token that is wrong is none."""
    answer = await send(service, "POST", path, headers=headers)

    assert answer.status == 403


@pytest.mark.parametrize(("method", "path"), [("POST", "/livez"), ("DELETE", "/docs")])
async def test_a_wrong_method_needs_no_key(service: Service, method: str, path: str) -> None:
    """Where the right one needs none: 405, not 401."""
    assert (await send(service, method, path)).status == 405


async def test_an_administrator_may_do_what_a_caller_may(upstream: FakeUpstream, service: Service) -> None:
    """By token or by cookie, and without a key."""
    upstream.orders[ORDER] = order(["a"])
    upstream.images["a"] = jpeg()

    by_token = await service.download(headers={"X-Admin-Token": TOKEN})
    by_cookie = await service.download(headers=await signed_in(service))

    assert [by_token.status, by_cookie.status] == [200, 200]


async def test_a_session_ends_when_it_is_over(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the clock of the service, whatever the browser keeps."""
    headers = await signed_in(service)
    now = time.time()

    monkeypatch.setattr(time, "time", lambda: now + session.LIFETIME_SECONDS + 2)

    assert not await is_administrator(service, headers)


async def test_nobody_can_make_or_lengthen_a_session(service: Service) -> None:
    """The end is signed: with another one the cookie is worth nothing, nor is anything like it."""
    value = cookie(await sign_in(service)).value
    expires, _, signature = value.partition(".")

    forged = [
        f"{int(expires) + 1}.{signature}",
        f"0{value}",
        expires,
        f"{expires}.",
        f".{signature}",
        "x",
        "",
        f"{value}x",
    ]

    for one in forged:
        assert not await is_administrator(service, {"Cookie": f"{session.COOKIE}={one}"})


async def test_another_token_ends_every_session(start_service: StartService) -> None:
    """Whoever changes `ADMIN_TOKEN` shuts everybody out."""
    headers = await signed_in(await start_service(admin_token=TOKEN))

    service = await start_service(admin_token="another")

    assert not await is_administrator(service, headers)


async def test_every_replica_knows_the_session(start_service: StartService) -> None:
    """It is kept in the cookie alone."""
    headers = await signed_in(await start_service(admin_token=TOKEN))

    replica = await start_service(admin_token=TOKEN)

    assert await is_administrator(replica, headers)


async def test_signing_out_takes_the_cookie_away(service: Service) -> None:
    """204, and the cookie is emptied and ends at once."""
    answer = await send(service, "DELETE", SESSION, headers=await signed_in(service))

    assert answer.status == 204
    assert (cookie(answer).value, cookie(answer)["max-age"]) == ("", "0")


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://127.0.0.1"},
        {"Origin": "https://evil.example"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "null"},
        {"Origin": "http://[broken"},
    ],
)
async def test_other_pages_cannot_use_the_session(service: Service, headers: dict[str, str]) -> None:
    """Not even those of the same site, which browsers send the cookie for: other ports, sibling hosts."""
    browser = await signed_in(service)

    answer = await send(service, "POST", FOR_ADMINISTRATORS, headers=browser | headers | {"X-API-Key": FIRST})

    assert (answer.status, answer.problem["code"]) == (403, "administrators_only")


async def test_the_services_own_page_can_use_the_session(service: Service) -> None:
    """By what new browsers say, and by what old ones say."""
    browser = await signed_in(service)

    new = await is_administrator(service, browser | OWN_PAGE | {"Origin": service.url})
    old = await is_administrator(service, browser | {"Origin": service.url})

    assert (new, old) == (True, True)


@pytest.mark.parametrize(
    ("proxies", "proto", "secure"),
    [("127.0.0.1", "https", True), ("127.0.0.1", "http", False), ("", "https", False), ("10.0.0.0/8", "https", False)],
)
async def test_behind_https_the_cookie_is_for_https_only(
    start_service: StartService, proxies: str, proto: str, secure: bool
) -> None:
    """`Secure` is set when a trusted proxy says that the caller came by https; others are not believed."""
    service = await start_service(admin_token=TOKEN, trusted_proxies=proxies)

    answer = await sign_in(service, **{"X-Forwarded-Proto": proto})

    assert bool(cookie(answer)["secure"]) is secure


async def test_the_right_token_is_never_counted(start_service: StartService) -> None:
    """An administrator may call as often as it likes."""
    service = await start_service(admin_token=TOKEN)

    answers = [await send(service, "GET", SESSION, headers={"X-Admin-Token": TOKEN}) for _ in range(12)]

    assert [answer.document["administrator"] for answer in answers] == [True] * 12


async def test_wrong_tokens_use_up_no_downloads(upstream: FakeUpstream, start_service: StartService) -> None:
    """Attempts and downloads are counted apart."""
    service = await start_service(admin_token=TOKEN, rate_limit="1/minute")
    upstream.orders[ORDER] = order(["a"])
    upstream.images["a"] = jpeg()
    await sign_in(service, "wrong")

    answer = await service.download()

    assert answer.status == 200


BOTH = "a-key-that-is-the-token-too"


def asked(value: str | None = None, headers: Mapping[str, str] = {}, **given: Any) -> web.Request:
    """A request with this cookie, and no service behind it."""
    app = web.Application()
    app[SETTINGS] = Settings(_env_file=None, **{"service_api_key": f"{FIRST},{BOTH}", "admin_token": BOTH} | given)
    cookies = {} if value is None else {"Cookie": f"{session.COOKIE}={value}"}
    return make_mocked_request("GET", "/", headers={**headers, **cookies}, app=app)


async def begun(monkeypatch: pytest.MonkeyPatch, secret: str, purpose: str, **given: Any) -> Morsel[str]:
    """The cookie of a session that begins at 1000000, by a key that is derived at once."""
    monkeypatch.setattr(signatures, "_COST", 2)
    monkeypatch.setattr(signatures, "_keys", {})
    monkeypatch.setattr("service.api.session.time.time", lambda: 1_000_000.0)
    response = web.Response()
    await session._begin(asked(**given), response, SecretStr(secret), purpose)
    return response.cookies[session.COOKIE]


@pytest.mark.parametrize(
    ("secret", "purpose", "whose"),
    [
        (FIRST, session._CALLER, (FIRST, False)),
        (BOTH, session._CALLER, (BOTH, False)),
        (BOTH, session._ADMINISTRATOR, (None, True)),
        (FIRST, session._ADMINISTRATOR, (None, False)),
        ("another", session._CALLER, (None, False)),
        ("another", session._ADMINISTRATOR, (None, False)),
    ],
)
async def test_a_session_is_that_of_who_began_it(
    monkeypatch: pytest.MonkeyPatch, secret: str, purpose: str, whose: tuple[str | None, bool]
) -> None:
    """A caller's makes nobody an administrator, also where a key and the token are the same."""
    value = (await begun(monkeypatch, secret, purpose)).value

    caller = await session.session_of(asked(value))

    assert (caller.key and caller.key.secret.get_secret_value(), caller.is_administrator) == whose


@pytest.mark.parametrize(("seconds", "lasts"), [(8 * 3600 - 1, True), (8 * 3600, False), (9 * 3600, False)])
async def test_a_session_lasts_for_a_working_day(monkeypatch: pytest.MonkeyPatch, seconds: int, lasts: bool) -> None:
    """Then nobody is known by it."""
    value = (await begun(monkeypatch, FIRST, session._CALLER)).value
    monkeypatch.setattr("service.api.session.time.time", lambda: 1_000_000.0 + seconds)

    assert (await session.session_of(asked(value)) != Caller()) is lasts


@pytest.mark.parametrize(
    "change",
    [
        lambda value: "",
        lambda value: value.partition(".")[0],
        lambda value: "." + value.partition(".")[2],
        lambda value: "1" + value,
        lambda value: "0" * 7 + value,
        lambda value: "9" * 5_000 + value,
        lambda value: value.replace(".", "x."),
        lambda value: value[:-1],
        lambda value: value.upper(),
    ],
)
async def test_a_cookie_that_was_altered_is_nobodys(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[str], str]
) -> None:
    """Nor is it an error."""
    value = (await begun(monkeypatch, FIRST, session._CALLER)).value

    assert await session.session_of(asked(change(value))) == Caller()


@pytest.mark.parametrize(
    ("headers", "is_known"),
    [({}, True), ({"Sec-Fetch-Site": "same-origin"}, True), ({"Sec-Fetch-Site": "same-site"}, False)],
)
async def test_pages_of_other_hosts_have_no_session(
    monkeypatch: pytest.MonkeyPatch, headers: dict[str, str], is_known: bool
) -> None:
    """Browsers send the cookie from other hosts and ports of a site."""
    value = (await begun(monkeypatch, FIRST, session._CALLER)).value

    assert (await session.session_of(asked(value, headers)) != Caller()) is is_known


async def test_a_session_at_a_service_above_this_one_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Browsers send its cookie too, behind the one of the longer path; and those of others before them."""
    value = (await begun(monkeypatch, FIRST, session._CALLER)).value

    both = asked(headers={"Cookie": f"theirs=1; {session.COOKIE}={value}; {session.COOKIE}=9999999.0a1b"})

    assert await session.session_of(both) != Caller()


@pytest.mark.parametrize(("base", "path"), [("", "/"), ("/batch", "/batch")])
async def test_the_cookie_is_for_this_service_alone(monkeypatch: pytest.MonkeyPatch, base: str, path: str) -> None:
    """For as long as the session lasts; to sign out takes away the same one."""
    given = await begun(monkeypatch, FIRST, session._CALLER, base_path=base)
    taken = (await session.delete(asked(base_path=base))).cookies[session.COOKIE]

    for cookie in (given, taken):
        assert (cookie["path"], cookie["httponly"], cookie["samesite"]) == (path, True, "Strict")
    assert (given["max-age"], taken["max-age"], taken.value) == (str(8 * 3600), "0", "")


def judging(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys that are judged; none but the first caller's is right."""
    judged: list[str] = []

    async def find_key(_: web.Request, given: str) -> ServiceKey | None:
        judged.append(given)
        return ServiceKey(None, SecretStr(FIRST)) if given == FIRST else None

    monkeypatch.setattr(session, "find_key", find_key)
    monkeypatch.setattr(signatures, "_COST", 2)
    return judged


@pytest.mark.parametrize(
    ("form", "location", "begins"),
    [
        (f"key={FIRST}&order={ORDER}", f"/?order={ORDER}&download=previews", True),
        (
            f"key={FIRST}&order=+https%3A%2F%2Fa.example%2Forders%2F{ORDER}%3Fx",
            f"/?order={ORDER}&download=previews",
            True,
        ),
        (f"key={FIRST}&order=%22x", "/?order=&download=previews", True),
        (f"key=wrong&order={ORDER}", f"/?order={ORDER}&download=previews&wrong=key", False),
        ("", "/?order=&download=previews&wrong=key", False),
    ],
)
async def test_the_form_leads_on_to_the_orders_download(
    monkeypatch: pytest.MonkeyPatch, form: str, location: str, begins: bool
) -> None:
    """Wherever the order's id stands in what was given; a wrong key is said there, and begins nothing."""

    async def read_body(_: web.Request) -> bytes:
        return form.encode()

    judging(monkeypatch)
    monkeypatch.setattr(session, "read_body", read_body)

    answer = await session.create(asked(headers={"Content-Type": session._FORM}))

    assert (answer.status, answer.headers["Location"], answer.headers["Cache-Control"]) == (303, location, "no-store")
    assert (session.COOKIE in answer.cookies) is begins


@pytest.mark.parametrize(("has_body", "judged"), [(True, "in-the-body"), (False, "in-the-header")])
async def test_a_key_that_is_sent_in_the_body_comes_before_one_in_a_header(
    monkeypatch: pytest.MonkeyPatch, has_body: bool, judged: str
) -> None:
    """Which counts only where there is nothing else."""

    async def read_document(*_: object) -> session.Login:
        return session.Login(key="in-the-body")

    keys = judging(monkeypatch)
    monkeypatch.setattr(session, "read_document", read_document)
    monkeypatch.setattr(web.Request, "can_read_body", has_body)

    with pytest.raises(Unauthorized):
        await session.create(asked(headers={"X-API-Key": "in-the-header"}))

    assert keys == [judged]


@pytest.mark.parametrize("login", [session.Login(), session.Login(key="k", token="t")])
async def test_a_login_is_one_key_or_the_token(monkeypatch: pytest.MonkeyPatch, login: session.Login) -> None:
    """Neither is judged else."""

    async def read_document(*_: object) -> session.Login:
        return login

    keys = judging(monkeypatch)
    monkeypatch.setattr(session, "read_document", read_document)

    with pytest.raises(InvalidParameter):
        await session.create(asked())

    assert keys == []


async def test_pages_of_other_sites_sign_nobody_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor do they use up the guesses of who looks at them."""
    keys = judging(monkeypatch)

    with pytest.raises(OriginRefused):
        await session.create(asked(headers={"X-API-Key": FIRST, "Sec-Fetch-Site": "cross-site"}))

    assert keys == []
