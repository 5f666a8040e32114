"""How long one attempt at an image may take."""

import asyncio

from service.upstream.download import _TimeLimit
from service.upstream.retry import Deadline


async def test_our_own_disk_takes_none_of_upstreams_time() -> None:
    """Neither of the image's, nor of what a connection may be silent for."""
    slow_disk = 0.05
    deadline = Deadline.after(10_000)
    limit = _TimeLimit(deadline, 10_000, lambda: False)
    async with limit.timeout:
        silent_until, over = limit.timeout.when() or 0, deadline.at
        await limit.pause(asyncio.sleep(slow_disk))
        assert (limit.timeout.when() or 0) >= silent_until + slow_disk * 0.99

    assert deadline.at >= over + slow_disk * 0.99
