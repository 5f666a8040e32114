"""Jobs in Redis or Valkey: what is known of them. `cluster/jobs.py` runs them.

batch:jobs:record:ID     hash: request; state and, once it has ended, end; callback; delivery. Goes by its TTL
batch:jobs:key:KEY       the job that an idempotency key names
batch:jobs:all, :of:OWNER  sorted sets of ids, by creation
batch:jobs:open          hash: the state of each job that has not ended
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import chain
from typing import Any, TypeVar

from redis import DriverInfo
from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import ReadOnlyError, RedisError

from service.cluster.link import bounded
from service.jobs.engine import JobFilter
from service.jobs.job import FINAL, Callback, FollowUp, Job, Status
from service.problems import JobsUnavailable

T = TypeVar("T")

_CONNECTIONS = 20
# A call that takes longer says that jobs cannot be had at the moment.
_CALL_SECONDS, _PAUSE_SECONDS = 0.8, 0.2
_DAY = 24 * 3600
_KEPT_OPEN, _KEPT_KEY, _KEPT_WITH_CALLBACK = 30 * _DAY, 2 * _DAY, 4 * _DAY
_PAGE = 100
_FIELDS = ("request", "state", "end", "callback", "delivery")

OPEN = """
-- Race: a job that is recorded once more when it has ended by then. It is counted as open no more.
-- KEYS: record, open. ARGV: id, status.
if redis.call('HEXISTS', KEYS[1], 'end') == 0 then redis.call('HSETNX', KEYS[2], ARGV[1], ARGV[2]) end
"""
ADD = """
-- Race: another request with the same key. What it would record beside the first one's stays out.
-- KEYS: record. ARGV: fields and their values. Returns whether they were written.
if redis.call('HEXISTS', KEYS[1], 'request') == 1 then return 0 end
redis.call('HSET', KEYS[1], unpack(ARGV))
return 1
"""
SAVE = """
-- Race: a run that saves while the job is ended by a cancel, or by another run of it. What has ended stays as it is.
-- KEYS: record, open. ARGV: id, state, status. Returns whether it was saved.
if redis.call('HEXISTS', KEYS[1], 'request') == 0 or redis.call('HEXISTS', KEYS[1], 'end') == 1 then return 0 end
redis.call('HSET', KEYS[1], 'state', ARGV[2])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
return 1
"""
END = """
-- Race: two that end a job at once. The first is right.
-- KEYS: record, open. ARGV: id, state, seconds to keep. Returns the end on record; nil: no job.
if redis.call('HEXISTS', KEYS[1], 'request') == 0 then return nil end
if redis.call('HSETNX', KEYS[1], 'end', ARGV[2]) == 1 then
  redis.call('EXPIRE', KEYS[1], ARGV[3])
  redis.call('HDEL', KEYS[2], ARGV[1])
end
return redis.call('HGET', KEYS[1], 'end')
"""
FORGET = """
-- Jobs go by their TTL, and leave the index here: the oldest, a few with each new one.
-- KEYS: index. ARGV: prefix of records.
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, 3)) do
  if redis.call('EXISTS', ARGV[1] .. id) == 0 then redis.call('ZREM', KEYS[1], id) end
end
"""
FOLLOW_UP = """
-- Race: an attempt that ends after its callback was begun anew, or its record has gone. What is there then stays so.
-- KEYS: record. ARGV: field, its value, the one before ('': any), seconds to keep it at least (0: as before).
-- Returns whether it was written, by this call or by one before it whose answer was lost.
if redis.call('HEXISTS', KEYS[1], 'request') == 0 then return 0 end
local known = redis.call('HGET', KEYS[1], ARGV[1])
if ARGV[3] ~= '' and known and known ~= ARGV[2] then
  local now, before = cjson.decode(known), cjson.decode(ARGV[3])
  if now.attempts ~= before.attempts or now.next_at ~= before.next_at then return 0 end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
