"""One replica alone loses Redis, or S3, or both, or stands still, while others go on: an id is one byte sequence."""

import asyncio
import os
import random
import signal
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from zipfile import BadZipFile

from aiohttp import ClientError, ClientResponse

from service.sandbox import ImageSpec
from service.sandbox.state import Order
from tests.faults.findings import Findings
from tests.faults.proxy import FaultProxy
from tests.faults.scene import members
from tests.support.fleet import Fleet, open_fleet
from tests.support.s3_proxy import S3Proxy

KINDS = ("Redis", "S3", "Redis and S3", "time")
"""What one replica loses; without time it stands still."""

_REPLICAS = 3
_READERS = 2
_IMAGES = [ImageSpec(size=60_000, latency=1.0)] * 40
_HEAD = 70_000
_PAUSE = 0.2
_TIMEOUT = 300.0
# Nobody listens there.
_NOWHERE = "http://127.0.0.1:9"


async def part_fleet(folder: Path, *, rounds: int, seconds: float, seed: int, kinds: Sequence[str] = KINDS) -> Findings:
    """Every kind of separation, for `seconds` each, in the middle of builds."""
    findings = Findings()
    async with AsyncExitStack() as stack:
        ways = [
            (await stack.enter_async_context(S3Proxy()), await stack.enter_async_context(FaultProxy()))
            for _ in range(_REPLICAS)
        ]
        fleet = await stack.enter_async_context(open_fleet(folder, _REPLICAS, ways=ways, has_long_timeouts=False))
        rng = random.Random(seed)
        for number in range(rounds):
            for kind in kinds:
                at = number % _REPLICAS
                await _Round(fleet, findings, kind, at, rng).run(_separated(fleet, kind, at, ways[at]), seconds)
    return findings


@asynccontextmanager
async def _separated(fleet: Fleet, kind: str, at: int, way: tuple[S3Proxy, FaultProxy]) -> AsyncIterator[None]:
    """For the length of the block one replica has lost something that the others have."""
    to_s3, to_redis = way
    redis = to_redis.target
    if kind == "time":
        os.kill(fleet.replicas[at].pid, signal.SIGSTOP)
    if "S3" in kind:
        to_s3.status = 503
    if "Redis" in kind:
        to_redis.target = _NOWHERE
        to_redis.hang_up()
    try:
        yield
    finally:
        os.kill(fleet.replicas[at].pid, signal.SIGCONT)
        to_s3.status, to_redis.target = None, redis


class _Round:
    """Readers of one order at all replicas, each to the end of an archive, while one of the replicas is separated."""

    def __init__(self, fleet: Fleet, findings: Findings, kind: str, at: int, rng: random.Random) -> None:
        self._fleet = fleet
        self._findings = findings
        self._kind = kind
        self._at = at
        self._rng = rng
        self._read: Mapping[str, list[bytearray]] = defaultdict(list)

    async def run(self, separated: AbstractAsyncContextManager[None], seconds: float) -> None:
        """Begin at the replica that is to be separated, so that it is the one which builds."""
        order = self._fleet.add_order(_IMAGES)
        began = asyncio.Event()
        async with asyncio.timeout(_TIMEOUT), asyncio.TaskGroup() as readers:
            readers.create_task(self._to_the_end(order, self._at, began.set))
            await began.wait()
            async with separated:
                for replica in list(range(_REPLICAS)) * _READERS:
                    readers.create_task(self._to_the_end(order, replica, lambda: None))
                await asyncio.sleep(seconds)
        for parts in self._read.values():
            longest = bytes(max(parts, key=len))
            for part in parts:
                self._findings.hold(
                    f"one id is one sequence of bytes: one lost {self._kind}", longest.startswith(bytes(part))
                )

    async def _to_the_end(self, order: Order, replica: int, has_begun: Callable[[], None]) -> None:
        """A caller who asks until an archive is whole, and holds on to its id for as long as there is one."""
        while True:
            archive_id, body = "", bytearray()
            is_whole = False
            while not is_whole:
                path = f"/v1/archives/{archive_id}" if archive_id else f"/v1/orders/{order.order_id}/images"
                headers = {"Range": f"bytes={len(body)}-"} if body else {}
                url = self._fleet.replicas[replica].url + path
                with suppress(ClientError, TimeoutError):
                    async with self._fleet.session.get(url, params={"preview": "false"}, headers=headers) as response:
                        if response.status == 410:
                            break
                        if response.status == 416:  # all is here but the connection's proper end
                            is_whole = True
                            continue
                        if response.status in (200, 206):
                            if not archive_id:
                                archive_id, body = response.headers["X-Archive-Id"], bytearray()
                                self._read[archive_id].append(body)
                            is_whole = await self._receive(response, body, has_begun)
                            continue
                await asyncio.sleep(_PAUSE)
                replica = self._rng.randrange(_REPLICAS)
            if is_whole:
                self._compare(order, bytes(body))
                return

    async def _receive(self, response: ClientResponse, body: bytearray, has_begun: Callable[[], None]) -> bool:
        async for block in response.content.iter_any():
            body += block
            if len(body) > _HEAD:
                has_begun()
        return True

    def _compare(self, order: Order, body: bytes) -> None:
        try:
            is_right = members(body) == self._fleet.expected(order)
        except BadZipFile:
            is_right = False
        self._findings.hold(f"every caller has its ZIP in the end: one lost {self._kind}", is_right, len(body))
