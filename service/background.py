"""Work beside the requests: it ends by itself or with the service, not by an error that nobody expected."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NoReturn, TypeVar

from service.telemetry.logs import get_logger

log = get_logger(__name__)

T = TypeVar("T")

_carried: set[asyncio.Task[Any]] = set()  # the event loop itself does not keep them


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


async def carry_through(work: Coroutine[Any, Any, T]) -> T:
    """What `work` returns. It goes on to its end also when the caller is cancelled, as the handler of a request is when
    its client leaves."""
    task = asyncio.create_task(work)
    _carried.add(task)
    task.add_done_callback(_ended)
    return await asyncio.shield(task)


def _ended(task: asyncio.Task[Any]) -> None:
    _carried.discard(task)
    if not task.cancelled():
        task.exception()  # seen, also when nobody waits any more
