"""The lists of running archives in a real Redis: of two builders the second fails, and what is lost is noticed."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from service.archives.archive import State
from service.archives.layout import Member
from service.archives.options import Options
from service.archives.plan import Plan, PlannedOrder
from service.archives.record import GONE, encode_member
from service.archives.shared_archives import TakenOver
from service.cluster.live_lists import ListLost, LiveList, LiveLists, entry, member_entry
from service.cluster.redis_link import RedisLink
from service.images.blobs import Blob
from service.telemetry.metrics import Metrics
from tests.support.redis_server import RedisServer

PLAN = Plan(orders=(PlannedOrder(order_id="o"),), options=Options(), images=(), key="k", options_key="f")
ID, OTHER = "a" * 32, "b" * 32


def member(number: int) -> Member:
    """Another one for each number."""
    return Member(f"{number}.jpg", Blob("c" * 64, 5, number, "jpg"), datetime(2026, 1, 1, tzinfo=UTC), str(number))


@pytest.fixture
async def link(redis: RedisServer, long_timeouts: None) -> AsyncIterator[RedisLink]:
    """An instance's way to Redis."""
    async with RedisLink.open(redis.url, "me", Metrics()) as opened:
        yield opened


@pytest.fixture
async def lists(link: RedisLink) -> LiveLists:
    """With one list, begun."""
    opened = LiveLists(link, 60)
    await opened.begin(ID, PLAN, 1.0, anyway=False)
    return opened


async def test_equal_requests_are_given_one_id(lists: LiveLists) -> None:
    """The one that was there first, at whatever moment they come."""
    ids = await asyncio.gather(*(lists.begin(f"{number:032}", PLAN, 1.0, anyway=False) for number in range(20)))

    assert set(ids) == {ID}


async def test_a_request_that_cannot_use_it_begins_another_and_later_ones_get_that(lists: LiveLists) -> None:
    """Say, because the first one does not wait for long enough."""
    assert await lists.begin(OTHER, PLAN, 2.0, anyway=True) == OTHER
    assert await lists.begin("c" * 32, PLAN, 3.0, anyway=False) == OTHER


async def test_a_list_that_is_begun_again_after_a_lost_answer_is_the_same(lists: LiveLists) -> None:
    """In any case or not."""
    assert [await lists.begin(OTHER, PLAN, 2.0, anyway=True) for _ in range(2)] == [OTHER] * 2


async def test_a_list_that_is_begun_again_behind_another_is_still_there(lists: LiveLists) -> None:
    """It goes on, and new requests get the other."""
    await lists.begin(OTHER, PLAN, 2.0, anyway=True)

    assert await lists.begin(ID, PLAN, 1.0, anyway=True) == ID
    assert await lists.archive_of("k") == OTHER


async def test_of_two_builders_the_second_is_refused(lists: LiveLists) -> None:
    """Whatever it wants to add at a position that is taken; the list has only the first one's."""
    await lists.append(ID, 1, [member_entry("me", member(1), 1)])

    with pytest.raises(TakenOver):
        await lists.append(ID, 1, [member_entry("other", member(1), 1)])

    live = LiveList(ID)
    assert await lists.read(live)
    assert [found for found, _ in live.members] == [member(1)]


async def test_what_is_added_again_after_a_lost_answer_is_there_once(lists: LiveLists) -> None:
    """Also when others have been added behind it."""
    entries = [member_entry("me", member(number), 1) for number in (1, 2)]
    await lists.append(ID, 1, entries)
    await lists.append(ID, 3, [entry("owner", "")])

    await lists.append(ID, 1, entries)

    live = LiveList(ID)
    await lists.read(live)
    assert (live.position, len(live.members), live.owner) == (4, 2, "")


async def test_what_is_added_with_more_after_a_lost_answer_is_completed(lists: LiveLists) -> None:
    """A builder that goes on alone adds all that it has when Redis is back; followers would wait for the rest."""
    entries = [member_entry("me", member(number), 1) for number in (1, 2, 3)]
    await lists.append(ID, 1, entries[:1])

    await lists.append(ID, 1, entries)

    live = LiveList(ID)
    assert await lists.read(live)
    assert [found for found, _ in live.members] == [member(1), member(2), member(3)]


