"""The help box: `POST /v1/ask`, answered as server-sent events."""

import json
import textwrap
from contextlib import aclosing, suppress
from typing import Annotated

from aiohttp import web
from pydantic import StringConstraints

from service.api.base_path import external
from service.api.bodies import read_document
from service.api.documents import Input
from service.api.keys import ASSISTANT
from service.api.limits import Counts
from service.api.route import EVENTS, Answer, Body, Route, count
from service.assistant.assistant import Done, Event, TextPart
from service.docs.library import Passage

_MAX_PASSAGE_LENGTH = 600


class Question(Input):
    """What is asked."""

    question: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]


async def ask(request: web.Request) -> web.StreamResponse:
    """Answer a question: `passage` events, `token` events, and `done`."""
    question = (await read_document(request, Question)).question
    await count(request)
    response = web.StreamResponse(
        headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    )
    await response.prepare(request)
    with suppress(ConnectionError):  # the caller left
        async with aclosing(request.app[ASSISTANT].answer(question)) as events:
            async for event in events:
                await response.write(_sent(request, event))
        await response.write_eof()
    return response


def _sent(request: web.Request, event: Event) -> bytes:
    match event:
        case Passage():
            text = textwrap.shorten(event.text, _MAX_PASSAGE_LENGTH, placeholder=" ...")
            return _event("passage", title=event.title, url=external(request, event.url), text=text)
        case TextPart():
            return _event("token", text=event.text)
        case Done():
            return _event("done", source=event.source)


def _event(name: str, **data: str) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()


ROUTES = (
    Route(
        "POST",
        "/v1/ask",
        ask,
        name="ask",
        summary="Ask about the service and its state",
        counts=Counts.QUESTIONS,
        body=Body(Question, {"question": "Why was my ZIP partial?"}),
        answers=(
            Answer(
                200,
                "`passage` events (`title`, `url`, `text`), `token` events (`text`), and one `done` (`source`).",
                EVENTS,
            ),
        ),
    ),
)
