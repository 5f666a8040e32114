"""aioresponses on an aiohttp that is newer than it.

A mocked `ClientResponse` lacks an argument that aiohttp requires since 3.14, and its stream would ask a transport that
does not exist to pause. Good for what is sent and what a status means; timeouts, redirects and broken bodies need a
real server.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import Mock, patch

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aioresponses import aioresponses, core
from yarl import URL

# A literal address: it is looked up before the first call, and nothing may be asked of a name server.
BASE = "http://127.0.0.1:9/v3"

_NEVER_FULL = 1 << 40


class _Response(aiohttp.ClientResponse):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{"stream_writer": Mock(output_size=0)} | options)


def _stream(loop: asyncio.AbstractEventLoop | None = None) -> aiohttp.StreamReader:
    running = loop or asyncio.get_running_loop()
    return aiohttp.StreamReader(ResponseHandler(loop=running), limit=_NEVER_FULL, loop=running)


@contextmanager
def mocked_answers() -> Iterator[aioresponses]:
    """Within the block, requests get the answers set on what is yielded, and no connection is made."""
    with (
        patch.object(core, "ClientResponse", _Response),
        patch.object(core, "stream_reader_factory", _stream),
        aioresponses() as answers,
    ):
        yield answers


def sent(answers: aioresponses) -> tuple[URL, dict[str, str]]:
    """Address and headers of the only request."""
    ((_, url), (call,)) = next(iter(answers.requests.items()))
    assert len(answers.requests) == 1
    headers = dict(call.kwargs["headers"])
    headers.pop("User-Agent", None)  # the session's own
    return url, headers
