"""Who may go on with an archive: at every moment one instance, whatever the others can reach."""

import asyncio
import json
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import pytest
from obstore.store import MemoryStore

from service.archives import archive_index
from service.archives.archive import Archive, State
from service.archives.catalogue import Catalogue
from service.archives.layout import Member
from service.archives.options import Options
from service.archives.plan import Plan, PlannedOrder
from service.archives.readers import Readers
from service.archives.record import GONE, Record
from service.archives.shared_archives import TakenOver
from service.cluster import cluster, live_lists
from service.cluster.archives import ClusterArchives
from service.cluster.documents import Documents
from service.cluster.link import Link, Unavailable
from service.cluster.live_lists import ListLost, LiveList, LiveLists
from service.cluster.objects import Objects
from service.cluster.redis_link import RedisLink
from service.database import Database
from service.disk import OutOfSpace
from service.images import blob_index
from service.images.blobs import Blob
from service.problems import ArchiveGone, StillBuilding
from service.telemetry.metrics import Metrics
from tests.support.client import TIMEOUT
from tests.support.redis_server import RedisServer
from tests.support.transport import FakeClock, yield_to_loop

PLAN = Plan(orders=(PlannedOrder(order_id="o"),), options=Options(), images=(), key="k", options_key="f")


def member(number: int) -> Member:
    """Another one for each number."""
    return Member(f"{number}.jpg", Blob("c" * 64, 5, number, "jpg"), datetime(2026, 1, 1, tzinfo=UTC), str(number))


@dataclass
class Instance:
    """One of those that share; it can be cut off from Redis and from S3."""

    redis: RedisLink
    objects: Objects
    archives: ClusterArchives
    catalogue: Catalogue
    database: Database

    def begin_archive(self, archive_id: str) -> Archive:
        """Its view of an archive, which somebody reads to the end."""
        archive = Archive(archive_id, key="k", orders=PLAN.orders, readers=Readers(1, 60))
        archive.readers._enter(0, to_the_end=True)
        return archive

    async def follow(self, archive: Archive) -> bool:
        """Whether it is to go on."""
        return await self.catalogue.continue_here(archive, PLAN)

    async def names(self, archive_id: str) -> list[str]:
        """The members as it would give them to others."""
        record = await self.archives.load(archive_id)
        return [found.name for found, _ in record.members] if record else []


def cut(link: Link) -> None:
    """Let every call fail from now on."""

    async def refuse(*_: object, **__: object) -> None:
        raise Unavailable

    link.call = refuse  # type: ignore[method-assign,assignment]
    link.is_up = False


def mend(link: Link) -> None:
    """Let calls succeed again."""
    del link.call
    link.is_up = True


@pytest.fixture
async def three(
    redis: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, long_timeouts: None
) -> AsyncIterator[list[Instance]]:
    """Three instances; those that do not beat are dead at once."""
    monkeypatch.setattr("service.cluster.archives._WAIT_SECONDS", 0.0)
    monkeypatch.setattr("service.cluster.archives._AGAIN_SECONDS", 0.01)
    monkeypatch.setattr("service.cluster.following._AWAY_SECONDS", 3.0)
    monkeypatch.setattr("service.cluster.following._SHARED_SECONDS", 0.2)
    monkeypatch.setattr("service.cluster.following.BEAT_SECONDS", 0.05)
    for name in ("BEAT_SECONDS", "LEASE_SECONDS"):  # who is dead is up to the test
        monkeypatch.setattr(f"service.cluster.redis_link.{name}", 600.0)
    shared = MemoryStore()
    async with AsyncExitStack() as stack:
        instances = []
        for name in ("a", "b", "c"):
            metrics = Metrics()
            link = await stack.enter_async_context(RedisLink.open(redis.url, name, metrics))
            link.link.up_since -= 3600
            schemas = [blob_index.SCHEMA, archive_index.SCHEMA, cluster.SCHEMA]
            database = await Database.open(tmp_path / name, schemas)
            stack.push_async_callback(database.close)
            objects = Objects(shared, metrics)
            archives = ClusterArchives(objects, link, database, 60, lambda: None)
            instances.append(Instance(link, objects, archives, Catalogue(database, 60, archives), database))
        yield instances


async def die(instance: Instance) -> None:
    """In the eyes of the others."""
    await instance.redis.redis.delete(f"batch:alive:{instance.redis.instance}")


async def begin(instance: Instance) -> Archive:
    """An archive with one member."""
    archive_id, known = await instance.archives.announce(PLAN, 1.0)
    assert known is None
    archive = instance.begin_archive(archive_id)
    await instance.catalogue.begin(archive, PLAN)
    await instance.archives.append(archive_id, [(member(1), 1)])
    archive.append(member(1))
    return archive


async def settled_alone(instance: Instance) -> Archive:
    """An archive that has ended, and is not shared yet."""
    archive = await begin(instance)
    await instance.catalogue.settle(archive, State.COMPLETE, "")
    return archive


async def settle(instance: Instance, archive: Archive) -> None:
    """Its end, as far as this instance can tell it."""
    await instance.catalogue.settle(archive, State.COMPLETE, "")
    for number, known in enumerate(archive.members):
        row = (archive.id, number, known.name, known.blob.digest, 5, known.blob.crc, "jpg", known.modified.isoformat())
        await instance.database.run(
            lambda connection, row=row: connection.execute(  # type: ignore[misc]
                "INSERT INTO members (archive_id, position, name, digest, size, crc, extension, modified, attempts)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, 1)",
                row,
            )
        )
    await instance.archives.share_lists()


