"""Credits that are counted before they are spent: never more than a day may have, whoever asks and whatever fails."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from service.database import Database
from service.images import spending
from service.images.spending import LocalSpending, until_tomorrow

NOON, NEXT_DAY = 1_800_014_400.0, 1_800_014_400.0 + 86_400  # 2027-01-15 and 2027-01-16, 12:00 UTC


class Calendar:
    """`time`, with a clock to be set."""

    def __init__(self) -> None:
        self.now = NOON

    def time(self) -> float:
        return self.now


@pytest.fixture
def calendar(monkeypatch: pytest.MonkeyPatch) -> Calendar:
    """Noon of some day."""
    calendar = Calendar()
    monkeypatch.setattr(spending, "time", calendar)
    return calendar


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    """With the table of credits."""
    database = await Database.open(tmp_path, [spending.SCHEMA])
    yield database
    await database.close()


async def test_no_more_than_the_limit_is_given_out(database: Database, calendar: Calendar) -> None:
    """Twenty ask at once for three."""
    credits_today = LocalSpending(database, 3)

    days = await asyncio.gather(*(credits_today.reserve(f"{number}.0") for number in range(20)))

    assert len([day for day in days if day == "2027-01-15"]) == 3
    assert days.count(None) == 17
    assert await credits_today.spent() == 3


async def test_an_image_is_counted_once_a_day(database: Database, calendar: Calendar) -> None:
    """Whoever comes again for what may have been bought pays nothing more."""
    credits_today = LocalSpending(database, 1)

    days = [await credits_today.reserve("a.0") for _ in range(3)]

    assert days == ["2027-01-15"] * 3
    assert await credits_today.spent() == 1


async def test_what_was_refused_can_be_spent_on_another(database: Database, calendar: Calendar) -> None:
    """Nothing was bought."""
    credits_today = LocalSpending(database, 1)
    day = await credits_today.reserve("a.0")
    assert day is not None
    await credits_today.release(day, "a.0")

    assert await credits_today.reserve("b.0") == day


async def test_what_is_bought_stays_counted(database: Database, calendar: Calendar) -> None:
    """It is confirmed once, and is not given back."""
    credits_today = LocalSpending(database, 1)
    day = await credits_today.reserve("a.0")
    assert day is not None

    confirmed = [await credits_today.confirm(day, "a.0") for _ in range(2)]
    await credits_today.release(day, "a.0")

    assert confirmed == [True, False]
    assert await credits_today.reserve("b.0") is None


async def test_a_day_is_utc_and_the_next_begins_anew(database: Database, calendar: Calendar) -> None:
    """At midnight; what was begun before it counts on its own day."""
    credits_today = LocalSpending(database, 1)
    await credits_today.reserve("a.0")
    calendar.now += 12 * 3600 - 1
    before = await credits_today.reserve("b.0")
    left = until_tomorrow()
    calendar.now += 1

    after = await credits_today.reserve("b.0")

    assert (before, left, after) == (None, 1, "2027-01-16")
    assert await credits_today.confirm("2027-01-15", "a.0")
    assert await credits_today.spent() == 1


async def test_old_days_are_forgotten(database: Database, calendar: Calendar) -> None:
    """All but the day before."""
    credits_today = LocalSpending(database, None)
    for day in range(4):
        calendar.now = NOON + day * 86_400
        await credits_today.reserve("a.0")

    days = await database.run(lambda connection: connection.execute("SELECT day FROM credits").fetchall())

    assert days == [("2027-01-17",), ("2027-01-18",)]


async def test_a_restart_forgets_nothing(tmp_path: Path, calendar: Calendar) -> None:
    """Not even what was only about to be bought."""
    first = await Database.open(tmp_path / "kept", [spending.SCHEMA])
    await LocalSpending(first, 2).reserve("a.0")
    await first.close()
    second = await Database.open(tmp_path / "kept", [spending.SCHEMA])

    again = LocalSpending(second, 2)

    assert await again.spent() == 1
    assert [await again.reserve(key) is not None for key in ("a.0", "b.0", "c.0")] == [True, True, False]
    await second.close()


async def test_without_a_limit_it_only_counts(database: Database, calendar: Calendar) -> None:
    """Any number."""
    credits_today = LocalSpending(database, None)

    days = [await credits_today.reserve(f"{number}.0") for number in range(50)]

    assert None not in days
    assert await credits_today.spent() == 50


async def test_what_was_bought_is_counted_though_another_download_was_refused(
    database: Database, calendar: Calendar
) -> None:
    """Two renditions of an image: the one that Autoenhance refuses gives back what the other has bought."""
    credits_today = LocalSpending(database, 1)
    day = await credits_today.reserve("a.0")
    assert day is not None
    await credits_today.reserve("a.0")

    await credits_today.release(day, "a.0")
    assert await credits_today.confirm(day, "a.0")

    assert await credits_today.spent() == 1
    assert await credits_today.reserve("b.0") is None
