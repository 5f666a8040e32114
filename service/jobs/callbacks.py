"""Tells the receiver that a job named how it ended, again and again until it has heard."""

import asyncio
import json
import random
import re
import socket
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus

from aiohttp import (
    ClientConnectorError,
    ClientError,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
    TCPConnector,
    TraceConfig,
)
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from service.jobs import signing
from service.jobs.job import Callback, CallbackState, Job, moment
from service.telemetry.logs import get_logger
from service.telemetry.metrics import CallbackOutcome, Metrics
from service.upstream.answers import retry_after
from service.upstream.network import ForbiddenAddress, open_public_socket

log = get_logger(__name__)

# Seconds from a failed attempt to the next (Standard Webhooks): about three days in all.
RETRY_SECONDS = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
# Receivers that were down together shall not be called together.
_JITTER = 0.1
_ANSWER_SECONDS = 20.0
# Look-ups of receivers' names at once: more wait for these, and nobody else does.
_LOOKUPS = 8
_VISIBLE_ASCII = re.compile(r"[!-~]+")


class Callbacks:
    """Attempts callbacks. An attempt may be repeated after a crash: receivers know it by its `webhook-id`."""

    def __init__(self, session: ClientSession, keys: Sequence[bytes], metrics: Metrics) -> None:
        self._session = session
        self._keys = keys
        self._attempts = metrics.callbacks

    async def attempt(self, job: Job) -> Callback:
        """As `Work.call_back`."""
        attempts = job.callback.attempts + 1 if job.callback else 1
        status, error, requested = await self._send(job, job.request.callback_url or "")
        state = _state(status, attempts)
        next_at = None
        if state is CallbackState.PENDING:
            wait = RETRY_SECONDS[attempts - 1] * random.uniform(1, 1 + _JITTER)  # noqa: S311  # no secret
            next_at = time.time() + max(wait, min(requested or 0, RETRY_SECONDS[-1]))
        callback = Callback(state=state, attempts=attempts, last_status=status, last_error=error, next_at=next_at)
        self._attempts.labels(_outcome(state)).inc()
        log.info("callback", job_id=job.id, host=URL(job.request.callback_url or "").host, **callback.document())
        return callback

    async def _send(self, job: Job, url: str) -> tuple[int | None, str | None, float | None]:
        """The status of the answer, or what went wrong; and the seconds that the receiver asks for."""
        if not self._keys:  # there was a secret when the job was accepted
            return None, "no_secret", None
        body = message(job)
        signature = signing.headers(message_id(job), int(time.time()), body, self._keys)
        headers = {"Content-Type": "application/json", **signature}
        try:
            async with (
                asyncio.timeout(_ANSWER_SECONDS),
                self._session.post(as_given(url), data=body, headers=headers, allow_redirects=False) as response,
            ):
                return response.status, None, retry_after(response.headers.get("Retry-After"))
        except TimeoutError:
            return None, "timeout", None
        except ClientConnectorError as error:
            forbidden = isinstance(error.os_error, ForbiddenAddress)
            return None, "forbidden_address" if forbidden else "unreachable", None
        except (ClientError, OSError, ValueError):
            return None, "unreachable", None


def message_id(job: Job) -> str:
    """The same for every attempt, also for one that an administrator asks for."""
    return f"msg_{job.id}"


def message(job: Job) -> bytes:
    """The body of a job's callback."""
    data = job.document(base_path=job.request.base_path)
    del data["callback"]
    return json.dumps({"type": f"job.{job.status}", "timestamp": moment(job.finished), "data": data}).encode()


@asynccontextmanager
async def open_callback_session(
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
            timeout=ClientTimeout(total=_ANSWER_SECONDS),
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


def as_given(address: str) -> URL:
    """The address with every byte as its receiver gave it; one that no request line can hold is encoded."""
    return URL(address, encoded=_VISIBLE_ASCII.fullmatch(address) is not None)


def _state(status: int | None, attempts: int) -> CallbackState:
    if status is not None and status // 100 == 2:
        return CallbackState.DELIVERED
    if status == HTTPStatus.GONE:
        return CallbackState.STOPPED
    return CallbackState.FAILED if attempts > len(RETRY_SECONDS) else CallbackState.PENDING


def _outcome(state: CallbackState) -> CallbackOutcome:
    return CallbackOutcome.RETRY if state is CallbackState.PENDING else CallbackOutcome(state)
