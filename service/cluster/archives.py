"""The archives of all instances. A running one's list is in Redis, and from its end in S3 too, as `archives/ID`.

Whoever goes on with a list that another began, or without Redis, first writes `archives/ID` under a condition: one of
them can. A build that is `alone` after that is nobody else's until it is settled.
"""

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import uuid4

from service.archives import archive_index
from service.archives.archive import SETTLED, Archive, State
from service.archives.layout import LAYOUT_VERSION, Member
from service.archives.plan import Plan
from service.archives.record import GONE, Record
from service.archives.shared_archives import TakenOver
from service.cluster import live_lists
from service.cluster.documents import Documents
from service.cluster.following import Follower
from service.cluster.link import Unavailable
from service.cluster.live_lists import ListLost, LiveList, LiveLists
from service.cluster.objects import ObjectChanged, Objects
from service.cluster.redis_link import BEAT_SECONDS, LEASE_SECONDS, RedisLink
from service.database import Database
from service.problems import StillBuilding
from service.telemetry.logs import get_logger

log = get_logger(__name__)

# Only when all that they name is shared.
_UNSHARED = (
    "SELECT archive_id, EXISTS (SELECT 1 FROM members JOIN unshared USING (digest)"
    " WHERE members.archive_id = unshared_lists.archive_id) FROM unshared_lists"
)
_ALONE, _NOT_ALONE = "INSERT OR REPLACE INTO alone VALUES (?, ?)", "DELETE FROM alone WHERE archive_id = ?"
_SHARED = ("DELETE FROM unshared_lists WHERE archive_id = ?", _NOT_ALONE)
_AGAIN_SECONDS = 0.5
# So long a list waits for Redis before its builder goes on alone: most faults are over by then.
_WAIT_SECONDS = 3.0


@dataclass
class _Build:
    """A build of this instance, as the others know it."""

    plan: Plan
    position: int = 0
    """Entries of its list in Redis; 0: it has none."""
    tag: str | None = None
    """Of its document in S3, as it was last written here."""
    is_alone: bool = False
    is_released: bool = False
    backlog: list[str] = field(default_factory=list)
    """Entries that are to be in Redis when it is back, or may be there."""
    writing: asyncio.Lock = field(default_factory=asyncio.Lock)


