"""Sends a job's ZIP to the storage that it named: one PUT to a presigned URL, again after a while if that fails."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from http import HTTPStatus

from aiohttp import ClientResponse, ClientSession, ClientTimeout
from yarl import URL

from service.archives.archive import Archive
from service.archives.archives import Archives
from service.archives.delivery import pieces_of
from service.disk import OutOfSpace
from service.images.store import ImageStore
from service.jobs.job import Delivery, DeliveryState, Job
from service.jobs.receivers import FAILURES, as_given, failure_of, next_attempt
from service.problems import ArchiveGone, ArchiveNotFound, Problem
from service.telemetry.logs import get_logger
from service.telemetry.metrics import Metrics
from service.upstream.answers import retry_after

log = get_logger(__name__)

# Seconds from a failed attempt to the next: within the hour for which a presigned URL is usually good.
RETRY_SECONDS = (5, 30, 120, 600, 1800)
# An attempt may come late, when instances or Redis are away: its ZIP is kept for it so much longer.
_LATE_SECONDS = 600.0
# A storage that takes no piece for so long has gone; when it has all of them it may think for a while.
_STALL_SECONDS = 60.0
_ANSWER_SECONDS = 120.0
_CONNECT_SECONDS = 10.0
# Statuses of the 4xx class that pass by themselves.
_PASSING = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
# S3 says with a 400 that a body has stalled for 20 seconds.
_STALLED, _MAX_ERROR_BYTES = b"<Code>RequestTimeout</Code>", 4096


class _Failed(Exception):
    """An attempt failed: `error` says why, in a word; `may_pass`, whether another one can help."""

    def __init__(self, error: str, *, may_pass: bool = True, wait: float | None = None) -> None:
        super().__init__(error)
        self.error = error
        self.may_pass = may_pass
        self.wait = wait


class Deliveries:
    """Attempts deliveries. An attempt may be repeated after a crash: it writes the same bytes to the same place."""

    def __init__(self, session: ClientSession, archives: Archives, store: ImageStore, metrics: Metrics) -> None:
        self._session = session
        self._archives = archives
        self._store = store
        self._attempts = metrics.deliveries

    async def attempt(self, job: Job) -> Delivery:
        """As `Work.deliver`. The URL holds a secret: no more than its host is told to anybody."""
        attempts = job.delivery.attempts + 1 if job.delivery else 1
        try:
            await self._send(job)
            delivery = Delivery(status=DeliveryState.DELIVERED, attempts=attempts)
        except _Failed as failed:
            delivery = Delivery(status=DeliveryState.FAILED, attempts=attempts, error=failed.error)
            if failed.may_pass and attempts <= len(RETRY_SECONDS):
                next_at = next_attempt(RETRY_SECONDS, attempts, failed.wait)
                delivery = Delivery(attempts=attempts, error=failed.error, next_at=next_at)
                with suppress(Problem, OutOfSpace, sqlite3.Error):
                    await self._archives.catalogue.keep(job.archive_id or "", next_at + _LATE_SECONDS)
        self._attempts.labels("retry" if delivery.status is DeliveryState.PENDING else delivery.status).inc()
        log.info("delivery", job_id=job.id, host=URL(job.request.deliver_to or "").host, **delivery.document())
        return delivery

    async def _send(self, job: Job) -> None:
        """Raises `_Failed`."""
        try:
            archive = await self._archives.by_id(job.archive_id or "")
        except (ArchiveGone, ArchiveNotFound):
            raise _Failed("archive_gone", may_pass=False) from None
        except Problem as problem:
            raise _Failed(problem.code) from None
        except (OutOfSpace, sqlite3.Error):
            raise _Failed("store_full") from None
        with archive.readers.reading(to_the_end=True):
            try:
                await self._put(job.request.deliver_to or "", archive)
            except Problem as problem:
                raise _Failed(problem.code) from None
            except FAILURES as error:
                raise _Failed(failure_of(error, otherwise="interrupted")) from None

    async def _put(self, target: str, archive: Archive) -> None:
        await archive.wait_until(lambda: False)
        clock = asyncio.get_running_loop().time
        url = as_given(target)
        headers = {"Content-Length": str(archive.length)}
        if "Signature" not in url.query:  # of the older way to sign, which signs this header too, as absent
            headers["Content-Type"] = "application/zip"
        async with asyncio.timeout(_STALL_SECONDS) as limit:
            pieces = self._pieces(archive, lambda seconds: limit.reschedule(clock() + seconds))
            async with self._session.put(
                url,
                data=pieces,
                headers=headers,
                allow_redirects=False,
                skip_auto_headers=("Content-Type",),
                timeout=ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS),
            ) as response:
                status = response.status
                if status // 100 != 2:
                    may_pass = status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _PASSING
                    if status == HTTPStatus.BAD_REQUEST:
                        may_pass = await _says_stalled(response)
                    wait = retry_after(response.headers.get("Retry-After"))
                    raise _Failed(f"status_{status}", may_pass=may_pass, wait=wait)

    async def _pieces(self, archive: Archive, extend: Callable[[float], None]) -> AsyncIterator[bytes]:
        """The archive's bytes; with each piece that is taken there is time for the next."""
        async for piece in pieces_of(archive, self._store):
            extend(_STALL_SECONDS)
            yield piece
        extend(_ANSWER_SECONDS)


async def _says_stalled(response: ClientResponse) -> bool:
    said = b""
    while len(said) < _MAX_ERROR_BYTES and (more := await response.content.read(_MAX_ERROR_BYTES)):
        said += more
    return _STALLED in said
