"""One task per key at a time."""

import asyncio

import pytest

from service.single_flight import SingleFlight
from tests.support.transport import TIMEOUT, yield_to_loop


class Work:
    """Goes on until it is let go, and notes that it was cancelled."""

    def __init__(self) -> None:
        self.begun = 0
        self.cancelled = 0
        self.gate = asyncio.Event()
        self.error: Exception | None = None

    async def run(self) -> int:
        self.begun += 1
        number = self.begun
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        return number


async def test_who_asks_meanwhile_shares_one_task() -> None:
    """By key; who asks once it has ended has another one, also in the moment of its end."""
    flights, work = SingleFlight[int](), Work()

    async def join_twice() -> tuple[int, int]:
        first = await flights.join("a", work.run, "test")
        return first, await flights.join("a", work.run, "test")

    waiting = [asyncio.create_task(join_twice()), asyncio.create_task(join_twice())]
    other = asyncio.create_task(flights.join("b", work.run, "test"))
    await yield_to_loop()
    begun, is_running = work.begun, [flights.is_running(key) for key in "abc"]
    work.gate.set()

    assert (begun, is_running) == (2, [True, True, False])
    assert await asyncio.gather(*waiting, other) == [(1, 3), (1, 3), 2]
    assert not flights.is_running("a")


async def test_an_error_is_all_theirs_and_is_not_kept() -> None:
    """The next one tries again."""
    flights, work = SingleFlight[int](), Work()
    work.error = KeyError("broken")
    waiting = [asyncio.create_task(flights.join("a", work.run, "test")) for _ in range(2)]
    await yield_to_loop()
    work.gate.set()
    found = await asyncio.gather(*waiting, return_exceptions=True)
    work.error = None

    assert [type(error) for error in found] == [KeyError, KeyError]
    assert await flights.join("a", work.run, "test") == 2


@pytest.mark.parametrize("may_stop", [False, True])
async def test_who_leaves_ends_only_what_is_of_no_use_then(may_stop: bool) -> None:
    """Not while somebody else waits."""
    flights, work = SingleFlight[int](), Work()
    waiting = [asyncio.create_task(flights.join("a", work.run, "test", may_stop=lambda: may_stop)) for _ in range(2)]
    await yield_to_loop()
    cancelled = []
    for task in waiting:
        task.cancel()
        await yield_to_loop()
        cancelled.append(work.cancelled)
    can_be_joined = flights.is_running("a")
    work.gate.set()

    assert (cancelled, can_be_joined) == ([0, int(may_stop)], not may_stop)
    assert await flights.join("a", work.run, "test") == (2 if may_stop else 1)


async def test_at_the_end_what_may_not_stop_has_its_time() -> None:
    """The rest is cancelled, first that which may stop."""
    flights, stops, finishes, hangs = SingleFlight[int](), Work(), Work(), Work()
    waiting = [
        asyncio.create_task(flights.join(name, work.run, "test", may_stop=lambda may_stop=may_stop: may_stop))  # type: ignore[misc]
        for name, work, may_stop in (("a", stops, True), ("b", finishes, False), ("c", hangs, False))
    ]
    await yield_to_loop()
    closing = asyncio.create_task(flights.close(grace=TIMEOUT))
    await yield_to_loop()
    at_first = stops.cancelled, finishes.cancelled, hangs.cancelled, closing.done()
    finishes.gate.set()
    await yield_to_loop()
    hangs.gate.set()
    await closing

    assert at_first == (1, 0, 0, False)
    assert [type(found) for found in await asyncio.gather(*waiting, return_exceptions=True)] == [
        asyncio.CancelledError,
        int,
        int,
    ]


async def test_without_time_all_is_cancelled_at_the_end() -> None:
    """And has ended when that is told."""
    flights, work = SingleFlight[int](), Work()
    waiting = asyncio.create_task(flights.join("a", work.run, "test"))
    await yield_to_loop()

    await flights.close()

    assert work.cancelled == 1
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_at_the_end_what_was_cancelled_before_has_ended_too() -> None:
    """What it cleans up may need what is closed next."""
    flights = SingleFlight[int]()
    may_end, happened = asyncio.Event(), []

    async def slow() -> int:
        try:
            await asyncio.Event().wait()
        finally:
            await may_end.wait()
            happened.append("cleaned up")
        return 0

    leaving = asyncio.create_task(flights.join("key", slow, "test", may_stop=lambda: True))
    await yield_to_loop()
    leaving.cancel()
    await yield_to_loop()
    closing = asyncio.create_task(flights.close())
    await yield_to_loop()
    is_closed = closing.done()
    may_end.set()
    await closing

    assert (is_closed, happened) == (False, ["cleaned up"])


async def test_one_that_was_cancelled_has_ended_before_the_next_begins() -> None:
    """What it cleans up is not the next one's; also when another one came and left meanwhile."""
    flights: SingleFlight[str] = SingleFlight()
    happened, may_end = [], asyncio.Event()

    async def slow() -> str:
        try:
            await asyncio.Event().wait()
        finally:
            await may_end.wait()
            happened.append("cleaned up")
        return "never"

    async def quick() -> str:
        happened.append("begun")
        return "done"

    for work in (slow, quick):
        leaving = asyncio.create_task(flights.join("key", work, "test", may_stop=lambda: True))
        await yield_to_loop()
        leaving.cancel()
        await yield_to_loop()
    joining = asyncio.create_task(flights.join("key", quick, "test"))
    await yield_to_loop()
    may_end.set()

    assert await joining == "done"
    assert happened == ["cleaned up", "begun"]


async def test_the_end_of_one_that_was_cancelled_is_not_the_next_ones() -> None:
    """Who comes behind it shares the next one's task."""
    flights, next_one = SingleFlight[int](), Work()
    may_end = asyncio.Event()

    async def slow() -> int:
        try:
            await asyncio.Event().wait()
        finally:
            await may_end.wait()
        return 0

    leaving = asyncio.create_task(flights.join("key", slow, "test", may_stop=lambda: True))
    await yield_to_loop()
    leaving.cancel()
    await yield_to_loop()
    waiting = [asyncio.create_task(flights.join("key", next_one.run, "test"))]
    await yield_to_loop()
    may_end.set()
    await yield_to_loop()
    waiting.append(asyncio.create_task(flights.join("key", next_one.run, "test")))
    await yield_to_loop()
    next_one.gate.set()

    assert await asyncio.gather(*waiting) == [1, 1]
    assert (flights._flights, flights._stopping) == ({}, {})
