"""A connection to upstream, or to a receiver: what aiohttp does not bound by itself."""

import asyncio
from functools import partial

from aiohttp import ServerDisconnectedError, StreamReader, TCPConnector
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import RawResponseMessage

# Responses that announce another one (1xx): aiohttp would read them for ever, as fast as they come.
_MAX_INTERIM = 64


class Connection(ResponseHandler):
    """Ends when a request is answered by nothing but interim responses."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._interim = 0

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        """Take the head of a response."""
        if self._interim > _MAX_INTERIM:  # what came with the last of them
            return
        self._interim = self._interim + 1 if 100 <= data[0].code < 200 else 0
        if self._interim <= _MAX_INTERIM:
            super().feed_data(data, size)
        else:
            self.abort()
            self.set_exception(ServerDisconnectedError("no response but interim ones"))


def bound_connections(connector: TCPConnector) -> None:
    """Have a connector open such connections only."""
    connector._factory = partial(Connection, loop=asyncio.get_running_loop())  # type: ignore[assignment]  # no other way
