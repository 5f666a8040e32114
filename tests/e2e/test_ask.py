"""The help box over HTTP: `POST /v1/ask`, with and without a chat server."""

import asyncio
import json
from http import HTTPStatus
from typing import Any

import pytest
from aiohttp import ClientTimeout, web

from service.assistant import model
from service.assistant.assistant import BROKEN_OFF
from tests.support.chat_server import Behaviour, chat, hangs, says, sends
from tests.support.client import TIMEOUT, Service, StartService
from tests.support.samples import ORDER, jpeg, order
from tests.support.upstream import FakeUpstream

KEY = "key-of-the-model-77c1"


async def ask(service: Service, question: Any = "Why was my ZIP partial?", **fields: Any) -> list[tuple[str, Any]]:
    """The events of an answer."""
    async with service.session.post(f"{service.url}/v1/ask", json={"question": question, **fields}) as response:
        assert response.status == HTTPStatus.OK
        assert response.content_type == "text/event-stream"
        blocks = (await response.text()).strip().split("\n\n")
    events = [block.split("\n") for block in blocks]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in events]


def words(events: list[tuple[str, Any]]) -> str:
    """The text of an answer."""
    return "".join(data["text"] for name, data in events if name == "token")


async def asking_model(start_service: StartService, url: str) -> Service:
    """A service that asks the chat server at `url`."""
    return await start_service(assistant_base_url=url, assistant_model="small", assistant_api_key=KEY)


async def test_the_docs_answer_with_passage_and_link(service: Service) -> None:
    """The passage that answers comes with an address at which it can be read."""
    events = await ask(service)

    name, passage = events[0]
    assert name == "passage"
    assert passage["title"] == "Questions: Why was my ZIP partial?"
    assert "_download_report.txt" in passage["text"]
    assert events[-1] == ("done", {"source": "docs"})


async def test_the_number_of_images_is_the_number_of_now(service: Service, upstream: FakeUpstream) -> None:
    """A question about the state is answered from the live counters."""
    upstream.orders[ORDER] = order(["a", "b"])
    upstream.images |= {"a": jpeg(1), "b": jpeg(2)}
    assert "0 images" in words(await ask(service, "How many images have you processed?"))

    await service.download()

    assert "2 images" in words(await ask(service, "How many images have you processed?"))


async def test_what_nobody_knows_is_said(service: Service) -> None:
    """No passage, and words that say so."""
    events = await ask(service, "What is the capital of France?")

    assert [name for name, _ in events] == ["token", "done"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"no json", "bad_request"),
        (b"[" * 30_000, "bad_request"),
        (b"[]", "invalid_parameter"),
        (b"{}", "invalid_parameter"),
        (b'{"question": "   "}', "invalid_parameter"),
        (b'{"question": 5}', "invalid_parameter"),
        (json.dumps({"question": "x" * 501}).encode(), "invalid_parameter"),
        (b'{"question": "why", "model": "large"}', "invalid_parameter"),
    ],
)
async def test_what_is_no_question_is_refused(service: Service, body: bytes, code: str) -> None:
    """At most 500 characters, and nothing besides."""
    async with service.session.post(f"{service.url}/v1/ask", data=body) as response:
        assert response.status == HTTPStatus.BAD_REQUEST
        assert (await response.json(content_type=None))["code"] == code


async def test_questions_have_a_limit_of_their_own(service: Service) -> None:
    """After twenty in a minute it is a 429; downloads are not touched by it."""
    for _ in range(20):
        await ask(service)

    async with service.session.post(f"{service.url}/v1/ask", json={"question": "why"}) as response:
        assert response.status == HTTPStatus.TOO_MANY_REQUESTS
        assert int(response.headers["Retry-After"]) >= 1
    assert (await service.download()).status == HTTPStatus.NOT_FOUND