class ClusterArchives:
    """As `SharedArchives`."""

    def __init__(
        self, objects: Objects, redis: RedisLink, database: Database, ttl: float, wake: Callable[[], None]
    ) -> None:
        self._documents = Documents(objects)
        self._redis = redis
        self._database = database
        self._lists = LiveLists(redis, ttl)
        self._follower = Follower(redis, self._lists, self._documents)
        self._me = redis.instance
        self._builds: dict[str, _Build] = {}
        self._unpointed: dict[str, list[str]] = {}
        # Settled lists whose end does not say yet that they are in S3, and how long they are.
        self._unmarked: dict[str, int] = {}
        self._late: dict[str, tuple[int, list[str]]] = {}
        redis.on_lost.append(self._claim_lost)
        redis.on_beat.append(self._append_late)
        self.wake = wake

    def is_known(self, connection: sqlite3.Connection, archive_id: str) -> bool:
        return not _is_alone(connection, archive_id)

    async def announce(self, plan: Plan, created: float, *, anyway: bool = False) -> tuple[str, Record | None]:
        archive_id = uuid4().hex
        try:
            known = await self._lists.begin(archive_id, plan, created, anyway=anyway)
            if known != archive_id:
                live = LiveList(known)
                if await self._lists.read(live) and await self._follower.is_followable(live):
                    return known, live.record()
                await self._lists.begin(archive_id, plan, created, anyway=True)
        except (Unavailable, ListLost):
            self._late[archive_id] = 1, [live_lists.entry("dropped", self._me)]  # Redis may have it all the same
            archive_id = uuid4().hex
            self._builds[archive_id] = build = _Build(plan)
            if not await self._go_alone(archive_id, build):
                build.is_alone = True  # nobody else has heard of it
                await self._note_alone(archive_id)
        else:
            self._builds[archive_id] = _Build(plan, position=1)
        return archive_id, None

    async def append(self, archive_id: str, members: Sequence[tuple[Member, int]]) -> None:
        await self._commit(archive_id, [live_lists.member_entry(self._me, *member) for member in members])

    async def settle(self, archive: Archive, state: State, comment: str) -> None:
        await self._commit(archive.id, [live_lists.settled_entry(self._me, archive, state, comment)])
        build = self._builds.pop(archive.id)
        plan = build.plan
        if build.position and build.backlog:
            self._late[archive.id] = build.position, build.backlog
        if build.position:
            self._unmarked[archive.id] = build.position + len(build.backlog)
        with suppress(Unavailable):
            if state is not State.COMPLETE or archive.key != plan.build_key:
                await self._lists.forget(plan.build_key, archive.id)
        if state is State.COMPLETE:
            self._unpointed[archive.id] = [archive.key, plan.options_key]
            await self._point(archive.id)

    def must_share(self, archive_id: str) -> bool:
        return archive_id in self._unmarked

    def mark(self, connection: sqlite3.Connection, archive_id: str) -> None:
        connection.execute("INSERT OR IGNORE INTO unshared_lists VALUES (?)", (archive_id,))

    async def drop(self, archive_id: str) -> None:
        build = self._builds.pop(archive_id, None)
        if build is None:
            return
        if build.is_alone:
            self._database.note(_NOT_ALONE, (archive_id,))
            gone = Record(archive_id, GONE, LAYOUT_VERSION, build.plan, (), None, time.time(), None, ())
            with suppress(Unavailable):
                await self._documents.publish(gone, self._me)
        if build.position:
            self._late[archive_id] = build.position, [*build.backlog, live_lists.entry("dropped", self._me)]
        with suppress(Unavailable):
            await self._append_late()
            await self._lists.forget(build.plan.build_key, archive_id)

    async def release(self, archive_id: str) -> None:
        if (build := self._builds.get(archive_id)) is None:
            return
        with suppress(Unavailable, TakenOver, ListLost):
            async with build.writing:
                if build.is_alone or build.is_released or archive_id not in self._builds:
                    return
                entries = [*build.backlog, live_lists.entry("owner", "")]
                await self._lists.append(archive_id, build.position, entries)
                build.position, build.backlog = build.position + len(entries), []
                build.is_released = True

    async def load(self, archive_id: str) -> Record | None:
        if await self._is_alone(archive_id):
            return None
        live, is_certain = LiveList(archive_id), True
        try:
            if await self._lists.read(live):
                if live.state not in SETTLED or await self._follower.is_shared(live):
                    return live.record()
                if await self._redis.is_dead(live.owner):
                    # Not shared: images that nobody else has are fetched again by who reads it.
                    self._unmarked[archive_id] = live.position
                    return live.record()
            is_certain = not live.position
        except (Unavailable, ListLost) as error:
            is_certain = isinstance(error, ListLost)
        with suppress(Unavailable):
            document = await self._documents.get(archive_id)
            if document is not None and document.record is not None:
                return document.record
            if document is None and is_certain and not await self._may_be_lost():
                return None
        raise StillBuilding("The state of this archive is not known at the moment.", retry_after=BEAT_SECONDS)

    async def _may_be_lost(self) -> bool:
        """Whether Redis has just lost its data: S3 may not say yet what is built."""
        return time.monotonic() - self._redis.lost_at < LEASE_SECONDS or not await self._redis.is_known()

    async def keep(self, archive_id: str, until: float) -> None:
        try:
            await self._lists.keep(archive_id, until)
        except Unavailable:
            raise StillBuilding("Others cannot be told to keep this archive.", retry_after=BEAT_SECONDS) from None

    async def kept_until(self, archive_id: str) -> float:
        try:
            return await self._lists.kept_until(archive_id)
        except Unavailable:
            raise StillBuilding("It cannot be told whether this archive is kept.", retry_after=BEAT_SECONDS) from None

    async def find_complete(self, key: str) -> Record | None:
        with suppress(Unavailable, StillBuilding):
            if (archive_id := await self._lists.archive_of(key)) is not None:
                record = await self.load(archive_id)
                return record if record is not None and record.state == State.COMPLETE else None
        return None

    async def wait_until_free(self, archive_id: str) -> None:
        await self._follower.wait_until_free(archive_id)

    async def follow(self, archive: Archive, plan: Plan, adopt: Callable[[Record], Awaitable[None]]) -> bool:
        if archive.id in self._builds:
            return True
        if await self._is_alone(archive.id):
            self._builds[archive.id] = _Build(plan, is_alone=True)
            return True
        record, live, tag = await self._follower.follow(archive)
        if record is None:  # first: should it be given up here, it is to be dropped for all
            self._builds[archive.id] = _Build(plan, live.position, tag)
        await adopt(record or live.record())
        return record is None

    async def share_lists(self) -> bool:
        """Give others the settled archives that are marked; whether none is left."""
        rows = await self._database.run(lambda connection: connection.execute(_UNSHARED).fetchall())
        for archive_id, must_wait in rows:
            if must_wait:
                continue
            record = await self._database.run(lambda connection: archive_index.read_record(connection, archive_id))  # noqa: B023  # awaited at once
            try:
                if record is not None and record.state in SETTLED:
                    await self._documents.publish(record, self._me)
                await self._point(archive_id)
                if (position := self._unmarked.pop(archive_id, None)) is not None:
                    start, late = self._late.get(archive_id, (position, []))
                    self._late[archive_id] = start, [*late, live_lists.entry("shared", self._me)]
                    with suppress(Unavailable):
                        await self._append_late()
            except Unavailable:
                return False
            for statement in _SHARED:
                self._database.note(statement, (archive_id,))
        return not any(must_wait for _, must_wait in rows)

    async def _point(self, archive_id: str) -> None:
        """Let the keys of a complete archive find it, if they do not yet."""
        if (keys := self._unpointed.get(archive_id)) is not None:
            with suppress(Unavailable):
                await self._lists.point(keys, archive_id)
                self._unpointed.pop(archive_id, None)  # two may do it at once

    async def _append_late(self) -> None:
        """Make up for what Redis was not there to be told: nobody may wait for a build that has ended here."""
        for archive_id, late in list(self._late.items()):
            with suppress(TakenOver, ListLost):
                await self._lists.append(archive_id, *late)
            if self._late.get(archive_id) is late:  # a beat and `drop` may do it at once, and there may be more by now
                del self._late[archive_id]

    async def _claim_lost(self) -> None:
        """Have S3 say at once, and not with their next images, which builds go on though Redis has lost their lists."""
        with suppress(TimeoutError):  # the next heartbeat does not wait for S3
            async with asyncio.timeout(BEAT_SECONDS):
                await asyncio.gather(*(self._claim(*known) for known in self._builds.items()))

    async def _claim(self, archive_id: str, build: _Build) -> None:
        async with build.writing:
            if build.is_alone or build.is_released or archive_id not in self._builds:
                return
            with suppress(TakenOver):
                try:
                    await self._lists.append(archive_id, build.position, [])
                except ListLost:
                    await self._go_alone(archive_id, build)

    async def _commit(self, archive_id: str, entries: list[str]) -> None:
        """Have the entries where others find them, or this build where nobody else can go on with it.

        Raises `TakenOver`, and `StillBuilding` when neither can be had for as long as others take it for alive.
        """
        if (build := self._builds.get(archive_id)) is None:
            raise TakenOver
        async with build.writing:
            try:
                if not build.is_alone and await self._commit_to_list(archive_id, build, entries):
                    return
            except asyncio.CancelledError:  # they may be there: what ends the build comes behind them
                build.backlog += entries
                raise
            # Those of before, which are kept here: what is in Redis and not kept would be another image after a crash.
            if build.position and self._redis.link.is_up:
                with suppress(Unavailable, TakenOver, ListLost):
                    await self._lists.append(archive_id, build.position, build.backlog)
                    build.position, build.backlog = build.position + len(build.backlog), []
            build.backlog += entries

    async def _commit_to_list(self, archive_id: str, build: _Build, entries: list[str]) -> bool:
        """False when the build goes on alone from here."""
        began = time.monotonic()
        while True:
            is_lost = False
            try:
                await self._lists.append(archive_id, build.position, entries)
            except TakenOver:
                self._builds.pop(archive_id, None)
                raise
            except Unavailable:
                await asyncio.sleep(_AGAIN_SECONDS)
            except ListLost:
                is_lost = True
            else:
                build.position += len(entries)
                return True
            waited = time.monotonic() - began
            if (is_lost or waited > _WAIT_SECONDS) and await self._go_alone(archive_id, build):
                return False
            if waited > LEASE_SECONDS:
                self._builds.pop(archive_id, None)
                self._late[archive_id] = build.position, [*entries, live_lists.entry("owner", "")]
                raise StillBuilding(retry_after=BEAT_SECONDS)

    async def _go_alone(self, archive_id: str, build: _Build) -> bool:
        """Have S3 say that nobody else goes on with this build; False when S3 is away. Raises `TakenOver`.

        Noted here after that: what ends in between is gone on with by nobody, and not by two.
        """
        try:
            try:
                build.tag = await self._documents.claim(archive_id, self._me, alone=True, tag=build.tag)
            except ObjectChanged:  # by a write of ours whose answer was lost, or by another instance
                document = await self._documents.get(archive_id)
                if document is not None and (document.owner != self._me or document.record is not None):
                    raise TakenOver from None
                tag = document.tag if document else None  # None: S3 has lost it
                build.tag = await self._documents.claim(archive_id, self._me, alone=True, tag=tag)
        except Unavailable:
            return False
        except (ObjectChanged, TakenOver):
            self._builds.pop(archive_id, None)
            raise TakenOver from None
        await self._note_alone(archive_id)
        build.is_alone = True
        log.warning("an archive is built without Redis", archive_id=archive_id)
        return True

    async def _note_alone(self, archive_id: str) -> None:
        await self._database.run(lambda connection: connection.execute(_ALONE, (archive_id, time.time())))

    async def _is_alone(self, archive_id: str) -> bool:
        return await self._database.run(lambda connection: _is_alone(connection, archive_id))


def _is_alone(connection: sqlite3.Connection, archive_id: str) -> bool:
    return connection.execute("SELECT 1 FROM alone WHERE archive_id = ?", (archive_id,)).fetchone() is not None
