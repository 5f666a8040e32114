"""Work that is done again and again beside the requests."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NoReturn

from service.telemetry.logs import get_logger

log = get_logger(__name__)


async def repeat(name: str, work: Callable[[], Awaitable[None]], every: float) -> NoReturn:
    """Do `work`, with `every` seconds between, until cancelled; a failure is logged and ends nothing."""
    while True:
        try:
            await work()
        except Exception:
            log.exception("background task failed", work=name)
        await asyncio.sleep(every)
