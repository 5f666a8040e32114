"""How busy the event loop is, measured from inside."""

import asyncio
from typing import NoReturn

from service.telemetry.metrics import Metrics

_EVERY_SECONDS = 0.25


async def watch_loop(metrics: Metrics) -> NoReturn:
    """Set a timer again and again, and observe how late the loop comes to it; count the tasks."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + _EVERY_SECONDS
        await asyncio.sleep(_EVERY_SECONDS)
        metrics.loop_lag.observe(max(0.0, loop.time() - due))
        metrics.loop_tasks.set(len(asyncio.all_tasks(loop)))
