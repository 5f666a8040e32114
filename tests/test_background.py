"""Work beside the requests outlives errors that nobody expected."""

import asyncio
import gc
import logging

import pytest

from service import background
from service.background import carry_through, repeat, until_done

TIMEOUT = 20


class Work:
    """Fails so often, then succeeds."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.begun = 0
        self.has_begun, self.done = asyncio.Event(), asyncio.Event()

    async def run(self) -> str:
        self.begun += 1
        self.has_begun.set()
        if self.begun <= self.failures:
            raise ZeroDivisionError
        self.done.set()
        return "done"


async def test_what_fails_is_begun_anew_until_it_is_done(caplog: pytest.LogCaptureFixture) -> None:
    """And the log says each time what went wrong."""
    work = Work(2)

    async with asyncio.timeout(TIMEOUT):
        assert await until_done("some work", work.run, 0) == "done"

    failures = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert (work.begun, len(failures)) == (3, 2)


async def test_what_is_repeated_ends_when_it_is_cancelled() -> None:
    """In its work, and in its pause."""
    for work in (Work(0), Work(1)):
        running = asyncio.create_task(repeat("some work", work.run, 3600))  # type: ignore[arg-type]
        async with asyncio.timeout(TIMEOUT):
            await work.has_begun.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running


async def test_what_is_repeated_goes_on_after_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    """After the same pause."""
    work = Work(1)
    running = asyncio.create_task(repeat("some work", work.run, 0))  # type: ignore[arg-type]

    async with asyncio.timeout(TIMEOUT):
        await work.done.wait()

    running.cancel()
    assert "background task failed" in caplog.text


async def test_what_is_carried_through_is_done_though_its_caller_is_gone() -> None:
    """Given a caller that is cancelled while it waits: the caller ends at once, the work ends later."""
    begun, go_on, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        await go_on.wait()
        done.set()

    caller = asyncio.create_task(carry_through(work()))
    async with asyncio.timeout(TIMEOUT):
        await begun.wait()
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        go_on.set()
        await done.wait()


async def test_what_is_carried_through_is_held_until_its_end() -> None:
    """The event loop itself does not keep it; and its failure, which nobody hears of any more, is not reported."""
    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        await go_on.wait()
        raise ZeroDivisionError

    caller = asyncio.create_task(carry_through(work()))
    await begun.wait()
    (task,) = background._carried
    caller.cancel()
    await asyncio.wait([caller])
    go_on.set()
    await asyncio.wait([task])
    await asyncio.sleep(0)

    assert background._carried == set()
    del task, caller
    gc.collect()
    assert reported == []


async def test_what_is_carried_through_tells_its_caller_how_it_went() -> None:
    """The result, or the error."""
    work = Work(1)

    with pytest.raises(ZeroDivisionError):
        await carry_through(work.run())
    assert await carry_through(work.run()) == "done"
