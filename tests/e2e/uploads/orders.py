"""Making orders over HTTP: the requests, the answers, and a service that takes them."""

import asyncio
import io
from typing import Any, NamedTuple

from aiohttp import ClientResponse, FormData

from service.sandbox.content import ImageFile
from tests.support.client import TIMEOUT, Service

TOKEN = "token-of-the-administrator-0d5e"
ADMIN = {"X-Admin-Token": TOKEN}


class Made(NamedTuple):
    """An answer to making an order."""

    status: int
    headers: Any
    document: dict[str, Any]

    @property
    def outcomes(self) -> dict[str, str]:
        """File name to "uploaded", or the code of its failure."""
        return {file["name"]: file["code"] or file["status"] for file in self.document["files"]}


def form(*files: tuple[str, bytes], **fields: str) -> FormData:
    """A form with fields first."""
    data = FormData()
    for name, value in fields.items():
        data.add_field(name, value)
    for name, content in files:
        data.add_field("files", io.BytesIO(content), filename=name)
    return data


async def make(service: Service, data: Any, headers: dict[str, str] = ADMIN, path: str = "/v1/orders") -> Made:
    """Make an order."""
    async with service.session.post(service.url + path, data=data, headers=headers) as response:
        return await read(response)


async def read(response: ClientResponse) -> Made:
    """The whole answer."""
    return Made(response.status, response.headers, await response.json(content_type=None))


def stored(source: object) -> bytes:
    """What the sandbox was sent."""
    assert isinstance(source, ImageFile)
    return source.path.read_bytes()


async def until(condition: Any) -> None:
    """Wait for a condition. Raises `TimeoutError`."""
    async with asyncio.timeout(TIMEOUT):
        while not condition():  # noqa: ASYNC110  # a folder announces nothing
            await asyncio.sleep(0.01)
