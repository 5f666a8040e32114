"""A Sentry on loopback: takes envelopes as the SDK sends them, and lists issues as its API does."""

import asyncio
import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web

PATIENCE = 20
TOKEN = "token-of-sentry-7731"
PROJECT = "/api/0/projects/harbour/batch/issues/"


@dataclass
class FakeSentry:
    """`dsn` is what `SENTRY_DSN` takes. `answer` is what the issues' API gives: a status, or a body."""

    errors: list[dict[str, Any]] = field(default_factory=list)
    transactions: list[dict[str, Any]] = field(default_factory=list)
    answer: int | str | list[Any] = field(default_factory=list)
    asked: list[str | None] = field(default_factory=list)
    """The `Authorization` of each request for issues."""
    gate: asyncio.Event | None = None
    url: str = ""

    def __post_init__(self) -> None:
        self._changed = asyncio.Event()

    @property
    def dsn(self) -> str:
        """With a public key, for project 42."""
        return self.url.replace("://", "://5e27a1b0c3d24e6f8a9b0c1d2e3f4a5b@") + "/42"

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition on what has arrived. Raises `TimeoutError`."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=16 << 20)
        app.router.add_post("/api/42/envelope/", self._take)
        app.router.add_get(PROJECT, self._list)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.gate is not None:
            self.gate.set()
        await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        for kind, item in _items(zlib.decompress(body, 47) if body[:2] == b"\x1f\x8b" else body):
            if kind == "event":
                self.errors.append(item)
            elif kind == "transaction":
                self.transactions.append(item)
        self._changed.set()
        return web.json_response({})

    async def _list(self, request: web.Request) -> web.Response:
        self.asked.append(request.headers.get("Authorization"))
        self._changed.set()
        if self.gate is not None:
            await self.gate.wait()
        if isinstance(self.answer, int):
            return web.Response(status=self.answer, text="words of Sentry")
        if isinstance(self.answer, str):
            return web.Response(text=self.answer, content_type="application/json")
        return web.json_response(self.answer)


def _items(envelope: bytes) -> Iterator[tuple[str, dict[str, Any]]]:
    """The typed items of an envelope: a line of headers, then per item a line of headers and its payload."""
    _, _, rest = envelope.partition(b"\n")
    while rest.strip():
        line, _, rest = rest.partition(b"\n")
        header = json.loads(line)
        length = header.get("length")
        payload, rest = (rest[:length], rest[length + 1 :]) if length is not None else rest.split(b"\n", 1)
        yield header["type"], json.loads(payload)
