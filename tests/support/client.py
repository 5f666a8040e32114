"""The service as a caller sees it: requests over HTTP, answers, and the ZIP inside them."""

import asyncio
import io
import json
import zipfile
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

from aiohttp import ClientResponse, ClientSession
from multidict import CIMultiDictProxy
from yarl import URL

from tests.support.samples import ORDER

REPORT = "_download_report.txt"
TIMEOUT = 20
"""Seconds after which a test gives up; nothing is expected to take that long."""

Params = Mapping[str, str] | list[tuple[str, str]]


@dataclass(frozen=True)
class Answer:
    """One whole answer."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes

    @property
    def members(self) -> dict[str, bytes]:
        """The ZIP's members by name, checksums verified. A name that occurs twice fails the test."""
        with zipfile.ZipFile(io.BytesIO(self.body)) as archive:
            assert archive.testzip() is None
            names = archive.namelist()
            assert len(set(names)) == len(names)
            return {name: archive.read(name) for name in names}

    @property
    def images(self) -> dict[str, bytes]:
        """The members without the report."""
        return {name: body for name, body in self.members.items() if name != REPORT}

    @property
    def report(self) -> str:
        """The text of the report in the ZIP."""
        return self.members[REPORT].decode()

    @property
    def problem(self) -> dict[str, Any]:
        """The problem document."""
        assert self.headers["Content-Type"].partition(";")[0] == "application/problem+json"
        return self.document

    @property
    def document(self) -> dict[str, Any]:
        """The JSON document, whatever it is."""
        document = json.loads(self.body)
        assert isinstance(document, dict)
        return document

    @property
    def failures(self) -> dict[str, str]:
        """Image id to code, as told by a 422."""
        return {failure["image_id"]: failure["code"] for failure in self.problem["failures"]}

    @property
    def text(self) -> str:
        """Everything in it that a person could read, headers included."""
        return f"{dict(self.headers)} {self.body.decode(errors='replace')}"


class Service:
    """A running service."""

    def __init__(self, url: str, session: ClientSession, stop: Callable[[], Awaitable[None]]) -> None:
        self.url = url
        self.session = session
        self.stop = stop
        """Shut the service down, as a deployment does; done anyway at the end of the test."""

    def request(
        self, path: str, *, method: str = "GET", params: Params | None = None, headers: Mapping[str, str] | None = None
    ) -> AbstractAsyncContextManager[ClientResponse]:
        """Begin a request, to read its body step by step. `path` is sent as it stands, percent signs and all."""
        url = URL(self.url + path, encoded=True)
        return self.session.request(method, url.extend_query(params) if params else url, headers=headers)

    async def ask(
        self, path: str, *, method: str = "GET", params: Params | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Make a request and read the whole answer."""
        async with self.request(path, method=method, params=params, headers=headers) as response:
            return Answer(response.status, response.headers, await response.read())

    async def download(
        self, order_id: str = ORDER, *, headers: Mapping[str, str] | None = None, **query: str
    ) -> Answer:
        """Ask for an order's archive."""
        return await self.ask(f"/v1/orders/{order_id}/images", params=query, headers=headers)

    async def head(self, order_id: str = ORDER) -> Answer:
        """Ask what a download would be."""
        return await self.ask(f"/v1/orders/{order_id}/images", method="HEAD")

    async def raw(self, message: str) -> bytes:
        """Send these lines (LF becomes CRLF) over a socket of its own; everything until the service hangs up."""
        address = urlsplit(self.url)
        async with asyncio.timeout(TIMEOUT):
            reader, writer = await asyncio.open_connection(address.hostname, address.port)
            try:
                writer.write(message.replace("\n", "\r\n").encode())
                return await reader.read()
            finally:
                writer.close()
                await writer.wait_closed()


class StartService(Protocol):
    """Starts a service in front of the fake upstream; keywords are settings, and `timeouts`, a `Timeouts`."""

    async def __call__(self, **settings: object) -> Service: ...