async def test_a_dead_builder_is_gone_on_with_by_one(three: list[Instance]) -> None:
    """Of two that follow it; the other one follows that one."""
    first, second, third = three
    archive = await begin(first)
    await die(first)

    following = [
        asyncio.create_task(instance.follow(instance.begin_archive(archive.id))) for instance in (second, third)
    ]
    done, waiting = await asyncio.wait(following, timeout=1)

    assert [task.result() for task in done] == [True]
    assert len(waiting) == 1
    waiting.pop().cancel()


async def _dies(builder: Instance, _: Instance, __: Archive) -> None:
    await die(builder)


async def _lets_go(builder: Instance, _: Instance, archive: Archive) -> None:
    await builder.archives.release(archive.id)


async def _ends_it(builder: Instance, _: Instance, archive: Archive) -> None:
    await builder.catalogue.settle(archive, State.COMPLETE, "")


async def _drops_it(builder: Instance, _: Instance, archive: Archive) -> None:
    await builder.archives.drop(archive.id)


async def _nobody_can_tell(_: Instance, other: Instance, __: Archive) -> None:
    cut(other.redis.link)


@pytest.mark.parametrize("happens", [_dies, _lets_go, _ends_it, _drops_it, _nobody_can_tell])
async def test_an_archive_is_free_when_no_other_instance_builds_it(
    three: list[Instance], happens: Callable[[Instance, Instance, Archive], Awaitable[None]]
) -> None:
    """While its builder lives it is waited for by others, and not by the builder itself."""
    first, second, _ = three
    archive = await begin(first)

    async with asyncio.timeout(TIMEOUT):
        await first.catalogue.wait_until_free(archive.id)
        waiting = asyncio.create_task(second.catalogue.wait_until_free(archive.id))
        done, _ = await asyncio.wait([waiting], timeout=0.2)
        await happens(first, second, archive)
        await waiting

    assert not done


