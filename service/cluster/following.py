"""An archive that another instance builds grows here as its list does, and is gone on with when its builder is dead.

Going on takes a conditional write in S3: one of all who try can. Then the list says whose it is, and what the builder
of before would add behind it is refused.
"""

import asyncio
import time
from contextlib import suppress

from service.archives.archive import SETTLED, Archive, State
from service.archives.record import GONE, Record, extend
from service.archives.shared_archives import TakenOver
from service.cluster import live_lists
from service.cluster.documents import Documents
from service.cluster.link import Unavailable
from service.cluster.live_lists import ListLost, LiveList, LiveLists
from service.cluster.objects import ObjectChanged
from service.cluster.redis_link import BEAT_SECONDS, LEASE_SECONDS, RedisLink
from service.problems import ArchiveGone, StillBuilding
from service.signal import wait_at_most

# With nothing that says how the archive stands for so long, it is up to the caller to come again.
_AWAY_SECONDS = 30.0
# What is settled is in S3 moments later, unless S3 is away.
_SHARED_SECONDS = 3.0


class _CutOff(Unavailable):
    """Nobody may go on: its builder went on alone, or its list was lost, and the builder was not seen since."""


class Follower:
    """Follows archives."""

    def __init__(self, redis: RedisLink, lists: LiveLists, documents: Documents) -> None:
        self._redis = redis
        self._lists = lists
        self._documents = documents

    async def follow(self, archive: Archive) -> tuple[Record | None, LiveList, str | None]:
        """Let `archive` grow until it is settled: its record then. None once this instance is to go on with it.

        With it the list as it is then, and the tag of the document by which this instance may go on. Raises
        `ArchiveGone`, `Abandoned` when nobody here wants it any more, `StillBuilding` when it cannot be told.
        """
        live = LiveList(archive.id)
        silent_since: float | None = None
        gone_since: float | None = None
        with self._redis.messages.waiting(live_lists.topic_of(archive.id)) as grown:
            while True:
                await archive.readers.wait_for_demand(lambda: archive.length)
                changed = grown.next()
                silent_since = silent_since or time.monotonic()
                with suppress(Unavailable):
                    try:
                        record, tag, is_ours = await self._look(live)
                    except ArchiveGone:
                        # A builder that lives has S3 say that it goes on, with its next member.
                        gone_since = gone_since or time.monotonic()
                        is_new = time.monotonic() - gone_since < LEASE_SECONDS
                        if live.owner and (is_new or not await self._redis.is_dead(live.owner)):
                            raise Unavailable(live.id) from None
                        raise
                    except _CutOff:
                        archive.is_joinable = False
                        raise
                    silent_since, gone_since, archive.is_joinable = None, None, True
                    if record is not None and record.state == GONE:
                        raise ArchiveGone(f"Archive {archive.id} was dropped.")
                    if record is not None or live.plan is not None:
                        extend(archive, record or live.record())
                    if record is not None or is_ours:
                        return record, live, tag
                if silent_since is not None and time.monotonic() - silent_since > _AWAY_SECONDS:
                    raise StillBuilding(retry_after=BEAT_SECONDS)
                await wait_at_most(changed, BEAT_SECONDS)

    async def wait_until_free(self, archive_id: str) -> None:
        """Wait while another instance that lives builds the archive, as far as can be told."""
        live = LiveList(archive_id)
        with suppress(Unavailable, ListLost), self._redis.messages.waiting(live_lists.topic_of(archive_id)) as grown:
            while True:
                changed = grown.next()
                is_there = await self._lists.read(live)
                is_free = live.state != State.BUILDING or live.owner in ("", self._redis.instance)
                if not is_there or is_free or await self._redis.is_dead(live.owner) or await self._lost_end(live):
                    return
                await wait_at_most(changed, BEAT_SECONDS)

    async def is_followable(self, live: LiveList) -> bool:
        """Whether a new request may be given this archive: its builder is there, or another may go on with it."""
        if live.state == GONE:
            return False
        if live.state in SETTLED:
            return await self.is_shared(live)
        if live.owner == self._redis.instance or not await self._redis.is_dead(live.owner):
            return True
        document = await self._documents.get(live.id)
        return document is None or not document.is_alone

    async def is_shared(self, live: LiveList) -> bool:
        """Whether all of a settled archive is where this instance can read it; waited for a little, while its builder
        lives and S3 is there."""
        with suppress(TimeoutError, Unavailable), self._redis.messages.waiting(live_lists.topic_of(live.id)) as grown:
            async with asyncio.timeout(_SHARED_SECONDS):
                while not (live.is_shared or live.owner == self._redis.instance):
                    changed = grown.next()
                    await self._lists.read(live)
                    if live.is_shared:
                        break
                    if not self._documents.is_up or await self._redis.is_dead(live.owner):
                        return False
                    await wait_at_most(changed, BEAT_SECONDS)
                return True
        return False

    async def _look(self, live: LiveList) -> tuple[Record | None, str | None, bool]:
        """The record of a settled or dropped archive; else whether this instance is to go on, and by which tag.

        Raises `Unavailable` when there is nothing to be told.
        """
        is_lost = False
        try:
            is_there = await self._lists.read(live)
        except Unavailable:
            is_there = False
        except ListLost:
            is_there, is_lost = False, True
        else:
            is_lost = not is_there
        if not is_there:
            document = await self._documents.get(live.id)
            if document is not None and document.record is not None:
                return document.record, None, False
            if document is None and is_lost:
                raise ArchiveGone(f"What was known of archive {live.id} was lost.")
            is_cut_off = is_lost and document is not None and await self._redis.is_dead(document.owner)
            raise (_CutOff if is_cut_off else Unavailable)(live.id)
        if live.state != State.BUILDING:
            return live.record(), None, False
        if live.owner == self._redis.instance:
            return None, None, True
        if live.owner and not await self._redis.is_dead(live.owner):
            return await self._lost_end(live), None, False
        # Redis may have lost its data meanwhile: then all seem dead, and their lists are gone.
        position = live.position
        with suppress(ListLost):
            if await self._lists.read(live) and live.position == position:
                return await self._take_over(live)
        return None, None, False

    async def _lost_end(self, live: LiveList) -> Record | None:
        """What S3 has of an archive whose list is quiet for long: a Redis that failed over may have lost its end."""
        if time.monotonic() - live.quiet_since < LEASE_SECONDS:
            return None
        live.quiet_since = time.monotonic()
        with suppress(Unavailable):
            if document := await self._documents.get(live.id):
                return document.record
        return None

    async def _take_over(self, live: LiveList) -> tuple[Record | None, str | None, bool]:
        me = self._redis.instance
        document = await self._documents.get(live.id)
        if document is not None and document.record is not None:
            return document.record, None, False
        if document is not None and document.owner != me:
            if document.is_alone:
                raise _CutOff(live.id)
            if live.claim[0] != document.tag:
                live.claim = document.tag, time.monotonic()
            # Whoever has not said so in the list within a lease has given up.
            is_new = time.monotonic() - live.claim[1] < LEASE_SECONDS
            if is_new and not await self._redis.is_dead(document.owner):
                return None, None, False
        try:
            tag = await self._documents.claim(live.id, me, alone=False, tag=document.tag if document else None)
            await self._lists.append(live.id, live.position, [live_lists.entry("owner", me)])
        except (ObjectChanged, TakenOver, ListLost):
            return None, None, False  # the next look tells why
        live.add("owner", me, None)
        return None, tag, True
