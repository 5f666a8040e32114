"""The lists of running archives, as Redis streams: entries under their positions, 1-0, 2-0 and so on.

batch:list:ID   begin, member, owner (who goes on; nobody: anybody may), settled or dropped; shared: all of it is in S3
batch:of:KEY    the archive that is built for a key, or was and is complete
batch:kept:ID   until when an archive is kept
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from service.archives.archive import Archive, State
from service.archives.layout import LAYOUT_VERSION, Member
from service.archives.plan import Plan
from service.archives.record import GONE, Record, decode_member, decode_result, encode_member, encode_result
from service.archives.shared_archives import TakenOver
from service.cluster.redis_link import CHANNEL, RedisLink

BEGIN = """
-- Race: equal requests at several instances. One begins a list, the others get the id of its archive.
-- KEYS: archive of a key, list. ARGV: id, entry, seconds, prefix of lists, 1: begin in any case. Returns the id.
if redis.call('EXISTS', KEYS[2]) == 1 then return ARGV[1] end  -- a call that was repeated
local known = redis.call('GET', KEYS[1])
if known and ARGV[5] == '0' and redis.call('EXISTS', ARGV[4] .. known) == 1 then return known end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[3])
redis.call('XADD', KEYS[2], '1-0', 'e', ARGV[2])
redis.call('EXPIRE', KEYS[2], ARGV[3])
return ARGV[1]
"""
APPEND = """
-- Race: two that build an archive at once. Entries go only right behind the last one that their writer knows.
-- KEYS: list. ARGV: position, channel, topic, seconds, entries.
-- Returns 1: they are there (perhaps from a try whose answer was lost); 0: another's are; -1: some before are not.
local position, length = tonumber(ARGV[1]), redis.call('XLEN', KEYS[1])
if length < position then return -1 end
for at = 5, #ARGV do
  local id = (position + at - 4) .. '-0'
  if position + at - 4 > length then
    redis.call('XADD', KEYS[1], id, 'e', ARGV[at])
  else
    local there = redis.call('XRANGE', KEYS[1], id, id)[1]
    if not there or there[2][2] ~= ARGV[at] then return 0 end
  end
end
redis.call('EXPIRE', KEYS[1], ARGV[4])
redis.call('PUBLISH', ARGV[2], ARGV[3])
return 1
"""
FORGET = """
-- Race: a build that ends while another one is begun for the same key.
-- KEYS: archive of a key. ARGV: id.
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
"""
KEEP = """
-- Race: two that keep an archive, of whom the later one may want it for less long.
-- KEYS: until when it is kept, list. ARGV: until, seconds.
if tonumber(redis.call('GET', KEYS[1]) or '0') < tonumber(ARGV[1]) then
  redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
