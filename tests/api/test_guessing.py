"""Keys, tokens and webhook secrets cannot be guessed at leisure, whatever `RATE_LIMIT` is."""

import time
from collections.abc import Awaitable, Callable

import pytest

from tests.api.conftest import FIRST, SECOND, TOKEN
from tests.support.client import Answer, Service, StartService
from tests.support.samples import ORDER, jpeg, order
from tests.support.sending import send
from tests.support.upstream import FakeUpstream

SECRET = "secret-of-the-webhook-31"
OVERVIEW = f"/v1/orders/{ORDER}"
PER_MINUTE = 10

Guess = Callable[[Service, str], Awaitable[Answer]]


async def _key(service: Service, guess: str) -> Answer:
    return await service.ask(OVERVIEW, headers={"X-API-Key": guess})


async def _bearer(service: Service, guess: str) -> Answer:
    return await service.ask(OVERVIEW, headers={"Authorization": f"Bearer {guess}"})


async def _token(service: Service, guess: str) -> Answer:
    return await send(service, "POST", "/v1/orders/sample", headers={"X-Admin-Token": guess})


async def _sign_in(service: Service, guess: str) -> Answer:
    return await send(service, "POST", "/v1/session", {"token": guess})


async def _webhook(service: Service, guess: str) -> Answer:
    return await send(service, "POST", "/v1/webhooks/autoenhance", {"event": "x"}, {"Authentication": guess})


WAYS: dict[str, tuple[Guess, str, int]] = {
    "key": (_key, FIRST, 401),
    "bearer": (_bearer, FIRST, 401),
    "token": (_token, TOKEN, 403),
    "session": (_sign_in, TOKEN, 403),
    "webhook": (_webhook, SECRET, 401),
}


@pytest.fixture(autouse=True)
def one_image(upstream: FakeUpstream) -> None:
    upstream.orders[ORDER], upstream.images["a"] = order(["a"]), jpeg()


@pytest.fixture(params=["1000/minute", None], ids=["a high limit", "no limit"])
async def service(request: pytest.FixtureRequest, start_service: StartService) -> Service:
    """A service with secrets of all kinds."""
    return await start_service(
        service_api_key=f"{FIRST},{SECOND}",
        admin_token=TOKEN,
        autoenhance_webhook_secret=SECRET,
        rate_limit=request.param,
    )


@pytest.mark.parametrize("way", WAYS)
async def test_ten_wrong_ones_a_minute_are_all(service: Service, way: str) -> None:
    """Then the address waits, and not even the right one tells that it is right."""
    guess, right, refused = WAYS[way]

    statuses = [(await guess(service, f"guess-{number}")).status for number in range(PER_MINUTE + 1)]
    answer = await guess(service, right)

    assert statuses == [refused] * PER_MINUTE + [429]
    assert (answer.status, answer.problem["code"]) == (429, "rate_limited")
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    assert answer.headers["RateLimit-Policy"] == '"attempts";q=10;w=60'


async def test_all_kinds_count_together(service: Service) -> None:
    """Five ways in do not give five times the guesses."""
    statuses = []
    for number in range(PER_MINUTE + 1):
        guess, _, _ = list(WAYS.values())[number % len(WAYS)]
        statuses.append((await guess(service, f"guess-{number}")).status)

    assert statuses.index(429) == PER_MINUTE


@pytest.mark.parametrize("way", WAYS)
async def test_an_old_key_that_is_sent_again_and_again_is_no_guess(service: Service, way: str) -> None:
    """A program that was forgotten when keys were changed locks nobody out who shares its address."""
    guess, right, refused = WAYS[way]

    statuses = [(await guess(service, "the-old-one")).status for _ in range(2 * PER_MINUTE)]

    assert statuses == [refused] * PER_MINUTE + [429] * PER_MINUTE
    assert (await guess(service, right)).status not in (refused, 429)


async def test_another_address_may_go_on(start_service: StartService) -> None:
    """Each waits for its own guesses."""
    service = await start_service(service_api_key=FIRST, trusted_proxies="127.0.0.1")

    async def ask(address: str, key: str) -> int:
        return (await service.ask(OVERVIEW, headers={"X-Forwarded-For": address, "X-API-Key": key})).status

    guesses = [await ask("192.0.2.1", f"guess-{number}") for number in range(PER_MINUTE + 1)]

    assert guesses[-1] == 429
    assert await ask("192.0.2.2", FIRST) == 200


async def test_guesses_take_nothing_from_the_limit_on_downloads(start_service: StartService) -> None:
    """They are counted apart."""
    service = await start_service(service_api_key=FIRST, rate_limit="1/minute")
    await _key(service, "wrong")

    assert (await service.download(headers={"X-API-Key": FIRST})).status == 200


async def test_the_right_one_is_never_counted(service: Service) -> None:
    """Keys, tokens, webhooks: as often as they like."""
    for guess, right, refused in WAYS.values():
        answers = [await guess(service, right) for _ in range(PER_MINUTE + 2)]

        assert not {answer.status for answer in answers} & {refused, 429}


async def test_a_clock_put_back_locks_nobody_out(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two hours, after wrong ones: the wait is still a minute at most."""
    right = time.time
    for number in range(PER_MINUTE):
        await _key(service, f"guess-{number}")
    monkeypatch.setattr(time, "time", lambda: right() - 7200)

    answer = await _key(service, FIRST)

    assert answer.status == 429
    assert int(answer.headers["Retry-After"]) <= 60


async def test_what_is_open_judges_no_keys(service: Service) -> None:
    """A wrong key at a probe or at the page is no guess: nothing is told by the answer."""
    for path in ("/livez", "/metrics", "/", "/docs"):
        answers = [await service.ask(path, headers={"X-API-Key": f"guess-{number}"}) for number in range(5)]

        assert {answer.status for answer in answers} == {200}
    assert (await _key(service, FIRST)).status == 200
