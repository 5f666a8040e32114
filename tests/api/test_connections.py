"""Callers' connections: which of them make room for one another."""

import asyncio
from contextlib import AsyncExitStack, suppress
from urllib.parse import urlsplit

import pytest

from service.api import connections
from tests.support.client import TIMEOUT, StartService


async def test_between_two_requests_one_may_be_ended_for_another(
    start_service: StartService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that has waited longest for its next request."""
    monkeypatch.setattr(connections, "connections_within", lambda _: 2)
    service = await start_service(trusted_proxies=("127.0.0.0/8",))  # else an address has but a part of them
    address = urlsplit(service.url)

    async with asyncio.timeout(TIMEOUT), AsyncExitStack() as stack:

        async def answered() -> asyncio.StreamReader:
            reader, writer = await asyncio.open_connection(address.hostname, address.port)
            stack.callback(writer.close)
            writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await reader.readline()).split()[1] == b"200"
            return reader

        first, *others = [await answered() for _ in range(3)]
        with suppress(ConnectionResetError):
            await first.read()  # to its end

        assert not any(reader.at_eof() for reader in others)
