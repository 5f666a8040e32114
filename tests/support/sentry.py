"""A Sentry on loopback: takes envelopes as the SDK sends them, and lists issues as its API does."""

import json
import zlib
from collections.abc import Iterator
from typing import Any

from aiohttp import web

from tests.support.loopback import LoopbackServer

TOKEN = "token-of-sentry-7731"
PROJECT = "/api/0/projects/harbour/batch/issues/"


class FakeSentry(LoopbackServer):
    """`dsn` is what `SENTRY_DSN` takes. `answer` is what the issues' API gives: a status, or a body."""

    def __init__(self) -> None:
        super().__init__()
        self.errors: list[dict[str, Any]] = []
        self.transactions: list[dict[str, Any]] = []
        self.answer: int | str | list[Any] = []
        self.asked: list[str | None] = []
        """The `Authorization` of each request for issues."""

    @property
    def dsn(self) -> str:
        """With a public key, for project 42."""
        return self.url.replace("://", "://5e27a1b0c3d24e6f8a9b0c1d2e3f4a5b@") + "/42"

    def routes(self) -> list[web.RouteDef]:
        """Where the SDK sends to, and where issues are asked for."""
        return [web.post("/api/42/envelope/", self._take), web.get(PROJECT, self._list)]

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        for kind, item in _items(zlib.decompress(body, 47) if body[:2] == b"\x1f\x8b" else body):
            if kind == "event":
                self.errors.append(item)
            elif kind == "transaction":
                self.transactions.append(item)
        self.changed()
        return web.json_response({})

    async def _list(self, request: web.Request) -> web.Response:
        self.asked.append(request.headers.get("Authorization"))
        self.changed()
        await self.pass_gate()
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
