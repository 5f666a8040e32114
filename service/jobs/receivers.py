"""How a job's receivers are reached, by callbacks and deliveries alike: the session, URLs, when to try again."""

import random
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from aiohttp import (
    ClientConnectorError,
    ClientError,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
    TCPConnector,
    TraceConfig,
)
from yarl import URL

from service.upstream.connection import bound_connections
from service.upstream.network import ForbiddenAddress, Resolver, open_public_socket

ANSWER_SECONDS = 20.0
"""What answers later has not answered, unless a request has a bound of its own."""
# Receivers that were down together shall not be called together.
_JITTER = 0.1
# Look-ups of receivers' names at once: more wait for these, and nobody else does.
_LOOKUPS = 8
FAILURES = (TimeoutError, ClientError, OSError, ValueError)
"""What an attempt may fail with."""
_VISIBLE_ASCII = re.compile(r"[!-~]+")


def next_attempt(schedule: Sequence[float], attempts: int, requested: float | None) -> float:
    """When to try again (epoch seconds) after so many attempts, at most as many as `schedule` has waits (seconds).

    Not before the seconds that the receiver has `requested`, as far as they are no longer than the longest wait.
    """
    wait = schedule[attempts - 1] * random.uniform(1, 1 + _JITTER)  # noqa: S311  # no secret
    return time.time() + max(wait, min(requested or 0, schedule[-1]))


@asynccontextmanager
async def open_receiver_session(
    *, allow_private: bool, trace_configs: list[TraceConfig]
) -> AsyncIterator[ClientSession]:
    """The session that callbacks and deliveries are sent with: to public addresses only, unless told otherwise.

    The address is checked where the connection is made, so it is the very one that is connected to, however often the
    name's address changes.
    """
    resolver = Resolver(_LOOKUPS)
    connector = TCPConnector(
        limit=0,
        force_close=True,
        socket_factory=None if allow_private else open_public_socket,
        use_dns_cache=False,
        resolver=resolver,
    )
    bound_connections(connector)
    try:
        async with ClientSession(
            connector=connector,
            timeout=ClientTimeout(total=ANSWER_SECONDS),
            cookie_jar=DummyCookieJar(),
            headers={"User-Agent": "autoenhance-batch"},
            trace_configs=trace_configs,
        ) as session:
            yield session
    finally:
        await resolver.close()


def failure_of(error: Exception, otherwise: str = "unreachable") -> str:
    """Why an attempt failed, in a word; `otherwise` where a connection was made, and broke."""
    match error:
        case TimeoutError():
            return "timeout"
        case ClientConnectorError(os_error=ForbiddenAddress()):
            return "forbidden_address"
        case ClientConnectorError():
            return "unreachable"
    return otherwise


def as_given(url: str) -> URL:
    """The URL with every byte as its receiver gave it; one that no request line can hold is encoded."""
    return URL(url, encoded=_VISIBLE_ASCII.fullmatch(url) is not None)
