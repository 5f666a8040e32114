"""Connections that never send a request: aiohttp would keep them open for ever."""

import asyncio
from collections.abc import Callable

from aiohttp import web


class Patience:
    """Resets a connection whose first request's head is not here within `seconds`.

    aiohttp has its own limit for the time between requests; a body is never waited for without a limit of its own.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._silent: set[asyncio.Protocol] = set()

    def guard(self, server: Callable[[], asyncio.Protocol]) -> Callable[[], asyncio.Protocol]:
        """A protocol factory like `server` that starts the clock for every connection."""

        def connect() -> asyncio.Protocol:
            protocol = server()
            self._silent.add(protocol)
            asyncio.get_running_loop().call_later(self._seconds, self._time_is_up, protocol)
            return protocol

        return connect

    def heard(self, request: web.Request) -> None:
        """A request has come in."""
        self._silent.discard(request.protocol)

    def _time_is_up(self, protocol: asyncio.Protocol) -> None:
        if protocol in self._silent:
            self._silent.discard(protocol)
            transport = getattr(protocol, "transport", None)
            if transport is not None:
                transport.abort()
