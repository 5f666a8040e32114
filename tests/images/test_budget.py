"""Room that is promised: never more than there is, and never twice."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from service.disk import OutOfSpace
from service.images import budget as budget_module
from service.images.budget import StoreBudget
from service.telemetry.metrics import Metrics
from tests.support.transport import FakeClock, sample, yield_to_loop

RESERVE = 64 << 20
PLENTY = 1 << 40
LIMIT = 1_000


class Disk:
    """What the disk has free, and what is done when room is needed."""

    def __init__(self) -> None:
        self.free = PLENTY
        self.asked: list[int] = []
        self.make: Callable[[int], None] = lambda missing: None

    async def make_room(self, missing: int) -> None:
        self.asked.append(missing)
        self.make(missing)
        await yield_to_loop()


@pytest.fixture
def disk(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Disk:
    """With plenty of room; time stands still."""
    disk = Disk()
    monkeypatch.setattr(budget_module, "time", clock)
    monkeypatch.setattr(budget_module, "shutil", SimpleNamespace(disk_usage=lambda _: SimpleNamespace(free=disk.free)))
    return disk


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


@pytest.fixture
def budget(disk: Disk, threads: ThreadPoolExecutor, metrics: Metrics) -> StoreBudget:
    """Of a store that is nearly full."""
    return StoreBudget(Path(), LIMIT, 900, metrics, threads, disk.make_room)


async def test_all_of_the_limit_may_be_promised_and_no_more(budget: StoreBudget, disk: Disk) -> None:
    """What is on the disk and what is promised count together."""
    await budget.reserve(60)
    await budget.reserve(40)

    with pytest.raises(OutOfSpace):
        await budget.reserve(1)
    assert disk.asked == [1]


async def test_what_is_given_back_may_be_promised_again(budget: StoreBudget, metrics: Metrics) -> None:
    """Whether it was stored, which is on the disk from then on, or not needed."""
    await budget.reserve(60)
    await budget.reserve(40)
    budget.release(60, 60)
    budget.add(50)
    await budget.reserve(10)

    with pytest.raises(OutOfSpace):
        await budget.reserve(1)
    assert sample(metrics.registry, "batch_store_bytes") == 950


async def test_sqlite_keeps_its_room_on_the_disk(budget: StoreBudget, disk: Disk) -> None:
    """What of the promised bytes is written already is not asked of the disk again."""
    disk.free = RESERVE + 50
    await budget.reserve(50)
    budget.wrote(30)
    disk.free -= 30

    with pytest.raises(OutOfSpace):
        await budget.reserve(1)
    disk.free += 1
    await budget.reserve(1)


async def test_what_would_not_fit_if_everything_went_evicts_nobody(budget: StoreBudget, disk: Disk) -> None:
    """A thousand bytes are the most that a store of a thousand can have."""
    with pytest.raises(OutOfSpace):
        await budget.reserve(1_001)
    assert disk.asked == []

    disk.make = lambda missing: budget.add(-missing)
    await budget.reserve(1_000)
    assert disk.asked == [900]


async def test_what_is_taken_while_room_is_made_is_made_up_for(budget: StoreBudget, disk: Disk) -> None:
    """Somebody else writes to the same disk: more images go, as long as that helps."""
    disk.free = RESERVE
    others = [30, 10, 0]

    def make(missing: int) -> None:
        budget.add(-missing)
        disk.free += missing - others.pop(0)

    disk.make = make
    await budget.reserve(100)

    assert disk.asked == [100, 30, 10]


async def test_images_that_do_not_help_stay(budget: StoreBudget, disk: Disk) -> None:
    """Given files whose room the disk does not give back: no more of them go than were asked for once."""
    disk.free = RESERVE
    disk.make = lambda missing: budget.add(-missing)

    with pytest.raises(OutOfSpace):
        await budget.reserve(100)
    assert disk.asked == [100]


@pytest.mark.parametrize("at_once", [True, False])
async def test_room_that_was_made_for_one_is_promised_to_no_other(
    budget: StoreBudget, disk: Disk, at_once: bool
) -> None:
    """Given another download that asks right after somebody else's images went."""
    others: list[asyncio.Task[None]] = []
    overtook: list[bool] = []

    def make(missing: int) -> None:
        budget.add(-missing)
        if at_once:
            overtook.append(budget.reserve_now(100))
        elif not others:
            others.append(asyncio.create_task(budget.reserve(700)))

    disk.make = make

    await budget.reserve(700)

    assert not any(overtook)
    for other in others:
        with pytest.raises(OutOfSpace):
            await other


async def test_with_plenty_to_spare_the_disk_is_not_asked(budget: StoreBudget, disk: Disk) -> None:
    """It costs a thread; for a second what it said is good enough."""
    before = budget.reserve_now(1)
    await budget.reserve(1)
    disk.free = 0

    assert (before, budget.reserve_now(99), budget.reserve_now(1)) == (False, True, False)


async def test_what_is_promised_at_once_is_promised(budget: StoreBudget) -> None:
    """To one download, and not to the next one."""
    await budget.reserve(20)

    assert [budget.reserve_now(50), budget.reserve_now(31), budget.reserve_now(30)] == [True, False, True]


async def test_bytes_on_the_disk_still_count_against_the_limit(budget: StoreBudget) -> None:
    """They are those that were promised."""
    await budget.reserve(60)
    budget.wrote(60)

    with pytest.raises(OutOfSpace):
        await budget.reserve(41)
    await budget.reserve(40)


async def test_what_was_stored_makes_no_room_on_the_disk(budget: StoreBudget, disk: Disk) -> None:
    """Its bytes are there, and no longer on their way."""
    disk.free = RESERVE + 30
    await budget.reserve(30)
    budget.wrote(30)
    disk.free -= 30
    budget.release(30, 30)

    with pytest.raises(OutOfSpace):
        await budget.reserve(1)


async def test_a_disk_that_others_fill_is_noticed(budget: StoreBudget, disk: Disk, clock: FakeClock) -> None:
    """Within a second."""
    await budget.reserve(10)
    disk.free = RESERVE + 20

    at_once = budget.reserve_now(10)
    clock.advance(1)
    with pytest.raises(OutOfSpace):
        await budget.reserve(1)

    assert at_once


async def test_the_disk_is_asked_each_time_unless_there_is_plenty(budget: StoreBudget, disk: Disk) -> None:
    """A gibibyte more than is wanted, and than is kept for the database."""
    disk.free = RESERVE + (1 << 30) + 50
    await budget.reserve(30)

    assert [budget.reserve_now(20), budget.reserve_now(1)] == [True, False]


async def test_what_is_there_and_may_be_is_told_from_the_start(budget: StoreBudget, metrics: Metrics) -> None:
    """Before anything is stored."""
    shown = [sample(metrics.registry, f"batch_{name}") for name in ("store_bytes", "store_limit_bytes")]

    assert shown == [900, LIMIT]
