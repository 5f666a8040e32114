"""What one attempt at a delivery comes to, and whether another one follows."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, cast

import pytest
from aiohttp import ClientError, ClientSession, ClientTimeout, web

from service.archives.archive import Archive, State
from service.archives.archives import Archives
from service.disk import OutOfSpace
from service.images.store import ImageStore
from service.jobs import deliveries
from service.jobs.deliveries import RETRY_SECONDS, Deliveries
from service.jobs.job import Delivery, DeliveryState, Job
from service.jobs.receivers import open_receiver_session
from service.problems import ArchiveGone, ArchiveNotFound, StillBuilding
from service.telemetry.metrics import Metrics
from tests.jobs.conformance.work import ended, request
from tests.jobs.test_runner import archive
from tests.support.loopback import serving
from tests.support.transport import TIMEOUT, sample, yield_to_loop

Put = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Kept:
    """Knows one archive, or why there is none."""

    def __init__(self, found: Archive | Exception) -> None:
        self.until = 0.0
        self.catalogue = self
        self._found = found

    async def keep(self, archive_id: str, until: float) -> None:
        assert archive_id == "f" * 32
        self.until = until

    async def by_id(self, archive_id: str) -> Archive:
        assert archive_id == "f" * 32
        if isinstance(self._found, Exception):
            raise self._found
        return self._found


def whole() -> Archive:
    """An archive without images, of its directory alone."""
    settled = archive()
    settled.settle(State.COMPLETE, "empty")
    return settled


def job_for(url: str, attempts: int = 0) -> Job:
    """A complete job that was attempted to be delivered so often."""
    job = replace(ended(Job.new(request(deliver_to=url))), archive_id="f" * 32)
    return replace(job, delivery=Delivery(attempts=attempts))


def answering(*statuses: int, **headers: str) -> Put:
    """A storage that answers so, one request after the other."""
    left = iter(statuses)

    async def put(_: web.Request) -> web.Response:
        return web.Response(status=next(left), headers=headers)

    return put


@asynccontextmanager
async def deliverer(found: Archive | Exception | Kept, metrics: Metrics | None = None) -> AsyncIterator[Deliveries]:
    """Makes attempts to deliver that archive."""
    async with open_receiver_session(allow_private=True, trace_configs=[]) as session:
        kept, none = found if isinstance(found, Kept) else Kept(found), cast(ImageStore, None)
        yield Deliveries(session, cast(Archives, kept), none, metrics or Metrics())


async def attempt(
    put: Put, found: Archive | Exception | Kept | None = None, *, query: str = "", attempts: int = 0
) -> Delivery:
    """One attempt, after so many others, at a storage that answers so."""
    async with serving(web.put("/a.zip", put)) as url, deliverer(found or whole()) as sending:
        return await sending.attempt(job_for(f"{url}/a.zip{query}", attempts))


async def failing(found: Exception) -> Delivery:
    """One attempt where there is no archive to be had."""
    async with deliverer(found) as sending:
        return await sending.attempt(job_for("http://127.0.0.1:9/a.zip"))


@pytest.mark.parametrize(
    ("query", "kind"), [("?X-Amz-Signature=s", "application/zip"), ("?Signature=s", None)], ids=["new", "older"]
)
async def test_what_is_sent(query: str, kind: str | None) -> None:
    """All bytes in one piece whose length is known; the type, unless an older signature covers that there is none."""
    heard: list[tuple[dict[str, str], bytes]] = []

    async def take(asked: web.Request) -> web.Response:
        heard.append((dict(asked.headers), await asked.read()))
        return web.Response()

    sent = whole()

    found = await attempt(take, sent, query=query)

    ((headers, body),) = heard
    assert (found.status, found.attempts, found.error, found.next_at) == (DeliveryState.DELIVERED, 1, None, None)
    assert len(body) == sent.length > 0
    assert headers.get("Content-Length") == str(len(body))
    assert headers.get("Content-Type") == kind


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503])
async def test_a_status_that_passes_is_tried_again(status: int) -> None:
    """After the first wait of the schedule, or a tenth more."""
    before = time.time()

    found = await attempt(answering(status))

    assert (found.status, found.error) == (DeliveryState.PENDING, f"status_{status}")
    assert found.next_at is not None
    assert RETRY_SECONDS[0] <= found.next_at - before
    assert found.next_at - time.time() <= RETRY_SECONDS[0] * 1.1


@pytest.mark.parametrize(("status", "is_kept"), [(503, True), (403, False), (200, False)])
async def test_the_zip_is_kept_for_the_next_attempt(status: int, is_kept: bool) -> None:
    """However soon its time would be over; beyond the moment for which the attempt is planned."""
    kept = Kept(whole())

    found = await attempt(answering(status), kept)

    assert kept.until == ((found.next_at or 0) + deliveries._LATE_SECONDS if is_kept else 0)


@pytest.mark.parametrize("status", [307, 400, 403, 404, 412])
async def test_a_status_that_does_not_pass_is_final(status: int) -> None:
    """No redirect is followed: where it leads was not judged."""
    found = await attempt(answering(status, Location="/a.zip?again"))

    assert (found.status, found.error, found.next_at) == (DeliveryState.FAILED, f"status_{status}", None)


@pytest.mark.parametrize("pieces", [1, 2])
async def test_a_body_that_s3_was_kept_waiting_for_is_sent_again(pieces: int) -> None:
    """It says so with a 400, as to a request that is wrong; not always at once."""
    error = [
        b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>Request',
        b"Timeout</Code><Message>...</Message></Error>",
    ]

    async def put(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=400)
        await response.prepare(request)
        for piece in error if pieces > 1 else [b"".join(error)]:
            await response.write(piece)
            await yield_to_loop()
        return response

    found = await attempt(put)

    assert (found.status, found.error) == (DeliveryState.PENDING, "status_400")


async def test_a_storage_may_ask_for_more_time() -> None:
    """As a receiver of callbacks may."""
    before = time.time()

    found = await attempt(answering(503, **{"Retry-After": "200"}))

    assert found.next_at is not None
    assert found.next_at - before >= 200


@pytest.mark.parametrize(
    ("attempts", "state"),
    [(len(RETRY_SECONDS) - 1, DeliveryState.PENDING), (len(RETRY_SECONDS), DeliveryState.FAILED)],
)
async def test_attempts_are_bounded(attempts: int, state: DeliveryState) -> None:
    """One more than there are waits."""
    found = await attempt(answering(500), attempts=attempts)

    assert (found.status, found.attempts) == (state, attempts + 1)


@pytest.mark.parametrize("problem", [ArchiveGone("It was dropped."), ArchiveNotFound("There is none.")])
async def test_without_its_archive_nothing_can_be_delivered(problem: Exception) -> None:
    """It does not come back."""
    found = await failing(problem)

    assert (found.status, found.error) == (DeliveryState.FAILED, "archive_gone")


@pytest.mark.parametrize(
    ("problem", "error"),
    [
        (StillBuilding("Not known."), "still_building"),
        (OutOfSpace("full"), "store_full"),
        (sqlite3.OperationalError("disk I/O error"), "store_full"),
    ],
)
async def test_an_archive_that_cannot_be_had_at_the_moment_is_waited_for(problem: Exception, error: str) -> None:
    """Another attempt can help."""
    found = await failing(problem)

    assert (found.status, found.error) == (DeliveryState.PENDING, error)


async def test_an_archive_that_is_still_built_is_wanted_to_its_end() -> None:
    """Its build goes on because of the delivery alone; nothing is sent before it is whole."""
    building, heard = archive(), []

    async def take(asked: web.Request) -> web.Response:
        heard.append(len(await asked.read()))
        return web.Response()

    sending = asyncio.create_task(attempt(take, building))
    async with asyncio.timeout(TIMEOUT):
        await building.readers.wait_for_demand(lambda: 1 << 40)
    assert (sending.done(), heard) == (False, [])
    building.settle(State.PARTIAL, "empty")

    assert (await sending).status is DeliveryState.DELIVERED
    assert heard == [building.length]
    assert building.readers.count == 0


async def test_a_storage_that_cannot_be_reached_is_tried_again() -> None:
    """With a word for it."""
    async with serving() as url:
        pass  # it is gone
    async with deliverer(whole()) as sending:
        found = await sending.attempt(job_for(f"{url}/a.zip"))

    assert (found.status, found.error) == (DeliveryState.PENDING, "unreachable")


async def test_a_private_address_is_told_as_such() -> None:
    """Judged where it is connected to."""
    async with open_receiver_session(allow_private=False, trace_configs=[]) as session:
        kept, none = cast(Archives, Kept(whole())), cast(ImageStore, None)
        found = await Deliveries(session, kept, none, Metrics()).attempt(job_for("http://127.0.0.1:9/a.zip"))

    assert (found.status, found.error) == (DeliveryState.PENDING, "forbidden_address")


async def test_a_storage_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once it has all of it, it may think for as long as an answer may take; not for ever."""
    monkeypatch.setattr(deliveries, "_ANSWER_SECONDS", 0.05)

    async def think(_: web.Request) -> Any:
        await asyncio.Event().wait()

    async with asyncio.timeout(TIMEOUT / 2):
        found = await attempt(think)

    assert (found.status, found.error) == (DeliveryState.PENDING, "timeout")


