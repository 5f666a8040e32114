"""Server-sent events of a job: complete, in sequence, and resumable."""

import asyncio

import pytest

from tests.support.client import TIMEOUT, Service, StartService
from tests.support.jobs import all_events, ended, events, submit
from tests.support.samples import ORDER, jpeg, order
from tests.support.upstream import FakeUpstream


@pytest.fixture(autouse=True)
def three_images(upstream: FakeUpstream) -> None:
    """An order of three images, of which one fails."""
    upstream.orders[ORDER] = order(["a", "b", "c"])
    upstream.images |= {"a": jpeg(1), "b": 404, "c": jpeg(3)}


async def test_every_outcome_is_an_event_and_so_is_the_end(service: Service) -> None:
    """By name and number: how it stands, each outcome with the job as it stood then, and the end, which is one more."""
    history = await all_events(service, await submit(service))
    images = [event for event in history if event.name == "image"]
    states = [event.job["status"] for event in history if event.name == "status"]

    assert [event.number for event in images] == [1, 2, 3]
    assert [event.job["downloaded"] + event.job["failed"] for event in images] == [1, 2, 3]
    assert {event.job["status"] for event in images} == {"processing"}
    assert (history[-1].name, history[-1].number, states[-1]) == ("status", 4, "complete")
    assert states == sorted(states, key=["queued", "processing", "complete"].index)
    assert history[-1].job["links"]["download"]


async def test_an_event_holds_the_failure_it_tells_of(service: Service) -> None:
    """Not the whole list each time; that comes with the end."""
    *history, end = await all_events(service, await submit(service))

    told = [failure["image_id"] for event in history for failure in event.job["failures"]]
    assert told == ["b"]
    assert [failure["image_id"] for failure in end.job["failures"]] == ["b"]


@pytest.mark.parametrize("after", [1, 2, 3])
async def test_a_broken_stream_is_taken_up_again(service: Service, after: int) -> None:
    """With the last number in `Last-Event-ID` the rest comes, and no outcome twice."""
    job = await submit(service)
    await ended(service, job)

    rest = await all_events(service, job, after=after)

    assert [event.number for event in rest] == list(range(after + 1, 5))


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

    assert [later.number for later in rest if later.name == "image"] == list(range(event.number + 1, 4))
    assert rest[-1].job["status"] == "complete"


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

    assert answer.body.count(b"\nid: ") == 4


async def test_in_silence_there_are_heartbeats(
    upstream: FakeUpstream, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Comments keep the connection open through proxies; buffering is switched off; the pause is told first."""
    monkeypatch.setattr("service.api.server_events.HEARTBEAT_SECONDS", 0.05)
    gate = upstream.hold("a")
    job = await submit(service)
    async with (
        asyncio.timeout(TIMEOUT),
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
    """Twenty at once, beginning at different moments: every outcome once, and one end."""
    gate = upstream.hold("c")
    job = await submit(service)
    early = [asyncio.create_task(all_events(service, job)) for _ in range(10)]
    await upstream.until(lambda: upstream.calls("c") == 1)
    late = [asyncio.create_task(all_events(service, job)) for _ in range(10)]
    gate.set()
    histories = await asyncio.gather(*early, *late)

    told = [[event for event in history if event.name == "image" or event.number == 4] for history in histories]
    failures = told[0][-1].job["failures"]
    assert [failure["image_id"] for failure in failures] == ["b"]
    for history in told:  # outcomes are sorted at the end: who comes then may hear of them in another sequence
        assert [event.number for event in history] == [1, 2, 3, 4]
        assert [failure for event in history[:-1] for failure in event.job["failures"]] == failures
        assert history[-1] == told[0][-1]


async def test_a_stop_ends_the_stream_at_once(upstream: FakeUpstream, start_service: StartService) -> None:
    """Followers do not hold up a stop, nor it them: they go on with the next process."""
    service = await start_service()
    gate = upstream.hold("a")
    job = await submit(service)
    async with events(service, job) as stream:
        await anext(stream)
        stopping = asyncio.ensure_future(service.stop())
        async with asyncio.timeout(TIMEOUT):
            seen = [event async for event in stream]
    gate.set()
    await stopping

    assert not [event for event in seen if event.job["status"] in ("complete", "error", "cancelled")]
