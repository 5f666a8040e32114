"""How many of many requests a fleet lets through, each replica a process of its own, counting in one Redis."""

import asyncio
from collections import Counter
from pathlib import Path

from service.sandbox import ImageSpec
from tests.faults.findings import Findings
from tests.support.fleet import open_fleet

_LIMIT = 100
_TOO_MANY = 0.01
_AT_ONCE = 8


async def count_callers(folder: Path, *, replicas: int = 4, requests: int = 800) -> Findings:
    """One caller asks all replicas at once, more often than it may."""
    findings = Findings()
    async with open_fleet(folder, replicas, has_long_timeouts=False, RATE_LIMIT=f"{_LIMIT}/hour") as fleet:
        order = fleet.add_order([ImageSpec(size=1_000)])
        slots = asyncio.Semaphore(_AT_ONCE)

        async def ask(number: int) -> int:
            url = f"{fleet.replicas[number % replicas].url}/v1/orders/{order.order_id}/images"
            async with slots, fleet.session.get(url, params={"preview": "false"}) as response:
                await response.read()
                if response.status == 429:
                    findings.hold("who is turned away is told when to come again", "Retry-After" in response.headers)
                return response.status

        statuses = Counter(await asyncio.gather(*map(ask, range(requests))))
        alone = sum("shared rate limits unavailable" in line for replica in fleet.replicas for line in replica.log)
    findings.equal("each is let through or turned away", set(statuses), {200, 429})
    findings.figure("times that Redis took longer than 0.2 s, so that a replica counted for itself", alone)
    most = _LIMIT * (1 + _TOO_MANY) + alone
    findings.at_most(
        f"{requests} requests at {replicas} processes, let through: 1% more, or one for each such time",
        statuses[200],
        most,
    )
    findings.hold("and no fewer than may be", statuses[200] >= _LIMIT, statuses)
    return findings
