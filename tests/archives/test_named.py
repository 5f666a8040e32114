"""Which archives an order's URL has named, by this instance's account and by that of all."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import pytest

from service.archives import named
from service.archives.named import REMEMBERED_SECONDS, Named, NamedArchives
from service.archives.options import Options
from service.database import Database
from service.disk import OutOfSpace
from tests.support.samples import ORDER, OTHER_ORDER
from tests.support.transport import FakeClock


class Elsewhere:
    """What other instances have named."""

    def __init__(self) -> None:
        self.named: Named | None = None
        self.is_only: bool | None = True

    async def find(self, order_id: str, url_key: str) -> Named | None:
        """That."""
        return self.named

    async def add(self, order_id: str, url_key: str, archive_id: str) -> bool | None:
        """Whether all of them have named no other."""
        return self.is_only


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """What the module takes for the time."""
    clock = FakeClock(1e9)
    clock.time = clock  # type: ignore[attr-defined]
    monkeypatch.setattr(named, "time", clock)
    return clock


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    """With the table of names."""
    database = await Database.open(tmp_path, [named.SCHEMA])
    yield database
    await database.close()


@pytest.fixture
def names(database: Database, clock: FakeClock) -> NamedArchives:
    """Those of one instance."""
    return NamedArchives(database)


async def rows(database: Database) -> int:
    """How many URLs are known."""
    query = "SELECT count(*) FROM named"
    return int(await database.run(lambda connection: connection.execute(query).fetchone()[0]))


async def test_an_url_has_named_one_archive_until_it_names_another(names: NamedArchives) -> None:
    """And from then on several, also when it names the first one again."""
    first = [await names.add(ORDER, Options(), "a") for _ in range(3)]
    one = await names.find(ORDER, Options())
    second = await names.add(ORDER, Options(), "b")
    two = await names.find(ORDER, Options())
    again = [await names.add(ORDER, Options(), archive_id) for archive_id in "baa"]

    assert (first, one) == ([True] * 3, Named("a", is_only=True))
    assert (second, two) == (False, Named("b", is_only=False))
    assert again == [False] * 3


@pytest.mark.parametrize(
    ("order_id", "options"),
    [(OTHER_ORDER, {}), (ORDER, {"preview": False}), (ORDER, {"on_failure": "strict"}), (ORDER, {"refresh": True})],
)
async def test_each_path_and_query_is_by_itself(names: NamedArchives, order_id: str, options: dict[str, Any]) -> None:
    """Also where only the delivery is another: what it names may be another archive."""
    await names.add(ORDER, Options(), "a")

    assert await names.find(order_id, Options(**options)) is None


async def test_it_is_remembered_for_thirty_days_after_the_last_time(
    names: NamedArchives, clock: FakeClock, database: Database
) -> None:
    """Then it is as if it had never been; nothing stays in the table."""
    await names.add(ORDER, Options(), "a")
    clock.advance(REMEMBERED_SECONDS - 1)
    await names.add(ORDER, Options(), "a")
    clock.advance(REMEMBERED_SECONDS - 1)
    known = await names.find(ORDER, Options())
    clock.advance(1)
    forgotten = await names.find(ORDER, Options())
    is_only = await names.add(OTHER_ORDER, Options(), "b")

    assert (known, forgotten, is_only) == (Named("a", is_only=True), None, True)
    assert await rows(database) == 1


async def test_what_cannot_be_noted_is_not_certain(names: NamedArchives, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk a part is not sent without its tag."""
    monkeypatch.setattr(names._database, "run", AsyncMock(side_effect=OutOfSpace))

    assert await names.add(ORDER, Options(), "a") is False


@pytest.mark.parametrize(
    ("here", "elsewhere", "found"),
    [
        ([], None, None),
        (["a"], None, Named("a", is_only=True)),
        ([], Named("b", is_only=True), Named("b", is_only=True)),
        (["a"], Named("a", is_only=True), Named("a", is_only=True)),
        (["a"], Named("a", is_only=False), Named("a", is_only=False)),
        (["b", "a"], Named("a", is_only=True), Named("a", is_only=False)),
        (["b", "a"], Named("a", is_only=False), Named("a", is_only=False)),
        (["a"], Named("b", is_only=True), Named("b", is_only=False)),
    ],
)
async def test_what_any_instance_has_named_counts(
    database: Database, here: list[str], elsewhere: Named | None, found: Named | None
) -> None:
    """It has named just one only if all say so, and the same."""
    others = Elsewhere()
    names = NamedArchives(database, others)
    for archive_id in here:
        await names.add(ORDER, Options(), archive_id)
    others.named = elsewhere

    assert await names.find(ORDER, Options()) == found


@pytest.mark.parametrize(("is_only", "certain"), [(True, True), (False, False), (None, False)])
async def test_what_others_cannot_tell_is_not_certain(database: Database, is_only: bool | None, certain: bool) -> None:
    """Though this instance has named no other."""
    others = Elsewhere()
    others.is_only = is_only

    assert await NamedArchives(database, others).add(ORDER, Options(), "a") is certain
