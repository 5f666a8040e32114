"""Tells the receiver that a job named how it ended, again and again until it has heard."""

import asyncio
import json
import time
from collections.abc import Sequence
from http import HTTPStatus

from aiohttp import ClientSession
from yarl import URL

from service.jobs import signing
from service.jobs.job import Callback, CallbackState, Job, moment
from service.jobs.receivers import ANSWER_SECONDS, FAILURES, as_given, failure_of, next_attempt
from service.telemetry.logs import get_logger
from service.telemetry.metrics import Metrics
from service.upstream.answers import retry_after

log = get_logger(__name__)

# Seconds from a failed attempt to the next (Standard Webhooks): about three days in all.
RETRY_SECONDS = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)


class Callbacks:
    """Attempts callbacks. An attempt may be repeated after a crash: receivers know it by its `webhook-id`."""

    def __init__(self, session: ClientSession, keys: Sequence[bytes], metrics: Metrics) -> None:
        self._session = session
        self._keys = keys
        self._attempts = metrics.callbacks

    async def attempt(self, job: Job) -> Callback:
        attempts = job.callback.attempts + 1 if job.callback else 1
        status, error, requested = await self._send(job, job.request.callback_url or "")
        state = _state(status, attempts)
        next_at = next_attempt(RETRY_SECONDS, attempts, requested) if state is CallbackState.PENDING else None
        callback = Callback(state=state, attempts=attempts, last_status=status, last_error=error, next_at=next_at)
        self._attempts.labels("retry" if state is CallbackState.PENDING else state).inc()
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
                asyncio.timeout(ANSWER_SECONDS),
                self._session.post(as_given(url), data=body, headers=headers, allow_redirects=False) as response,
            ):
                return response.status, None, retry_after(response.headers.get("Retry-After"))
        except FAILURES as error:
            return None, failure_of(error), None


def message_id(job: Job) -> str:
    """The same for every attempt, also for one that an administrator asks for."""
    return f"msg_{job.id}"


def message(job: Job) -> bytes:
    data = job.document(base_path=job.request.base_path)
    del data["callback"]
    return json.dumps({"type": f"job.{job.status}", "timestamp": moment(job.finished), "data": data}).encode()


def _state(status: int | None, attempts: int) -> CallbackState:
    if status is not None and status // 100 == 2:
        return CallbackState.DELIVERED
    if status == HTTPStatus.GONE:
        return CallbackState.STOPPED
    return CallbackState.FAILED if attempts > len(RETRY_SECONDS) else CallbackState.PENDING
