"""Autoenhance asks to be asked more slowly: every image arrives, and nobody waits for what is beyond all patience."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from aiohttp import web

from tests.support import jobs
from tests.support.client import TIMEOUT, StartService
from tests.support.orders import fill
from tests.support.samples import ORDER, jpeg, order
from tests.support.upstream import FakeUpstream, Handler, Reply, Script

DAY = 86_400
THROTTLED = {"message": "Too Many Requests"}


class Quota:
    """So many answers a second, evenly; whoever comes too soon is told 429."""

    def __init__(self, per_second: float) -> None:
        self._rate, self._left = per_second, 1.0
        self._seen = time.monotonic()
        self.refused = 0

    def answer(self, body: bytes) -> Handler:
        """An image within the quota."""

        async def take(_: web.Request) -> web.StreamResponse:
            now = time.monotonic()
            self._left = min(1.0, self._left + (now - self._seen) * self._rate)
            self._seen = now
            if self._left < 1:
                self.refused += 1
                return web.json_response(THROTTLED, status=429)
            self._left -= 1
            return web.Response(body=body, content_type="image/jpeg")

        return take


@pytest.mark.parametrize(("rate", "count"), [(10, 40), (3, 9)])
async def test_a_quota_costs_time_and_no_image(
    upstream: FakeUpstream, start_service: StartService, rate: int, count: int
) -> None:
    """The whole order arrives, however few a second are allowed: 429s are charged to no budget."""
    quota = Quota(rate)
    service = await start_service()
    fill(upstream, count, script=lambda number: quota.answer(jpeg(number)))

    answer = await service.download()

    assert answer.members == {f"i{number}.jpg": jpeg(number) for number in range(count)}
    assert quota.refused > 0


@pytest.mark.parametrize("pause", [None, "0", "1"])
async def test_429s_use_up_no_attempts(upstream: FakeUpstream, start_service: StartService, pause: str | None) -> None:
    """Each image is refused as often as there are attempts, whatever the pause that is asked for."""
    service = await start_service()
    refusal = Reply(status=429, headers={} if pause is None else {"Retry-After": pause})
    fill(upstream, 3, script=lambda number: [refusal, refusal, refusal, jpeg(number)])

    answer = await service.download()

    assert answer.members == {f"i{number}.jpg": jpeg(number) for number in range(3)}


@pytest.mark.parametrize("form", ["seconds", "date"])
async def test_a_day_is_not_waited_for(upstream: FakeUpstream, start_service: StartService, form: str) -> None:
    """The image fails now, with its reason; the others are delivered, and it was asked for once."""
    service = await start_service()
    wanted = fill(upstream, 3)
    upstream.images["i1"] = _refused_until(timedelta(days=1), form)

    answer = await service.download()

    assert answer.images == {name: body for name, body in wanted.items() if name != "i1.jpg"}
    assert "rate_limited" in answer.report
    assert upstream.calls("i1") == 1


@pytest.mark.parametrize("form", ["seconds", "date"])
async def test_a_job_is_not_postponed_for_a_day(upstream: FakeUpstream, start_service: StartService, form: str) -> None:
    """Autoenhance refuses the order's call for a day: the job tries again within a minute, and says when."""
    service = await start_service()
    upstream.orders[ORDER] = _refused_until(timedelta(days=1), form)
    job = await jobs.submit(service)

    async with asyncio.timeout(TIMEOUT), jobs.events(service, job) as events:
        async for event in events:
            if event.job.get("retry_at"):
                break
        else:
            pytest.fail("it never said when it tries again")

    said = datetime.fromisoformat(event.job["retry_at"])
    assert timedelta() < said - datetime.now(UTC) <= timedelta(minutes=1)


def _refused_until(wait: timedelta, form: str, clock: timedelta = timedelta()) -> Handler:
    """429 for so long, by a server whose clock is so far off."""

    async def answer(_: web.Request) -> web.StreamResponse:
        now = datetime.now(UTC) + clock
        until = format_datetime(now + wait, usegmt=True) if form == "date" else str(int(wait.total_seconds()))
        headers = {"Retry-After": until, "Date": format_datetime(now, usegmt=True)}
        return web.json_response(THROTTLED, status=429, headers=headers)

    return answer


@pytest.mark.parametrize("clock", [timedelta(days=1), timedelta(hours=-2), timedelta(days=-400)], ids=str)
async def test_a_date_is_meant_by_the_clock_that_wrote_it(
    upstream: FakeUpstream, start_service: StartService, clock: timedelta
) -> None:
    """A server whose clock is wrong asks for two seconds: that is what it gets, no day and no hurry."""
    service = await start_service()
    upstream.orders[ORDER] = order(["a"])
    upstream.images["a"] = [_refused_until(timedelta(seconds=2), "date", clock), jpeg(1)]

    answer = await service.download()

    first, second = upstream.requests("a")
    assert answer.members == {"a.jpg": jpeg(1)}
    assert second.at - first.at > 1.9


def _status(status: int) -> Callable[[int], Script]:
    return lambda number: [status, jpeg(number)]


@pytest.mark.parametrize("status", [408, 425])
async def test_what_passes_by_itself_is_asked_again(
    upstream: FakeUpstream, start_service: StartService, status: int
) -> None:
    """For an image and for an order."""
    service = await start_service()
    fill(upstream, 3, script=_status(status))
    document = upstream.orders[ORDER]
    assert isinstance(document, dict)
    upstream.orders[ORDER] = [status, document]

    answer = await service.download()

    assert answer.members == {f"i{number}.jpg": jpeg(number) for number in range(3)}
