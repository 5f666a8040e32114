"""Credits that are counted before they are spent: never more than a day may have, whoever asks and whatever fails."""

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from unittest.mock import Mock

import pytest

from service.database import Database
from service.images import spending
from service.images.spending import LocalSpending, Reservation, until_tomorrow
from tests.support.transport import TIMEOUT, yield_to_loop

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


async def reserved(credits_today: LocalSpending, key: str) -> Reservation:
    """A credit for an image, which there must be."""
    reservation = await credits_today.reserve(key)
    assert reservation is not None
    return reservation


@pytest.mark.parametrize("limit", [None, 1])
async def test_with_a_limit_a_credit_is_on_the_disk_before_it_is_spent(
    database: Database, monkeypatch: pytest.MonkeyPatch, limit: int | None
) -> None:
    """A power cut must not make a day's credits anew."""
    monkeypatch.setattr(database, "give", give := Mock(side_effect=database.give))

    await reserved(LocalSpending(database, limit), "a.0")

    assert [call.kwargs["durable"] for call in give.call_args_list] == [limit is not None]


async def test_no_more_than_the_limit_is_given_out(database: Database, calendar: Calendar) -> None:
    """Twenty ask at once for three."""
    credits_today = LocalSpending(database, 3)

    given = await asyncio.gather(*(credits_today.reserve(f"{number}.0") for number in range(20)))

    assert [one.day for one in given if one is not None] == ["2027-01-15"] * 3
    assert given.count(None) == 17
    assert await credits_today.spent() == 3


async def test_a_clock_that_was_set_ahead_loses_no_count(database: Database, calendar: Calendar) -> None:
    """Given one that is right again: what was spent today still counts."""
    credits_today = LocalSpending(database, 1)
    await reserved(credits_today, "a.0")
    calendar.now += 5 * 86_400
    await reserved(credits_today, "b.0")
    calendar.now -= 5 * 86_400

    assert await credits_today.reserve("c.0") is None


async def test_an_image_is_counted_once_a_day(database: Database, calendar: Calendar) -> None:
    """Whoever comes again for what may have been bought pays nothing more."""
    credits_today = LocalSpending(database, 1)

    given = [await reserved(credits_today, "a.0") for _ in range(3)]

    assert [one.day for one in given] == ["2027-01-15"] * 3
    assert await credits_today.spent() == 1


async def test_what_was_refused_can_be_spent_on_another(database: Database, calendar: Calendar) -> None:
    """Nothing was bought."""
    credits_today = LocalSpending(database, 1)
    await credits_today.release(await reserved(credits_today, "a.0"))

    assert await credits_today.reserve("b.0") is not None
    assert await credits_today.spent() == 1


async def test_what_is_bought_stays_counted(database: Database, calendar: Calendar) -> None:
    """It is confirmed once, and is not given back."""
    credits_today = LocalSpending(database, 1)
    first, second = [await reserved(credits_today, "a.0") for _ in range(2)]

    confirmed = [await credits_today.confirm(one) for one in (first, second)]
    for refused in (first, second):
        await credits_today.release(refused)

    assert confirmed == [True, False]
    assert await credits_today.reserve("b.0") is None


async def test_a_day_is_utc_and_the_next_begins_anew(database: Database, calendar: Calendar) -> None:
    """At midnight; what was begun before it counts on its own day."""
    credits_today = LocalSpending(database, 1)
    first = await reserved(credits_today, "a.0")
    calendar.now += 12 * 3600 - 1
    before = await credits_today.reserve("b.0")
    left = until_tomorrow()
    calendar.now += 1

    after = await reserved(credits_today, "b.0")

    assert (before, left, after.day) == (None, 1, "2027-01-16")
    assert await credits_today.confirm(first)
    assert await credits_today.spent() == 1


async def test_old_days_are_forgotten(database: Database, calendar: Calendar) -> None:
    """After 40 days."""
    credits_today = LocalSpending(database, None)
    for day in (0, 1, 41):
        calendar.now = NOON + day * 86_400
        await credits_today.reserve("a.0")

    days = await database.run(lambda connection: connection.execute("SELECT day FROM credits").fetchall())

    assert days == [("2027-01-16",), ("2027-02-25",)]


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

    given = [await credits_today.reserve(f"{number}.0") for number in range(50)]

    assert None not in given
    assert await credits_today.spent() == 50


async def test_a_refusal_gives_back_only_its_own_credit(database: Database, calendar: Calendar) -> None:
    """Two renditions of an image are downloaded: until the second has its answer, it may be what is bought."""
    credits_today = LocalSpending(database, 1)
    refused, bought = await reserved(credits_today, "a.0"), await reserved(credits_today, "a.0")

    await credits_today.release(refused)
    meanwhile = await credits_today.reserve("b.0")
    assert await credits_today.confirm(bought)

    assert meanwhile is None
    assert await credits_today.spent() == 1
    assert await credits_today.reserve("b.0") is None


async def test_what_ended_without_an_answer_stays_counted(database: Database, calendar: Calendar) -> None:
    """Whatever a later download of the same image is told."""
    credits_today = LocalSpending(database, 1)
    await reserved(credits_today, "a.0")

    await credits_today.release(await reserved(credits_today, "a.0"))

    assert await credits_today.reserve("b.0") is None
    assert await credits_today.spent() == 1


async def test_once_all_are_refused_nothing_is_counted(database: Database, calendar: Calendar) -> None:
    """Two downloads of an image, both refused."""
    credits_today = LocalSpending(database, 1)
    both = [await reserved(credits_today, "a.0") for _ in range(2)]

    for one in both:
        await credits_today.release(one)

    assert await credits_today.spent() == 0
    assert await credits_today.reserve("b.0") is not None


async def test_credits_of_a_directory_of_an_earlier_version_stay_counted(tmp_path: Path, calendar: Calendar) -> None:
    """It did not note how many downloads an image had."""
    first = await Database.open(
        tmp_path / "old",
        [
            "CREATE TABLE credits (day TEXT NOT NULL, key TEXT NOT NULL, is_bought INTEGER NOT NULL DEFAULT 0,"
            " PRIMARY KEY (day, key)) WITHOUT ROWID; INSERT INTO credits VALUES ('2027-01-15', 'a.0', 0);"
        ],
    )
    await first.close()
    second = await Database.open(tmp_path / "old", [spending.SCHEMA])
    credits_today = LocalSpending(second, 1)

    await credits_today.release(await reserved(credits_today, "a.0"))

    assert await credits_today.spent() == 1
    await second.close()


async def test_a_credit_whose_caller_has_left_is_given_back(database: Database, calendar: Calendar) -> None:
    """It is counted all the same, but nobody was told: it can be spent on another image."""
    credits_today = LocalSpending(database, 1)
    may_go_on = threading.Event()
    working = database.give(lambda _: may_go_on.wait(TIMEOUT))
    leaving = asyncio.create_task(credits_today.reserve("a.0"))
    await yield_to_loop()
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    may_go_on.set()
    await working

    assert leaving.cancelled()
    async with asyncio.timeout(TIMEOUT):
        while await credits_today.reserve("b.0") is None:  # noqa: ASYNC110  # given back by work nobody waits for
            await asyncio.sleep(0.01)
