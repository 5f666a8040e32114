"""What computes for long, on a thread of its own."""

import asyncio
import gc
import sys
import threading

import pytest

from service.computing import compute

TIMEOUT = 20


async def test_what_is_long_runs_on_another_thread() -> None:
    """And what is short here, at once."""
    assert await compute(threading.get_ident) != threading.get_ident()
    assert await compute(threading.get_ident, is_short=True) == threading.get_ident()


async def test_who_leaves_waits_for_what_has_begun() -> None:
    """It holds its memory until then, so its place must not be given to the next one."""
    begun, may_end = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        may_end.wait(TIMEOUT)

    waiting = asyncio.create_task(compute(work))
    assert await asyncio.to_thread(begun.wait, TIMEOUT)

    waiting.cancel()
    for _ in range(5):
        await asyncio.sleep(0)
    has_left = waiting.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    assert not has_left


async def test_who_leaves_before_it_has_begun_is_gone_at_once() -> None:
    """It is not done at all."""
    begun, may_end = threading.Event(), threading.Event()
    done: list[int] = []

    def work() -> None:
        begun.set()
        may_end.wait(TIMEOUT)

    first = asyncio.create_task(compute(work))
    assert await asyncio.to_thread(begun.wait, TIMEOUT)
    second = asyncio.create_task(compute(lambda: done.append(1)))
    await asyncio.sleep(0)

    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    may_end.set()
    await first

    assert done == []


async def test_nothing_is_collected_meanwhile() -> None:
    """The collector holds all threads; it goes on afterwards, whatever came of the work."""
    assert gc.isenabled()

    assert await compute(gc.isenabled) is False
    with pytest.raises(ZeroDivisionError):
        await compute(lambda: 1 // 0)

    assert gc.isenabled()


async def test_others_get_their_turn_soon_meanwhile() -> None:
    """The event loop waits for one after each read and write; afterwards they are as long as ever."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.004)
    try:
        assert await compute(sys.getswitchinterval) <= 0.001
        assert sys.getswitchinterval() == pytest.approx(0.004)
    finally:
        sys.setswitchinterval(before)
