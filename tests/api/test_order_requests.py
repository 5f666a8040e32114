"""`Idempotency-Key` of requests that make an order, where one instance stands alone."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from service.api.order_requests import KEPT_SECONDS, SCHEMA, Document, LocalOrderRequests, working_on
from service.database import Database
from service.problems import RequestUnfinished

KEY, ANSWER = "digest-of-a-key", {"order_id": "o"}


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    """With the table of requests."""
    database = await Database.open(tmp_path, [SCHEMA])
    yield database
    await database.close()


@pytest.fixture
def requests(database: Database) -> LocalOrderRequests:
    """None yet."""
    return LocalOrderRequests(database)


async def failed(requests: LocalOrderRequests) -> Document | None:
    """What was known when a request began that failed."""
    known: list[Document | None] = []
    with suppress(ZeroDivisionError):
        async with working_on(requests, KEY) as answer:
            known.append(answer)
            raise ZeroDivisionError
    return known[0]


async def test_one_at_a_time_works_on_a_request(requests: LocalOrderRequests) -> None:
    """Of those that come together; another key is another request."""
    begun = await asyncio.gather(*(requests.begin(KEY) for _ in range(3)), return_exceptions=True)
    other = await requests.begin("another")

    assert [type(one) for one in begun] == [type(None), RequestUnfinished, RequestUnfinished]
    assert other is None


async def test_what_was_answered_is_answered_so_again_and_again(
    requests: LocalOrderRequests, database: Database
) -> None:
    """Also after a restart."""
    await requests.begin(KEY)
    await requests.finish(KEY, ANSWER)

    found = [await asked.begin(KEY) for asked in (requests, requests, LocalOrderRequests(database))]

    assert found == [ANSWER] * 3


async def test_an_answer_outlives_a_power_cut(
    requests: LocalOrderRequests, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order was made: it is on the disk itself when the caller is told."""
    asked: list[bool] = []
    run = database.run

    async def note(work: Callable[[sqlite3.Connection], Any], *, durable: bool = False) -> Any:
        asked.append(durable)
        return await run(work, durable=durable)

    monkeypatch.setattr(database, "run", note)
    await requests.begin(KEY)
    await requests.finish(KEY, ANSWER)

    assert asked == [False, True]


async def test_what_failed_may_be_tried_again(requests: LocalOrderRequests) -> None:
    """Its key is free, and one of those that ask works on it."""
    assert await failed(requests) is None
    assert await requests.begin(KEY) is None


async def test_what_was_cancelled_may_be_tried_again(requests: LocalOrderRequests) -> None:
    """Its caller left before there was an answer, and comes back with the same key."""
    has_begun = asyncio.Event()

    async def work() -> None:
        async with working_on(requests, KEY):
            has_begun.set()
            await asyncio.Event().wait()

    working = asyncio.create_task(work())
    await has_begun.wait()
    working.cancel()
    await asyncio.wait([working])

    assert working.cancelled()
    assert await requests.begin(KEY) is None


async def test_who_leaves_while_it_is_looked_for_keeps_no_key(requests: LocalOrderRequests) -> None:
    """Else it could not be used until the next start."""
    beginning = asyncio.create_task(requests.begin(KEY))
    await asyncio.sleep(0)
    beginning.cancel()
    await asyncio.wait([beginning])

    assert beginning.cancelled()
    assert await requests.begin(KEY) is None


async def test_a_failure_over_an_answer_takes_nothing_from_it(requests: LocalOrderRequests) -> None:
    """It is known already, whatever becomes of who was told."""
    await requests.begin(KEY)
    await requests.finish(KEY, ANSWER)

    assert await failed(requests) == ANSWER
    assert await requests.begin(KEY) == ANSWER


async def test_without_a_key_nothing_is_kept(requests: LocalOrderRequests, database: Database) -> None:
    """Each is a request of its own."""
    async with working_on(requests, None) as first, working_on(requests, None) as second:
        assert (first, second) == (None, None)


async def test_an_answer_is_kept_for_a_day(requests: LocalOrderRequests, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the key begins anew."""
    await requests.begin(KEY)
    await requests.finish(KEY, ANSWER)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + KEPT_SECONDS - 10)
    within = await requests.begin(KEY)
    monkeypatch.setattr(time, "time", lambda: now + KEPT_SECONDS + 10)

    assert (within, await requests.begin(KEY)) == (ANSWER, None)


async def test_what_is_kept_in_memory_goes_after_a_day_as_well(
    requests: LocalOrderRequests, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether or not its key ever comes again."""
    await database.run(lambda connection: connection.execute("PRAGMA query_only = 1"))
    await requests.begin(KEY)
    await requests.finish(KEY, ANSWER)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + KEPT_SECONDS - 10)
    await requests.begin("another")
    within = list(requests._unkept)
    monkeypatch.setattr(time, "time", lambda: now + KEPT_SECONDS + 10)
    await requests.begin("a third")

    assert (within, list(requests._unkept)) == ([KEY], [])


@pytest.mark.parametrize("trouble", ["query_only = 1", "max_page_count = 1"])
async def test_an_answer_that_the_database_cannot_take_is_no_error(
    requests: LocalOrderRequests, database: Database, trouble: str
) -> None:
    """The order was made: whoever sends the request again has its answer, as long as the process lives."""
    answer = {**ANSWER, "name": "n" * 100_000}  # more than the pages that there are can hold
    await database.run(lambda connection: connection.execute(f"PRAGMA {trouble}"))

    async with working_on(requests, KEY) as earlier:
        await requests.finish(KEY, answer)

    assert earlier is None
    assert [await requests.begin(KEY) for _ in range(2)] == [answer] * 2
    assert await LocalOrderRequests(database).begin(KEY) is None
