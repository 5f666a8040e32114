"""The record of archives on disk: found by key, by options and by id, until their time is over."""

import json
import time
from dataclasses import replace
from pathlib import Path
from unittest.mock import AsyncMock, Mock, create_autospec

import pytest

from service.archives import archive_index
from service.archives import catalogue as module
from service.archives.archive import Archive, ImageResult, State
from service.archives.catalogue import Catalogue
from service.archives.layout import LAYOUT_VERSION, Member
from service.archives.plan import PlannedOrder
from service.archives.record import GONE, decode_result, encode_result
from service.archives.shared_archives import SharedArchives, TakenOver
from service.data_dir import DataDirUnusable
from service.database import Database
from service.disk import OutOfSpace
from service.images.blobs import Blob
from service.images.identity import key_digest
from service.problems import ArchiveGone, StillBuilding
from service.reasons import Reason
from tests.support.images import open_store, put
from tests.support.plans import MOMENT, archive_of, plan_of
from tests.support.transport import FakeClock

TTL = 3_600.0


@pytest.fixture
def wall(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """The wall clock, as the catalogue sees it, to be turned by hand."""
    clock.time = clock.__call__  # type: ignore[attr-defined]  # stands in for the module
    clock.now = time.time()
    monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def catalogue(database: Database, wall: FakeClock) -> Catalogue:
    """Of archives that live an hour."""
    return Catalogue(database, TTL)


@pytest.fixture
async def blob(tmp_path: Path, database: Database) -> Blob:
    """One that is in the store."""
    async with open_store(tmp_path, database) as images:
        return await put(images, "a.0", b"photo")


async def begun(catalogue: Catalogue, blob: Blob | None = None, key: str = "key") -> Archive:
    """An archive that is being built; with a blob, that is its first member."""
    made = plan_of("a", key=key)
    archive = archive_of(made)
    await catalogue.begin(archive, made)
    if blob is not None:
        member = Member("a.jpg", blob, MOMENT, "a")
        assert await catalogue.append(archive, [(member, 2)])
        archive.append(member)
    return archive


async def complete(catalogue: Catalogue, blob: Blob, state: State = State.COMPLETE, key: str = "key") -> Archive:
    """A settled archive."""
    archive = await begun(catalogue, blob, key=key)
    await catalogue.settle(archive, state, "a comment")
    return archive


async def state(catalogue: Catalogue, archive: Archive) -> str | None:
    record = await catalogue.load(archive.id)
    return None if record is None else record.state


async def test_it_gives_back_what_it_was_given(catalogue: Catalogue, blob: Blob) -> None:
    """Members with the attempts they took, state, comment and times."""
    archive = await complete(catalogue, blob)

    record = await catalogue.load(archive.id)

    assert record is not None
    assert record.members == ((Member("a.jpg", blob, MOMENT, "a"), 2),)
    assert (record.state, record.comment, record.created) == (State.COMPLETE, "a comment", archive.created)
    assert record.plan == plan_of("a")


async def test_every_line_of_the_report_comes_back(catalogue: Catalogue, blob: Blob) -> None:
    """In its place, with all that it tells: of what arrived, of what is missing, of what has no name."""
    archive = await begun(catalogue, blob)
    archive.results = [
        ImageResult("b", "", code=Reason.NOT_READY, status_reason="", attempts=0),
        ImageResult("a", "a", "a.jpg", 5, 0, None, 2, rendition="web", blake3="b3", key="a.0"),
        ImageResult("", "?", code=Reason.ENHANCEMENT_FAILED, attempts=3, status_reason="too dark", order=1),
    ]

    await catalogue.settle(archive, State.PARTIAL, "")

    record = await catalogue.load(archive.id)
    assert record is not None
    assert list(record.results) == archive.results


@pytest.mark.parametrize(
    "result", [ImageResult("a", "a"), ImageResult("a", "a", "a.jpg", 5, 0, None, 2, key="a.0")], ids=["least", "usual"]
)
def test_a_line_of_the_report_has_what_version_1_needs(result: ImageResult) -> None:
    """Replicas of both run together while they are replaced, and read each other's lists."""
    line = encode_result(result)

    assert line.keys() >= {"image_id", "original_name", "name", "bytes", "crc", "code", "attempts"}
    assert decode_result(line) == result


async def test_the_report_of_a_build_that_version_1_began_comes_back(
    catalogue: Catalogue, database: Database, blob: Blob
) -> None:
    """It wrote the lines of a report into the archive's row, none as yet."""
    archive = await begun(catalogue, blob)
    await database.run(lambda connection: connection.execute("UPDATE archives SET results = '[]'"))
    archive.results = [ImageResult("a", "a", "a.jpg", 5, 0, None, 2)]

    await catalogue.settle(archive, State.COMPLETE, "")

    record = await catalogue.load(archive.id)
    assert record is not None
    assert list(record.results) == archive.results


async def test_the_report_of_an_archive_that_version_1_settled_comes_back(
    catalogue: Catalogue, database: Database, blob: Blob
) -> None:
    """All of its lines were in the archive's row."""
    archive, line = await complete(catalogue, blob), ImageResult("a", "a", "a.jpg", 5, 0, None, 2)
    text = json.dumps([encode_result(line)])
    await database.run(lambda connection: connection.execute("UPDATE archives SET results = ?", [text]))

    record = await catalogue.load(archive.id)

    assert record is not None
    assert record.results == (line,)


async def test_a_member_whose_blob_is_gone_is_not_recorded(catalogue: Catalogue, blob: Blob) -> None:
    """Nor are those that come with it."""
    archive = await begun(catalogue)
    lost = Blob("0" * 64, 1, 1, "jpg")

    recorded = await catalogue.append(
        archive, [(Member("a.jpg", blob, MOMENT, "a"), 1), (Member("b.jpg", lost, MOMENT, "b"), 1)]
    )

    record = await catalogue.load(archive.id)
    assert record is not None
    assert (recorded, record.members) == (False, ())


async def test_what_was_dropped_meanwhile_is_not_gone_on_with(catalogue: Catalogue, blob: Blob) -> None:
    """Its first members are lost: with later ones it would look whole."""
    archive = await begun(catalogue, blob)
    await catalogue.drop(archive.id)

    with pytest.raises(ArchiveGone):
        await catalogue.append(archive, [(Member("b.jpg", blob, MOMENT, "b"), 1)])
    with pytest.raises(ArchiveGone):
        await catalogue.settle(archive, State.COMPLETE, "")

    record = await catalogue.load(archive.id)
    assert record is not None
    assert (record.state, record.members) == (GONE, ())


async def test_without_room_there_is_no_start_but_a_stop(
    catalogue: Catalogue, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The start says why, as for any other want of the data directory."""
    async with catalogue.building_in("boot"):
        monkeypatch.setattr(database, "run", AsyncMock(side_effect=OutOfSpace("full")))

    with pytest.raises(DataDirUnusable):
        async with catalogue.building_in("boot"):
            pass


async def test_members_keep_their_sequence(catalogue: Catalogue, blob: Blob) -> None:
    """One call or several."""
    archive = await begun(catalogue, blob)
    members = [Member(f"{name}.jpg", blob, MOMENT, name) for name in "zyx"]
    assert await catalogue.append(archive, [(member, 1) for member in members])

    record = await catalogue.load(archive.id)

    assert record is not None
    assert [member.name for member, _ in record.members] == ["a.jpg", "z.jpg", "y.jpg", "x.jpg"]


class TestFinding:
    async def test_by_key_the_complete_ones(self, catalogue: Catalogue, blob: Blob, wall: FakeClock) -> None:
        """The newest first; not one that is partial, being built, or for another key."""
        oldest = await complete(catalogue, blob)
        wall.advance(1)
        newest = await complete(catalogue, blob)
        wall.advance(1)
        await complete(catalogue, blob, State.PARTIAL)
        await complete(catalogue, blob, key="other")
        await begun(catalogue, blob)

        records = await catalogue.find_complete("key")

        assert [record.id for record in records] == [newest.id, oldest.id]

    async def test_by_options_whatever_the_key(self, catalogue: Catalogue, blob: Blob) -> None:
        """Given an order that has changed since, for when nothing newer can be had."""
        archive = await complete(catalogue, blob, key="of an older order")

        records = await catalogue.find_stale("options")

        assert [record.id for record in records] == [archive.id]
        assert await catalogue.find_stale("other options") == []

    @pytest.mark.parametrize("kept", [False, True])
    async def test_after_its_time_it_answers_no_new_request(
        self, catalogue: Catalogue, blob: Blob, wall: FakeClock, kept: bool
    ) -> None:
        """To the second; also when it is still kept for a job, which finds it by id."""
        archive = await complete(catalogue, blob)
        if kept:
            await catalogue.keep(archive.id, wall() + 10 * TTL)
        wall.advance(TTL)
        before = [await catalogue.find_complete("key"), await catalogue.find_stale("options")]
        wall.advance(0.01)
        after = [await catalogue.find_complete("key"), await catalogue.find_stale("options")]
        record = await catalogue.load(archive.id)

        assert record is not None
        assert all(before)
        assert after == [[], []]
        assert catalogue.is_expired(record) is not kept

    async def test_an_unfinished_one_by_its_key(self, catalogue: Catalogue, blob: Blob, wall: FakeClock) -> None:
        """The newest."""
        await begun(catalogue, blob)
        wall.advance(1)
        newest = archive_of(plan_of("a"))
        newest.created += 60
        await catalogue.begin(newest, plan_of("a"))

        record = await catalogue.find_unfinished("key")

        assert record is not None
        assert record.id == newest.id

    async def test_one_of_another_layout_is_not_served(
        self, catalogue: Catalogue, database: Database, blob: Blob
    ) -> None:
        """The same members would be other bytes under the same id."""
        archive = await complete(catalogue, blob)
        await database.run(
            lambda connection: connection.execute("UPDATE archives SET layout = ?", [LAYOUT_VERSION + 1])
        )

        record = await catalogue.load(archive.id)

        assert record is not None
        assert catalogue.is_expired(record)
        assert await catalogue.find_complete("key") == []
        assert await catalogue.find_stale("options") == []

    async def test_a_hit_counts_as_use(
        self, catalogue: Catalogue, database: Database, blob: Blob, wall: FakeClock
    ) -> None:
        """By id, and where it is said: what is used is not the first to go."""
        archive = await complete(catalogue, blob)
        used = []
        for find, value in (
            (catalogue.note_used, archive.id), (catalogue.load, archive.id),
        ):  # fmt: skip
            wall.advance(10)
            if (reading := find(value)) is not None:
                await reading
            used.append(await database.run(lambda c: c.execute("SELECT used FROM archives").fetchone()[0]) - wall())

        assert used == pytest.approx([0, 0])


class TestLetting:
    async def test_an_archive_that_was_dropped_is_remembered_as_gone(
        self, catalogue: Catalogue, database: Database, blob: Blob
    ) -> None:
        """Without members, results and images: little is kept of it."""
        archive = await begun(catalogue, blob)
        archive.results = [ImageResult("a", "a.jpg", "a.jpg")]
        await catalogue.settle(archive, State.COMPLETE, "")

        await catalogue.drop(archive.id)

        record = await catalogue.load(archive.id)
        assert record is not None
        assert (record.state, record.members, record.results, record.plan.images) == (GONE, (), (), ())
        assert catalogue.is_expired(record)

    async def test_one_that_nobody_was_told_of_leaves_no_trace(self, catalogue: Catalogue, blob: Blob) -> None:
        """Its id is unknown."""
        archive = await begun(catalogue, blob)

        await catalogue.forget(archive.id)

        assert await catalogue.load(archive.id) is None


class TestSweep:
    async def test_what_is_past_its_time_goes(self, catalogue: Catalogue, blob: Blob, wall: FakeClock) -> None:
        """Settled ones an hour after they were; not those that are kept, or in use."""
        old, used, kept = [await complete(catalogue, blob) for _ in range(3)]
        await catalogue.keep(kept.id, wall() + 2 * TTL)
        wall.advance(TTL / 2)
        young = await complete(catalogue, blob)
        wall.advance(TTL / 2 + 1)

        await catalogue.sweep({used.id}, 0)

        assert [await state(catalogue, one) for one in (old, used, kept, young)] == [GONE, *["complete"] * 3]

    async def test_what_was_kept_goes_after_that(self, catalogue: Catalogue, blob: Blob, wall: FakeClock) -> None:
        """The longest of the times for which it was kept counts."""
        archive = await complete(catalogue, blob)
        await catalogue.keep(archive.id, wall() + 3 * TTL)
        await catalogue.keep(archive.id, wall() + 2 * TTL)
        wall.advance(3 * TTL - 1)
        await catalogue.sweep(set(), 0)
        before = await state(catalogue, archive)
        wall.advance(2)
        await catalogue.sweep(set(), 0)

        assert (before, await state(catalogue, archive)) == ("complete", GONE)

    async def test_builds_that_nobody_came_back_for_go(self, catalogue: Catalogue, wall: FakeClock) -> None:
        """Those of before a restart; not those that run, nor those that were used since."""
        orphan, running, young = [await begun(catalogue) for _ in range(3)]
        wall.advance(100)
        await catalogue.load(young.id)

        await catalogue.sweep({running.id}, wall() - 50)

        assert [await state(catalogue, one) for one in (orphan, running, young)] == [GONE, "building", "building"]

    async def test_an_id_that_is_gone_is_forgotten_after_a_day(
        self, catalogue: Catalogue, database: Database, blob: Blob, wall: FakeClock
    ) -> None:
        """Nothing of the years stays: 410 becomes 404."""
        archive = await complete(catalogue, blob)
        await catalogue.drop(archive.id)
        known = "SELECT count(*) FROM archives"  # a look by id would count as use
        counts = []
        for seconds in (24 * 3_600 - 1, 2):
            wall.advance(seconds)
            await catalogue.sweep(set(), 0)
            counts.append(await database.run(lambda c: c.execute(known).fetchone()[0]))

        assert counts == [1, 0]
        assert await state(catalogue, archive) is None
        assert await database.run(lambda c: c.execute("SELECT count(*) FROM members").fetchone()[0]) == 0

    async def test_an_id_is_remembered_for_a_day_after_it_has_gone(
        self, catalogue: Catalogue, database: Database, blob: Blob, wall: FakeClock
    ) -> None:
        """Given one that was kept for two days, and that nobody has used since it was built."""
        archive = await complete(catalogue, blob)
        await catalogue.keep(archive.id, wall() + 2 * 24 * 3_600)
        states = []
        for seconds in (2 * 24 * 3_600 + 1, 24 * 3_600 - 1, 2):
            wall.advance(seconds)
            await catalogue.sweep(set(), 0)
            found = await database.run(lambda c: c.execute("SELECT state FROM archives").fetchall())
            states.append([state for (state,) in found])  # a look by id would count as use

        assert states == [[GONE], [GONE], []]


class TestHeld:
    """Which images an archive held, for who asks what is new since."""

    @staticmethod
    async def settled(catalogue: Catalogue, *results: ImageResult) -> Archive:
        """Of two orders, with these results."""
        plan = plan_of("a")
        plan = plan.model_copy(update={"orders": (*plan.orders, PlannedOrder(order_id="p"))})
        archive = archive_of(plan)
        await catalogue.begin(archive, plan)
        archive.results = list(results)
        await catalogue.settle(archive, State.PARTIAL, "")
        return archive

    async def test_only_whole_images_are(self, catalogue: Catalogue) -> None:
        """Of all its orders; one without its end may come whole yet."""
        whole = ImageResult("a", "a.jpg", key="a.0")
        cut = ImageResult("b", "b.jpg", key="b.0", code=Reason.INCOMPLETE)
        missing = ImageResult("c", "c.jpg", code=Reason.TIMEOUT)

        archive = await self.settled(catalogue, whole, cut, missing)

        assert await catalogue.image_keys(archive.id) == (["o", "p"], {key_digest("a.0")})

    async def test_it_is_known_for_thirty_days_whatever_became_of_the_archive(
        self, catalogue: Catalogue, wall: FakeClock
    ) -> None:
        """Then it is not known at all."""
        archive = await self.settled(catalogue, ImageResult("a", "a.jpg", key="a.0"))
        await catalogue.drop(archive.id)
        wall.advance(30 * 24 * 3_600 - 1)
        await catalogue.sweep(set(), 0)
        known = await catalogue.image_keys(archive.id)
        wall.advance(2)
        await catalogue.sweep(set(), 0)

        assert known == (["o", "p"], {key_digest("a.0")})
        assert await catalogue.image_keys(archive.id) is None

    async def test_of_one_that_is_being_built_it_is_not_known(self, catalogue: Catalogue, blob: Blob) -> None:
        """More may come."""
        archive = await begun(catalogue, blob)

        assert await catalogue.image_keys(archive.id) is None

    @pytest.mark.parametrize("has_keys", [True, False])
    async def test_of_one_that_was_noted_elsewhere_its_record_tells(
        self, catalogue: Catalogue, database: Database, blob: Blob, has_keys: bool
    ) -> None:
        """By its results; where an earlier version has left no keys in them, by its members."""
        archive = await begun(catalogue, blob)
        cut = ImageResult("b", "b.jpg", key="b.0", code=Reason.INCOMPLETE)
        archive.results = [ImageResult("a", "a.jpg", key="x.0" if has_keys else None), cut]
        await catalogue.settle(archive, State.COMPLETE, "")
        await database.run(lambda connection: connection.execute("DELETE FROM held"))

        assert await catalogue.image_keys(archive.id) == (["o"], {key_digest("x.0" if has_keys else "a.0")})


async def test_of_stale_ones_the_newest_comes_first(catalogue: Catalogue, blob: Blob, wall: FakeClock) -> None:
    """It is nearest to what the order is now."""
    older = await complete(catalogue, blob, key="yesterday")
    wall.advance(1)
    newer = await complete(catalogue, blob, key="today")

    assert [record.id for record in await catalogue.find_stale("options")] == [newer.id, older.id]


async def test_what_another_instance_told_replaces_what_was_known(
    catalogue: Catalogue, database: Database, blob: Blob
) -> None:
    """Members and results, also those that version 1 wrote; not when it is kept."""
    archive = await begun(catalogue, blob)
    await database.run(lambda connection: connection.execute("UPDATE archives SET results = '[]'"))
    await catalogue.keep(archive.id, 1e12)
    told = await complete(catalogue, blob)
    record = await catalogue.load(told.id)
    assert record is not None
    results = (ImageResult("a", "a.jpg", "z.jpg", key="a.0"),)
    member = replace(record.members[0][0], name="z.jpg")

    for _ in range(2):
        await catalogue.adopt(replace(record, id=archive.id, members=((member, 3),), results=results))
    found = await catalogue.load(archive.id)

    assert found is not None
    assert (found.members, found.results, found.state, found.kept) == (((member, 3),), results, "complete", 1e12)


class TestShared:
    """What other instances are told, and what they have told."""

    @pytest.fixture
    def others(self) -> Mock:
        """The other instances, which know nothing."""
        others = create_autospec(SharedArchives, instance=True)
        others.load.return_value = others.find_complete.return_value = None
        others.kept_until.return_value, others.must_share.return_value = 0, False
        return others  # type: ignore[no-any-return]

    @pytest.fixture
    def sharing(self, catalogue: Catalogue, others: Mock) -> Catalogue:
        """The catalogue of one of several instances."""
        catalogue.shared = others
        return catalogue

    async def test_after_a_power_cut_what_they_know_goes_on(
        self, sharing: Catalogue, blob: Blob, others: Mock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its end is at the others. What nobody else knows is gone."""
        known, alone = await begun(sharing, blob), await begun(sharing, blob)
        others.is_known.side_effect = lambda _, archive_id: archive_id == known.id
        with monkeypatch.context() as cut:
            cut.setattr(archive_index, "end_boot", lambda _: None)
            async with sharing.building_in("first"):
                pass

        async with sharing.building_in("second"):
            states = [await state(sharing, archive) for archive in (known, alone)]

        assert states == ["building", GONE]

    async def test_what_they_do_not_take_is_not_recorded_here(
        self, sharing: Catalogue, blob: Blob, others: Mock
    ) -> None:
        """Neither a member nor the end of an archive that one of them has taken over."""
        archive = await begun(sharing)
        others.append.side_effect = others.settle.side_effect = TakenOver

        with pytest.raises(TakenOver):
            await sharing.append(archive, [(Member("a.jpg", blob, MOMENT, "a"), 1)])
        with pytest.raises(TakenOver):
            await sharing.settle(archive, State.COMPLETE, "")

        record = await sharing.load(archive.id)
        assert record is not None
        assert (record.members, record.state) == ((), State.BUILDING)

    async def test_what_is_settled_is_shared(self, sharing: Catalogue, blob: Blob, others: Mock) -> None:
        """Marked with it, then told; also what its builder has left to this instance."""
        archive = await complete(sharing, blob)
        record = await sharing.load(archive.id)
        assert record is not None
        await sharing.adopt(record)
        others.must_share.return_value = True
        await sharing.adopt(record)

        marked = [call.args[1] for call in others.mark.call_args_list]
        assert (marked, others.wake.call_count) == ([archive.id] * 2, 2)

    async def test_what_others_have_finished_a_moment_ago_can_be_kept(
        self, sharing: Catalogue, database: Database, blob: Blob, others: Mock
    ) -> None:
        """Given an archive that was not found, and was settled elsewhere by the time a build was to begin here."""
        settled = await complete(sharing, blob)
        record = await sharing.load(settled.id)
        assert record is not None
        await database.run(lambda connection: archive_index.remove(connection, settled.id))
        others.announce.return_value = settled.id, record

        announced = await sharing.announce(record.plan, 1.0)
        await sharing.keep(settled.id, 1e12)

        found = await sharing.load(settled.id)
        assert announced == (settled.id, record)
        assert found is not None
        assert (found.members, found.kept) == (record.members, 1e12)

    async def test_what_is_unfinished_here_may_be_finished_elsewhere(
        self, sharing: Catalogue, database: Database, blob: Blob, others: Mock
    ) -> None:
        """It is recorded here then, and not while it is unfinished there too."""
        settled = await complete(sharing, blob)
        record = await sharing.load(settled.id)
        assert record is not None
        archive = await begun(sharing)
        there = replace(record, id=archive.id)
        others.load.return_value = replace(there, state=State.BUILDING, settled=None)
        unfinished = await sharing.load(archive.id)
        others.load.return_value = None
        still = await sharing.load(archive.id)
        others.load.return_value = there
        finished = await sharing.load(archive.id)
        others.load.return_value = None

        assert unfinished is not None
        assert still is not None
        assert (unfinished.members, still.members) == (record.members, ())
        assert finished == there == await sharing.load(archive.id)

    @pytest.mark.parametrize("here", [True, False])
    async def test_one_is_kept_as_long_as_some_instance_keeps_it(
        self, sharing: Catalogue, blob: Blob, others: Mock, wall: FakeClock, here: bool
    ) -> None:
        """This one tells the others, and keeps it itself from being swept."""
        archive = await complete(sharing, blob)
        until = wall() + 3 * TTL
        if here:
            await sharing.keep(archive.id, until)
            others.keep.assert_awaited_once_with(archive.id, until)
        others.kept_until.return_value = 0 if here else until
        wall.advance(2 * TTL)
        record = await sharing.load(archive.id)
        await sharing.sweep(set(), 0)

        assert record is not None
        assert not sharing.is_expired(record)
        assert (await state(sharing, archive) == "complete") is here

    async def test_that_nobody_keeps_an_old_one_has_to_be_told(
        self, sharing: Catalogue, blob: Blob, others: Mock, wall: FakeClock
    ) -> None:
        """Given a Redis that is away: one that some instance may keep is not gone. One that is kept here is asked of
        nobody."""
        archive, kept = await complete(sharing, blob), await complete(sharing, blob)
        await sharing.keep(kept.id, wall() + 3 * TTL)
        others.kept_until.side_effect = StillBuilding
        wall.advance(2 * TTL)

        with pytest.raises(StillBuilding):
            await sharing.load(archive.id)
        record = await sharing.load(kept.id)

        assert record is not None
        assert not sharing.is_expired(record)

    async def test_what_an_old_one_holds_is_told_whoever_keeps_it(
        self, sharing: Catalogue, blob: Blob, others: Mock, wall: FakeClock
    ) -> None:
        """Given one of another instance, and a Redis that is away."""
        record = await sharing.load((await complete(sharing, blob)).id)
        assert record is not None
        others.load.return_value = replace(record, id="b" * 32)
        others.kept_until.side_effect = StillBuilding
        wall.advance(2 * TTL)

        assert await sharing.image_keys("b" * 32) is not None

    async def test_what_another_one_has_finished_is_found_until_it_is_too_old(
        self, sharing: Catalogue, blob: Blob, others: Mock, wall: FakeClock
    ) -> None:
        """By its key."""
        archive = await complete(sharing, blob)
        others.find_complete.return_value = record = await sharing.load(archive.id)
        assert record is not None
        await sharing.forget(archive.id)

        found = await sharing.find_complete("key")
        await sharing.forget(archive.id)
        wall.advance(TTL + 1)

        assert (found, await sharing.find_complete("key")) == ([record], [])
