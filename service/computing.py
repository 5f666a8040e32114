"""A thread for what computes for long."""

import asyncio
import gc
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

# One: threads that compute keep the event loop waiting, each for its share of the interpreter.
_thread = ThreadPoolExecutor(1, thread_name_prefix="computing")
# Seconds of that share. The loop waits for it anew after each read and write: with Python's own 5 ms, for a tenth of a
# second for one small answer. Not always: it would cost small images a tenth more.
_SHARE = 0.0005

MANY_IMAGES = 300
"""Work over so many takes some milliseconds."""


async def compute(work: Callable[[], T], *, is_short: bool = False) -> T:
    """Run on the one thread for it what would hold the event loop for more than some milliseconds.

    What `is_short` is done at once: it shall not queue behind what is long. What has begun is waited for, also when the
    caller is cancelled: until then it holds its memory.
    """
    if is_short:
        return work()
    running = _thread.submit(_in_small_shares, work)
    try:
        return await asyncio.wrap_future(running)
    except asyncio.CancelledError:
        if not running.cancelled():
            await asyncio.gather(asyncio.wrap_future(running), return_exceptions=True)
        raise


def _in_small_shares(work: Callable[[], T]) -> T:
    """Without the garbage collector: it would hold all threads while it looks through what `work` is making."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(_SHARE)
    gc.disable()
    try:
        return work()
    finally:
        gc.enable()
        sys.setswitchinterval(usual)
