"""The life of a pod: starting, ready, serving, told to stop; and what its probes say meanwhile."""

import asyncio
import os
import shutil
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

from aiohttp import ClientError, ClientSession

from service.sandbox import ImageSpec
from tests.faults.scene import Answer, Scene, members, open_scene
from tests.support.client import StartService
from tests.support.loopback import free_port
from tests.support.process import ServiceProcess

DOWNLOADS = 20
TIMEOUT = 20
"""Seconds; a drain would take longer."""
ORDER = "0b9f7c1e-4a57-4d6e-9d51-2f3c8a7be001"


async def test_every_started_download_completes(tmp_path: Path) -> None:
    """SIGTERM under load: nobody new is let in, everybody inside gets the whole archive, and the exit code is 0."""
    async with open_scene(tmp_path) as scene:
        assert (await scene.ask("/readyz")).status == 200
        orders = [scene.add_order([ImageSpec(size=60_000, latency=0.3)] * 3) for _ in range(DOWNLOADS)]
        downloads = [asyncio.create_task(scene.download(order)) for order in orders]
        await _until_all_have_begun(scene, {order.order_id for order in orders})

        stopping = asyncio.create_task(scene.service.stop())
        refused = await _ask_until_refused(scene)
        code = await stopping
        answers: list[Answer] = await asyncio.gather(*downloads)

    assert refused
    assert code == 0
    assert [answer.status for answer in answers] == [200] * DOWNLOADS
    for order, answer in zip(orders, answers, strict=True):
        assert members(answer.body) == scene.expected(order)


async def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    """Whoever does not want to wait for a download that takes a minute has a way; its caller sees a cut."""
    async with open_scene(tmp_path) as scene:
        order = scene.add_order([ImageSpec(size=60_000), ImageSpec(size=60_000, latency=60)])
        download = asyncio.create_task(scene.download(order))
        await _until_all_have_begun(scene, {order.order_id})
        stopping = asyncio.create_task(scene.service.stop())
        await _ask_until_refused(scene)

        async with asyncio.timeout(TIMEOUT):
            os.kill(scene.service.pid, signal.SIGTERM)
            code = await stopping
        ended = await asyncio.gather(download, return_exceptions=True)

    assert code == -signal.SIGTERM
    assert isinstance(ended[0], ClientError)


async def test_an_outage_of_upstream_restarts_nothing(tmp_path: Path) -> None:
    """Nothing listens at upstream's address, the breaker is open: alive, ready, and stopped in order."""
    nowhere = f"http://127.0.0.1:{free_port()}/v3"
    settings = {"BREAKER_FAILURES": "1", "UPSTREAM_ATTEMPTS": "1", "RATE_LIMIT": "off"}

    async with (
        ServiceProcess(tmp_path, AUTOENHANCE_API_BASE=nowhere, AUTOENHANCE_API_KEY="k" * 8, **settings) as service,
        ClientSession() as session,
    ):
        paths = [f"/v1/orders/{ORDER}/images", f"/v1/orders/{ORDER}/images", "/livez", "/readyz"]
        statuses = []
        for path in paths:
            async with session.get(service.url + path) as response:
                statuses.append(response.status)
        code = await service.stop()

    assert statuses == [502, 503, 200, 200]
    assert code == 0


async def test_without_a_store_it_is_alive_and_not_ready(start_service: StartService, tmp_path: Path) -> None:
    """A volume that is gone takes the instance out of the traffic until it is back."""
    service = await start_service(data_dir=tmp_path / "data")
    images = tmp_path / "data" / "images"

    await asyncio.to_thread(shutil.move, images, tmp_path / "away")
    gone = [(await service.ask(path)).status for path in ("/livez", "/readyz")]
    await asyncio.to_thread(shutil.move, tmp_path / "away", images)
    back = (await service.ask("/readyz")).status

    assert (gone, back) == ([200, 503], 200)


async def test_without_a_catalogue_it_is_alive_and_not_ready(start_service: StartService, tmp_path: Path) -> None:
    """A database that does not know its tables any more is no catalogue."""
    service = await start_service(data_dir=tmp_path / "data")

    def spoil() -> None:
        with closing(sqlite3.connect(tmp_path / "data" / "batch.sqlite3")) as connection, connection:
            connection.execute("ALTER TABLE blobs RENAME TO lost")

    await asyncio.to_thread(spoil)

    assert [(await service.ask(path)).status for path in ("/livez", "/readyz")] == [200, 503]


async def _until_all_have_begun(scene: Scene, order_ids: set[str]) -> None:
    """Wait until the service has asked the sandbox for every order: each request is then inside."""
    async with asyncio.timeout(30):
        while order_ids - {entry.order_id for entry in scene.control.log}:
            assert (await scene.ask("/livez")).status == 200


async def _ask_until_refused(scene: Scene) -> bool:
    """Whether new connections are turned away while the old ones are still served."""
    async with asyncio.timeout(30):
        while True:
            try:
                await scene.ask("/livez")
            except ClientError:
                return True
