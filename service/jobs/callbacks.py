"""Tells the receiver that a job named how it ended, again and again until it has heard."""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
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
from yarl import URL

from service.jobs import signing
from service.jobs.backend import JobBackend, Run
from service.jobs.job import CallbackState, Change, Job, moment
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
# A callback at whose attempts the process died so often is given up.
_MOST_DEATHS = 3


class Callbacks:
    """Attempts callbacks. An attempt may be repeated after a crash: receivers know it by its `webhook-id`."""

    def __init__(self, backend: JobBackend, session: ClientSession, keys: Sequence[bytes], metrics: Metrics) -> None:
        self._backend = backend
        self._session = session
        self._keys = keys
        self._attempts = metrics.callbacks

    async def step(self, run: Run) -> float | None:
        """Make one attempt and note what came of it; returns when to make the next."""
        job = run.job
        url = job.request.callback_url
        if url is None or job.callback is None or job.callback["state"] != CallbackState.PENDING:
            return None
        attempts = job.callback["attempts"] + 1
        status: int | None = None
        error: str | None = None
        wish: float | None = None
        if run.deaths >= _MOST_DEATHS:
            error, attempts = "crashed", len(RETRY_SECONDS) + 1
        else:
            status, error, wish = await self._send(job, url)
        state = _state(status, attempts)
        due = None
        if state is CallbackState.PENDING:
            wait = RETRY_SECONDS[attempts - 1] * random.uniform(1, 1 + _JITTER)  # noqa: S311  # no secret
            due = time.time() + max(wait, min(wish or 0, RETRY_SECONDS[-1]))
        self._attempts.labels(_outcome(state)).inc()
        note = {
            "state": state,
            "attempts": attempts,
            "last_status": status,
            "last_error": error,
            "next_at": moment(due),
        }
        await self._backend.progress(run, Change(at=time.time(), callback=note))
        log.info("callback", job_id=job.id, host=URL(url).host, **note)
        return due

    async def _send(self, job: Job, url: str) -> tuple[int | None, str | None, float | None]:
        """The status of the answer, or what went wrong; and the seconds that the receiver wishes to have."""
        if not self._keys:  # there was a secret when the job was accepted
            return None, "no_secret", None
        body = message(job)
        headers = signing.headers(message_id(job), int(time.time()), body, self._keys)
        try:
            async with (
                asyncio.timeout(_ANSWER_SECONDS),
                self._session.post(url, data=body, headers=headers, allow_redirects=False) as response,
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
    data = job.document()
    del data["callback"]
    return json.dumps({"type": f"job.{job.status}", "timestamp": moment(job.finished), "data": data}).encode()


@asynccontextmanager
async def open_callback_session(
    *, allow_private: bool, trace_configs: list[TraceConfig]
) -> AsyncIterator[ClientSession]:
    """The session that callbacks are sent with: to public addresses only, unless told otherwise.

    The address is checked where the connection is made, so it is the very one that is connected to, however often the
    name's address changes.
    """
    connector = TCPConnector(
        limit=0, force_close=True, socket_factory=None if allow_private else open_public_socket, use_dns_cache=False
    )
    async with ClientSession(
        connector=connector,
        timeout=ClientTimeout(total=_ANSWER_SECONDS),
        cookie_jar=DummyCookieJar(),
        headers={"Content-Type": "application/json", "User-Agent": "autoenhance-batch"},
        trace_configs=trace_configs,
    ) as session:
        yield session


def _state(status: int | None, attempts: int) -> CallbackState:
    if status is not None and status // 100 == 2:
        return CallbackState.DELIVERED
    if status == HTTPStatus.GONE:
        return CallbackState.STOPPED
    return CallbackState.FAILED if attempts > len(RETRY_SECONDS) else CallbackState.PENDING


def _outcome(state: CallbackState) -> CallbackOutcome:
    return CallbackOutcome.RETRY if state is CallbackState.PENDING else CallbackOutcome(state)
