"""The moving windows that callers are counted in, with time turned by hand."""

import pytest
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st
from limits import RateLimitItem, parse

from service.api import limits
from service.api.limits import RATE_LIMIT, LimitState, LocalWindow, RateLimiter
from service.problems import RateLimited
from service.telemetry.metrics import Metrics
from tests.support.transport import FakeClock, sample


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """Stands in for the time that windows are measured with."""
    clock = FakeClock()
    monkeypatch.setattr(limits, "time", clock)
    return clock


@pytest.mark.parametrize(("limit", "seconds"), [("3/second", 1), ("3/minute", 60), ("3/hour", 3600)])
async def test_the_time_told_is_when_there_is_room_again(clock: FakeClock, limit: str, seconds: int) -> None:
    """Not a moment earlier, nor later than needed."""
    window, item = LocalWindow(), parse(limit)
    for _ in range(3):
        assert (await window.hit("me", item)).allowed
        clock.advance(seconds / 10)

    refused = await window.hit("me", item)

    assert (refused.allowed, refused.remaining) == (False, 0)
    assert refused.seconds == pytest.approx(seconds * 0.7)
    clock.advance(refused.seconds - seconds / 100)
    assert not (await window.hit("me", item)).allowed
    clock.advance(seconds / 100)
    assert (await window.hit("me", item)).allowed


async def test_what_was_refused_does_not_count(clock: FakeClock) -> None:
    """Who asks again and again is let in all the same when there is room."""
    window, item = LocalWindow(), parse("1/minute")
    await window.hit("me", item)
    for _ in range(59):
        clock.advance(1)
        assert not (await window.hit("me", item)).allowed
    clock.advance(1)

    assert (await window.hit("me", item)).allowed


async def test_a_test_counts_nothing(clock: FakeClock) -> None:
    """However often it is made."""
    window, item = LocalWindow(), parse("1/minute")

    assert [(await window.test("me", item)).allowed for _ in range(3)] == [True] * 3
    assert (await window.hit("me", item)).allowed
    assert not (await window.test("me", item)).allowed


async def test_callers_are_counted_apart(clock: FakeClock) -> None:
    """One that is over its limit keeps nobody else out."""
    window, item = LocalWindow(), parse("1/minute")
    await window.hit("me", item)

    assert not (await window.hit("me", item)).allowed
    assert (await window.hit("you", item)).allowed


@given(st.lists(st.floats(0, 30, allow_nan=False), max_size=60))
async def test_no_minute_ever_has_more_than_the_limit(pauses: list[float]) -> None:
    """Wherever the minute begins: it is no fixed one."""
    clock, let_in = FakeClock(), list[float]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "time", clock)
        window, item = LocalWindow(), parse("5/minute")
        for pause in pauses:
            clock.advance(pause)
            if (await window.hit("me", item)).allowed:
                let_in.append(clock.now)

    for moment in let_in:
        assert sum(moment <= other < moment + 60 for other in let_in) <= 5


async def test_callers_who_stay_away_are_forgotten(clock: FakeClock) -> None:
    """Else the addresses of years would stay in memory."""
    window, item = LocalWindow(), parse("1/minute")
    for number in range(999):
        await window.hit(str(number), item)
    clock.advance(61)
    await window.hit("late", item)

    assert set(window._hits) == {"late"}


async def test_a_caller_with_a_hit_in_his_window_is_not_forgotten(clock: FakeClock) -> None:
    """Though his first one is older, and many others come."""
    window, item = LocalWindow(), parse("2/minute")
    await window.hit("me", item)
    clock.advance(50)
    await window.hit("me", item)
    clock.advance(20)
    for number in range(1_000):
        await window.hit(str(number), item)

    assert (await window.hit("me", item)).remaining == 0


@pytest.mark.parametrize(("seconds", "wait"), [(0.0, 1), (0.2, 1), (1.0, 1), (1.01, 2), (59.9, 60)])
async def test_nobody_is_told_to_come_a_moment_too_early(seconds: float, wait: int) -> None:
    """In whole seconds, at least one; the header, the advice and the message say the same."""

    class Full(LocalWindow):
        async def hit(self, key: str, limit: RateLimitItem) -> LimitState:
            return LimitState(allowed=False, remaining=0, seconds=seconds)

    request = make_mocked_request("GET", "/")
    limiter = RateLimiter(parse("10/minute"), Metrics(), "downloads", Full())

    with pytest.raises(RateLimited, match=f"may come in {wait} seconds") as refused:
        await limiter.count(request, "me")

    assert refused.value.retry_after == wait
    assert request[RATE_LIMIT]["RateLimit"] == f'"downloads";r=0;t={wait}'


async def test_instances_count_together_what_they_ask_of_autoenhance() -> None:
    """In the window that they share; questions are answered from here."""
    counted: list[str] = []

    class Shared(LocalWindow):
        async def hit(self, key: str, limit: RateLimitItem) -> LimitState:
            counted.append(key.partition(":")[0])
            return await super().hit(key, limit)

    for limiter in limits.limiters(parse("10/minute"), Metrics(), Shared()).values():
        await limiter.count(make_mocked_request("GET", "/"), "me")

    assert sorted(counted) == ["downloads", "images", "overviews"]


@pytest.mark.parametrize("limit", ["3/minute", "3/5 minutes", "2/hour"])
def test_overviews_are_ten_times_as_many_in_the_same_time(limit: str) -> None:
    """What single images and questions may ask for is not the operator's."""
    given, found = parse(limit), limits.limiters(parse(limit), Metrics(), None)
    off = limits.limiters(None, Metrics(), None)

    allowed = {what: one._limit and (one._limit.amount, one._limit.get_expiry()) for what, one in found.items()}
    assert allowed == {
        limits.Counts.DOWNLOADS: (given.amount, given.get_expiry()),
        limits.Counts.OVERVIEWS: (given.amount * 10, given.get_expiry()),
        limits.Counts.IMAGES: (600, 60),
        limits.Counts.QUESTIONS: (20, 60),
    }
    assert [what for what, one in off.items() if one._limit is None] == [*limits.Counts][:2]


@pytest.mark.parametrize("quiet", [False, True])
async def test_who_guesses_is_told_only_when_there_were_too_many(quiet: bool) -> None:
    """Where others are told each time where they stand."""
    metrics = Metrics()
    limiter = RateLimiter(parse("1/minute"), metrics, "attempts", quiet=quiet)
    first, second = make_mocked_request("GET", "/"), make_mocked_request("GET", "/")

    await limiter.check(first, "me")
    assert RATE_LIMIT not in first
    await limiter.count(first, "me")
    with pytest.raises(RateLimited):
        await limiter.count(second, "me")

    assert (RATE_LIMIT in first, RATE_LIMIT in second) == (not quiet, True)
    assert sample(metrics.registry, "batch_rate_limited_total") == 1
