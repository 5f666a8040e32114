"""What refusals teach: a smaller cap, a slower pace, and both come back. Time is turned by hand."""

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.upstream.adaptive_limit import AdaptiveLimit
from tests.support.transport import FakeClock

MOST = 5


@pytest.fixture
def pace(clock: FakeClock) -> AdaptiveLimit:
    """Five at once at most, nothing learned yet."""
    return AdaptiveLimit(MOST, clock)


def refuse(pace: AdaptiveLimit, *images: str, throttled: bool = True) -> None:
    for image in images:
        pace.refused(image, throttled=throttled)


def start(pace: AdaptiveLimit, clock: FakeClock, count: int, seconds: float) -> None:
    """So many starts, evenly spread over these seconds."""
    for _ in range(count):
        pace.started()
        clock.advance(seconds / count)


class TestRefusals:
    def test_one_images_refusals_change_nothing(self, pace: AdaptiveLimit) -> None:
        """However often: they may be that image's own."""
        refuse(pace, *["a"] * 20)

        assert (pace.cap, pace.rate, pace.delay()) == (MOST, None, 0)

    def test_two_images_refusals_do(self, pace: AdaptiveLimit) -> None:
        """The cap shrinks, and starts get a pace."""
        refuse(pace, "a", "b")

        assert pace.cap < MOST
        assert pace.rate is not None

    def test_two_images_within_a_window(self, pace: AdaptiveLimit, clock: FakeClock) -> None:
        """Refusals that lie more than ten seconds apart are not about our speed."""
        refuse(pace, "a")
        clock.advance(10.001)
        refuse(pace, "b")

        assert (pace.cap, pace.rate) == (MOST, None)

    @pytest.mark.parametrize("others", [2, 20])
    def test_refusals_of_one_moment_are_one_message(self, pace: AdaptiveLimit, clock: FakeClock, others: int) -> None:
        """All that were under way together cut once; a second later the next ones cut again."""
        refuse(pace, *(f"i{number}" for number in range(others)))
        first = pace.cap
        clock.advance(1)
        refuse(pace, "z")

        assert (first, pace.cap) == (3, 2)

    def test_a_503_or_a_timeout_cuts_the_cap_only(self, pace: AdaptiveLimit) -> None:
        """Upstream is weak, which says nothing about starts per second."""
        refuse(pace, "a", "b", throttled=False)

        assert pace.cap < MOST
        assert (pace.rate, pace.delay()) == (None, 0)

    def test_the_cap_never_falls_below_one(self, pace: AdaptiveLimit, clock: FakeClock) -> None:
        """One download is always tried."""
        for number in range(50):
            clock.advance(1)
            refuse(pace, f"i{number}")

        assert pace.cap == 1

    def test_the_pace_never_falls_below_two_a_second(self, pace: AdaptiveLimit, clock: FakeClock) -> None:
        """However long upstream refuses everything."""
        for number in range(100):
            pace.started()
            clock.advance(1)
            refuse(pace, f"i{number}")

        assert pace.rate == 2
        assert pace.delay() <= 0.5


class TestRecovery:
    def test_a_round_of_successes_brings_one_more(self, pace: AdaptiveLimit) -> None:
        """From three at once to five: about three, then about four successes."""
        refuse(pace, "a", "b")
        caps = []
        for _ in range(12):
            pace.succeeded()
            caps.append(pace.cap)

        assert caps == sorted(caps)
        assert caps.index(4) in (1, 2)
        assert caps[-1] == MOST

    def test_the_cap_never_exceeds_the_setting(self, pace: AdaptiveLimit) -> None:
        """`DOWNLOAD_CONCURRENCY` is the most, for ever."""
        for _ in range(1_000):
            pace.succeeded()

        assert pace.cap == MOST

    def test_the_pace_recovers_along_a_curve(self, pace: AdaptiveLimit, clock: FakeClock) -> None:
        """Cut to 0.7 of the rate at which it was refused, back at that rate, and then beyond."""
        start(pace, clock, 100, 5)
        refuse(pace, "a", "b")
        rates = [pace.rate or 0]
        for _ in range(10):
            clock.advance(0.5)
            rates.append(pace.rate or 0)

        assert rates[0] == pytest.approx(0.7 * 20)
        assert rates == sorted(rates)
        assert any(abs(rate - 20) < 1 for rate in rates)
        assert rates[-1] > 20

    def test_a_lesson_that_limits_nothing_any_more_is_forgotten(self, pace: AdaptiveLimit, clock: FakeClock) -> None:
        """After a while without refusals starts are free again."""
        start(pace, clock, 20, 2)
        refuse(pace, "a", "b")
        for _ in range(100):
            start(pace, clock, 1, 0.5)
            pace.succeeded()

        assert (pace.rate, pace.cap) == (None, MOST)

    def test_a_lesson_lasts_until_the_cap_is_back_too(self, pace: AdaptiveLimit, clock: FakeClock) -> None:
        """One success after an hour of silence is no proof that all is as before."""
        start(pace, clock, 20, 2)
        refuse(pace, "a", "b")
        clock.advance(3_600)

        pace.succeeded()

        assert pace.cap < MOST
        assert pace.rate is not None

    def test_starts_of_long_ago_are_not_kept(self, pace: AdaptiveLimit, clock: FakeClock) -> None:
        """A service that is never refused runs for months."""
        start(pace, clock, 1_000, 1_000)

        assert len(pace._started) <= 11


