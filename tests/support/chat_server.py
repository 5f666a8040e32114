"""A chat server on loopback that speaks OpenAI's `/chat/completions`, and misbehaves on demand."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from tests.support.loopback import serving

Behaviour = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Chat:
    """Keeps what it was asked; `behaviour` answers."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.questions: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """`POST /v1/chat/completions`."""
        self.questions.append(await request.json())
        self.keys.append(request.headers.get("Authorization", ""))
        return await self.behaviour(request)


@asynccontextmanager
async def chat(behaviour: Behaviour) -> AsyncIterator[Chat]:
    """Run one for the length of the block."""
    server = Chat(behaviour)
    async with serving(web.post("/v1/chat/completions", server.handle)) as url:
        server.url = f"{url}/v1"
        yield server


def says(*pieces: str, end: str = "data: [DONE]\n\n") -> Behaviour:
    """Streams these pieces, as the real ones do: an empty first delta, comments, a last chunk without choices."""

    async def behave(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b": a comment\n\n" + _chunk({"choices": [{"delta": {"role": "assistant"}}]}))
        for piece in pieces:
            await response.write(_chunk({"choices": [{"delta": {"content": piece}}]}))
        await response.write(_chunk({"choices": [], "usage": {"total_tokens": 12}}) + end.encode())
        return response

    return behave


def sends(body: bytes, status: int = 200) -> Behaviour:
    """Answers with these bytes."""

    async def behave(request: web.Request) -> web.StreamResponse:
        return web.Response(body=body, status=status)

    return behave


async def hangs(request: web.Request) -> web.StreamResponse:
    """Never answers."""
    await asyncio.Event().wait()
    raise AssertionError


def _chunk(document: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(document)}\n\n".encode()
