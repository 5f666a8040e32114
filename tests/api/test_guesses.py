"""How many wrong secrets an address may send. No service runs."""

from types import SimpleNamespace

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from pydantic import SecretStr

from service.api.guesses import Guesses
from service.api.keys import SETTINGS
from service.api.limits import RATE_LIMIT
from service.problems import RateLimited
from service.settings import Settings
from service.telemetry.metrics import Metrics

RIGHT = SecretStr("the-right-one")
OTHER = SecretStr("another-right-one")


@pytest.fixture
def guesses() -> Guesses:
    """None yet."""
    return Guesses(Metrics())


def asked(address: str = "192.0.2.7") -> web.Request:
    app = web.Application()
    app[SETTINGS] = Settings(_env_file=None)
    transport = SimpleNamespace(get_extra_info=lambda *_: (address, 9))
    return make_mocked_request("GET", "/", app=app, transport=transport)


async def send(guesses: Guesses, *given: str, address: str = "192.0.2.7") -> SecretStr | None:
    """What is made of a secret in these ways of writing it."""
    return await guesses.judge(asked(address), given, [OTHER, RIGHT])


async def test_the_right_one_is_known_in_each_way_of_writing_it(guesses: Guesses) -> None:
    """However often it comes."""
    found = [await send(guesses, *given) for given in (["the-right-one"], ["Bearer x", "the-right-one"]) * 20]

    assert found == [RIGHT] * 40


async def test_after_ten_wrong_ones_the_right_one_is_refused_too(guesses: Guesses) -> None:
    """Else the answer to it would tell. Another address may go on."""
    assert [await send(guesses, f"wrong {number}") for number in range(10)] == [None] * 10

    for given in ("wrong again", "the-right-one"):
        with pytest.raises(RateLimited):
            await send(guesses, given)
    assert await send(guesses, "the-right-one", address="192.0.2.8") == RIGHT


async def test_the_same_wrong_one_counts_once(guesses: Guesses) -> None:
    """A program with an old key does not guess: it is refused, and who shares its address is not."""
    assert [await send(guesses, "old") for _ in range(10)] == [None] * 10

    with pytest.raises(RateLimited):
        await send(guesses, "old")
    assert await send(guesses, "the-right-one") == RIGHT


async def test_what_another_address_has_sent_counts_for_each(guesses: Guesses) -> None:
    """One that guesses by many addresses has no more from each of them."""
    for address in ("192.0.2.7", "192.0.2.8"):
        for number in range(10):
            await send(guesses, f"wrong {number}", address=address)

    for address in ("192.0.2.7", "192.0.2.8"):
        with pytest.raises(RateLimited):
            await send(guesses, "the-right-one", address=address)


async def test_who_guesses_is_not_told_how_many_are_left(guesses: Guesses) -> None:
    """Only that there were too many."""
    told = []
    for number in range(11):
        request = asked()
        try:
            await guesses.judge(request, [f"wrong {number}"], [RIGHT])
        except RateLimited:
            told.append("refused")
        told.append(str(RATE_LIMIT in request))

    assert told == ["False"] * 10 + ["refused", "True"]
