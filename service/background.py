"""Work beside the requests: it ends by itself or with the service, not by an error that nobody expected."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NoReturn, TypeVar

from service.telemetry.logs import get_logger

log = get_logger(__name__)

T = TypeVar("T")


async def repeat(name: str, work: Callable[[], Awaitable[None]], every: float) -> NoReturn:
    """Do `work`, with `every` seconds between, until cancelled; a failure is logged and ends nothing."""
    while True:
        try:
            await work()
        except Exception:
            log.exception("background task failed", work=name)
        await asyncio.sleep(every)


async def until_done(name: str, work: Callable[[], Awaitable[T]], pause: float) -> T:
    """What `work` returns; a failure is logged, and after `pause` seconds it is begun anew."""
    while True:
        try:
            return await work()
        except Exception:
            log.exception("background task failed", work=name)
        await asyncio.sleep(pause)