@given(
    st.lists(
        st.tuples(st.sampled_from(["start", "success", "429", "503"]), st.integers(0, 5), st.floats(0, 20)),
        max_size=100,
    )
)
def test_the_bounds_hold_whatever_happens(events: list[tuple[str, int, float]]) -> None:
    """A cap from 1 to the most, a pace of at least 2 a second, and never a wait longer than half a second a start."""
    clock = FakeClock()
    pace = AdaptiveLimit(MOST, clock)
    owed = 1
    for event, image, seconds in events:
        match event:
            case "start":
                pace.started()
                owed += 1
            case "success":
                pace.succeeded()
            case _:
                pace.refused(str(image), throttled=event == "429")
        assert 1 <= pace.cap <= MOST
        assert pace.rate is None or pace.rate >= 2
        assert 0 <= pace.delay() <= 0.5 * owed
        clock.advance(seconds)


class Bucket:
    """An upstream that lets so many requests a second through, with one second's worth as allowance."""

    def __init__(self, rate: float, clock: Callable[[], float]) -> None:
        self.rate = rate
        self._clock = clock
        self._tokens, self._filled = rate, clock()

    def admits(self) -> bool:
        """Whether a request now is within the limit."""
        now = self._clock()
        self._tokens, self._filled = min(self.rate, self._tokens + (now - self._filled) * self.rate), now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


def simulate(limit: float, at_once: int, files: int) -> tuple[float, float]:
    """Fetch files of 100 ms (median) through a limit; share of the possible speed, and refusals per file.

    A refused file comes back after its `Retry-After` of 1 s, to the end of the line, as in the service.
    """
    clock, chance = FakeClock(0.0), random.Random(7)
    pace, bucket = AdaptiveLimit(at_once, clock), Bucket(limit, clock)
    waiting, events, number = deque(range(files)), list[tuple[float, int, str, int]](), itertools.count()
    held = done = refusals = 0
    looking = False

    def later(seconds: float, what: str, file: int = 0) -> None:
        heapq.heappush(events, (clock.now + seconds, next(number), what, file))

    while done < files:
        while waiting and held < pace.cap and pace.delay() <= 0:
            file = waiting.popleft()
            held += 1
            pace.started()
            if bucket.admits():
                later(0.1 * chance.lognormvariate(0, 0.3), "done", file)
            else:
                later(0.02, "refused", file)
        if waiting and held < pace.cap and not looking:
            looking = True
            later(pace.delay(), "look")
        clock.now, _, what, file = heapq.heappop(events)
        match what:
            case "done":
                held, done = held - 1, done + 1
                pace.succeeded()
            case "refused":
                held, refusals = held - 1, refusals + 1
                pace.refused(str(file), throttled=True)
                later(max(1.0, chance.uniform(0, 0.5)), "back", file)
            case "back":
                waiting.append(file)
            case _:
                looking = False
    possible = max((files - limit) / limit, files * 0.1 / at_once)
    return possible / clock.now, refusals / files


@pytest.mark.parametrize("at_once", [5, 8, 16])
@pytest.mark.parametrize("limit", [50, 10])
def test_an_unknown_limit_is_nearly_used_up_and_hardly_ever_hit(limit: int, at_once: int) -> None:
    """At least 85 % of what a limit allows, at most one refusal in twenty files (virtual time, figures printed)."""
    share, refusals = simulate(limit, at_once, files=2_000)

    print(f"limit {limit}/s, {at_once} at once: {share:.0%} of the possible speed, {refusals:.3f} refusals per file")
    assert share >= 0.85
    assert refusals <= 0.05
