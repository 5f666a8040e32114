"""Answering a question: passages from the docs, the live counters, and a model's text if there is a model."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Literal

from aiohttp import ClientSession, DummyCookieJar, TCPConnector, TraceConfig

from service.assistant.live import live_answer, summary
from service.assistant.model import Model, ModelFailed
from service.assistant.search import Index
from service.docs import library
from service.docs.library import Passage
from service.settings import Settings
from service.telemetry.logs import get_logger
from service.telemetry.stats import Stats

log = get_logger(__name__)

_CONTEXT_PASSAGES = 6
_SHOWN_PASSAGES = 3

FROM_THE_DOCS = "From the docs:"
NOTHING = "The docs have no answer to that. Try rephrasing the question."
BROKEN_OFF = " (The answer was interrupted.)"


@dataclass(frozen=True, slots=True)
class TextPart:
    """A piece of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Done:
    """The end of the answer, and its source."""

    source: Literal["docs", "model"]


Event = Passage | TextPart | Done


class Assistant:
    """Answers questions about the service."""

    def __init__(self, stats: Stats, model: Model | None) -> None:
        self._stats = stats
        self._model = model
        self._index: Index | None = None
        self._loading = asyncio.Lock()

    def close(self) -> None:
        if self._index is not None:
            self._index.close()

    async def answer(self, question: str) -> AsyncGenerator[Event, None]:
        """Passages, then text, then the end. If there is no model, or it fails at once, the docs answer."""
        index = await self._loaded_index()
        passages = await asyncio.to_thread(index.search, question, _CONTEXT_PASSAGES)
        for passage in passages[:_SHOWN_PASSAGES]:
            yield passage
        counters = self._stats.snapshot()
        if self._model is not None:
            started = False
            try:
                # Closed at once when the reader leaves, and with it the stream from the chat server.
                async with aclosing(self._model.answer(question, passages, summary(counters))) as pieces:
                    async for piece in pieces:
                        started = True
                        yield TextPart(piece)
            except ModelFailed as failure:
                log.warning("chat model failed", reason=str(failure), started=started)
                if started:
                    yield TextPart(BROKEN_OFF)
            if started:
                yield Done("model")
                return
        yield TextPart(live_answer(question, counters) or (FROM_THE_DOCS if passages else NOTHING))
        yield Done("docs")

    async def _loaded_index(self) -> Index:
        async with self._loading:
            if self._index is None:
                self._index = await asyncio.to_thread(_index)
            return self._index


def _index() -> Index:
    return Index([passage for page in library.pages().values() for passage in page.passages])


@asynccontextmanager
async def open_assistant(
    settings: Settings, stats: Stats, trace_configs: list[TraceConfig]
) -> AsyncIterator[Assistant]:
    """The assistant, with a client session of its own for the chat server if one is configured."""
    base, name, key = settings.assistant_base_url, settings.assistant_model, settings.assistant_api_key
    model = None
    async with AsyncExitStack() as stack:
        if base is not None and name is not None:
            connector = TCPConnector(force_close=True)  # a kept connection may be dead, and no POST is sent twice
            session = ClientSession(connector=connector, cookie_jar=DummyCookieJar(), trace_configs=trace_configs)
            await stack.enter_async_context(session)
            model = Model(session, base, name, key.get_secret_value() if key else None)
        assistant = Assistant(stats, model)
        stack.callback(assistant.close)
        yield assistant
