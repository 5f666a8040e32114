"""Whether somebody wants more, how far ahead a build may run, and when nobody comes back."""

import asyncio
from contextlib import ExitStack

import pytest

from service.archives import readers as readers_module
from service.archives.readers import Abandoned, Readers
from service.signal import wait_at_most
from tests.support.transport import TIMEOUT, FakeClock, yield_to_loop

WINDOW, GRACE = 100, 60.0


@pytest.fixture
def readers(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Readers:
    """Of an archive that nobody reads yet; time is turned by hand, for what is measured with it."""
    monkeypatch.setattr(readers_module, "time", clock)
    return Readers(WINDOW, GRACE)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    """How long each wait for a reader may take; it ends at once where there is a limit."""
    seen: list[float | None] = []
    really_limit = asyncio.timeout

    def limit(seconds: float | None) -> asyncio.Timeout:
        seen.append(seconds)
        return really_limit(None if seconds is None else 0)

    monkeypatch.setattr(asyncio, "timeout", limit)
    return seen


def test_nobody_wants_anything_of_what_nobody_reads(readers: Readers) -> None:
    """Not even the first byte."""
    assert not readers.want_more(0)


@pytest.mark.parametrize(("built", "wanted"), [(0, True), (99, True), (100, False), (1_000, False)])
def test_a_build_may_be_a_window_ahead(readers: Readers, built: int, wanted: bool) -> None:
    """And not a byte more."""
    with readers.reading():
        assert readers.want_more(built) is wanted


def test_the_furthest_reader_counts(readers: Readers) -> None:
    """A slow one holds nobody up; when the fast one leaves, the slow one's window is what counts."""
    with readers.reading() as slow:
        with readers.reading() as fast:
            fast.advance(500)
            ahead = readers.want_more(599), readers.want_more(600)
        behind = readers.want_more(599)
        slow.advance(550)

        assert (ahead, behind, readers.want_more(599)) == ((True, False), False, True)


def test_a_reader_may_begin_in_the_middle(readers: Readers) -> None:
    """A range counts from where it begins."""
    with readers.reading(500):
        assert readers.want_more(599)
        assert not readers.want_more(600)


def test_who_needs_the_end_wants_all(readers: Readers) -> None:
    """Without a window."""
    with readers.reading(to_the_end=True):
        assert readers.want_more(1 << 60)
    assert not readers.want_more(0)


async def test_a_wait_ends_when_a_reader_moves_on_or_comes(readers: Readers) -> None:
    """Each as soon as it wants more."""
    with readers.reading() as reader:
        waiting = asyncio.create_task(readers.wait_for_demand(lambda: 150))
        await yield_to_loop()
        reader.advance(50)
        await yield_to_loop()
        before = waiting.done()
        reader.advance(51)
        await yield_to_loop()
        moved = waiting.done()
    waiting_again = asyncio.create_task(readers.wait_for_demand(lambda: 0))
    await yield_to_loop()
    with readers.reading():
        await yield_to_loop()

        assert (before, moved, waiting_again.done()) == (False, True, True)


async def test_the_grace_counts_from_when_the_last_reader_left(
    readers: Readers, clock: FakeClock, waits: list[float | None]
) -> None:
    """Not from when the first one left, nor from when the build had its last image."""
    with ExitStack() as stack:
        stack.enter_context(readers.reading())
        clock.advance(100)
        with readers.reading():
            clock.advance(100)
    clock.advance(15)

    with pytest.raises(Abandoned):
        await readers.wait_for_demand(lambda: 0)

    assert waits == [GRACE - 15]
    assert readers.is_abandoned


async def test_an_archive_that_nobody_reads_at_first_is_given_the_grace(
    readers: Readers, clock: FakeClock, waits: list[float | None]
) -> None:
    """From its beginning."""
    clock.advance(20)

    with pytest.raises(Abandoned):
        await readers.wait_for_demand(lambda: 0)

    assert waits == [GRACE - 20]


async def test_a_reader_who_is_there_may_be_as_slow_as_he_likes(readers: Readers, waits: list[float | None]) -> None:
    """There is no limit while somebody reads."""
    with readers.reading():
        waiting = asyncio.create_task(readers.wait_for_demand(lambda: 150))
        await yield_to_loop()
        assert (waits, waiting.done()) == ([None], False)
        waiting.cancel()


async def test_a_reader_who_comes_back_in_time_goes_on(readers: Readers, clock: FakeClock) -> None:
    """And the next grace is a whole one."""
    with readers.reading():
        pass
    clock.advance(GRACE - 1)
    waiting = asyncio.create_task(readers.wait_for_demand(lambda: 0))
    await yield_to_loop()
    with readers.reading():
        await waiting
    clock.advance(GRACE - 1)
    again = asyncio.create_task(readers.wait_for_demand(lambda: 0))
    await yield_to_loop()

    assert not again.done()
    assert not readers.is_abandoned
    again.cancel()


async def test_who_was_sent_away_is_waited_for(clock: FakeClock) -> None:
    """The archive goes on to its end for as long as the grace, and is then nobody's."""
    readers = Readers(WINDOW, 0.05)
    readers.keep_for_return(0)
    kept = readers.want_more(1 << 60), readers.count

    async with asyncio.timeout(20):
        while readers.count:
            await wait_at_most(readers._changed.next(), 0.05)

    assert (kept, readers.want_more(0)) == ((True, 1), False)


async def test_who_was_sent_away_has_the_grace_to_return(readers: Readers) -> None:
    """Until then all of it is wanted; it does not end with the turn that sent him away."""
    readers.keep_for_return(0)
    await yield_to_loop()

    assert (readers.count, readers.want_more(10 * WINDOW)) == (1, True)


async def test_who_returns_when_he_was_told_to_is_in_time() -> None:
    """However short the grace is."""
    readers = Readers(WINDOW, grace=0)
    readers.keep_for_return(30)
    await yield_to_loop()

    assert (readers.count, readers.want_more(10 * WINDOW)) == (1, True)


async def test_what_was_found_is_in_use_until_its_reader_can_have_begun(readers: Readers) -> None:
    """Also right after the block: nothing may be awaited there, and nothing of it goes meanwhile."""
    with readers.expected():
        within = readers.is_used
    right_after = readers.is_used
    await yield_to_loop()

    assert (within, right_after, readers.is_used) == (True, True, False)


async def test_a_build_that_waits_hears_of_a_reader_who_left() -> None:
    """Given one who reads slowly and leaves: the build does not wait for him for ever."""
    readers = Readers(window=1, grace=0)
    with readers.reading():
        waiting = asyncio.create_task(readers.wait_for_demand(lambda: 100))
        await yield_to_loop()

    async with asyncio.timeout(TIMEOUT):
        with pytest.raises(Abandoned):
            await waiting


async def test_who_was_expected_and_does_not_come_keeps_no_build_waiting() -> None:
    """It is given up when the grace is over, as if nobody had been expected."""
    readers = Readers(1, 0)
    with readers.expected():
        waiting = asyncio.create_task(readers.wait_for_demand(lambda: 0))
        await yield_to_loop()

    async with asyncio.timeout(TIMEOUT):
        with pytest.raises(Abandoned):
            await waiting


async def test_a_reader_who_comes_as_the_grace_ends_is_served(
    readers: Readers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """He was in time: nothing is given up."""
    coming, really_limit = ExitStack(), asyncio.timeout

    def limit(_: float | None) -> asyncio.Timeout:
        coming.enter_context(readers.reading())
        return really_limit(0)

    monkeypatch.setattr(asyncio, "timeout", limit)
    with coming:
        await readers.wait_for_demand(lambda: 0)

        assert not readers.is_abandoned


async def test_of_two_who_wait_the_one_who_stays_hears_of_a_reader(readers: Readers) -> None:
    """Given another who waited for the same and has left."""
    waiting = [asyncio.create_task(readers.wait_for_demand(lambda: 0)) for _ in range(2)]
    await yield_to_loop()
    waiting[0].cancel()
    await yield_to_loop()

    with readers.reading():
        await yield_to_loop()

        assert (waiting[0].cancelled(), waiting[1].done()) == (True, True)
    await waiting[1]
