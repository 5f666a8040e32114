"""When an image counts as made anew: what was stored of it is not what it is now."""

import sqlite3
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest

from service.computing import MANY_IMAGES, compute
from service.database import Database
from service.orders import generations as module
from service.orders.generations import Generations, Observation, observed, read_observations
from service.upstream.models import Order
from service.upstream.order_document import parse_order
from tests.support.transport import FakeClock

DAY = 86_400.0

MARKS = {
    "date_added": "2026-03-02T09:15:04",
    "last_updated_at": "2026-03-02T09:16:00",
    "status_reason": "The sky was replaced.",
    "updated_at": "2026-03-02T09:17:00",
    "version": "3",
}
OTHER = {
    "date_added": "2026-03-03T09:15:04",
    "last_updated_at": "2026-03-03T09:16:00",
    "status_reason": "The sky was replaced again.",
    "updated_at": "2026-03-03T09:17:00",
    "version": "4",
}


BLOB = "INSERT INTO blobs (digest, size, crc, extension, mtime_ns, boot, used) VALUES ('d', 1, 1, 'jpg', 1, '', 1)"


async def execute(database: Database, *statements: str) -> None:
    """Run these in one transaction."""

    def work(connection: sqlite3.Connection) -> None:
        for statement in statements:
            connection.execute(statement)

    await database.run(work)


def order(**fields: Any) -> Order:
    """An order of one image, `a`, which is finished unless told."""
    return parse_order({"images": [{"image_id": "a", "status": "processed"} | fields]})


