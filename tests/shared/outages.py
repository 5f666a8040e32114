"""What callers see of a fleet whose Redis or whose S3 is away, and how soon all is well again."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import ClientError

from service.sandbox import ImageSpec
from service.sandbox.state import Order
from tests.faults.findings import Findings
from tests.faults.scene import members
from tests.support.fleet import TIMEOUT, Fleet, open_fleet
from tests.support.s3_proxy import S3Proxy

_IMAGES = [ImageSpec(size=60_000, latency=0.1)] * 3
_REFUSED_SECONDS, _BACK_SECONDS, _LAG_SECONDS = 1.5, 10.0, 0.05
_REFUSALS = 5
_READERS = 4
_PAUSE = 0.1
_LAG = "batch_event_loop_lag_seconds_bucket"
_QUERY = {"preview": "false"}


async def lose_redis(folder: Path, *, rounds: int) -> Findings:
    """Redis killed and started again, and Redis frozen, by turns, while archives are downloaded."""
    async with open_fleet(folder, 2, has_long_timeouts=False, RATE_LIMIT="100000/minute") as fleet:
        check = _Check(fleet)
        redis = fleet.redis
        for _ in range(rounds):
            await check.without_redis("killed", redis.kill, redis.start)
            await check.without_redis("frozen", redis.freeze, redis.thaw)
    return check.findings


async def lose_s3(folder: Path, *, rounds: int, late: float = 2.0) -> Findings:
    """S3 that answers 500, and S3 that is `late` (seconds), by turns."""
    async with S3Proxy() as proxy, open_fleet(folder, 2, proxy, has_long_timeouts=False) as fleet:
        check = _Check(fleet)
        for _ in range(rounds):
            await check.without_s3("S3 answers 500", proxy, status=500, late=0)
            await check.without_s3("S3 is slow", proxy, status=None, late=late)
        check.findings.figure("requests that S3 answered with 500", proxy.refused, passed=proxy.refused > 0)
    return check.findings


class _Check:
    def __init__(self, fleet: Fleet) -> None:
        self.findings = Findings()
        self._fleet = fleet

    async def without_redis(self, how: str, take: Callable[[], None], give: Callable[[], None]) -> None:
        """One outage: what is answered meanwhile, and afterwards."""
        known, before = self._fleet.add_order(_IMAGES), self._fleet.add_order(_IMAGES)
        await self._download(known)
        accepted = await self._create(before)
        assert accepted is not None
        async with self._load(known, f"downloads go on: Redis {how}"):
            lags = await self._lags()
            await asyncio.to_thread(take)
            slowest = max([await self._refusal(how) for _ in range(_REFUSALS)])
            new = self._fleet.add_order(_IMAGES)
            body = await self._download(new)
            right = members(body) == self._fleet.expected(new)
            self.findings.hold(f"a new order is downloaded: Redis {how}", right, len(body))
            late = _late(lags, await self._lags())
            await asyncio.to_thread(give)
            started = time.monotonic()
            job_id = await self._until_accepted(new)
            back = time.monotonic() - started
        for job in (accepted, job_id):
            self.findings.equal("jobs of before and after are complete", await self._end_of(job), "complete")
        self.findings.at_most(f"slowest refusal of a job, s: Redis {how}", slowest, _REFUSED_SECONDS)
        self.findings.at_most(f"jobs accepted again after its return, s: Redis {how}", back, _BACK_SECONDS)
        self.findings.at_most(f"lag of the event loop under load, s (99 of 100): Redis {how}", late, _LAG_SECONDS)

    async def without_s3(self, how: str, proxy: S3Proxy, *, status: int | None, late: float) -> None:
        """One outage: what is answered meanwhile, and what the other replica has afterwards."""
        known, new, of_job = (self._fleet.add_order(_IMAGES) for _ in range(3))
        first, second = self._fleet.replicas
        whole = await self._download(known, first.url)
        proxy.status, proxy.seconds = status, late
        try:
            started = time.monotonic()
            again = await self._download(known, first.url)
            self.findings.equal(f"a known order is served: {how}", again, whole)
            built = await self._download(new, first.url)
            self.findings.at_most(f"a known and a new order, s: {how}", time.monotonic() - started, TIMEOUT)
            self.findings.equal(f"a new order is served: {how}", members(built), self._fleet.expected(new))
            job_id = await self._create(of_job)
            assert job_id is not None
        finally:
            proxy.status, proxy.seconds = None, 0.0
        self.findings.equal("a job accepted meanwhile is complete", await self._end_of(job_id), "complete")
        started = time.monotonic()
        path = f"/v1/jobs/{job_id}/download"
        bodies = [await self._until_served(replica.url + path) for replica in (first, second)]
        self.findings.at_most(
            f"its result is everywhere after that, s: {how}", time.monotonic() - started, _BACK_SECONDS
        )
        self.findings.equal("its bytes are the same from every replica", bodies[0], bodies[1])
        self.findings.equal("its ZIP is right", members(bodies[0]), self._fleet.expected(of_job))

    @asynccontextmanager
    async def _load(self, order: Order, promise: str) -> AsyncIterator[None]:
        """Readers beside the block, who are always answered."""

        async def read() -> None:
            while True:
                body = await self._download(order)
                self.findings.equal(promise, members(body), self._fleet.expected(order))
                await asyncio.sleep(_PAUSE)

        readers = [asyncio.create_task(read()) for _ in range(_READERS)]
        try:
            yield
        finally:
            for reader in readers:
                reader.cancel()
            for ended in await asyncio.gather(*readers, return_exceptions=True):
                if isinstance(ended, Exception):
                    self.findings.hold(promise, False, ended)

    async def _download(self, order: Order, url: str = "") -> bytes:
        path = f"{url or self._fleet.replicas[0].url}/v1/orders/{order.order_id}/images"
        async with self._fleet.session.get(path, params=_QUERY) as response:
            response.raise_for_status()
            return await response.read()

    async def _create(self, order: Order) -> str | None:
        """The id of a new job; None when jobs cannot be had."""
        path = f"{self._fleet.replicas[0].url}/v1/orders/{order.order_id}/jobs"
        async with self._fleet.session.post(path, params=_QUERY) as response:
            document = await response.json()
            if response.status == 503:
                self.findings.equal("a refused job says why", document["code"], "jobs_unavailable")
                self.findings.hold("and when to come again", "Retry-After" in response.headers, response.headers)
                return None
            assert response.status == 202, document
            return str(document["job_id"])

    async def _refusal(self, how: str) -> float:
        started = time.monotonic()
        job_id = await self._create(self._fleet.add_order(_IMAGES))
        self.findings.equal(f"a job is refused: Redis {how}", job_id, None)
        return time.monotonic() - started

    async def _until_accepted(self, order: Order) -> str:
        async with asyncio.timeout(TIMEOUT):
            while (job_id := await self._create(order)) is None:  # noqa: ASYNC110  # Redis knows of no event
                await asyncio.sleep(_PAUSE)
            return job_id

    async def _end_of(self, job_id: str) -> str:
        async with asyncio.timeout(TIMEOUT):
            while True:
                async with self._fleet.session.get(f"{self._fleet.replicas[0].url}/v1/jobs/{job_id}") as response:
                    job = await response.json()
                if response.status == 200 and job["status"] not in ("queued", "processing"):
                    return str(job["status"])
                await asyncio.sleep(_PAUSE)

    async def _until_served(self, url: str) -> bytes:
        async with asyncio.timeout(TIMEOUT):
            while True:
                try:
                    async with self._fleet.session.get(url) as response:
                        if response.status == 200:
                            return await response.read()
                except ClientError:
                    pass
                await asyncio.sleep(_PAUSE)

    async def _lags(self) -> dict[float, float]:
        """How often the loops of all replicas were late by at most so many seconds."""
        found: dict[float, float] = {}
        for replica in self._fleet.replicas:
            async with self._fleet.session.get(f"{replica.url}/metrics") as response:
                for line in (await response.text()).splitlines():
                    if line.startswith(_LAG):
                        edge = float(line.partition('le="')[2].partition('"')[0])
                        found[edge] = found.get(edge, 0) + float(line.rpartition(" ")[2])
        return found


def _late(before: dict[float, float], after: dict[float, float]) -> float:
    """The edge under which 99 of 100 observations between the two lie."""
    counts = {edge: after[edge] - before.get(edge, 0) for edge in sorted(after)}
    total = max(counts.values())
    return next(edge for edge, count in counts.items() if count >= 0.99 * total)