if ARGV[4] ~= '0' then redis.call('EXPIRE', KEYS[1], ARGV[4], 'GT') end
return 1
"""


class IncompatibleJobs(RuntimeError):
    """Redis holds unfinished jobs of a version that kept them otherwise."""


class JobRecords:
    """The records at one Redis, which need not be there yet. All raise `JobsUnavailable` when it does not answer."""

    def __init__(self, redis: Any) -> None:
        self.redis = redis  # typed by the library as if it could be the blocking one
        self._save = redis.register_script(SAVE)
        self._end = redis.register_script(END)
        self._follow_up = redis.register_script(FOLLOW_UP)

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str) -> AsyncIterator["JobRecords"]:
        """Connections of their own, closed in the end."""
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=_CONNECTIONS,
            timeout=_CALL_SECONDS,
            socket_timeout=None,  # calls are bounded here; redis-py's bound loses cancellations (CPython #86296)
            socket_connect_timeout=_CALL_SECONDS / 2,
            driver_info=DriverInfo(),
            retry_on_error=[ReadOnlyError],  # as in `redis_link`
        )
        async with Redis.from_pool(pool) as redis:
            yield cls(redis)

    async def claim_key(self, key: str, job_id: str) -> str:
        """The job that an idempotency key names: this one, if it named none."""
        name = f"batch:jobs:key:{key}"
        known: bytes | None = await call(lambda: self.redis.set(name, job_id, nx=True, get=True, ex=_KEPT_KEY))
        return known.decode() if known else job_id

    async def add(self, job: Job) -> bool:
        """Record a new job; False when it is on record already."""
        return await call(lambda: self._add(job))

    async def _add(self, job: Job) -> bool:
        record, owner = _record(job.id), job.request.owner
        fields = {"request": job.request.dump(), "state": job.dump()}
        if job.callback is not None:
            fields["callback"] = job.callback.dump()
        if job.delivery is not None:
            fields["delivery"] = job.delivery.dump()
        async with self.redis.pipeline(transaction=True) as pipeline:
            pipeline.eval(ADD, 1, record, *chain.from_iterable(fields.items()))
            pipeline.expire(record, _KEPT_OPEN, nx=True)
            pipeline.eval(OPEN, 2, record, "batch:jobs:open", job.id, job.status)
            for index in ("batch:jobs:all", *([f"batch:jobs:of:{owner}"] if owner else [])):
                pipeline.zadd(index, {job.id: job.request.created})
                pipeline.eval(FORGET, 1, index, _record(""))
            return bool((await pipeline.execute())[0])

    async def get(self, job_id: str) -> Job | None:
        return _job_of(await call(lambda: self.redis.hmget(_record(job_id), *_FIELDS)))

    async def find(self, wanted: JobFilter, limit: int) -> list[Job]:
        """As `JobEngine`. Ids whose record has gone are dropped from the index on the way."""
        index = f"batch:jobs:of:{wanted.owner}" if wanted.owner else "batch:jobs:all"
        newest, passed = (wanted.before[0] if wanted.before else "+inf"), 0
        found: list[Job] = []
        while len(found) < limit:
            # By creation, not by place: jobs come and go meanwhile.
            rows: list[tuple[bytes, float]] = await call(
                lambda: self.redis.zrevrangebyscore(index, newest, "-inf", passed, _PAGE, withscores=True)  # noqa: B023
            )
            ids = [job_id for job_id, _ in rows]
            records = await self.read([job_id.decode() for job_id in ids])
            gone = [job_id for job_id, record in zip(ids, records, strict=True) if record is None]
            if gone:
                await call(lambda: self.redis.zrem(index, *gone))  # noqa: B023
            found += [job for job in records if job is not None and wanted.fits(job)]
            if len(ids) < _PAGE:
                break
            oldest = rows[-1][1]
            same = sum(created == oldest and job_id not in gone for job_id, created in rows)
            newest, passed = oldest, same + (passed if oldest == newest else 0)
        return found[:limit]

    async def read(self, ids: Sequence[str]) -> list[Job | None]:
        """What is known of each of these."""

        async def read_all() -> list[Job | None]:
            async with self.redis.pipeline(transaction=False) as pipeline:
                for job_id in ids:
                    pipeline.hmget(_record(job_id), *_FIELDS)
                return [_job_of(fields) for fields in await pipeline.execute()]

        return await call(read_all) if ids else []

    async def save(self, job: Job) -> bool:
        """Keep the state of a job that has not ended; whether that is so."""
        keys, arguments = [_record(job.id), "batch:jobs:open"], [job.id, job.dump(), job.status]
        return bool(await call(lambda: self._save(keys=keys, args=arguments)))

    async def end(self, job: Job) -> bool:
        """Keep the final state of a job, if it is the first; whether it is the one on record."""
        left = int(job.expires - time.time()) if job.expires else 0
        kept = left + (_KEPT_WITH_CALLBACK if job.callback else _DAY)
        keys, state = [_record(job.id), "batch:jobs:open"], job.dump()
        known: bytes | None = await call(lambda: self._end(keys=keys, args=[job.id, state, kept]))
        return known is not None and known.decode() == state

    async def write_follow_up(self, job_id: str, by: FollowUp, before: FollowUp | None = None) -> bool:
        """Keep the state of a job's callback or delivery; False when there is no such job.

        With `before` also when another one is on record: it was begun anew.
        """
        field, kept = ("callback", _KEPT_WITH_CALLBACK) if isinstance(by, Callback) else ("delivery", 0)
        arguments = [field, by.dump(), before.dump() if before else "", kept]
        return bool(await call(lambda: self._follow_up(keys=[_record(job_id)], args=arguments)))

    async def counts(self) -> Mapping[Status, int]:
        found: list[bytes] = await call(lambda: self.redis.hvals("batch:jobs:open"))
        return {status: found.count(status.encode()) for status in Status if status not in FINAL}

    async def require_compatible(self) -> None:
        """Raises `IncompatibleJobs` when an earlier version has left unfinished jobs."""
        # What 1.1.0 keeps of jobs that have ended is read by nobody now, and has no TTL.
        await call(lambda: self.redis.unlink(*(f"batch:jobs:ended:{status}" for status in FINAL)))
        names = ("batch:status:queued", "batch:status:processing")
        count = sum([await call(lambda: self.redis.zcard(name)) for name in names])  # noqa: B023  # awaited at once
        if count:
            raise IncompatibleJobs(
                f"SHARED_URL: {count} jobs of an earlier version are unfinished there. Let its instances finish them "
                "with ROLE=worker before this version starts (Upgrading, in the operating guide)"
            )


async def call(command: Callable[[], Awaitable[T]]) -> T:
    """Do what may be done twice. Raises `JobsUnavailable` when Redis does not do it in time.

    That a connection was broken by a restart of Redis only its use tells: so the command is tried again.
    """
    end = time.monotonic() + _CALL_SECONDS
    while True:
        try:
            async with bounded(end - time.monotonic()):
                return await command()
        except (RedisError, OSError, TimeoutError) as error:
            if time.monotonic() + _PAUSE_SECONDS > end:
                raise JobsUnavailable from error
        await asyncio.sleep(_PAUSE_SECONDS)


async def until_available(command: Callable[[], Awaitable[T]]) -> T:
    """Again and again while it raises `JobsUnavailable`: a job whose record cannot be kept waits for Redis."""
    while True:
        with suppress(JobsUnavailable):
            return await command()
        await asyncio.sleep(_PAUSE_SECONDS)


def _record(job_id: str) -> str:
    return f"batch:jobs:record:{job_id}"


def _job_of(fields: list[bytes | None]) -> Job | None:
    request, state, end, callback, delivery = (field.decode() if field is not None else None for field in fields)
    if request is None or state is None:
        return None
    return Job.load(request, end or state, callback, delivery)