@pytest.fixture
def generations(database: Database, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Generations:
    """A memory whose time is turned by hand."""
    clock.time = clock.__call__  # type: ignore[attr-defined]  # stands in for the module
    clock.advance(1_000 * DAY)
    monkeypatch.setattr(module, "time", clock)
    return Generations(database)


async def look(generations: Generations, *orders: Order, refresh: bool = False) -> list[int | None]:
    """The image's generation at each look."""
    return [(await generations.observe("o", one, ["a"] if refresh else [])).get("a") for one in orders]


async def test_an_image_that_stays_as_it_is_stays_generation_0(generations: Generations) -> None:
    """However often it is seen, and although it was unfinished before."""
    working = order(status="processing")

    assert await look(generations, working, working, order(), order(), order()) == [0, 0, 0, 0, 0]


@pytest.mark.parametrize("status", ["processing", "waiting", "error", "queued"])
async def test_an_image_seen_unfinished_after_it_was_finished_is_made_anew(
    generations: Generations, status: str
) -> None:
    """Once, however often it is seen so; and again the next time."""
    unfinished = order(status=status)

    seen = await look(generations, order(), unfinished, unfinished, order(), order(), unfinished, order())

    assert seen == [0, 1, 1, 1, 1, 2, 2]


@pytest.mark.parametrize("status", ["a word of tomorrow", "expired"])
async def test_a_state_that_says_nothing_of_the_picture_changes_nothing(generations: Generations, status: str) -> None:
    """An image stays generation 0."""
    unknown = order(status=status)

    assert (await look(generations, order(), unknown, order()))[-1] == 0


async def test_with_an_unknown_state_it_is_the_generation_that_it_was(generations: Generations) -> None:
    """Else what is stored of it would not be found, and be bought again."""
    unknown = order(status="a word of tomorrow")

    assert await look(generations, order(), order(status="error"), order(), unknown, order()) == [0, 1, 1, 1, 1]


@pytest.mark.parametrize("mark", MARKS)
async def test_a_mark_of_change_makes_it_anew(generations: Generations, mark: str) -> None:
    """Another value, or one that comes or goes; not the same again."""
    marked = order(**{mark: MARKS[mark]})
    other = order(**{mark: OTHER[mark]})

    assert await look(generations, order(), marked, marked, other, order()) == [0, 1, 1, 2, 3]


@pytest.mark.parametrize("mark", MARKS)
async def test_a_change_that_comes_with_the_purchase_is_none(generations: Generations, mark: str) -> None:
    """Buying an image touches its record, not the picture; a later change is one."""
    bought = order(downloaded=True, **{mark: MARKS[mark]})
    changed = order(downloaded=True, **{mark: OTHER[mark]})

    assert await look(generations, order(), bought, bought, changed) == [0, 0, 0, 1]


async def test_a_purchase_that_is_taken_back_is_no_excuse(generations: Generations) -> None:
    """Only `downloaded` turning true is."""
    bought = order(downloaded=True, version="1")
    unbought = order(downloaded=False, version="2")

    assert await look(generations, bought, unbought) == [0, 1]


async def test_a_purchase_does_not_excuse_work_on_the_image(generations: Generations) -> None:
    """Unfinished is unfinished."""
    assert await look(generations, order(), order(status="processing", downloaded=True)) == [0, 1]


@pytest.mark.parametrize(
    "field",
    [
        {"url": "https://assets.example/a?signature=1"},
        {"rating": 5},
        {"metadata": {"views": 12}},
        {"a_field_of_tomorrow": "x"},
        {"image_name": "renamed.jpg"},
        {"status": "completed"},
        {"enhanced": True},
        {"downloaded": True},
    ],
    ids=str,
)
async def test_nothing_else_does(generations: Generations, field: dict[str, Any]) -> None:
    """Addresses, counters, names, another word for finished, and what nobody knows yet."""
    assert await look(generations, order(), order(**field), order()) == [0, 0, 0]


async def test_marks_of_an_image_that_was_never_finished_are_only_noted(generations: Generations) -> None:
    """There is nothing older to be told apart from."""
    first = order(status="processing", version="1")
    second = order(status="processing", version="2")

    assert await look(generations, first, second, order(version="3"), order(version="3")) == [0, 0, 0, 0]


async def test_asked_for_anew_it_is_made_anew(generations: Generations, clock: FakeClock) -> None:
    """Once for all who ask within ten seconds."""
    seen = await look(generations, order())
    seen += await look(generations, order(), order(), refresh=True)
    clock.advance(10)
    seen += await look(generations, order(), refresh=True)
    clock.advance(0.001)
    seen += await look(generations, order(), refresh=True)
    seen += await look(generations, order())

    assert seen == [0, 1, 1, 1, 2, 2]


@pytest.mark.parametrize(("status", "made_anew"), [("a word of tomorrow", 1), ("expired", 0)])
async def test_one_whose_state_says_nothing_is_fetched_anew_if_it_is_still_there(
    generations: Generations, clock: FakeClock, status: str, made_anew: int
) -> None:
    """Once for all who ask within ten seconds; that it is finished then makes it no other one."""
    silent = order(status=status)

    seen = await look(generations, order())
    seen += await look(generations, silent, silent, refresh=True)
    clock.advance(20)
    seen += await look(generations, silent, order())

    assert seen == [0, *[made_anew] * 4]


def test_what_was_asked_for_anew_is_no_older_than_what_was_seen_before() -> None:
    """Given an instance whose clock is behind that of the one that saw it: else each look would make it a new one."""
    before = Observation(finished=True, generation=1, since=60.0, unfinished=60.0)

    anew = before.anew(30.0)

    assert anew.merged(anew).generation == anew.generation == 2


async def test_one_that_nothing_was_ever_known_of_is_fetched_anew(generations: Generations) -> None:
    """As soon as somebody asks for it, and it stays so."""
    unknown = order(status="a word of tomorrow")

    seen = await look(generations, unknown)
    seen += await look(generations, unknown, refresh=True)
    await generations.sweep()
    seen += await look(generations, unknown)

    assert seen == [None, 1, 1]


async def test_what_has_changed_and_is_asked_for_anew_is_both(generations: Generations) -> None:
    """The change would have been one by itself, and so would the request."""
    assert await look(generations, order(version="1")) == [0]
    assert await look(generations, order(version="2"), refresh=True) == [2]


async def test_what_cannot_be_told_to_others_is_marked(generations: Generations, database: Database) -> None:
    """Whether it is new or not: they are to know of it once they can be reached."""
    marked: list[tuple[str, list[str]]] = []

    class Shared:
        async def observe(self, *_: object) -> dict[str, Observation]:
            return {}

        def mark(self, _: sqlite3.Connection, order_id: str, image_ids: Iterable[str]) -> None:
            marked.append((order_id, list(image_ids)))

    assert await look(Generations(database, Shared()), order(), order()) == [0, 0]
    assert marked == [("o", ["a"])] * 2


async def test_a_clock_that_was_put_back_keeps_nobody_from_what_is_new(
    generations: Generations, clock: FakeClock
) -> None:
    """Given an hour that comes twice: a refresh that is an hour ahead is not taken for this one."""
    seen = await look(generations, order(), refresh=True)
    clock.advance(-3_600)
    seen += await look(generations, order(), refresh=True)

    assert seen == [1, 2]


async def test_it_outlives_the_process(generations: Generations, database: Database) -> None:
    """What was seen is on the disk."""
    await look(generations, order(version="1"), order(version="2"))

    assert await look(Generations(database), order(version="2"), order(version="3")) == [1, 2]


@pytest.mark.parametrize(("count", "thread"), [(MANY_IMAGES, "MainThread"), (MANY_IMAGES + 1, "computing_0")])
async def test_many_images_are_compared_beside_the_loop_and_the_database(
    generations: Generations, monkeypatch: pytest.MonkeyPatch, count: int, thread: str
) -> None:
    """Both are there for everybody else; few are compared at once."""
    threads = []

    def watched(*values: Any) -> dict[str, Observation]:
        threads.append((threading.current_thread().name, len(values[0])))
        return observed(*values)

    monkeypatch.setattr(module, "observed", watched)
    large = parse_order({"images": [{"image_id": str(one), "status": "processed"} for one in range(count)]})
    found = await generations.observe("o", large)

    assert len(found) == count
    assert [name for name, images in threads if images] == [thread]


async def test_what_another_notes_meanwhile_is_not_lost(
    generations: Generations, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One has read how the image was seen last; before it writes, another one sees it made anew: both count."""
    await look(generations, order(version="1"))
    others = Generations(database)

    async def late(work: Callable[[], Any], *, is_short: bool) -> Any:
        found = work()
        monkeypatch.setattr(module, "compute", compute)
        assert await look(others, order(version="3")) == [1]
        return found

    monkeypatch.setattr(module, "compute", late)

    assert await look(generations, order(version="2")) == [2]
    assert await look(others, order(version="2"), order(version="3")) == [2, 3]


async def test_a_shared_answer_does_not_lower_what_another_has_noted_meanwhile(
    generations: Generations, database: Database
) -> None:
    """While the answer is on its way, another look sees the image made anew."""

    class Shared:
        async def observe(self, *_: object) -> dict[str, Observation]:
            assert await look(generations, order(version="2"), order(version="3")) == [1, 2]
            return {"a": Observation(finished=True, generation=1, since=1_000 * DAY)}

        def mark(self, *_: object) -> None:
            """Nothing is to be told."""

    await look(generations, order(version="1"))

    assert await look(Generations(database, Shared()), order(version="2")) == [2]
    assert await look(generations, order(version="3")) == [2]


class TestFirstEdition:
    async def test_what_it_had_seen_goes_on(self, generations: Generations, database: Database) -> None:
        """Its rows know no marks: the first look notes them and changes nothing; the state counts as ever."""
        await execute(database, "INSERT INTO generations (image_id, finished, generation) VALUES ('a', 1, 3)")

        marked = order(version="1", downloaded=True)
        assert await look(generations, marked, marked, order(version="2", downloaded=True)) == [3, 3, 4]

    async def test_nothing_is_forgotten_while_its_images_are_here(
        self, generations: Generations, database: Database
    ) -> None:
        """Their keys hold the generation, and do not tell whose they are."""
        await execute(
            database,
            "INSERT INTO generations (image_id, finished, generation) VALUES ('a', 1, 3)",
            BLOB,
            "INSERT INTO images VALUES ('key', 'd')",
        )

        await generations.sweep()
        assert await look(generations, order()) == [3]


class TestSweep:
    async def test_what_was_not_seen_for_long_and_is_not_stored_is_forgotten(
        self, generations: Generations, database: Database, clock: FakeClock
    ) -> None:
        """After thirty days; an image that is stored keeps its generation."""
        for image_id in ("a", "stored"):
            for status in ("processed", "error"):
                document = {"images": [{"image_id": image_id, "status": status}]}
                await generations.observe("o", parse_order(document))
        await execute(database, BLOB, "INSERT INTO variants VALUES ('v', 1, 'stored', 'd')")

        clock.advance(30 * DAY)
        await generations.sweep()
        before = await database.run(lambda c: [row[0] for row in c.execute("SELECT image_id FROM generations")])
        clock.advance(1)
        await generations.sweep()
        after = await database.run(lambda c: [row[0] for row in c.execute("SELECT image_id FROM generations")])

        assert (sorted(before), after) == (["a", "stored"], ["stored"])


FIRST = Observation(finished=True, generation=3, marks="m", bought=False, since=10)


@pytest.mark.parametrize(
    ("other", "merged"),
    [
        (replace(FIRST, generation=4, since=5), replace(FIRST, generation=4, since=5)),
        (replace(FIRST, finished=False, since=9, unfinished=9), FIRST),
        (replace(FIRST, finished=False, since=9, unfinished=9, marks="n"), FIRST),
        (replace(FIRST, since=12, unfinished=9), replace(FIRST, since=12, unfinished=9)),
        (replace(FIRST, since=12, unfinished=10), replace(FIRST, since=12, unfinished=10)),
        (replace(FIRST, since=12, bought=True), replace(FIRST, since=12, bought=True)),
        (replace(FIRST, since=12, bought=True, marks="n"), replace(FIRST, since=12, bought=True, marks="n")),
        (
            replace(FIRST, finished=False, since=11, unfinished=11),
            replace(FIRST, finished=False, since=11, unfinished=11, generation=4),
        ),
        (replace(FIRST, since=12, unfinished=11), replace(FIRST, since=12, unfinished=11, generation=4)),
        (replace(FIRST, since=12, marks="n"), replace(FIRST, since=12, marks="n", generation=4)),
    ],
    ids=[
        "one that has seen more",
        "not finished yet",
        "not finished yet, with other marks",
        "seen finished later",
        "unfinished until that moment",
        "bought",
        "changed by its purchase",
        "unfinished again",
        "unfinished again, and finished anew",
        "with other marks",
    ],
)
def test_what_two_have_seen_apart_is_one_story(other: Observation, merged: Observation) -> None:
    """Whoever tells it: what was finished and is made anew since then is a new generation, all else is none."""
    assert FIRST.merged(other) == merged
    assert other.merged(FIRST) == merged
    assert merged.merged(FIRST) == merged.merged(other) == merged


async def test_it_is_told_since_when_an_image_is_what_it_is(database: Database, generations: Generations) -> None:
    """Not when it was last looked at."""
    looks = [order(status="processing"), order(status="processing"), order(), order()]
    found = []
    for number, seen in enumerate(looks):
        await generations.observe("order", seen)
        known = await database.run(lambda connection: read_observations(connection, ["a"]))
        found.append((known["a"].finished, known["a"].since, known["a"].unfinished))
        module.time.advance(1.0)  # type: ignore[attr-defined]  # stands in for the module
        assert len(found) == number + 1

    start = found[0][1]
    assert found == [(False, start, start)] * 2 + [(True, start + 2, start)] * 2
