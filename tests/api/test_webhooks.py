"""What Autoenhance tells, and whether it is believed. No service runs."""

import json
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from pydantic import SecretStr

from service.api import webhooks
from service.api.guesses import GUESSES, Guesses
from service.api.keys import SETTINGS, WEBHOOK_EVENTS
from service.problems import BadRequest, NotFound, Problem, WebhookUnauthorized
from service.settings import Settings
from service.telemetry.metrics import Metrics
from tests.support.samples import ORDER

SECRET = "Bearer of the webhook"


async def told(
    monkeypatch: pytest.MonkeyPatch, body: bytes, *, secret: str | None = SECRET, **headers: str
) -> list[tuple[str, bool]]:
    """Which orders are told of as changed, and whether as done."""
    heard: list[tuple[str, bool]] = []

    async def received(order_id: str, *, done: bool) -> None:
        heard.append((order_id, done))

    async def read_body(_: web.Request) -> bytes:
        return body

    monkeypatch.setattr(webhooks, "read_body", read_body)
    app = web.Application()
    app[SETTINGS] = Settings(_env_file=None, autoenhance_webhook_secret=secret and SecretStr(secret))
    app[GUESSES] = Guesses(Metrics())
    app[WEBHOOK_EVENTS] = cast(Any, SimpleNamespace(received=received))
    answer = await webhooks.autoenhance(
        make_mocked_request("POST", "/", headers=headers or {"Authentication": SECRET}, app=app)
    )
    assert answer.status == 200
    return heard


def event(**members: object) -> bytes:
    return json.dumps(members).encode()


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (event(event="image_processed", order_id=ORDER, order_is_processing=False), [(ORDER, True)]),
        (event(event="image_processed", order_id=ORDER.upper(), order_is_processing=True), [(ORDER, False)]),
        (event(event="image_processed", order_id=ORDER), [(ORDER, False)]),
        (event(event="image_processed", order_id=ORDER, order_is_processing=None), [(ORDER, False)]),
        (event(event="image_processed", order_id=ORDER, order_is_processing=0), [(ORDER, False)]),
        (event(event="image_registered", order_id=ORDER, order_is_processing=False), [(ORDER, False)]),
        (event(event="webhook_updated"), []),
        (event(event="webhook_updated", order_id="7"), []),
        (event(event="image_processed"), []),
        (event(event="image_processed", order_id=None), []),
        (b"", []),
        (b" \n", []),
    ],
)
async def test_what_an_event_says_of_an_order(
    monkeypatch: pytest.MonkeyPatch, body: bytes, expected: list[tuple[str, bool]]
) -> None:
    """It is done when that is said, by the event that says it; events that nobody knows are welcome."""
    assert await told(monkeypatch, body) == expected


@pytest.mark.parametrize(
    "body", [b"x", b"[]", b"3", b'{"event": 3}', b"{}", b"[" * 100_000, event(event="image_processed", order_id="7")]
)
async def test_what_is_no_event_is_a_bad_request(monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    """Or says of no order that there can be."""
    with pytest.raises(BadRequest):
        await told(monkeypatch, body)


@pytest.mark.parametrize(
    ("secret", "headers", "problem"),
    [
        (SECRET, {"Authentication": SECRET}, None),
        (SECRET, {"Authorization": SECRET}, None),
        (SECRET, {"Authorization": f"Bearer {SECRET}"}, None),
        (SECRET, {"Authentication": f"bearer  {SECRET}"}, None),
        (SECRET, {"Authentication": "another", "Authorization": SECRET}, WebhookUnauthorized),
        (SECRET, {"Authentication": "of the webhook"}, WebhookUnauthorized),
        (SECRET, {"X-API-Key": SECRET}, WebhookUnauthorized),
        (None, {"Authentication": SECRET}, NotFound),
    ],
)
async def test_who_is_believed(
    monkeypatch: pytest.MonkeyPatch, secret: str | None, headers: dict[str, Any], problem: type[Problem] | None
) -> None:
    """Who sends the secret as it is, or as a bearer's, where Autoenhance or a proxy puts it; nobody without one."""
    if problem is None:
        assert await told(monkeypatch, b"", secret=secret, **headers) == []
        return
    with pytest.raises(problem):
        await told(monkeypatch, b"", secret=secret, **headers)