async def test_a_delivery_may_take_as_long_as_it_gets_on() -> None:
    """Only the beginning of a connection has a bound of its own, not the whole, as other requests to receivers do."""
    asked: list[dict[str, Any]] = []

    class Session:
        def put(self, _: object, **how: Any) -> None:
            asked.append(how)
            raise ClientError

    none = cast(ImageStore, None)
    await Deliveries(cast(ClientSession, Session()), cast(Archives, Kept(whole())), none, Metrics()).attempt(
        job_for("https://storage.example/a.zip")
    )

    assert asked[0]["timeout"] == ClientTimeout(total=None, sock_connect=10)


async def test_the_log_has_the_storages_host_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest of its address is a secret."""
    told: list[dict[str, object]] = []
    monkeypatch.setattr(deliveries.log, "info", lambda _, **fields: told.append(fields))
    async with deliverer(ArchiveGone()) as sending:
        await sending.attempt(job_for("https://storage.example/hush?Signature=hush"))

    assert told[0]["host"] == "storage.example"
    assert "hush" not in str(told)


async def test_attempts_are_counted_by_what_they_came_to() -> None:
    """One that is tried again is no failure yet."""
    metrics = Metrics()

    async with (
        serving(web.put("/a.zip", answering(200, 503, 403))) as url,
        deliverer(whole(), metrics) as sending,
    ):
        for _ in range(3):
            await sending.attempt(job_for(f"{url}/a.zip"))

    outcomes = ("delivered", "retry", "failed")
    told = [sample(metrics.registry, "batch_deliveries_total", outcome=outcome) for outcome in outcomes]
    assert told == [1, 1, 1]


async def test_what_breaks_off_is_tried_again() -> None:
    """A storage that hangs up."""

    async def hang_up(asked: web.Request) -> web.Response:
        assert asked.transport is not None
        asked.transport.abort()
        return web.Response()

    found = await attempt(hang_up)

    assert (found.status, found.error) == (DeliveryState.PENDING, "interrupted")


async def test_each_piece_that_is_taken_has_time_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """However large the archive is; and the answer to all of them has more."""

    async def pieces(*_: object) -> AsyncIterator[bytes]:
        for piece in (b"1", b"2", b"3"):
            yield piece

    monkeypatch.setattr(deliveries, "pieces_of", pieces)
    extended: list[float] = []
    async with deliverer(whole()) as sending:
        taken = [piece async for piece in sending._pieces(whole(), extended.append)]

    assert taken == [b"1", b"2", b"3"]
    assert extended == [60.0, 60.0, 60.0, 120.0]
