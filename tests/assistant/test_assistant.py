"""What becomes of an answer whose reader does not stay for its end."""

from collections.abc import AsyncGenerator
from contextlib import aclosing, closing
from typing import Any, cast

from service.assistant.assistant import Assistant, TextPart
from service.assistant.model import Model
from service.telemetry.metrics import Metrics
from service.telemetry.stats import Stats


class EndlessModel:
    """Has always more to say; knows whether it was told that nobody listens."""

    def __init__(self) -> None:
        self.is_open = False

    async def answer(self, *_: Any) -> AsyncGenerator[str, None]:
        self.is_open = True
        try:
            while True:
                yield "word"
        finally:
            self.is_open = False


async def test_the_stream_from_the_chat_server_ends_with_its_reader() -> None:
    """At once, not when somebody tidies up: a chat server is paid by the word."""
    model = EndlessModel()

    with closing(Assistant(Stats(Metrics()), cast(Model, model))) as assistant:
        async with aclosing(assistant.answer("Why was my ZIP partial?")) as events:
            async for event in events:
                if isinstance(event, TextPart):
                    break
            was_open = model.is_open

    assert (was_open, model.is_open) == (True, False)