async def test_an_archive_whose_end_redis_has_lost_is_that_of_s3(
    three: list[Instance], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a Redis that failed over to an older state, and a builder that lives and has nothing more to add."""
    monkeypatch.setattr("service.cluster.following.LEASE_SECONDS", 0.1)
    first, second, _ = three
    archive = await begin(first)
    await settle(first, archive)
    name = f"batch:list:{archive.id}"
    entries = [entry for entry, _ in await first.redis.redis.xrange(name)]
    await first.redis.redis.xdel(name, *entries[2:])
    followed = second.begin_archive(archive.id)

    async with asyncio.timeout(TIMEOUT):
        await second.catalogue.wait_until_free(archive.id)
        is_ours = await second.follow(followed)

    assert len(entries) > 2
    assert (is_ours, followed.state) == (False, State.COMPLETE)


async def test_a_quiet_builder_is_waited_for_also_where_s3_is_away(
    three: list[Instance], monkeypatch: pytest.MonkeyPatch
) -> None:
    """That S3 does not say whether the archive has ended is no end."""
    monkeypatch.setattr("service.cluster.following.LEASE_SECONDS", 0.0)
    first, second, _ = three
    archive = await begin(first)
    cut(second.objects.link)

    async with asyncio.timeout(TIMEOUT):
        waiting = asyncio.create_task(second.catalogue.wait_until_free(archive.id))
        done, _ = await asyncio.wait([waiting], timeout=0.3)
        mend(second.objects.link)
        await first.archives.release(archive.id)
        await waiting

    assert not done


async def test_time_in_which_nobody_asks_is_no_silence(three: list[Instance], monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a slow reader, who wanted no more for longer than silence is waited out, and then a look that fails."""
    clock = FakeClock()
    monkeypatch.setattr("service.cluster.following.time", clock)
    first, second, _ = three
    archive = await begin(first)
    followed = Archive(archive.id, key="key", orders=PLAN.orders, readers=Readers(1, 60))
    async with asyncio.timeout(TIMEOUT):
        with followed.readers.reading() as reader:
            following = asyncio.create_task(second.follow(followed))
            while not followed.readers._awaited:  # noqa: ASYNC110  # nothing tells
                await asyncio.sleep(0.01)
            clock.advance(60)
            cut(second.redis.link)
            reader.advance(followed.length)
            await yield_to_loop()
            mend(second.redis.link)
            await first.catalogue.settle(archive, State.COMPLETE, "")

            assert await following is False
    assert followed.state is State.COMPLETE


async def test_what_nobody_knows_is_free(three: list[Instance]) -> None:
    """There is nobody to wait for."""
    async with asyncio.timeout(TIMEOUT):
        await three[0].catalogue.wait_until_free("0" * 32)


async def test_who_goes_on_and_finds_its_disk_full_holds_nobody_up(
    three: list[Instance], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lives, and the archive was its own: others hear that there will be no end."""
    first, second, third = three
    archive = await begin(first)
    await die(first)
    following = asyncio.create_task(third.follow(third.begin_archive(archive.id)))

    def write(*_: object) -> None:
        raise OutOfSpace

    with monkeypatch.context() as patch:
        patch.setattr(archive_index, "replace", write)
        patch.setattr(third.archives._follower, "_take_over", AsyncMock(return_value=(None, None, False)))
        with pytest.raises(OutOfSpace):
            await second.follow(second.begin_archive(archive.id))
    await second.catalogue.drop(archive.id)  # as its build does

    async with asyncio.timeout(TIMEOUT):
        with pytest.raises(ArchiveGone):
            await following


async def test_who_finds_the_list_changed_as_it_goes_on_looks_again(
    three: list[Instance], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Entries were lost between its look and its own: nothing is wrong with the archive yet."""
    first, second, _ = three
    archive = await begin(first)
    await die(first)
    append, calls = LiveLists.append, list[object]()

    async def lost_once(lists: LiveLists, *arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) == 1:
            raise ListLost
        await append(lists, *arguments)

    monkeypatch.setattr(LiveLists, "append", lost_once)

    async with asyncio.timeout(TIMEOUT):
        assert await second.follow(second.begin_archive(archive.id))
    assert len(calls) == 2


async def test_who_is_about_to_go_on_is_not_overtaken(three: list[Instance]) -> None:
    """S3 says that it may, the list does not say yet that it does: another one waits while it lives."""
    first, second, third = three
    archive = await begin(first)
    await die(first)
    await second.archives._documents.claim(archive.id, "b", alone=False, tag=None)

    following = asyncio.create_task(third.follow(third.begin_archive(archive.id)))
    done, _ = await asyncio.wait([following], timeout=0.2)
    await die(second)

    assert not done
    assert await following


async def test_who_was_about_to_go_on_and_does_not_is_not_waited_for(
    three: list[Instance], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lives, and has given up: Redis did not answer it, and its reader left."""
    monkeypatch.setattr("service.cluster.following.LEASE_SECONDS", 0.2)
    first, _, third = three
    archive = await begin(first)
    await die(first)
    await third.archives._documents.claim(archive.id, "b", alone=False, tag=None)

    async with asyncio.timeout(TIMEOUT):
        assert await third.follow(third.begin_archive(archive.id))


async def test_an_archive_that_became_another_is_found_as_that_only(three: list[Instance]) -> None:
    """Of photos made anew while they were awaited, say: who asks for what it was to be begins anew.

    Who asks while Autoenhance is down finds it by what is asked for alone.
    """
    first, second, _ = three
    archive = await begin(first)
    archive.key = "another"
    await settle(first, archive)

    found = await second.archives.find_complete("another")
    assert await second.archives.find_complete(PLAN.options_key) == found
    archive_id, known = await second.archives.announce(PLAN, 2.0)

    assert found is not None
    assert (archive_id != archive.id, known) == (True, None)


async def test_a_builder_that_was_taken_for_dead_is_refused(three: list[Instance]) -> None:
    """Frozen for a while, say: what it adds comes second."""
    first, second, _ = three
    archive = await begin(first)
    await die(first)
    assert await second.follow(second.begin_archive(archive.id))

    with pytest.raises(TakenOver):
        await first.archives.append(archive.id, [(member(2), 1)])
    await second.archives.append(archive.id, [(member(3), 1)])

    assert await second.names(archive.id) == ["1.jpg", "3.jpg"]


async def test_a_builder_that_lost_redis_goes_on_and_nobody_else_does(three: list[Instance]) -> None:
    """The others take it for dead, but S3 says that it is alone. From its end on they have its bytes; until then new
    requests are not given it."""
    first, second, _ = three
    archive = await begin(first)
    cut(first.redis.link)
    await first.archives.append(archive.id, [(member(2), 1)])
    archive.append(member(2))
    await die(first)

    with pytest.raises(StillBuilding):
        await second.follow(cut_off := second.begin_archive(archive.id))
    await settle(first, archive)

    follower = second.begin_archive(archive.id)
    assert not await second.follow(follower)
    assert [known.name for known in follower.members] == ["1.jpg", "2.jpg"]
    assert [cut_off.is_joinable, follower.is_joinable] == [False, True]


async def test_a_builder_that_died_alone_is_not_waited_for_once_redis_lost_its_list(three: list[Instance]) -> None:
    """New requests are given another archive; those that follow this one cannot be told."""
    first, second, _ = three
    archive = await begin(first)
    cut(first.redis.link)
    await first.archives.append(archive.id, [(member(2), 1)])
    alive = f"batch:alive:{first.redis.instance}"
    lease = await second.redis.redis.get(alive)
    await second.redis.redis.flushall()
    await second.redis.redis.set(alive, lease)
    joinable = []
    for _ in range(2):
        follower = second.begin_archive(archive.id)
        with pytest.raises(StillBuilding):
            await second.follow(follower)
        joinable.append(follower.is_joinable)
        await die(first)

    assert joinable == [True, False]


async def test_a_builder_that_lost_redis_after_it_was_taken_over_cannot_go_on(three: list[Instance]) -> None:
    """The other one wrote to S3 first."""
    first, second, _ = three
    archive = await begin(first)
    await die(first)
    assert await second.follow(second.begin_archive(archive.id))
    cut(first.redis.link)

    with pytest.raises(TakenOver):
        await first.archives.append(archive.id, [(member(2), 1)])


async def test_a_build_that_all_take_for_settled_cannot_go_on(three: list[Instance]) -> None:
    """Whoever wrote that: what others read of it stays as it is."""
    first, *_ = three
    archive = await begin(first)
    record = Record(archive.id, State.COMPLETE, 1, PLAN, (), "", 5.0, 7.0, ())
    await Documents(first.objects).publish(record, first.redis.instance)
    cut(first.redis.link)

    with pytest.raises(TakenOver):
        await first.archives.append(archive.id, [(member(2), 1)])

    found = await Documents(first.objects).get(archive.id)
    assert found is not None
    assert found.record == record


async def test_with_both_away_a_build_is_cut_after_its_lease(
    three: list[Instance], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others may go on with it by then."""
    monkeypatch.setattr("service.cluster.archives.LEASE_SECONDS", 0.1)
    first = three[0]
    archive = await begin(first)
    cut(first.redis.link)
    cut(first.objects.link)

    with pytest.raises(StillBuilding):
        await first.archives.append(archive.id, [(member(2), 1)])


async def test_a_follower_without_redis_takes_nothing_over(three: list[Instance]) -> None:
    """It cannot know whether the builder lives."""
    first, second, _ = three
    archive = await begin(first)
    cut(second.redis.link)

    with pytest.raises(StillBuilding):
        await second.follow(second.begin_archive(archive.id))
    await first.archives.append(archive.id, [(member(2), 1)])


async def test_a_long_build_is_followed_over_short_outages(
    three: list[Instance], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was told last counts, not when it was begun to be followed."""
    clock = FakeClock()
    monkeypatch.setattr("service.cluster.following.time", clock)
    first, second, _ = three
    archive = await begin(first)
    view = second.begin_archive(archive.id)
    following = asyncio.create_task(second.follow(view))
    async with asyncio.timeout(TIMEOUT):
        await view.wait_until(lambda: len(view.members) == 1)
        clock.advance(2)
        await first.archives.append(archive.id, [(member(2), 1)])
        archive.append(member(2))
        await view.wait_until(lambda: len(view.members) == 2)
    cut(second.redis.link)
    cut(second.objects.link)
    clock.advance(2)
    done, _ = await asyncio.wait([following], timeout=0.2)
    mend(second.redis.link)
    mend(second.objects.link)
    await settle(first, archive)

    assert not done
    assert not await following


async def test_without_s3_nothing_is_taken_over(three: list[Instance]) -> None:
    """The builder may have gone on alone."""
    first, second, _ = three
    archive = await begin(first)
    await die(first)
    cut(second.objects.link)

    with pytest.raises(StillBuilding):
        await second.follow(second.begin_archive(archive.id))


async def test_nobody_is_taken_for_dead_right_after_an_outage(three: list[Instance]) -> None:
    """The builder may be as late in coming back."""
    first, second, _ = three
    archive = await begin(first)
    await die(first)
    second.redis.link.up_since += 3600

    following = asyncio.create_task(second.follow(second.begin_archive(archive.id)))
    done, _ = await asyncio.wait([following], timeout=0.5)

    assert not done
    following.cancel()


async def test_a_build_that_redis_lost_goes_on_under_its_id(three: list[Instance]) -> None:
    """Alone from there, as with Redis away."""
    first, second, _ = three
    archive = await begin(first)
    await first.redis.redis.flushall()

    await first.archives.append(archive.id, [(member(2), 1)])
    archive.append(member(2))
    await settle(first, archive)

    follower = second.begin_archive(archive.id)
    assert not await second.follow(follower)
    assert [known.name for known in follower.members] == ["1.jpg", "2.jpg"]


async def test_a_build_that_redis_lost_is_not_unknown_to_others(three: list[Instance]) -> None:
    """Before anybody has noticed, before its builder has, and from then on, long before its next image."""
    first, second, _ = three
    archive = await begin(first)
    await first.redis.redis.flushall()

    for noticing in (None, second, first):
        if noticing is not None:
            await noticing.redis.beat()
        with pytest.raises(StillBuilding):
            await second.archives.load(archive.id)
    document = await second.archives._documents.get(archive.id)

    assert document is not None
    assert (document.owner, document.is_alone) == ("a", True)


async def test_that_redis_lost_its_data_is_noted_before_anything_is_done_about_it(three: list[Instance]) -> None:
    """Given a Redis that fails once more in the middle of that."""
    first, second, _ = three
    archive = await begin(first)
    await first.redis.redis.flushall()
    second.redis.on_lost.insert(0, AsyncMock(side_effect=Unavailable))

    await second.redis.beat()

    with pytest.raises(StillBuilding):
        await second.archives.load(archive.id)


async def test_a_builder_is_not_dead_because_redis_lost_its_data(
    three: list[Instance], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given one that loses them between a look at a list and the question whether its builder lives."""
    first, second, _ = three
    archive = await begin(first)
    is_dead = second.redis.is_dead
    asked = asyncio.Event()

    async def lose_and_ask(instance: str) -> bool:
        if not asked.is_set():
            await second.redis.redis.flushall()
        asked.set()
        return await is_dead(instance)

    monkeypatch.setattr(second.redis, "is_dead", lose_and_ask)
    following = asyncio.create_task(second.follow(second.begin_archive(archive.id)))
    async with asyncio.timeout(TIMEOUT):
        await asked.wait()
        await first.redis.beat()
        await first.archives.append(archive.id, [(member(2), 1)])
        archive.append(member(2))
        await settle(first, archive)

        assert await following is False


async def test_a_build_that_redis_lost_and_that_is_given_up_is_gone(three: list[Instance]) -> None:
    """At its builder and at the others: who has a part of it begins anew."""
    first, second, _ = three
    archive = await begin(first)
    await first.redis.redis.flushall()
    await first.redis.beat()

    await first.catalogue.drop(archive.id)

    for instance in (first, second):
        record = await instance.catalogue.load(archive.id)
        assert record is not None
        assert record.state == GONE
    with pytest.raises(ArchiveGone):
        await second.follow(second.begin_archive(archive.id))


async def test_a_build_whose_list_is_there_is_not_alone_after_its_builder_was_late(three: list[Instance]) -> None:
    """It was taken for dead, and nothing was lost."""
    first, second, _ = three
    archive = await begin(first)
    await die(first)

    await first.redis.beat()
    await first.archives.append(archive.id, [(member(2), 1)])

    assert await second.names(archive.id) == ["1.jpg", "2.jpg"]
    assert await second.archives._documents.get(archive.id) is None


async def test_a_build_that_redis_and_s3_have_lost_goes_on_under_its_id(three: list[Instance]) -> None:
    """It was taken over, which S3 said; the bucket was emptied since. Nobody else can go on with it then."""
    first, second, third = three
    archive = await begin(first)
    await die(first)
    view = second.begin_archive(archive.id)
    assert await second.follow(view)
    await second.objects._store.delete_async(f"archives/{archive.id}")
    await second.redis.redis.flushall()

    await second.archives.append(archive.id, [(member(2), 1)])

    document = await third.archives._documents.get(archive.id)
    assert document is not None
    assert (document.owner, document.is_alone) == ("b", True)


async def test_what_redis_lost_and_nobody_builds_is_gone(three: list[Instance]) -> None:
    """Its bytes can no longer be told."""
    first, second, _ = three
    archive = await begin(first)
    await first.redis.redis.flushall()

    with pytest.raises(ArchiveGone):
        await second.follow(second.begin_archive(archive.id))


async def test_who_has_an_image_that_redis_lost_is_given_no_other_in_its_place(three: list[Instance]) -> None:
    """A Redis that failed over has lost the last one, its builder died, and somebody went on without it."""
    first, second, third = three
    archive = await begin(first)
    following = asyncio.create_task(second.follow(follower := second.begin_archive(archive.id)))
    async with asyncio.timeout(TIMEOUT):
        await follower.wait_until(lambda: follower.length > 0)
    name = f"batch:list:{archive.id}"
    (_, beginning), *_ = await first.redis.redis.xrange(name)
    async with third.redis.redis.pipeline(transaction=True) as pipeline:
        pipeline.delete(name)
        pipeline.xadd(name, beginning, "1-0")
        pipeline.xadd(name, {"e": live_lists.entry("owner", "c")}, "2-0")
        pipeline.xadd(name, {"e": live_lists.member_entry("c", member(2), 1)}, "3-0")
        await pipeline.execute()
    other = third.begin_archive(archive.id)
    assert await third.follow(other)
    await third.catalogue.settle(other, State.COMPLETE, "")
    await third.archives.share_lists()

    async with asyncio.timeout(TIMEOUT):
        with pytest.raises(ArchiveGone):
            await following
    assert [known.name for known in follower.members] == ["1.jpg"]


@pytest.mark.parametrize("lives", [True, False])
async def test_who_follows_what_redis_lost_waits_for_its_builder(
    three: list[Instance], monkeypatch: pytest.MonkeyPatch, *, lives: bool
) -> None:
    """It says that it goes on when it has the next image; the bytes of one that has died can no longer be told."""
    first, second, _ = three
    monkeypatch.setattr("service.cluster.following.LEASE_SECONDS", 0.3)
    archive = await begin(first)
    following = asyncio.create_task(second.follow(follower := second.begin_archive(archive.id)))
    async with asyncio.timeout(TIMEOUT):
        await follower.wait_until(lambda: follower.length > 0)
    looked, look = asyncio.Event(), second.archives._follower._documents.get

    async def look_in_vain(archive_id: str) -> Any:
        looked.set()
        return await look(archive_id)

    monkeypatch.setattr(second.archives._follower._documents, "get", look_in_vain)
    await first.redis.redis.flushall()
    async with asyncio.timeout(TIMEOUT):
        await looked.wait()
        if not lives:
            with pytest.raises(ArchiveGone):
                await following
            return
        await first.redis.beat()
        given_up, _ = await asyncio.wait([following], timeout=0.5)
        await first.archives.append(archive.id, [(member(2), 1)])
        archive.append(member(2))
        await settle(first, archive)

        assert not await following
    assert not given_up
    assert [found.name for found in follower.members] == ["1.jpg", "2.jpg"]


@pytest.mark.parametrize("away", ["redis", "s3", "both"])
async def test_what_cannot_be_told_is_not_unknown(three: list[Instance], away: str) -> None:
    """An id that nothing is known of is that only if both say so."""
    first = three[0]
    assert await first.archives.load("d" * 32) is None
    if away != "s3":
        cut(first.redis.link)
    if away != "redis":
        cut(first.objects.link)

    with pytest.raises(StillBuilding):
        await first.archives.load("d" * 32)


async def test_a_build_that_was_released_and_settled_is_shared_by_its_builder(three: list[Instance]) -> None:
    """What was under way came to its end: nobody takes it for that of a dead instance."""
    first, second, _ = three
    archive = await begin(first)
    await first.archives.release(archive.id)
    await first.catalogue.settle(archive, State.COMPLETE, "")

    with pytest.raises(StillBuilding):
        await second.archives.load(archive.id)


async def test_what_a_dead_builder_had_settled_is_read_and_shared_by_another(
    three: list[Instance], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before it had put the list into S3. While it lives, it is about to. The record is written once."""
    written: list[str] = []
    replace = archive_index.replace

    def write(connection: sqlite3.Connection, record: Record, now: float) -> None:
        written.append(record.id)
        replace(connection, record, now)

    monkeypatch.setattr(archive_index, "replace", write)
    first, second, third = three
    archive = await settled_alone(first)
    with pytest.raises(StillBuilding):
        await second.archives.load(archive.id)
    await die(first)

    record = await second.catalogue.load(archive.id)
    assert record is not None
    assert [found.name for found, _ in record.members] == ["1.jpg"]
    await second.archives.share_lists()

    await first.redis.redis.flushall()
    assert await third.names(archive.id) == ["1.jpg"]
    assert written == [archive.id]


async def test_what_a_dead_builder_had_not_shared_is_not_waited_for(
    three: list[Instance], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when it dies while another one waits."""
    monkeypatch.setattr("service.cluster.following._SHARED_SECONDS", 600.0)
    first, second, third = three
    archive = await settled_alone(first)
    waiting = asyncio.create_task(second.names(archive.id))
    await asyncio.wait([waiting], timeout=0.2)
    was_waiting = not waiting.done()
    await die(first)

    async with asyncio.timeout(TIMEOUT):
        names = [await waiting, await third.names(archive.id)]

    assert was_waiting
    assert names == [["1.jpg"]] * 2


async def test_what_is_not_shared_is_not_waited_for_while_s3_is_away(
    three: list[Instance], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It could not be read here: a new request begins its own, and by its id it cannot be told."""
    monkeypatch.setattr("service.cluster.following._SHARED_SECONDS", 600.0)
    first, second, _ = three
    archive = await settled_alone(first)
    cut(second.objects.link)

    async with asyncio.timeout(TIMEOUT):
        with pytest.raises(StillBuilding):
            await second.archives.load(archive.id)
        archive_id, known = await second.archives.announce(PLAN, 2.0)

    assert known is None
    assert archive_id != archive.id


async def test_a_build_that_is_stopped_before_it_may_go_on_alone_does_not_do_so_after_a_restart(
    three: list[Instance], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another instance goes on with it meanwhile: two would give other bytes under one id."""
    first, second, _ = three
    archive = await begin(first)
    cut(first.redis.link)
    asked = asyncio.Event()

    async def hang(*_: object, **__: object) -> str:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(first.archives._documents, "claim", hang)
    adding = asyncio.create_task(first.archives.append(archive.id, [(member(2), 1)]))
    async with asyncio.timeout(TIMEOUT):
        await asked.wait()
    adding.cancel()
    await asyncio.wait([adding])
    mend(first.redis.link)
    await die(first)
    assert await second.follow(second.begin_archive(archive.id))

    again = ClusterArchives(first.objects, first.redis, first.database, 60, lambda: None)
    going_on = asyncio.create_task(again.follow(first.begin_archive(archive.id), PLAN, first.catalogue.adopt))
    await asyncio.wait([going_on], timeout=0.2)

    assert not going_on.done()
    going_on.cancel()


async def test_a_build_begun_alone_goes_on_after_a_restart(three: list[Instance]) -> None:
    """With Redis and S3 away: nobody else has heard of it, and it is told to all at its end."""
    first, second, _ = three
    cut(first.redis.link)
    cut(first.objects.link)
    archive = await begin(first)

    again = ClusterArchives(first.objects, first.redis, first.database, 60, lambda: None)
    assert await again.follow(first.begin_archive(archive.id), PLAN, first.catalogue.adopt)
    mend(first.redis.link)
    mend(first.objects.link)
    first.archives = first.catalogue.shared = again
    await settle(first, archive)

    assert await second.names(archive.id) == await first.names(archive.id) == ["1.jpg"]
    assert not await again._is_alone(archive.id)


async def test_a_list_is_shared_once_all_that_it_names_is(three: list[Instance]) -> None:
    """Else another instance would read what is not there."""
    first, second, _ = three
    archive = await begin(first)
    blob = archive.members[0].blob.digest
    for statement in (
        "INSERT INTO blobs VALUES (?, 5, 1, 'jpg', 1, 'boot', 1, 0)",
        "INSERT INTO unshared (digest, key, order_id) VALUES (?, 'i', 'o')",
    ):
        first.database.note(statement, (blob,))
    await settle(first, archive)
    assert not await first.archives.share_lists()
    before = await second.archives._documents.get(archive.id)
    first.database.note("DELETE FROM unshared WHERE digest = ?", (blob,))

    assert await first.archives.share_lists()
    assert before is None
    assert await second.names(archive.id) == ["1.jpg"]


@pytest.mark.parametrize("was_away", ["as it was settled", "as it was shared"])
async def test_that_a_list_is_shared_is_told_when_redis_is_back(three: list[Instance], was_away: str) -> None:
    """Else every other instance would wait for that; nothing that is to be in S3 waits for Redis."""
    first, second, _ = three
    archive = await begin(first)
    if was_away == "as it was settled":
        cut(first.redis.link)
    await first.catalogue.settle(archive, State.COMPLETE, "")
    cut(first.redis.link)

    assert await first.archives.share_lists()
    mend(first.redis.link)
    await first.redis.beat()

    live = LiveList(archive.id)
    assert await second.archives._lists.read(live)
    assert live.is_shared


async def test_a_build_alone_that_is_dropped_is_gone(three: list[Instance]) -> None:
    """The next start does not go on with it."""
    first = three[0]
    cut(first.redis.link)
    cut(first.objects.link)
    archive = await begin(first)
    was_alone = await first.archives._is_alone(archive.id)

    await first.archives.drop(archive.id)

    assert (was_alone, await first.archives._is_alone(archive.id)) == (True, False)


@pytest.mark.parametrize(("ending", "expected"), [("drop", (GONE, "a")), ("release", (State.BUILDING, ""))])
async def test_a_build_that_ends_while_an_image_is_added_is_not_waited_for(
    three: list[Instance], monkeypatch: pytest.MonkeyPatch, ending: str, expected: tuple[str, str]
) -> None:
    """Its store is full, say, or it is stopped, and what adds the image is cancelled before Redis has answered."""
    first, second, _ = three
    archive = await begin(first)
    append, has_arrived = first.archives._lists.append, asyncio.Event()

    async def lose_answer(*arguments: Any) -> None:
        await append(*arguments)
        has_arrived.set()
        await asyncio.Event().wait()

    with monkeypatch.context() as patch:
        patch.setattr(first.archives._lists, "append", lose_answer)
        adding = asyncio.create_task(first.archives.append(archive.id, [(member(2), 1)]))
        async with asyncio.timeout(TIMEOUT):
            await has_arrived.wait()
        adding.cancel()
        await asyncio.wait([adding])
    await getattr(first.catalogue, ending)(archive.id)

    live = LiveList(archive.id)
    assert await second.archives._lists.read(live)
    assert ((live.state, live.owner), len(live.members)) == (expected, 2)


async def test_a_beat_may_tell_of_a_dropped_build_at_the_same_time(three: list[Instance]) -> None:
    """Both tell the others, and neither fails for it."""
    first, second, _ = three
    archive = await begin(first)

    await asyncio.gather(first.archives.drop(archive.id), first.archives._append_late())

    record = await second.archives.load(archive.id)
    assert record is not None
    assert (record.state, first.archives._late) == (GONE, {})


async def test_what_is_to_be_told_late_is_not_lost_while_something_else_is_told(
    three: list[Instance], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the same archive: it is for the next beat."""
    archives, newer = three[0].archives, (2, ["newer"])
    archives._late["a"] = 1, ["older"]
    told: list[list[str]] = []

    async def append(archive_id: str, _: int, entries: list[str]) -> None:
        told.append(entries)
        if len(told) == 1:
            archives._late[archive_id] = newer

    monkeypatch.setattr(archives._lists, "append", append)
    await archives._append_late()
    await archives._append_late()

    assert (told, archives._late) == ([["older"], ["newer"]], {})


async def test_a_build_that_is_released_is_gone_on_with_at_once(three: list[Instance]) -> None:
    """Its instance lives, but nobody there wants it; also by one that cannot tell yet who is dead."""
    first, second, _ = three
    archive = await begin(first)
    second.redis.link.up_since = time.monotonic()

    await first.archives.release(archive.id)

    async with asyncio.timeout(TIMEOUT / 4):
        assert await second.follow(second.begin_archive(archive.id))


async def test_a_build_is_released_between_its_members(three: list[Instance], monkeypatch: pytest.MonkeyPatch) -> None:
    """Not while one is added: it would come second, and the build would be taken for another's."""
    first, second, _ = three
    archive = await begin(first)
    may_write, append = asyncio.Event(), first.archives._lists.append

    async def append_late(archive_id: str, position: int, entries: Sequence[str]) -> None:
        if "member" in entries[0]:
            await may_write.wait()
        await append(archive_id, position, entries)

    monkeypatch.setattr(first.archives._lists, "append", append_late)
    adding = asyncio.create_task(first.archives.append(archive.id, [(member(2), 1)]))
    await yield_to_loop()
    releasing = asyncio.create_task(first.archives.release(archive.id))
    await asyncio.wait([releasing], timeout=0.1)
    may_write.set()
    await asyncio.gather(adding, releasing)

    assert await second.names(archive.id) == ["1.jpg", "2.jpg"]


@pytest.mark.parametrize("is_redis_away", [False, True])
async def test_what_is_settled_or_alone_meanwhile_is_not_released(
    three: list[Instance], monkeypatch: pytest.MonkeyPatch, is_redis_away: bool
) -> None:
    """Nothing comes behind the end of a list; and who follows a build that is alone waits for it."""
    first = three[0]
    archive = await begin(first)
    may_write, append = asyncio.Event(), first.archives._lists.append

    async def append_late(archive_id: str, position: int, entries: Sequence[str]) -> None:
        if "settled" in entries[0]:
            await may_write.wait()
            if is_redis_away:
                monkeypatch.setattr(first.archives._lists, "append", append)
                raise ListLost
        await append(archive_id, position, entries)

    monkeypatch.setattr(first.archives._lists, "append", append_late)
    settling = asyncio.create_task(first.catalogue.settle(archive, State.COMPLETE, ""))
    await yield_to_loop()
    releasing = asyncio.create_task(first.archives.release(archive.id))
    await yield_to_loop()
    may_write.set()
    await asyncio.gather(settling, releasing)
    await first.archives._append_late()
    entries = [json.loads(fields[b"e"])[0] for _, fields in await first.redis.redis.xrange(f"batch:list:{archive.id}")]

    assert entries == ["begin", "member", "settled"]


async def test_a_build_that_is_wanted_again_goes_on_where_it_was_released(three: list[Instance]) -> None:
    """Given that nobody else has gone on with it: what its builder adds comes behind what was there."""
    first, second, _ = three
    archive = await begin(first)

    for _ in range(2):
        await first.archives.release(archive.id)
    entries = await first.redis.redis.xlen(f"batch:list:{archive.id}")
    await first.archives.append(archive.id, [(member(2), 1)])

    assert entries == 3  # the beginning, a member, and once that it was released
    assert await second.names(archive.id) == ["1.jpg", "2.jpg"]


async def test_a_new_request_does_not_wait_for_one_that_nobody_can_go_on_with(three: list[Instance]) -> None:
    """Its builder went on alone and was not seen since: the request has an archive of its own."""
    first, second, _ = three
    archive = await begin(first)
    cut(first.redis.link)
    await first.archives.append(archive.id, [(member(2), 1)])
    await die(first)

    archive_id, known = await second.archives.announce(PLAN, 2.0)

    assert known is None
    assert archive_id != archive.id


async def test_an_archive_that_was_begun_although_the_answer_was_lost_holds_nobody_up(
    three: list[Instance], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its instance lives, and does not build it: it says so as soon as it can."""
    first, second, _ = three
    begin_list = first.archives._lists.begin

    async def lose_answer(*arguments: Any, **options: Any) -> str:
        await begin_list(*arguments, **options)
        raise Unavailable

    monkeypatch.setattr(first.archives._lists, "begin", lose_answer)
    mine, _ = await first.archives.announce(PLAN, 1.0)
    orphan, known = await second.archives.announce(PLAN, 1.0)
    assert known is not None
    following = asyncio.create_task(second.follow(second.begin_archive(orphan)))

    await first.redis.beat()

    with pytest.raises(ArchiveGone):
        await following
    theirs, known = await second.archives.announce(PLAN, 1.0)
    assert known is None
    assert len({mine, orphan, theirs}) == 3


async def test_a_build_alone_tells_what_it_has_kept(three: list[Instance]) -> None:
    """Each image behind the next one: after a crash the newest may be another one, which nobody may have seen."""
    first, second, _ = three
    archive = await begin(first)
    cut(first.redis.link)
    await first.archives.append(archive.id, [(member(2), 1)])
    mend(first.redis.link)

    told = []
    for number in (3, 4):
        await first.archives.append(archive.id, [(member(number), 1)])
        told.append(await second.names(archive.id))

    assert told == [["1.jpg", "2.jpg"], ["1.jpg", "2.jpg", "3.jpg"]]


async def test_who_has_just_said_in_s3_that_it_goes_on_has_time_to(
    three: list[Instance], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long nothing had been heard of the archive before."""
    first, _, third = three
    archive = await begin(first)
    await die(first)
    follower = live_lists.LiveList(archive.id, quiet_since=0.0)
    await third.archives._lists.read(follower)
    follower.quiet_since = 0.0
    monkeypatch.setattr("service.cluster.following.LEASE_SECONDS", 600.0)
    await third.archives._documents.claim(archive.id, "b", alone=False, tag=None)

    found = await third.archives._follower._take_over(follower)

    assert found == (None, None, False)


async def test_who_follows_a_builder_that_lost_redis_is_told_when_it_is_back(three: list[Instance]) -> None:
    """Its end too, although it came while Redis was away."""
    first, second, _ = three
    archive = await begin(first)
    following = asyncio.create_task(second.follow(follower := second.begin_archive(archive.id)))
    cut(first.redis.link)
    await first.archives.append(archive.id, [(member(2), 1)])
    archive.append(member(2))
    await settle(first, archive)
    mend(first.redis.link)

    await first.redis.beat()

    async with asyncio.timeout(10):
        assert not await following
    assert [known.name for known in follower.members] == ["1.jpg", "2.jpg"]


@pytest.mark.parametrize("has_arrived", [False, True])
async def test_a_build_that_was_cut_is_anybodys_when_redis_is_back(
    three: list[Instance], monkeypatch: pytest.MonkeyPatch, has_arrived: bool
) -> None:
    """Its instance lives, but has given up; whether or not what it could not add had arrived, without an answer."""
    monkeypatch.setattr("service.cluster.archives.LEASE_SECONDS", 0.1)
    first, second, _ = three
    archive = await begin(first)
    if has_arrived:
        await first.archives._lists.append(archive.id, 2, [live_lists.member_entry("a", member(2), 1)])
    cut(first.redis.link)
    cut(first.objects.link)
    with pytest.raises(StillBuilding):
        await first.archives.append(archive.id, [(member(2), 1)])
    mend(first.redis.link)

    await first.redis.beat()

    async with asyncio.timeout(10):
        assert await second.follow(second.begin_archive(archive.id))
