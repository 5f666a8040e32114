"""`/v1/session` for callers: the key once, then a cookie, so that pictures and plain links work in a browser."""

import json
import time
from http.cookies import Morsel, SimpleCookie

import pytest

from service.api import session
from tests.api.conftest import FIRST, SECOND, TOKEN
from tests.support.client import Answer, Service, StartService
from tests.support.samples import ORDER, jpeg, order
from tests.support.sending import send
from tests.support.upstream import FakeUpstream

SESSION = "/v1/session"
JOBS = f"/v1/orders/{ORDER}/jobs"


@pytest.fixture(autouse=True)
def one_image(upstream: FakeUpstream) -> None:
    upstream.orders[ORDER] = order(["a"])
    upstream.images["a"] = jpeg()


def cookie(answer: Answer) -> Morsel[str]:
    """The cookie that the answer sets."""
    return SimpleCookie(answer.headers["Set-Cookie"])[session.COOKIE]


async def signed_in(service: Service, **login: str) -> dict[str, str]:
    """The headers of a browser that has a session, by default the first caller's."""
    answer = await send(service, "POST", SESSION, login or {"key": FIRST})
    assert answer.status == 200, answer.text
    return {"Cookie": f"{session.COOKIE}={cookie(answer).value}"}


async def test_a_key_begins_a_session(service: Service) -> None:
    """What a key opens, its cookie opens; it makes nobody an administrator, and the key is not in it."""
    answer = await send(service, "POST", SESSION, {"key": FIRST})

    found = cookie(answer)
    assert (found["httponly"], found["samesite"], found["path"]) == (True, "Strict", "/")
    assert FIRST not in answer.text
    assert answer.document == {
        "administrator": False,
        "caller": None,
        "may_call": True,
        "has_administrators": True,
    }
    browser = {"Cookie": f"{session.COOKIE}={found.value}"}
    assert (await service.download(headers=browser)).status == 200
    assert (await send(service, "POST", "/v1/orders/sample", headers=browser)).status == 403


async def test_a_key_in_its_header_begins_a_session_too(service: Service) -> None:
    """Without a body, as programs send it."""
    by_key = await send(service, "POST", SESSION, headers={"X-API-Key": FIRST})
    by_bearer = await send(service, "POST", SESSION, headers={"Authorization": f"Bearer {SECOND}"})

    assert [by_key.status, by_bearer.status] == [200, 200]
    assert cookie(by_key).value != cookie(by_bearer).value


@pytest.mark.parametrize("key", ["wrong", FIRST[:-1], FIRST + "x", FIRST.upper(), TOKEN, "k\u00e9y"])
async def test_a_wrong_key_begins_nothing(service: Service, key: str) -> None:
    """401, and no cookie; the administrators' token is no key."""
    answer = await send(service, "POST", SESSION, {"key": key})

    assert (answer.status, answer.problem["code"]) == (401, "unauthorized")
    assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize(
    "document", [{}, {"key": FIRST, "token": TOKEN}, {"key": 5}, {"key": ""}, {"key": None}, {"key": "x" * 2000}, []]
)
async def test_what_is_no_login_is_a_bad_request(service: Service, document: object) -> None:
    """400, and what was sent is not repeated."""
    answer = await send(service, "POST", SESSION, document)

    assert (answer.status, answer.problem["code"]) == (400, "invalid_parameter")
    assert FIRST not in answer.text


async def test_wrong_keys_are_limited(service: Service) -> None:
    """Ten a minute by address, whichever door they are tried at; then the right one waits too."""
    for number in range(10):
        assert (await send(service, "POST", SESSION, {"key": f"guess-{number}"})).status == 401

    answer = await send(service, "POST", SESSION, {"key": FIRST})

    assert answer.status == 429


async def test_who_is_calling(start_service: StartService) -> None:
    """By name where keys have names; and what is missing where nobody is."""
    service = await start_service(service_api_key=f"studio:{FIRST}")

    nobody = await send(service, "GET", SESSION)
    somebody = await send(service, "GET", SESSION, headers=await signed_in(service))
    program = await send(service, "GET", SESSION, headers={"X-API-Key": FIRST})
    stranger = await send(service, "GET", SESSION, headers={"X-API-Key": "wrong"})

    expected = {"administrator": False, "has_administrators": False}
    assert nobody.document == stranger.document == expected | {"caller": None, "may_call": False}
    assert somebody.document == program.document == expected | {"caller": "studio", "may_call": True}