async def test_what_is_added_behind_anothers_entry_is_refused_as_a_whole(lists: LiveLists) -> None:
    """Though it begins with what is there: nothing of it comes behind what the other has added."""
    mine = [member_entry("me", member(number), 1) for number in (1, 2, 3)]
    await lists.append(ID, 1, mine[:1])
    await lists.append(ID, 2, [member_entry("other", member(4), 1)])

    with pytest.raises(TakenOver):
        await lists.append(ID, 1, mine)

    live = LiveList(ID)
    assert await lists.read(live)
    assert [found for found, _ in live.members] == [member(1), member(4)]


async def test_a_list_that_redis_lost_is_not_begun_in_the_middle(link: RedisLink, lists: LiveLists) -> None:
    """An append behind what is not there is refused."""
    await link.redis.flushall()

    with pytest.raises(ListLost):
        await lists.append(ID, 1, [member_entry("me", member(1), 1)])
    assert not await lists.read(LiveList(ID))


async def test_a_key_whose_list_redis_lost_begins_another(link: RedisLink, lists: LiveLists) -> None:
    """Nobody is told to follow what is not there."""
    await link.redis.delete(f"batch:list:{ID}")

    assert await lists.begin(OTHER, PLAN, 2.0, anyway=False) == OTHER


async def test_keys_find_a_complete_archive_for_as_long_as_it_is_used_again(link: RedisLink, lists: LiveLists) -> None:
    """Its list is there for longer: whoever has found it can read it."""
    await lists.point(["x", "y"], ID)

    assert [await lists.archive_of(key) for key in ("x", "y", "z")] == [ID, ID, None]
    assert 0 < await link.redis.ttl("batch:of:x") <= 60 < await link.redis.ttl(f"batch:list:{ID}")


@pytest.mark.parametrize(
    ("kind", "data", "expected"),
    [
        ("member", None, ("me", State.BUILDING, False)),
        ("owner", None, ("other", State.BUILDING, False)),
        ("settled", {"state": State.COMPLETE}, ("other", State.COMPLETE, False)),
        ("shared", None, ("me", State.BUILDING, True)),
        ("dropped", None, ("me", GONE, False)),
    ],
)
def test_what_the_last_entry_says_of_an_archive(kind: str, data: Any, expected: tuple[str, str, bool]) -> None:
    """Who goes on with it, or is about to share it; how it stands, and whether all of it is in S3."""
    live = LiveList(ID)
    live.add("begin", "me", {"created": 1.0, "plan": PLAN.model_dump(mode="json")})

    live.add(kind, "other", encode_member(member(1), 1) if kind == "member" else data)

    assert (live.owner, live.state, live.is_shared) == expected
    assert live.position == 2
    assert live.settled == (data or {})


async def test_a_gap_is_noticed_by_who_follows(link: RedisLink, lists: LiveLists) -> None:
    """Entries that Redis lost out of the middle."""
    await lists.append(ID, 1, [member_entry("me", member(number), 1) for number in (1, 2, 3)])
    await link.redis.xdel(f"batch:list:{ID}", "3-0")

    with pytest.raises(ListLost):
        await lists.read(LiveList(ID))


async def test_followers_are_told_at_once(link: RedisLink, lists: LiveLists) -> None:
    """By a message, not by looking again and again."""
    with link.messages.waiting(f"list:{ID}") as grown:
        await asyncio.sleep(0)
        heard = grown.next()
        async with asyncio.timeout(10):
            await lists.append(ID, 1, [member_entry("me", member(1), 1)])
            await heard.wait()


async def test_a_build_that_ends_does_not_forget_the_next_one(lists: LiveLists) -> None:
    """Its key has another archive by now."""
    await lists.begin(OTHER, PLAN, 2.0, anyway=True)

    await lists.forget(PLAN.build_key, ID)

    assert await lists.archive_of(PLAN.build_key) == OTHER


async def test_an_archive_is_kept_for_the_longest_time_that_was_wanted(lists: LiveLists) -> None:
    """A job's result is not kept less long because its delivery is tried again in a moment."""
    for until in (1e10, 2e10, 1e10):
        await lists.keep(ID, until)

    assert await lists.kept_until(ID) == 2e10


async def test_to_be_kept_never_shortens_a_lists_life(link: RedisLink, lists: LiveLists) -> None:
    """It lives as long as it would have, or as long as the archive is kept."""
    for seconds in (10, 1_000_000):
        before = await link.redis.ttl(f"batch:list:{ID}")
        await lists.keep(ID, time.time() + seconds)
        assert await link.redis.ttl(f"batch:list:{ID}") >= max(before - 5, seconds - 5)
