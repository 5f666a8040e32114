"""Who waits for a change is woken by it, once, and by no other."""

import asyncio

from service.signal import Signal, Signals, wait_at_most
from tests.support.transport import TIMEOUT, yield_to_loop


async def test_a_signal_wakes_all_who_wait_now() -> None:
    """Who comes later waits for the next one."""
    signal = Signal()
    first = [asyncio.create_task(signal.wait()) for _ in range(2)]
    await yield_to_loop()

    signal.fire()
    later = asyncio.create_task(signal.wait())
    await yield_to_loop()

    assert ([task.done() for task in first], later.done()) == ([True, True], False)
    signal.fire()
    await later


async def test_what_was_taken_before_a_look_misses_nothing() -> None:
    """Given a change between the look and the wait, and one before both."""
    signal = Signal()
    signal.fire()
    change = signal.next()
    was_set = change.is_set()

    signal.fire()

    assert (was_set, change.is_set(), signal.next().is_set()) == (False, True, False)


async def test_a_wait_may_have_an_end() -> None:
    """It is no error when nothing has happened by then."""
    signal = Signal()
    await wait_at_most(signal.next(), 0)

    waiting = asyncio.create_task(wait_at_most(signal.next(), TIMEOUT))
    await yield_to_loop()
    signal.fire()
    async with asyncio.timeout(TIMEOUT / 2):
        await waiting


async def test_a_key_is_heard_by_those_who_wait_for_it() -> None:
    """All of them, also after one has left; `fire_all` is heard by everybody."""
    signals = Signals()
    with signals.waiting("a") as a, signals.waiting("b") as b:
        with signals.waiting("a") as same:
            assert same is a
        heard, other = a.next(), b.next()
        signals.fire("a")
        assert (heard.is_set(), other.is_set()) == (True, False)
        heard = a.next()
        signals.fire_all()
        assert (heard.is_set(), other.is_set()) == (True, True)


async def test_a_key_that_nobody_waits_for_is_forgotten() -> None:
    """Else there would be one for every order that was ever waited for."""
    signals = Signals()
    with signals.waiting("a") as before:
        pass
    signals.fire("a")

    with signals.waiting("a") as signal:
        assert signal is not before
    assert (signals._signals, signals._waiting) == ({}, {})