async def test_an_open_service_needs_no_session(start_service: StartService) -> None:
    """Everybody may call, and there is no key to send."""
    service = await start_service()

    answer = await send(service, "POST", SESSION, {"key": FIRST})

    assert (answer.status, answer.problem["parameter"]) == (400, "key")
    who = [(await send(service, "GET", SESSION, headers={"X-API-Key": f"any {at}"})).document for at in range(12)]
    assert {(one["may_call"], one["caller"]) for one in who} == {(True, None)}


async def test_a_session_is_its_callers(start_service: StartService) -> None:
    """Jobs and limits are those of the key: another caller does not find them, the caller itself does by either."""
    service = await start_service(service_api_key=f"{FIRST},{SECOND}", rate_limit="2/minute")
    browser, other = await signed_in(service), await signed_in(service, key=SECOND)

    made = await send(service, "POST", JOBS, headers=browser)
    job = f"/v1/jobs/{made.document['job_id']}"
    statuses = [(await service.ask(job, headers=who)).status for who in (browser, {"X-API-Key": FIRST}, other)]
    downloads = [(await service.download(headers={"X-API-Key": FIRST})).status for _ in range(2)]

    assert (made.status, statuses, downloads) == (202, [200, 200, 404], [200, 429])


@pytest.mark.parametrize("keys", [SECOND, f"{FIRST}x,{SECOND}", f"studio:{FIRST}x"])
async def test_a_session_ends_with_its_key(start_service: StartService, keys: str) -> None:
    """A key that was removed or replaced opens nothing, nor does what it was traded for."""
    browser = await signed_in(await start_service(service_api_key=f"{FIRST},{SECOND}"))
    later = await start_service(service_api_key=keys)

    assert (await later.download(headers=browser)).status == 401


async def test_every_replica_knows_the_session(start_service: StartService) -> None:
    """It is kept in the cookie alone, and the place of the key in the list does not matter."""
    browser = await signed_in(await start_service(service_api_key=f"{FIRST},{SECOND}"))
    replica = await start_service(service_api_key=f"{SECOND},{FIRST}")

    assert (await replica.download(headers=browser)).status == 200


async def test_a_callers_session_ends_when_it_is_over(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the clock of the service, whatever the browser keeps."""
    browser = await signed_in(service)
    now = time.time()

    monkeypatch.setattr(time, "time", lambda: now + session.LIFETIME_SECONDS + 2)

    assert (await service.download(headers=browser)).status == 401


async def test_nobody_can_turn_a_callers_session_into_another(start_service: StartService) -> None:
    """Another end, or an administrator's purpose with the same secret: worth nothing."""
    service = await start_service(service_api_key=TOKEN, admin_token=TOKEN)
    value = cookie(await send(service, "POST", SESSION, {"key": TOKEN})).value
    expires, _, signature = value.partition(".")

    longer = await service.download(headers={"Cookie": f"{session.COOKIE}={int(expires) + 1}.{signature}"})
    who = await send(service, "GET", SESSION, headers={"Cookie": f"{session.COOKIE}={value}"})

    assert longer.status == 401
    assert (who.document["administrator"], who.document["may_call"]) == (False, True)


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "null"},
    ],
)
async def test_other_pages_cannot_use_a_callers_session(service: Service, headers: dict[str, str]) -> None:
    """Neither to begin something, nor to buy, nor to look: for them there is no cookie."""
    browser = await signed_in(service) | headers

    begun = await send(service, "POST", JOBS, headers=browser)
    bought = await service.download(headers=browser, preview="false")
    seen = await service.download(headers=browser)

    assert [begun.status, bought.status, seen.status] == [401, 401, 401]


async def send_form(service: Service, key: str, **headers: str) -> Answer:
    """What the form for browsers without scripts sends; where it leads is not followed."""
    form = {"order": ORDER, "key": key}
    async with service.session.post(service.url + SESSION, data=form, headers=headers, allow_redirects=False) as found:
        return Answer(found.status, found.headers, await found.read())


async def send_text(service: Service, key: str, **headers: str) -> Answer:
    """A login as any page's form can send it, without the browser asking us first."""
    text, kind = json.dumps({"key": key}), {"Content-Type": "text/plain"}
    async with service.session.post(service.url + SESSION, data=text, headers=kind | headers) as found:
        return Answer(found.status, found.headers, await found.read())


