"""One task per key at a time."""

import asyncio

from service.single_flight import SingleFlight
from tests.support.transport import yield_to_loop


async def test_one_that_was_cancelled_has_ended_before_the_next_begins() -> None:
    """What it cleans up is not the next one's; also when another one came and left meanwhile."""
    flights: SingleFlight[str] = SingleFlight()
    happened, may_end = [], asyncio.Event()

    async def slow() -> str:
        try:
            await asyncio.Event().wait()
        finally:
            await may_end.wait()
            happened.append("cleaned up")
        return "never"

    async def quick() -> str:
        happened.append("begun")
        return "done"

    for work in (slow, quick):
        leaving = asyncio.create_task(flights.join("key", work, "test", may_stop=lambda: True))
        await yield_to_loop()
        leaving.cancel()
        await yield_to_loop()
    joining = asyncio.create_task(flights.join("key", quick, "test"))
    await yield_to_loop()
    may_end.set()

    assert await joining == "done"
    assert happened == ["cleaned up", "begun"]
