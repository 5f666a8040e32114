"""How a job's receivers are reached, by callbacks and deliveries alike: the session, URLs, when to try again."""

import asyncio
import random
import re
import socket
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial

from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector, TraceConfig
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from service.upstream.network import open_public_socket

ANSWER_SECONDS = 20.0
"""What answers later has not answered, unless a request has a bound of its own."""
# Receivers that were down together shall not be called together.
_JITTER = 0.1
# Look-ups of receivers' names at once: more wait for these, and nobody else does.
_LOOKUPS = 8
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
    resolver = PoolResolver(_LOOKUPS)
    connector = TCPConnector(
        limit=0,
        force_close=True,
        socket_factory=None if allow_private else open_public_socket,
        use_dns_cache=False,
        resolver=resolver,
    )
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


class PoolResolver(AbstractResolver):
    """Looks names up on threads of its own, so that a slow name server holds up nobody who does not need it."""

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="receivers' names")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of a host. Raises `OSError`."""
        look_up = partial(
            socket.getaddrinfo, host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
        )
        found = await asyncio.get_running_loop().run_in_executor(self._pool, look_up)
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=int(address[1]),
                family=family,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for family, _, protocol, _, address in found
        ]

    async def close(self) -> None:
        """Begin no more look-ups; those under way end by themselves."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def as_given(url: str) -> URL:
    """The URL with every byte as its receiver gave it; one that no request line can hold is encoded."""
    return URL(url, encoded=_VISIBLE_ASCII.fullmatch(url) is not None)
