"""Work beside the requests outlives errors that nobody expected."""

import asyncio
import logging

import pytest

from service.background import repeat, until_done

PATIENCE = 20


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

    async with asyncio.timeout(PATIENCE):
        assert await until_done("some work", work.run, 0) == "done"

    failures = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert (work.begun, len(failures)) == (3, 2)


async def test_what_is_repeated_ends_when_it_is_cancelled() -> None:
    """In its work, and in its pause."""
    for work in (Work(0), Work(1)):
        running = asyncio.create_task(repeat("some work", work.run, 3600))  # type: ignore[arg-type]
        async with asyncio.timeout(PATIENCE):
            await work.has_begun.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running


async def test_what_is_repeated_goes_on_after_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    """After the same pause."""
    work = Work(1)
    running = asyncio.create_task(repeat("some work", work.run, 0))  # type: ignore[arg-type]

    async with asyncio.timeout(PATIENCE):
        await work.done.wait()

    running.cancel()
    assert "background task failed" in caplog.text
