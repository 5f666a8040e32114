"""Three replicas as processes of their own behind haproxy. The long form of the kills runs with the soak."""

import json
from pathlib import Path

from aiohttp import ClientResponse

from service.sandbox import ImageSpec
from tests.faults.scene import members
from tests.shared.fleet import SERVED_BY, Fleet, open_fleet
from tests.shared.kills import Plan, kill_replicas

_HEAD = 100_000


async def test_any_replica_goes_on_where_another_was(tmp_path: Path) -> None:
    """Job, status and events at three replicas; a download that is cut twice ends at the third; all bytes are equal."""
    async with open_fleet(tmp_path) as fleet:
        order = fleet.add_order([ImageSpec(size=200_000, latency=0.1), *(ImageSpec(size=900_000, latency=0.4),) * 4])
        stream = f"/v1/orders/{order.order_id}/images?preview=false"
        async with fleet.session.get(fleet.url + stream) as response:
            body, served = await response.content.readexactly(_HEAD), [response.headers[SERVED_BY]]
            archive = f"/v1/archives/{response.headers['X-Archive-Id']}"
        for most in (_HEAD, None):  # the builder's own caller is gone by now
            async with fleet.session.get(fleet.url + archive, headers={"Range": f"bytes={len(body)}-"}) as response:
                assert response.status == 206
                body += await (response.content.readexactly(most) if most else response.read())
                served.append(response.headers[SERVED_BY])
        job, at = await _create_and_follow(fleet, order.order_id)
        whole = [await _read(fleet, f"/v1/jobs/{job}/download") for _ in range(3)]

    assert len(set(served)) == len(set(at)) == 3
    assert {answer for answer, _ in whole} == {body}
    assert len({replica for _, replica in whole}) == 3
    assert members(body) == fleet.expected(order)


async def _create_and_follow(fleet: Fleet, order_id: str) -> tuple[str, list[str]]:
    """The job's id, once it is complete, and which replicas created it, sent its events, and knew its status."""
    async with fleet.session.post(f"{fleet.url}/v1/orders/{order_id}/jobs?preview=false") as response:
        job_id = str((await response.json())["job_id"])
        at = [_server(response)]
    _, replica = await _read(fleet, f"/v1/jobs/{job_id}/events")
    status, last = await _read(fleet, f"/v1/jobs/{job_id}")
    assert json.loads(status)["status"] == "complete"
    return job_id, [*at, replica, last]


async def _read(fleet: Fleet, path: str) -> tuple[bytes, str]:
    async with fleet.session.get(fleet.url + path) as response:
        assert response.status == 200
        return await response.read(), _server(response)


def _server(response: ClientResponse) -> str:
    return str(response.headers[SERVED_BY])


async def test_kills_of_replicas_lose_no_job(tmp_path: Path) -> None:
    """Twelve jobs while a random one of three is killed every two seconds: all complete, with the right bytes."""
    findings = await kill_replicas(tmp_path, Plan(jobs=12, seed=5))

    findings.verify()
