"""Server-sent events of a job: complete, in sequence, and resumable."""

import asyncio

import pytest

from tests.e2e.client import PATIENCE, Service, StartService
from tests.e2e.jobs import all_events, ended, events, submit
from tests.fakes.samples import ORDER, jpeg, order
from tests.fakes.upstream import FakeUpstream


@pytest.fixture(autouse=True)
def three_images(upstream: FakeUpstream) -> None:
    """An order of three images, of which one fails."""
    upstream.orders[ORDER] = order(["a", "b", "c"])
    upstream.images |= {"a": jpeg(1), "b": 404, "c": jpeg(3)}


async def test_every_outcome_and_every_state_is_an_event(service: Service) -> None:
    """Numbered without a gap; each holds the whole job as it stood then."""
    history = await all_events(service, await submit(service))

    assert [event.number for event in history] == [1, 2, 3, 4, 5, 6]
    assert [event.job["status"] for event in history] == ["queued"] + ["processing"] * 4 + ["complete"]
    assert [event.job["downloaded"] + event.job["failed"] for event in history] == [0, 0, 1, 2, 3, 3]
    assert history[-1].job["links"]["download"]


@pytest.mark.parametrize("after", [1, 3, 5])
async def test_a_broken_stream_is_taken_up_again(service: Service, after: int) -> None:
    """With the last number in `Last-Event-ID` the rest comes, and nothing twice."""
    job = await submit(service)
    history = await all_events(service, job)

    assert await all_events(service, job, after=after) == history[after:]


async def test_it_is_taken_up_again_while_the_job_runs(upstream: FakeUpstream, service: Service) -> None:
    """The client leaves in the middle, and misses nothing."""
    gate = upstream.hold("c")
    job = await submit(service)
    async with events(service, job) as stream:
        async for event in stream:
            if event.job["downloaded"] == 1:
                break
    gate.set()

    rest = await all_events(service, job, after=event.number)

    assert [later.number for later in rest] == list(range(event.number + 1, 7))


async def test_after_the_last_event_there_is_no_content(service: Service) -> None:
    """204: a browser connects again after every end, and must learn that this one is for good."""
    job = await submit(service)
    history = await all_events(service, job)

    answer = await service.ask(f"/v1/jobs/{job['job_id']}/events", headers={"Last-Event-ID": str(history[-1].number)})

    assert answer.status == 204


@pytest.mark.parametrize("last", ["", "x", "-1", "1e3", "٣"])
async def test_a_number_that_is_none_means_from_the_start(service: Service, last: str) -> None:
    """As if it had not been sent."""
    job = await submit(service)
    await ended(service, job)

    answer = await service.ask(f"/v1/jobs/{job['job_id']}/events", headers={"Last-Event-ID": last})

    assert answer.body.count(b"\nid: ") + answer.body.startswith(b"id: ") == 6


async def test_in_silence_there_are_heartbeats(
    upstream: FakeUpstream, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Comments keep the connection open through proxies; buffering is switched off; the pause is told first."""
    monkeypatch.setattr("service.api.server_events.HEARTBEAT_SECONDS", 0.05)
    gate = upstream.hold("a")
    job = await submit(service)
    async with (
        asyncio.timeout(PATIENCE),
        service.request(f"/v1/jobs/{job['job_id']}/events") as response,
    ):
        first = await response.content.readline()
        async for line in response.content:
            if line.startswith(b":"):
                break
        gate.set()
        rest = await response.content.read()

    assert first.startswith(b"retry: ")
    assert (response.headers["X-Accel-Buffering"], response.headers["Content-Type"]) == ("no", "text/event-stream")
    assert "no-transform" in response.headers["Cache-Control"]
    assert b'"status": "complete"' in rest


async def test_followers_see_the_same(upstream: FakeUpstream, service: Service) -> None:
    """Twenty at once, beginning at different moments."""
    gate = upstream.hold("c")
    job = await submit(service)
    early = [asyncio.create_task(all_events(service, job)) for _ in range(10)]
    await upstream.until(lambda: upstream.calls("c") == 1)
    late = [asyncio.create_task(all_events(service, job)) for _ in range(10)]
    gate.set()
    histories = await asyncio.gather(*early, *late)

    assert all(history == histories[0] for history in histories)


async def test_a_stop_ends_the_stream_at_once(upstream: FakeUpstream, start_service: StartService) -> None:
    """Followers do not hold up a stop, nor it them: they go on with the next process."""
    service = await start_service()
    gate = upstream.hold("a")
    job = await submit(service)
    async with events(service, job) as stream:
        await anext(stream)
        stopping = asyncio.ensure_future(service.stop())
        async with asyncio.timeout(PATIENCE):
            seen = [event async for event in stream]
    gate.set()
    await stopping

    assert not [event for event in seen if event.job["status"] in ("complete", "error", "cancelled")]