end
redis.call('EXPIRE', KEYS[2], ARGV[2], 'GT')
"""
# A list outlives the time for which its archive is used again by so much.
_LONGER_SECONDS = 6 * 3600.0


class ListLost(Exception):
    """Redis does not have all of the list any more."""


@dataclass
class LiveList:
    """What is known of a list."""

    id: str
    position: int = 0
    """How many entries."""
    last: bytes = b""
    """The newest one that was read."""
    owner: str = ""
    created: float = 0
    plan: Plan | None = None
    members: list[tuple[Member, int]] = field(default_factory=list)
    state: str = State.BUILDING
    settled: dict[str, Any] = field(default_factory=dict)
    is_shared: bool = False
    """All of it is in S3."""
    quiet_since: float = field(default_factory=time.monotonic, compare=False)
    """When it last grew, as far as is known here (of `time.monotonic`)."""
    claim: tuple[str | None, float] = field(default=(None, 0.0), compare=False)
    """The newest claim in S3 that was seen, by its tag, and since when (`time.monotonic`)."""

    def add(self, kind: str, owner: str, data: Any) -> None:
        """The next entry."""
        self.position += 1
        self.quiet_since = time.monotonic()
        match kind:
            case "begin":
                self.owner, self.created, self.plan = owner, data["created"], Plan.model_validate(data["plan"])
            case "member":
                self.members.append(decode_member(data))
            case "owner":
                self.owner = owner
            case "settled":
                self.owner, self.state, self.settled = owner, data["state"], data
            case "shared":
                self.is_shared = True
            case "dropped":
                self.state = GONE

    def record(self) -> Record:
        """The archive that the list describes."""
        assert self.plan is not None  # noqa: S101  # every list begins with it
        return Record(
            self.id,
            self.state,
            LAYOUT_VERSION,
            self.plan,
            tuple(decode_result(line) for line in self.settled.get("results", ())),
            self.settled.get("comment"),
            self.created,
            self.settled.get("settled"),
            tuple(self.members),
        )


class LiveLists:
    """Everything raises `Unavailable` when Redis does not answer. `ttl`: how long an archive is used again."""

    def __init__(self, redis: RedisLink, ttl: float) -> None:
        self._redis = redis
        self._ttl = ttl
        self._kept_seconds = int(ttl + _LONGER_SECONDS)
        self._begin = redis.redis.register_script(BEGIN)
        self._append = redis.redis.register_script(APPEND)
        self._forget = redis.redis.register_script(FORGET)
        self._keep = redis.redis.register_script(KEEP)

    async def begin(self, archive_id: str, plan: Plan, created: float, *, anyway: bool) -> str:
        """Begin a list; returns the id of the archive that there is for the plan's key by now, which may be another.

        `anyway`: also if there is one; this one is then the key's.
        """
        begin = entry("begin", self._redis.instance, {"created": created, "plan": plan.model_dump(mode="json")})
        arguments = [archive_id, begin, self._kept_seconds, _list(""), int(anyway)]
        keys = [_of(plan.build_key), _list(archive_id)]
        known: bytes = await self._redis.call(lambda: self._begin(keys=keys, args=arguments))
        return known.decode()

    async def append(self, archive_id: str, position: int, entries: Sequence[str]) -> None:
        """Add entries behind the first `position`. Raises `TakenOver`, and `ListLost` when entries are missing."""
        arguments = [position, CHANNEL, topic_of(archive_id), self._kept_seconds, *entries]
        answer: int = await self._redis.call(lambda: self._append(keys=[_list(archive_id)], args=arguments))
        if answer < 0:
            raise ListLost
        if answer == 0:
            raise TakenOver

    async def read(self, known: LiveList) -> bool:
        """Extend what is known by what Redis has; False when it has none of it.

        Raises `ListLost` for a gap, and when the last one that is known was lost, and another is in its place.
        """
        first = f"{known.position or 1}-0"
        found: list[tuple[bytes, dict[bytes, bytes]]] = await self._redis.call(
            lambda: self._redis.redis.xrange(_list(known.id), min=first)
        )
        if not found:
            return False
        for name, fields in found:
            position, text = int(name.partition(b"-")[0]), fields[b"e"]
            if position == known.position and text == known.last:
                continue
            if position != known.position + 1:
                raise ListLost
            known.add(*json.loads(text))
            known.last = text
        return True

    async def archive_of(self, key: str) -> str | None:
        """The archive that is built for a key, or was and is complete."""
        found: bytes | None = await self._redis.call(lambda: self._redis.redis.get(_of(key)))
        return found.decode() if found else None

    async def point(self, keys: Sequence[str], archive_id: str) -> None:
        """Let keys find a complete archive."""

        async def write() -> None:
            async with self._redis.redis.pipeline(transaction=False) as pipeline:
                for key in keys:
                    pipeline.set(_of(key), archive_id, ex=max(1, int(self._ttl)))
                await pipeline.execute()

        await self._redis.call(write)

    async def forget(self, key: str, archive_id: str) -> None:
        """Let the next request for a key begin anew."""
        await self._redis.call(lambda: self._forget(keys=[_of(key)], args=[archive_id]))

    async def keep(self, archive_id: str, until: float) -> None:
        """Keep an archive, and its list, at least until then (epoch seconds)."""
        keys, arguments = [f"batch:kept:{archive_id}", _list(archive_id)], [until, max(1, int(until - time.time()) + 1)]
        await self._redis.call(lambda: self._keep(keys=keys, args=arguments))

    async def kept_until(self, archive_id: str) -> float:
        """Until when an archive is kept; 0: it is not."""
        found: bytes | None = await self._redis.call(lambda: self._redis.redis.get(f"batch:kept:{archive_id}"))
        return float(found) if found else 0


def entry(kind: str, owner: str, data: Any = None) -> str:
    """One entry as it is in a list; `owner`: whose it is, or who goes on."""
    return json.dumps([kind, owner, data], separators=(",", ":"))


def member_entry(owner: str, member: Member, attempts: int) -> str:
    return entry("member", owner, encode_member(member, attempts))


def settled_entry(owner: str, archive: Archive, state: State, comment: str) -> str:
    """The last entry of an archive that is whole."""
    results = [encode_result(result) for result in archive.results]
    return entry("settled", owner, {"state": state, "results": results, "comment": comment, "settled": time.time()})


def topic_of(archive_id: str) -> str:
    """What is published when a list has grown."""
    return f"list:{archive_id}"


def _list(archive_id: str) -> str:
    return f"batch:list:{archive_id}"


def _of(key: str) -> str:
    return f"batch:of:{key}"
