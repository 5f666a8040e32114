"""A sandbox on loopback, and a caller that follows redirects by hand and keeps its key to the API."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import ClientResponse, ClientSession, ClientTimeout
from yarl import URL

from service.sandbox import Sandbox, SandboxConfig

StartSandbox = Callable[..., Awaitable["Caller"]]


@dataclass(frozen=True)
class Answer:
    """A response whose body has been read."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def content_type(self) -> str:
        return self.headers.get("Content-Type", "").partition(";")[0]


async def read(response: ClientResponse) -> Answer:
    return Answer(response.status, response.headers, await response.read())


async def eventually(condition: Callable[[], object]) -> None:
    """Wait until a condition holds; fails after five seconds."""
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.005)
    pytest.fail("it never happened")


class Caller:
    """Calls one sandbox: `call` goes to the API with the key, `fetch` follows a download to its bytes."""

    def __init__(self, sandbox: Sandbox, session: ClientSession) -> None:
        self.sandbox = sandbox
        self.control = sandbox.control
        self.session = session

    async def call(self, method: str, path: str, *, key: str | None = "sandbox-key", **options: Any) -> Answer:
        """One request to a path under `/v3`, redirects not followed; the body is read."""
        headers = {**({"x-api-key": key} if key else {}), **options.pop("headers", {})}
        url = f"{self.sandbox.api_base}{path}"
        async with self.session.request(method, url, headers=headers, allow_redirects=False, **options) as response:
            return await read(response)

    async def json(self, method: str, path: str, **options: Any) -> Any:
        answer = await self.call(method, path, **options)
        assert answer.status == 200, answer.text
        return answer.json()

    async def link(self, path: str, **options: Any) -> URL:
        """The storage link that a download route leads to."""
        answer = await self.call("GET", path, **options)
        assert answer.status == 302, answer.text
        async with self.session.get(answer.headers["Location"], allow_redirects=False) as hop:
            assert hop.status == 302, await hop.text()
            return hop.url.join(URL(hop.headers["Location"]))

    async def fetch(self, path: str, **options: Any) -> Answer:
        """The last answer of a download, its body read."""
        async with self.session.get(await self.link(path, **options)) as response:
            return await read(response)

    async def put(self, url: str, content: bytes, content_type: str = "application/octet-stream") -> Answer:
        headers = {"Content-Type": content_type}
        async with self.session.put(URL(url, encoded=True), data=io.BytesIO(content), headers=headers) as response:
            return await read(response)


@pytest.fixture
async def start() -> AsyncIterator[StartSandbox]:
    """Starts a sandbox with the given configuration and gives a caller for it."""
    async with AsyncExitStack() as stack:

        async def begin(**config: Any) -> Caller:
            sandbox = await stack.enter_async_context(Sandbox(SandboxConfig(**config)))
            session = await stack.enter_async_context(ClientSession(timeout=ClientTimeout(total=10)))
            return Caller(sandbox, session)

        yield begin


@pytest.fixture
async def caller(start: StartSandbox) -> Caller:
    """A caller of a sandbox as it comes, but with a minute of processing: tests push the clock."""
    return await start(image_delay=60, merge_delay=60)