async def test_a_form_begins_a_session_and_leads_on(service: Service) -> None:
    """For browsers without scripts: to the download, or back to the form with a word about the key."""
    right = await send_form(service, FIRST)
    wrong = await send_form(service, "nonsense")

    assert (right.status, right.headers["Location"]) == (303, f"/?order={ORDER}&download=previews")
    browser = {"Cookie": f"{session.COOKIE}={cookie(right).value}"}
    assert (await service.download(headers=browser)).status == 200
    assert (wrong.status, wrong.headers["Location"]) == (303, f"/?order={ORDER}&download=previews&wrong=key")
    assert "Set-Cookie" not in wrong.headers


@pytest.mark.parametrize("headers", [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}], ids=str)
async def test_no_other_page_signs_a_browser_in(service: Service, headers: dict[str, str]) -> None:
    """It could have it call as somebody else: by the form, and by one of plain text that looks like JSON."""
    by_form = await send_form(service, FIRST, **headers)
    by_text = await send_text(service, FIRST, **headers)

    for answer in (by_form, by_text):
        assert (answer.status, answer.problem["code"]) == (403, "origin_refused")
        assert "Set-Cookie" not in answer.headers


async def test_no_other_page_uses_up_the_guesses(service: Service) -> None:
    """Of the address that a browser has: who knows the key is let in there."""
    for number in range(11):
        await send_text(service, f"guess-{number}", Origin="https://evil.example")

    assert (await send(service, "POST", SESSION, {"key": FIRST})).status == 200


@pytest.mark.parametrize("path", ["", "/a"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [({}, 403), ({"Referer": "http://127.0.0.1:1/"}, 401), ({"Referer": "http://[broken"}, 401), ({"Origin": ""}, 401)],
    ids=str,
)
async def test_a_session_buys_by_our_own_pages_alone(
    upstream: FakeUpstream, service: Service, path: str, headers: dict[str, str], status: int
) -> None:
    """Over plain HTTP browsers need not say where a request comes from, and send the cookie from any port of the host:
    a page there could have them buy by showing a picture."""
    images = f"/v1/orders/{ORDER}/images{path}"
    browser = await signed_in(service)

    refused = await service.ask(f"{images}?preview=false", headers=browser | headers)
    calls = upstream.image_calls
    ours = await service.ask(f"{images}?preview=false", headers=browser | {"Referer": f"{service.url}/?order={ORDER}"})
    by_key = await service.ask(f"{images}?preview=false", headers=browser | {"X-API-Key": FIRST})

    assert (refused.status, calls) == (status, 0)
    assert [ours.status, by_key.status] == [200, 200]


async def test_a_session_looks_at_what_is_free_without_saying_where_from(service: Service) -> None:
    """Previews, whatever the browser keeps to itself."""
    assert (await service.download(headers=await signed_in(service))).status == 200


async def test_an_administrators_session_buys_no_more_than_a_callers(start_service: StartService) -> None:
    """Also where there are no keys: the browser sends its cookie for any page of the host."""
    keyed, opened = (
        await start_service(service_api_key=FIRST, admin_token=TOKEN),
        await start_service(admin_token=TOKEN),
    )

    for service in (keyed, opened):
        browser = await signed_in(service, token=TOKEN)
        refused = await service.download(headers=browser, preview="false")

        assert (refused.status, refused.problem["code"]) == (403, "origin_refused")
        assert "nor use a session" in refused.problem["detail"]  # other origins can be allowed, but not for this


async def test_our_pages_say_where_their_requests_come_from(service: Service) -> None:
    """To this service, and to nobody else."""
    pages = [await service.ask(path) for path in ("/", "/docs")]

    assert [page.headers["Referrer-Policy"] for page in pages] == ["same-origin"] * 2


async def test_the_key_in_a_header_comes_before_the_cookie(service: Service) -> None:
    """A program that sends a wrong key is told so, whatever its cookie says."""
    browser = await signed_in(service)

    answer = await service.download(headers=browser | {"X-API-Key": "wrong"})

    assert answer.status == 401


async def test_signing_out_ends_a_callers_session(service: Service) -> None:
    """204, and the cookie is emptied and ends at once."""
    answer = await send(service, "DELETE", SESSION, headers=await signed_in(service))

    assert (answer.status, cookie(answer).value, cookie(answer)["max-age"]) == (204, "", "0")
