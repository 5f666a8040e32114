"""What one attempt at a callback comes to, and when the next one is due."""

import json
import time
from dataclasses import replace

import pytest
from aiohttp import ClientSession, web

from service.jobs import callbacks, signing
from service.jobs.callbacks import RETRY_SECONDS, Callbacks, message, message_id
from service.jobs.job import Callback, CallbackState, Job
from service.telemetry.metrics import Metrics
from tests.jobs.conformance.work import ended, request
from tests.support.loopback import serving
from tests.support.transport import sample

KEYS = (b"k" * 24,)


def ended_job(url: str, attempts: int = 0) -> Job:
    return replace(ended(Job.new(request(callback_url=url))), callback=Callback(attempts=attempts))


async def attempt(status: int, *, attempts: int = 0, retry_after: str | None = None) -> Callback:
    """One attempt, after so many others, at a receiver that answers so."""

    async def hear(asked: web.Request) -> web.Response:
        return web.Response(status=status, headers={"Retry-After": retry_after} if retry_after else {})

    async with serving(web.post("/", hear)) as url, ClientSession() as session:
        return await Callbacks(session, KEYS, Metrics()).attempt(ended_job(url, attempts))


async def test_what_is_sent() -> None:
    """How the job ended, with links below its caller's path, signed as of this attempt: older ones are refused."""
    heard: list[tuple[dict[str, str], bytes]] = []

    async def hear(asked: web.Request) -> web.Response:
        heard.append((dict(asked.headers), await asked.read()))
        return web.Response()

    async with serving(web.post("/", hear)) as url, ClientSession() as session:
        job = replace(ended_job(url), finished=1_000.0)
        job = replace(job, request=replace(job.request, base_path="/batch"))
        before = int(time.time())
        await Callbacks(session, KEYS, Metrics()).attempt(job)

    ((headers, body),) = heard
    sent, signed_at = json.loads(body), int(headers["webhook-timestamp"])
    assert headers["Content-Type"] == "application/json"
    assert before <= signed_at <= time.time()
    assert signing.headers(f"msg_{job.id}", signed_at, body, KEYS).items() <= headers.items()
    assert (sent["type"], sent["timestamp"]) == ("job.complete", "1970-01-01T00:16:40.000+00:00")
    assert (sent["data"]["job_id"], sent["data"]["links"]["self"]) == (job.id, f"/batch/v1/jobs/{job.id}")


async def test_without_a_secret_nothing_is_sent() -> None:
    """Given one that was there when the job was accepted: it may be there again for the next attempt."""
    heard = []

    async def hear(asked: web.Request) -> web.Response:
        heard.append(asked)
        return web.Response()

    async with serving(web.post("/", hear)) as url, ClientSession() as session:
        found = await Callbacks(session, (), Metrics()).attempt(ended_job(url))

    assert (heard, found.state, found.last_status, found.last_error) == ([], CallbackState.PENDING, None, "no_secret")


async def test_the_log_has_the_receivers_host_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest of its address may be a secret."""
    told: list[dict[str, object]] = []
    monkeypatch.setattr(callbacks.log, "info", lambda _, **fields: told.append(fields))
    async with ClientSession() as session:
        await Callbacks(session, (), Metrics()).attempt(ended_job("https://receiver.example/hush?hush"))

    assert told[0]["host"] == "receiver.example"
    assert "hush" not in str(told)


@pytest.mark.parametrize("number", range(len(RETRY_SECONDS)))
async def test_each_wait_is_the_one_of_its_turn(number: int) -> None:
    """The first repetition comes after the first wait, the last after the last; a tenth more at most."""
    before = time.time()

    found = await attempt(500, attempts=number)

    assert (found.state, found.attempts, found.last_status) == (CallbackState.PENDING, number + 1, 500)
    assert found.next_at is not None
    assert RETRY_SECONDS[number] <= found.next_at - before
    assert found.next_at - time.time() <= RETRY_SECONDS[number] * 1.1


async def test_after_the_last_repetition_it_has_failed() -> None:
    """Nothing is due any more."""
    found = await attempt(500, attempts=len(RETRY_SECONDS))

    assert (found.state, found.next_at) == (CallbackState.FAILED, None)


@pytest.mark.parametrize(("status", "state"), [(204, CallbackState.DELIVERED), (410, CallbackState.STOPPED)])
async def test_a_receiver_that_heard_or_wants_no_more_is_left_alone(status: int, state: CallbackState) -> None:
    """Any 2xx, and 410."""
    found = await attempt(status)

    assert (found.state, found.next_at) == (state, None)


@pytest.mark.parametrize(("asked", "seconds"), [("100", 100), ("999999", RETRY_SECONDS[-1]), ("1", RETRY_SECONDS[0])])
async def test_a_receiver_may_ask_for_more_time(asked: str, seconds: int) -> None:
    """Never for less than the schedule has, nor for more than its longest wait."""
    before = time.time()

    found = await attempt(503, retry_after=asked)

    assert found.next_at is not None
    assert seconds <= found.next_at - before
    assert found.next_at - time.time() <= seconds * 1.1


async def test_a_receiver_that_cannot_be_reached_is_tried_again() -> None:
    """No status then, but a word for it."""

    async def never(asked: web.Request) -> web.Response:
        return web.Response()

    async with serving(web.post("/", never)) as url:
        pass  # it is gone
    async with ClientSession() as session:
        found = await Callbacks(session, KEYS, Metrics()).attempt(ended_job(url))

    assert (found.state, found.last_status, found.last_error) == (CallbackState.PENDING, None, "unreachable")


async def test_no_redirect_is_followed() -> None:
    """The address was checked, wherever it leads was not: it counts as a failed attempt."""
    heard = []

    async def move(asked: web.Request) -> web.Response:
        heard.append(asked.path)
        return web.Response(status=307, headers={"Location": "/elsewhere"})

    async with serving(web.post("/{path:.*}", move)) as url, ClientSession() as session:
        found = await Callbacks(session, KEYS, Metrics()).attempt(ended_job(f"{url}/first"))

    assert (heard, found.state, found.last_status) == (["/first"], CallbackState.PENDING, 307)


async def test_attempts_are_counted_by_what_they_came_to() -> None:
    """One that is tried again is no failure yet."""
    metrics, answers = Metrics(), iter([204, 410, 500, 500])

    async def hear(asked: web.Request) -> web.Response:
        return web.Response(status=next(answers))

    async with serving(web.post("/", hear)) as url, ClientSession() as session:
        for attempts in (0, 0, 0, len(RETRY_SECONDS)):
            await Callbacks(session, KEYS, metrics).attempt(ended_job(url, attempts))

    outcomes = ("delivered", "stopped", "retry", "failed")
    told = [sample(metrics.registry, "batch_callbacks_total", outcome=outcome) for outcome in outcomes]
    assert told == [1, 1, 1, 1]


def test_every_attempt_says_the_same_under_the_same_id() -> None:
    """Receivers know a repetition by it; how often it was tried is no part of it."""
    job = ended_job("https://receiver.example/")
    later = replace(job, callback=Callback(attempts=3))

    assert (message_id(job), message(job)) == (message_id(later), message(later))
    assert b'"callback"' not in message(job)
