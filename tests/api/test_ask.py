"""The help box: its events, and that each question counts. No service runs."""

import json
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from service.api import ask
from service.api.keys import ASSISTANT, SETTINGS
from service.assistant.assistant import Done, Event, TextPart
from service.docs.library import Passage
from service.problems import RateLimited
from service.settings import Settings


def asked() -> web.Request:
    app = web.Application()
    app[SETTINGS] = Settings(_env_file=None, base_path="/batch")
    return make_mocked_request("POST", "/v1/ask", app=app)


@pytest.mark.parametrize(
    ("event", "name", "data"),
    [
        (Passage("Limits", "/docs/guide/a#b", "a\n b"), "passage", ["Limits", "/batch/docs/guide/a#b", "a b"]),
        (Passage("Long", "/docs", "word " * 200), "passage", ["Long", "/batch/docs", "word " * 119 + "..."]),
        (TextPart("two\nlines"), "token", ["two\nlines"]),
        (Done("docs"), "done", ["docs"]),
    ],
)
def test_each_part_of_an_answer_is_an_event(event: Event, name: str, data: list[str]) -> None:
    """Its address is as this caller must ask for it; a long passage is cut between words."""
    head, line, *end = ask._sent(asked(), event).decode().split("\n")

    assert (head, end) == (f"event: {name}", ["", ""])
    assert list(json.loads(line.removeprefix("data: ")).values()) == data


async def test_a_question_too_many_is_not_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is a model asked."""
    answered: list[str] = []

    async def read_document(*_: object) -> ask.Question:
        return ask.Question(question=" How? ")

    async def count(_: web.Request) -> None:
        raise RateLimited("too many", retry_after=1)

    monkeypatch.setattr(ask, "read_document", read_document)
    monkeypatch.setattr(ask, "count", count)
    request = asked()
    request.app[ASSISTANT] = cast(Any, SimpleNamespace(answer=answered.append))

    with pytest.raises(RateLimited):
        await ask.ask(request)

    assert answered == []
