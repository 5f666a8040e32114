"""Single calls through the transport."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import pytest
from aiohttp import ClientResponse
from yarl import URL

from service.telemetry.metrics import Circuit
from service.upstream.answers import UpstreamFailure
from tests.support.transport import TIMEOUT, Parts


@dataclass
class Got:
    """A whole answer, and the circuits that were asked for it."""

    status: int
    body: bytes
    reached: list[Circuit]


async def get(parts: Parts, url: str, *, seconds: float = TIMEOUT, headers: dict[str, str] | None = None) -> Got:
    reached: list[Circuit] = []

    async def admit(circuit: Circuit) -> None:
        reached.append(circuit)

    async with parts.transport.get(
        "image",
        URL(url, encoded=True),
        timeout=asyncio.timeout(seconds),
        headers=headers or {},
        api_headers={"x-dev-mode": "true"},
        admit=admit,
    ) as response:
        return Got(response.status, await response.read(), reached)


async def admit_all(_: Circuit) -> None:
    """No circuit is open."""


def get_with(
    parts: Parts, url: str, admit: Callable[[Circuit], Awaitable[None]] = admit_all
) -> AbstractAsyncContextManager[ClientResponse]:
    """The answer itself, with a say in each hop."""
    timeout = asyncio.timeout(TIMEOUT)
    return parts.transport.get("image", URL(url), timeout=timeout, headers={}, api_headers={}, admit=admit)


async def refused(parts: Parts, url: str, *, seconds: float = TIMEOUT) -> UpstreamFailure:
    with pytest.raises(UpstreamFailure) as raised:
        await get(parts, url, seconds=seconds)
    return raised.value