async def test_a_model_answers_in_its_words(start_service: StartService, caplog: pytest.LogCaptureFixture) -> None:
    """Piece by piece, knowing passages and counters; its key goes to it alone, and into no log."""
    async with chat(says("Some images ", "failed.")) as server:
        service = await asking_model(start_service, server.url)

        events = await ask(service)

    assert words(events) == "Some images failed."
    assert [data["text"] for name, data in events if name == "token"] == ["Some images ", "failed."]
    assert events[0][0] == "passage"
    assert events[-1] == ("done", {"source": "model"})
    (asked,) = server.questions
    context = asked["messages"][0]["content"]
    assert "_download_report.txt" in context
    assert "0 orders processed" in context
    assert asked["messages"][1] == {"role": "user", "content": "Why was my ZIP partial?"}
    assert asked["stream"] is True
    assert server.keys == [f"Bearer {KEY}"]
    assert KEY not in caplog.text


async def test_a_model_s_answer_has_an_end(start_service: StartService) -> None:
    """However much it says, the answer stops at 4,000 characters."""
    async with chat(says(*["word " * 100] * 30)) as server:
        service = await asking_model(start_service, server.url)

        assert len(words(await ask(service))) == 4_000


@pytest.mark.parametrize(
    "behaviour",
    [
        pytest.param(sends(b"their words", 500), id="error"),
        pytest.param(sends(KEY.encode(), 401), id="refused"),
        pytest.param(sends(b"", 302), id="redirect"),
        pytest.param(sends(b"<html>"), id="web page"),
        pytest.param(sends(b"data: {half\n\n"), id="half a document"),
        pytest.param(sends(b"data: []\n\n"), id="wrong shape"),
        pytest.param(sends(b'data: {"choices": [5]}\n\n'), id="wrong inner shape"),
        pytest.param(sends(b"data: " + b"[" * 50_000 + b"\n\n"), id="deeply nested"),
        pytest.param(sends(b"data: " + b"x" * 3_000_000), id="endless line"),
        pytest.param(says(end=""), id="nothing"),
        pytest.param(hangs, id="hangs"),
    ],
)
async def test_a_model_that_fails_is_as_good_as_none(
    start_service: StartService, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, behaviour: Behaviour
) -> None:
    """The docs answer then, and nobody hears of the model's trouble or key."""
    monkeypatch.setattr(model, "_TIMEOUT", ClientTimeout(total=60, sock_read=0.3))
    async with chat(behaviour) as server:
        service = await asking_model(start_service, server.url)

        events = await ask(service)

    assert server.questions
    assert events[0][1]["title"] == "Questions: Why was my ZIP partial?"
    assert words(events) == "From the docs:"
    assert events[-1] == ("done", {"source": "docs"})
    assert KEY not in caplog.text


async def test_a_model_that_is_not_there_is_as_good_as_none(start_service: StartService) -> None:
    """Nothing listens at its address."""
    service = await asking_model(start_service, "http://127.0.0.1:9/v1")

    assert (await ask(service))[-1] == ("done", {"source": "docs"})


async def test_an_answer_that_breaks_off_says_so(start_service: StartService) -> None:
    """What was said stands, and is not taken for the whole."""
    async with chat(says("Some images", end="")) as server:
        service = await asking_model(start_service, server.url)

        events = await ask(service)

    assert words(events) == f"Some images{BROKEN_OFF}"
    assert events[-1] == ("done", {"source": "model"})


async def test_who_leaves_takes_the_question_back(start_service: StartService) -> None:
    """In the middle of an answer: the chat server sees its own connection end."""
    has_left = asyncio.Event()

    async def says_on(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        try:
            while True:
                await response.write(b'data: {"choices": [{"delta": {"content": "word "}}]}\n\n')
                await asyncio.sleep(0.01)
        finally:
            has_left.set()

    async with chat(says_on) as server:
        service = await asking_model(start_service, server.url)
        url = f"{service.url}/v1/ask"
        async with service.session.post(url, json={"question": "Why was my ZIP partial?"}) as response:
            await response.content.readuntil(b"event: token")
            response.close()
        async with asyncio.timeout(TIMEOUT):
            await has_left.wait()
