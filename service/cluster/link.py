"""Calls to what instances share: bounded in time, and after a failure not made for some seconds."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from service.telemetry.logs import get_logger
from service.telemetry.metrics import Metrics, Shared

log = get_logger(__name__)

T = TypeVar("T")

# A timer that wakes us so late says that this process was held up, not the one that was asked.
_LATE_SECONDS = 0.05
_LATE_TIMES = 5
_TRIES = 3
# A storage that is slow answers in between: after its pause it must have answered for so long.
_STEADY_SECONDS = 5.0


class Unavailable(Exception):
    """It does not answer, refuses us, or failed a moment ago and is not asked again yet."""

    @property
    def was_asked(self) -> bool:
        """It may have done what it was asked for all the same."""
        return self.__cause__ is not None


class Link:
    """The way to Redis, or to S3. `seconds` bound a call; for `pause` seconds after a failure none is made.

    After the pause one call tries, the others fail until it has succeeded. `failures` are the exceptions that count.
    What is called may be called again.
    """

    def __init__(
        self, what: Shared, metrics: Metrics, *, seconds: float, pause: float, failures: tuple[type[Exception], ...]
    ) -> None:
        self._what = what
        self._gauge = metrics.shared_up.labels(what)
        self._seconds = seconds
        self._pause = pause
        self._failures: tuple[type[Exception], ...] = (*failures, OSError, TimeoutError)
        self._retry_at = 0.0
        self._is_trying = False
        self._answered_at = 0.0
        self.is_up = True
        self.up_since = time.monotonic()
        """When calls last began to succeed again (of `time.monotonic`)."""
        self.down_since = 0.0
        """When calls last began to fail."""

    @property
    def is_steady(self) -> bool:
        """Whether it answers, and not only for this moment."""
        return self.is_up and time.monotonic() > self._retry_at + _STEADY_SECONDS

    async def call(self, command: Callable[[], Awaitable[T]], seconds: float | None = None) -> T:
        """What `command` returns, within its time. Raises `Unavailable`."""
        if not self.is_up and (self._is_trying or time.monotonic() < self._retry_at):
            raise Unavailable(self._what)
        self._is_trying = is_trial = not self.is_up
        try:
            result = await self._try(command, seconds or self._seconds)
        except FileNotFoundError:
            self._succeeded()
            raise
        except self._failures as error:
            self._failed(error)
            raise Unavailable(self._what) from error
        except Exception:
            self._succeeded()  # an answer, if not the one that was hoped for
            raise
        finally:
            if is_trial:
                self._is_trying = False
        self._succeeded()
        return result

    async def _try(self, command: Callable[[], Awaitable[T]], seconds: float) -> T:
        """Within the time; again where others were answered meanwhile: it is this call that was unlucky."""
        for _ in range(_TRIES - 1):
            began = time.monotonic()
            try:
                async with bounded(seconds):
                    return await command()
            except TimeoutError:
                if self._answered_at <= began:
                    raise
        async with bounded(seconds):
            return await command()

    def _succeeded(self) -> None:
        self._gauge.set(1)
        self._answered_at = time.monotonic()
        if not self.is_up:
            self.is_up, self.up_since = True, time.monotonic()
            log.info("shared part is back", what=self._what)

    def _failed(self, error: Exception) -> None:
        self._gauge.set(0)
        self._retry_at = time.monotonic() + self._pause
        if self.is_up:
            self.is_up, self.down_since = False, time.monotonic()
            cause = error if isinstance(error, TimeoutError) else error.__cause__ or error
            log.warning("shared part unavailable", what=self._what, error=type(cause).__name__)


@asynccontextmanager
async def bounded(seconds: float) -> AsyncIterator[None]:
    """`asyncio.timeout`, with more time when it was the event loop that was held up. Raises `TimeoutError`."""
    loop = asyncio.get_running_loop()
    timers: list[asyncio.TimerHandle] = []
    async with asyncio.timeout(None) as limit:

        def expire(due: float) -> None:
            now = loop.time()
            if now - due > _LATE_SECONDS and len(timers) <= _LATE_TIMES:
                start(now + seconds)
            else:
                limit.reschedule(now)

        def start(due: float) -> None:
            timers.append(loop.call_at(due, expire, due))

        start(loop.time() + seconds)
        try:
            yield
        finally:
            timers[-1].cancel()
