"""Download slots: never more than allowed, first come, first served, and none is ever lost."""

import asyncio

import pytest

from service.telemetry.metrics import Metrics
from service.upstream.concurrency import DownloadSlots, Slot
from tests.upstream.helpers import sample, turns


def in_flight(metrics: Metrics) -> float:
    return sample(metrics.registry, "batch_downloads_in_flight")


async def test_no_more_than_the_limit_run_at_once(metrics: Metrics) -> None:
    """Ten downloads through two slots: two at a time, all of them in the end."""
    slots = DownloadSlots(2, metrics)
    running, most, ended = 0, 0, 0

    async def download() -> None:
        nonlocal running, most, ended
        async with await slots.acquire():
            running += 1
            most = max(most, running)
            await turns(3)
            running -= 1
        ended += 1

    await asyncio.gather(*(download() for _ in range(10)))

    assert (most, ended) == (2, 10)


async def test_first_come_first_served(metrics: Metrics) -> None:
    """Slots are given in the order they were asked for."""
    slots = DownloadSlots(1, metrics)
    served: list[int] = []

    async def download(number: int) -> None:
        async with await slots.acquire():
            served.append(number)
            await turns(2)

    await asyncio.gather(*(download(number) for number in range(6)))

    assert served == [0, 1, 2, 3, 4, 5]


async def test_two_builds_take_turns_even_when_many_slots_come_free_at_once(metrics: Metrics) -> None:
    """Each asks for its next slot as soon as it has one, and gets it after the other: five slots, again and again."""
    slots = DownloadSlots(5, metrics)
    held: list[Slot] = [await slots.acquire() for _ in range(5)]
    granted: list[str] = []

    async def build(name: str) -> None:
        for _ in range(20):
            held.append(await slots.acquire())
            granted.append(name)

    builds = [asyncio.create_task(build(name)) for name in ("large", "small")]
    while not all(build.done() for build in builds):
        await turns()
        for slot in held:
            slot.release()
        held.clear()

    assert granted == ["large", "small"] * 20


async def test_who_comes_back_goes_to_the_end_of_the_line(metrics: Metrics) -> None:
    """A slot given up between two attempts goes to who waits already."""
    slots = DownloadSlots(1, metrics)
    served: list[str] = []
    slot = await slots.acquire()

    async def other() -> None:
        async with await slots.acquire():
            served.append("other")

    waiting = asyncio.create_task(other())
    await turns()
    async with slot:
        served.append("first attempt")
    async with slot:
        served.append("second attempt")
    await waiting

    assert served == ["first attempt", "other", "second attempt"]


async def test_releasing_twice_is_releasing_once(metrics: Metrics) -> None:
    """No second slot comes of it."""
    slots = DownloadSlots(1, metrics)
    slot = await slots.acquire()
    slot.release()
    slot.release()

    await slots.acquire()
    second = asyncio.create_task(slots.acquire())
    await turns()

    assert not second.done()
    second.cancel()


async def test_entering_a_held_place_takes_no_second_one(metrics: Metrics) -> None:
    """`acquire` and then `async with` is one slot."""
    slots = DownloadSlots(1, metrics)
    slot = await slots.acquire()

    async with slot:
        held = in_flight(metrics)

    assert (held, in_flight(metrics)) == (1, 0)


@pytest.mark.parametrize("moment", ["while waiting", "when just served"])
async def test_a_waiter_who_leaves_takes_no_slot_along(metrics: Metrics, moment: str) -> None:
    """Neither before its turn nor at that very moment."""
    slots = DownloadSlots(1, metrics)
    held = await slots.acquire()
    leaving = asyncio.create_task(slots.acquire())
    staying = asyncio.create_task(slots.acquire())
    await turns()

    if moment == "while waiting":
        leaving.cancel()
        await turns()
        held.release()
    else:
        held.release()
        leaving.cancel()
    await turns()

    assert leaving.cancelled()
    assert staying.done()
    assert in_flight(metrics) == 1


async def test_a_slot_comes_back_from_a_download_that_failed(metrics: Metrics) -> None:
    """Or was cancelled."""
    slots = DownloadSlots(1, metrics)

    for error in (OSError, asyncio.CancelledError):
        with pytest.raises(error):
            async with await slots.acquire():
                raise error

    slot = await slots.acquire()
    assert in_flight(metrics) == 1
    slot.release()


async def test_limit_and_use_are_exported(metrics: Metrics) -> None:
    """Both gauges tell the truth at any moment."""
    slots = DownloadSlots(3, metrics)
    taken = [await slots.acquire(), await slots.acquire()]

    busy = in_flight(metrics)
    for slot in taken:
        slot.release()

    assert sample(metrics.registry, "batch_download_concurrency_limit") == 3
    assert (busy, in_flight(metrics)) == (2, 0)
