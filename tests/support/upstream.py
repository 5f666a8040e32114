"""The upstream API over real sockets, answering exactly what a test scripts."""

import asyncio
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Self, TypeAlias

from aiohttp import web
from multidict import CIMultiDict

from tests.support.loopback import Watched, serving

# Part of every error body, so that a test can prove that upstream's words stay inside.
UPSTREAM_WORDS = "words-of-upstream-7d1f"

_TYPES = {b"\xff\xd8\xff": "image/jpeg", b"\x89PN": "image/png", b"RIF": "image/webp"}

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]
Script: TypeAlias = "bytes | str | int | dict[str, Any] | Reply | Handler | list[Script]"


@dataclass(frozen=True, kw_only=True)
class Reply:
    """One answer, in detail."""

    body: bytes = b""
    status: int = 200
    content_type: str = ""
    """Empty: told by the body's first bytes, else octet-stream."""
    headers: Mapping[str, str] = field(default_factory=dict)
    etag: str | None = None
    """A quoted entity tag. With it, `Range` plus a matching `If-Range` gets the rest as 206."""
    chunked: bool = False
    """Send no length, end cleanly."""
    cut_after: int | None = None
    """Announce the whole length, send this many bytes, hang up."""


@dataclass(frozen=True)
class Received:
    """One request as it arrived. `server` is `api` or `assets`; `at` is the loop's time."""

    server: str
    method: str
    path: str
    query: dict[str, str]
    headers: CIMultiDict[str]
    at: float


class FakeUpstream(Watched):
    """Two servers on loopback: the API on 127.0.0.1, the assets that it redirects to on localhost.

    `orders` and `images` map an id to its script: bytes or a document (200), raw text (200, HTML), a status (with an
    error body that holds `UPSTREAM_WORDS` and echoes the key), a `Reply`, a handler, or a list of these for successive
    requests, of which the last one stays. `originals` has those of unaltered photos, and counts their calls under
    `original/ID`. An unknown id gets 404. `hops` is the number of redirects per image id.
    """

    def __init__(self) -> None:
        super().__init__()
        self.orders: dict[str, Script] = {}
        self.images: dict[str, Script] = {}
        self.originals: dict[str, Script] = {}
        self.hops: dict[str, int] = {}
        self.received: list[Received] = []
        self.in_flight = 0
        self.max_in_flight = 0
        self._calls: Counter[str] = Counter()
        self._gates: dict[str, asyncio.Event] = {}
        self._servers = AsyncExitStack()
        self.url = ""
        """Of the API, with its version: what `AUTOENHANCE_API_BASE` takes."""
        self.assets_url = ""

    async def __aenter__(self) -> Self:
        api = serving(
            web.get("/v3/orders/{id}", self._order), web.get("/v3/images/{id}/{kind:enhanced|original}", self._image)
        )
        self.url = f"{await self._servers.enter_async_context(api)}/v3"
        assets = serving(web.get("/assets/{id}", self._asset))
        self.assets_url = (await self._servers.enter_async_context(assets)).replace("127.0.0.1", "localhost")
        return self

    async def __aexit__(self, *_: object) -> None:
        for gate in self._gates.values():
            gate.set()
        await self._servers.aclose()

    def hold(self, some_id: str) -> asyncio.Event:
        """Answer no request for this order or image until the event that is returned is set."""
        return self._gates.setdefault(some_id, asyncio.Event())

    def calls(self, some_id: str) -> int:
        """How often the API was asked for this order or image."""
        return self._calls[some_id]

    @property
    def image_calls(self) -> int:
        """How often the API was asked for any image."""
        return sum(self._calls[image_id] for image_id in self.images)

    def requests(self, some_id: str, server: str = "api") -> list[Received]:
        """The requests that one server got for this order or image."""
        return [one for one in self.received if one.server == server and some_id in one.path.split("/")]

    async def _order(self, request: web.Request) -> web.StreamResponse:
        order_id = self._note("api", request)
        self._calls[order_id] += 1
        await self._pass_gate(order_id)
        return await self._answer(request, self._script(self.orders, order_id))

    async def _image(self, request: web.Request) -> web.StreamResponse:
        image_id = self._note("api", request)
        if request.match_info["kind"] == "original":
            self._calls[f"original/{image_id}"] += 1
            return await self._answer(request, self.originals.get(image_id, 404))
        self._calls[image_id] += 1
        with self._under_way():
            if self.hops.get(image_id, 0) > 0:
                raise web.HTTPFound(f"{self.assets_url}/assets/{image_id}?hop=1")
            await self._pass_gate(image_id)
            return await self._answer(request, self._script(self.images, image_id))

    async def _asset(self, request: web.Request) -> web.StreamResponse:
        image_id = self._note("assets", request)
        with self._under_way():
            hop = int(request.query["hop"])
            if hop < self.hops.get(image_id, 0):
                raise web.HTTPFound(f"/assets/{image_id}?hop={hop + 1}")
            await self._pass_gate(image_id)
            return await self._answer(request, self._script(self.images, image_id))

    def _note(self, server: str, request: web.Request) -> str:
        now = asyncio.get_running_loop().time()
        query, headers = dict(request.query), CIMultiDict(request.headers)
        self.received.append(Received(server, request.method, request.path, query, headers, now))
        self.changed()
        return request.match_info["id"]

    @contextmanager
    def _under_way(self) -> Iterator[None]:
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        self.changed()
        try:
            yield
        finally:
            self.in_flight -= 1
            self.changed()

    async def _pass_gate(self, some_id: str) -> None:
        if some_id in self._gates:
            await self._gates[some_id].wait()

    def _script(self, scripts: Mapping[str, Script], some_id: str) -> Script:
        script = scripts.get(some_id, 404)
        if isinstance(script, list):
            return script[min(self._calls[some_id], len(script)) - 1]
        return script

    async def _answer(self, request: web.Request, script: Script) -> web.StreamResponse:
        match script:
            case Reply():
                return await _reply(request, script)
            case bytes():
                return await _reply(request, Reply(body=script))
            case str():
                return web.Response(text=script, content_type="text/html")
            case dict():
                return web.json_response(script)
            case int():
                words = f"{UPSTREAM_WORDS} {request.headers.get('x-api-key', '')}"
                return web.json_response({"message": words, "detail": {}}, status=script)
            case list():
                raise TypeError("a list of answers holds no lists")
            case _:
                return await script(request)


async def _reply(request: web.Request, reply: Reply) -> web.StreamResponse:
    body, status = reply.body, reply.status
    response = web.StreamResponse(headers=reply.headers)
    response.content_type = reply.content_type or _TYPES.get(body[:3], "application/octet-stream")
    if reply.etag is not None:
        response.headers["ETag"] = reply.etag
        start = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
        if start is not None and request.headers.get("If-Range") == reply.etag:
            response.headers["Content-Range"] = f"bytes {start[1]}-{len(body) - 1}/{len(body)}"
            body, status = body[int(start[1]) :], 206
    response.set_status(status)
    if not reply.chunked:
        response.content_length = len(body)
    await response.prepare(request)
    await response.write(body if reply.cut_after is None else body[: reply.cut_after])
    if reply.cut_after is not None and request.transport is not None:
        # A client on this loop takes the bytes in these turns; aiohttp drops what is unread when a connection breaks.
        for _ in range(20):
            await asyncio.sleep(0)
        request.transport.close()
    return response
