"""Three replicas as processes of their own behind haproxy. The long form of the kills runs with the soak."""

import asyncio
import json
import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest
from aiohttp import ClientError, ClientPayloadError, ClientResponse

from service.cluster.redis_link import LEASE_SECONDS
from service.sandbox import ImageSpec
from tests.faults.scene import members
from tests.shared.kills import Plan, kill_replicas
from tests.shared.partitions import KINDS, part_fleet
from tests.shared.rolling import roll_replicas
from tests.support.fleet import SERVED_BY, TIMEOUT, Fleet, open_fleet

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


@pytest.mark.timeout(600)
async def test_kills_of_replicas_lose_nothing(tmp_path: Path) -> None:
    """Jobs and downloads while a random one of three is killed every two seconds: all complete, with the right bytes.

    Nothing is bought again but what was in flight.
    """
    findings = await kill_replicas(tmp_path, Plan(jobs=8, downloads=6, seed=5))

    findings.verify()


@pytest.mark.timeout(600)
async def test_replicas_that_are_replaced_in_order_are_not_missed(tmp_path: Path) -> None:
    """Each is told to stop under load: no request fails, no job is lost, no image is bought again."""
    findings = await roll_replicas(tmp_path, rounds=1)

    findings.verify()


@pytest.mark.timeout(600)
async def test_an_id_is_one_byte_sequence_whoever_is_cut_off(tmp_path: Path) -> None:
    """One of three replicas alone loses what is shared, then stands still, each for longer than its lease."""
    findings = await part_fleet(tmp_path, rounds=1, seconds=LEASE_SECONDS * 1.25, seed=1, kinds=KINDS[-2:])

    findings.verify()


async def test_equal_requests_at_all_replicas_buy_each_image_once(tmp_path: Path) -> None:
    """Twenty orders, each asked for at three replicas at the same moment: sixty downloads, twenty archives."""
    async with open_fleet(tmp_path) as fleet:
        orders = [fleet.add_order([ImageSpec(size=20_000, latency=0.05)] * 5) for _ in range(20)]

        async def download(order_id: str, url: str) -> tuple[str, bytes]:
            path = f"{url}/v1/orders/{order_id}/images"
            async with fleet.session.get(path, params={"preview": "false"}) as response:
                assert response.status == 200
                return response.headers["X-Archive-Id"], await response.read()

        answers = await asyncio.gather(
            *(download(order.order_id, replica.url) for order in orders for replica in fleet.replicas)
        )
        fetched = fleet.images_fetched

    assert len(set(answers)) == len({archive_id for archive_id, _ in answers}) == len(orders)
    assert fetched == 5 * len(orders)


async def test_a_replica_that_is_told_to_stop_finishes_what_it_has_bought(tmp_path: Path) -> None:
    """What was in flight is shared before it ends: another replica goes on, and buys nothing again."""
    async with open_fleet(tmp_path, 2) as fleet:
        order = fleet.add_order([ImageSpec(size=20_000, latency=1.5)] * 8)
        path = f"/v1/orders/{order.order_id}/images"
        async with fleet.session.get(fleet.replicas[0].url + path, params={"preview": "false"}) as response:
            await response.content.readexactly(1_000)
            stopping = asyncio.create_task(fleet.replicas[0].stop())
            with suppress(ClientError):
                await response.read()
        async with fleet.session.get(fleet.replicas[1].url + path, params={"preview": "false"}) as response:
            body = await response.read()
        assert await stopping == 0
        fetched = fleet.images_fetched

    assert members(body) == fleet.expected(order)
    assert fetched == 8


async def _resume(fleet: Fleet, url: str, held: bytes) -> bytes:
    """All of an archive, of which this much is held; a cut, at an image that was told of before it was shared, is
    resumed."""
    body = bytearray(held)
    async with asyncio.timeout(TIMEOUT):
        while True:
            async with fleet.session.get(url, headers={"Range": f"bytes={len(body)}-"}) as rest:
                assert rest.status in (206, 503)
                with suppress(ClientPayloadError):
                    async for chunk in rest.content.iter_any():
                        body += chunk if rest.status == 206 else b""
                    if rest.status == 206:
                        return bytes(body)
            await asyncio.sleep(0.1)


@pytest.mark.parametrize(
    ("sign", "comes_back"), [(signal.SIGKILL, False), (signal.SIGKILL, True), (signal.SIGSTOP, False)]
)
async def test_a_replica_that_is_gone_is_taken_over(tmp_path: Path, sign: signal.Signals, *, comes_back: bool) -> None:
    """Another one goes on with its archive, byte for byte; only what it had not shared yet is fetched again."""
    async with open_fleet(tmp_path, 2) as fleet:
        order = fleet.add_order([ImageSpec(size=20_000, latency=0.3 * number) for number in range(1, 9)])
        first, second = fleet.replicas
        path, query = f"/v1/orders/{order.order_id}/images", {"preview": "false"}
        async with fleet.session.get(first.url + path, params=query) as response:
            head = await response.content.readexactly(30_000)
            archive = f"/v1/archives/{response.headers['X-Archive-Id']}"
            os.kill(first.pid, sign)
            held = int(fleet.redis.command("KEYS", "batch:image:*").partition(b"\r")[0][1:])
            if comes_back:  # at once, with its disk
                await first.stop()
                await first.start()
            body = await _resume(fleet, second.url + archive, head)
            if sign is signal.SIGSTOP:
                os.kill(first.pid, signal.SIGCONT)
                with suppress(ClientError):
                    assert body.startswith(head + await response.read())
        fetched = fleet.images_fetched

    assert members(body) == fleet.expected(order)
    assert fetched <= len(order.images) + held
