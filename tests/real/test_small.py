"""What is small and counts: a full disk, addresses that only look public, parts without end."""

import base64
import os
from pathlib import Path

import pytest
from aiohttp import ClientSession

from tests.faults.disk import small_disk
from tests.support.client import StartService
from tests.support.jobs import post
from tests.support.process import ServiceProcess
from tests.support.samples import ORDER, OTHER_ORDER, jpeg, order
from tests.support.upstream import FakeUpstream

THIRD_ORDER = "0b9f7c1e-4a57-4d6e-9d51-2f3c8a7be003"


async def test_a_full_disk_serves_what_there_is(upstream: FakeUpstream, tmp_path: Path) -> None:
    """Overviews of new orders, what is stored and subsets of it; a new download is told. The service is ready."""
    upstream.orders |= {ORDER: order(["a", "b"]), OTHER_ORDER: order(["c"], order_id=OTHER_ORDER)}
    upstream.orders[THIRD_ORDER] = order(["d"], order_id=THIRD_ORDER)
    upstream.images |= {"a": jpeg(1), "b": jpeg(2), "c": jpeg(3), "d": jpeg(4, 3_000_000)}
    settings = {"AUTOENHANCE_API_KEY": "key", "AUTOENHANCE_API_BASE": upstream.url, "RATE_LIMIT": "off"}
    async with (
        small_disk(tmp_path / "disk") as disk,
        ServiceProcess(disk / "data", **settings) as service,
        ClientSession(service.url) as session,
    ):

        async def ask(path: str) -> tuple[int, bytes]:
            async with session.get(path) as response:
                return response.status, await response.read()

        before = await ask(f"/v1/orders/{ORDER}/images")
        _fill(disk / "ballast")
        ready = (await ask("/readyz"))[0]
        overviews = [(await ask(f"/v1/orders/{order_id}"))[0] for order_id in (ORDER, OTHER_ORDER, THIRD_ORDER)]
        stored = await ask(f"/v1/orders/{ORDER}/images")
        subset = (await ask(f"/v1/orders/{ORDER}/images?image=a"))[0]
        refused, problem = await ask(f"/v1/orders/{THIRD_ORDER}/images")

    assert (before[0], ready, overviews, subset) == (200, 200, [200] * 3, 200)
    assert stored == before
    assert refused in (422, 503)
    assert b"store_full" in problem


def _fill(path: Path) -> None:
    """Take all that is left, to the last byte."""
    with path.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            try:
                while True:
                    file.write(os.urandom(size))
            except OSError:
                continue


@pytest.mark.parametrize(
    "host",
    [
        "[64:ff9b:1::a00:1]",
        "192.0.0.192",
        "168.63.129.16",
        "[fec0::1]",
        "[::127.0.0.1]",
        "[::ffff:168.63.129.16]",
        "[64:ff9b::a00:1]",
        "[2002:a00:1::]",
        "[fd00:ec2::254]",
        "169.254.169.254",
        "100.100.100.200",
        "0.0.0.0",
        "localhost",
        "a.localhost.",
    ],
)
async def test_an_address_of_a_network_within_is_no_receivers(start_service: StartService, host: str) -> None:
    """Whatever it looks like."""
    secret = "whsec_" + base64.b64encode(b"a secret of thirty-two bytes ....").decode()
    service = await start_service(callback_secret=secret)

    answer = await post(service, callback_url=f"https://{host}/hook")

    assert (answer.status, answer.problem["code"]) == (400, "invalid_parameter")
