"""How often an order is asked for while it is waited for. Time is turned by hand."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from service.orders.schedule import PollSchedule
from tests.support.transport import FakeClock


def looks(wait: float, call_seconds: float = 0) -> list[float]:
    """When an order is asked for, in seconds since the wait began; each call takes so long."""
    clock = FakeClock(0.0)
    schedule = PollSchedule(wait, clock)
    moments: list[float] = []
    while not schedule.is_over:
        clock.advance(schedule.pause())
        moments.append(clock.now)
        clock.advance(call_seconds)
    return moments


def test_every_two_seconds_at_first_then_ever_less_often() -> None:
    """Ten looks in the first twenty seconds; from then on each pause is a quarter longer, to ten seconds."""
    moments = looks(wait=120)

    pauses = [later - earlier for earlier, later in zip([0.0, *moments], moments, strict=False)]
    assert moments[:10] == [2.0 * number for number in range(1, 11)]
    assert pauses[10:14] == [2.5, 3.125, 3.90625, 4.8828125]
    assert max(pauses) == 10
    assert pauses[17:-1] == [10.0] * len(pauses[17:-1])


def test_who_is_asked_to_wait_longer_waits_longer() -> None:
    """But not beyond the end; the schedule goes on behind it as before."""
    clock = FakeClock(0.0)
    schedule = PollSchedule(100, clock)

    assert [schedule.pause(least) for least in (1, 60, 600, 0)] == [2, 60, 100, 2]


def test_a_long_wait_is_few_calls() -> None:
    """Five minutes are 42 looks, not 150."""
    assert len(looks(wait=300)) == 42


@given(wait=st.floats(0.01, 600), call_seconds=st.floats(0, 5))
def test_the_last_look_is_at_the_deadline(wait: float, call_seconds: float) -> None:
    """Unless a call is still under way then; never after it, and no pause is longer than ten seconds."""
    moments = looks(wait, call_seconds)

    assert moments[-1] <= wait + 1e-6
    assert wait - moments[-1] <= call_seconds + 1e-6
    assert all(later - earlier - call_seconds <= 10.001 for earlier, later in itertools.pairwise(moments))


def test_a_deadline_that_is_past_asks_at_once() -> None:
    """No negative wait."""
    clock = FakeClock(0.0)

    schedule = PollSchedule(-5, clock)

    assert (schedule.pause(), schedule.is_over) == (0, True)
