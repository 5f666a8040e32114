"""Signed links: whose they are, and what is wrong with one that was altered. No service runs."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from pydantic import SecretStr
from yarl import URL

from service.api import signatures
from service.api.keys import SETTINGS
from service.api.signatures import is_link, maker_of, signed_link, signing_key
from service.problems import LinkRefused
from service.settings import Settings

FIRST, SECOND, TOKEN = "key-of-caller-one-1", "key-of-caller-two-2", "token-of-the-administrator"
PATH = URL("/v1/orders/o/images?image=a&image=b&quality=80")


@pytest.fixture(autouse=True)
def quick_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deriving them takes a tenth of a second."""
    monkeypatch.setattr(signatures, "_COST", 2)
    monkeypatch.setattr(signatures, "_keys", {})


def asked(url: URL, method: str = "GET", **given: Any) -> web.Request:
    app = web.Application()
    app[SETTINGS] = Settings(
        _env_file=None, **{"service_api_key": f"one:{FIRST},two:{SECOND}", "admin_token": TOKEN} | given
    )
    return make_mocked_request(method, str(url), app=app)


async def link(secret: str = FIRST, *, seconds: float = 60) -> URL:
    return await signed_link(PATH, SecretStr(secret), int(time.time() + seconds))


@pytest.mark.parametrize(("secret", "whose"), [(FIRST, "one"), (SECOND, "two"), (TOKEN, None)])
async def test_a_link_is_that_of_who_made_it(secret: str, whose: str | None) -> None:
    """It makes nobody an administrator."""
    caller = await maker_of(asked(await link(secret)))

    assert (caller.key and caller.key.name, caller.by_link, caller.is_administrator) == (whose, True, False)


@pytest.mark.parametrize(
    "given", [{"service_api_key": f"two:{SECOND}"}, {"service_api_key": f"one:{SECOND}", "admin_token": None}]
)
async def test_a_link_ends_with_its_makers_key(given: dict[str, Any]) -> None:
    """Whatever the key's name."""
    with pytest.raises(LinkRefused):
        await maker_of(asked(await link(), **given))


@pytest.mark.parametrize(
    "change",
    [
        lambda url: url.with_path("/v1/orders/p/images", keep_query=True),
        lambda url: url.update_query(quality="81"),
        lambda url: url.extend_query(part="1"),
        lambda url: url.without_query_params("quality"),
        lambda url: URL(str(url).replace("image=a&image=b", "image=b&image=a")),
        lambda url: url.update_query(expires=str(int(url.query["expires"]) + 1)),
        lambda url: url.without_query_params("expires"),
        lambda url: url.update_query(signature="0" * 64),
        lambda url: url.extend_query(signature=url.query["signature"]),
        lambda url: url.update_query(signature="ä"),
    ],
)
async def test_a_link_that_was_altered_is_refused(change: Callable[[URL], URL]) -> None:
    """Whatever was added, taken away or moved."""
    with pytest.raises(LinkRefused):
        await maker_of(asked(change(await link())))


async def test_a_link_is_to_the_address_as_it_is_written() -> None:
    """What is encoded in it is another one than what it would stand for."""
    url = await signed_link(URL("/v1/orders/o/images/a%2Fb", encoded=True), SecretStr(FIRST), int(time.time()) + 60)
    assert (await maker_of(asked(url))).by_link

    with pytest.raises(LinkRefused):
        await maker_of(asked(URL(str(url).replace("%2F", "/"), encoded=True)))


@pytest.mark.parametrize(("seconds", "works"), [(5, True), (0, False), (-5, False)])
async def test_a_link_has_an_end(monkeypatch: pytest.MonkeyPatch, seconds: int, works: bool) -> None:
    """From that second on it opens nothing."""
    monkeypatch.setattr("service.api.signatures.time.time", lambda: 1_000_000.0)
    request = asked(await link(seconds=seconds))

    if works:
        assert (await maker_of(request)).by_link
        return
    with pytest.raises(LinkRefused):
        await maker_of(request)


@pytest.mark.parametrize(("method", "is_one"), [("GET", True), ("HEAD", True), ("POST", False), ("DELETE", False)])
async def test_a_link_only_reads(method: str, is_one: bool) -> None:
    """Any other request needs a key, whatever is in its address."""
    assert is_link(asked(await link(), method)) is is_one
    assert not is_link(asked(PATH, method))


async def test_a_key_is_derived_once_for_all_who_ask_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that is loaded anew after a restart asks for all its photos at the same moment."""
    derived: list[str] = []

    def derive(secret: str, purpose: str) -> bytes:
        derived.append(secret)
        return b"key"

    monkeypatch.setattr(signatures, "_derive", derive)
    monkeypatch.setattr(signatures, "_keys", {})

    assert await asyncio.gather(*(signing_key("secret", "session") for _ in range(20))) == [b"key"] * 20
    assert derived == ["secret"]


async def test_a_key_is_for_one_purpose_and_one_secret() -> None:
    """What is signed for one is worth nothing for another; a key is derived once."""
    keys = [await signing_key(*given) for given in ((FIRST, "link"), (FIRST, "session"), (SECOND, "link"))]

    assert len(set(keys)) == 3
    assert await signing_key(FIRST, "link") is keys[0]
    assert {len(key) for key in keys} == {32}
