"""The services of docker-compose.yml, started by their own commands with the programs of this machine."""

import asyncio
import json
import urllib.request
import zipfile
from collections.abc import AsyncIterator, Iterator
from http import HTTPStatus
from io import BytesIO
from pathlib import Path

import pytest
from aiohttp import ClientSession

from service.samples import PHOTOS
from tests.support.compose import Compose, compose
from tests.support.loopback import until_ready
from tests.support.prometheus import Prometheus
from tests.support.s3_server import S3Server

ORDER = "6f1c2b52-0d6e-4c1b-9a35-3f7b1f6f0a11"
REPLICAS = ("replica-1", "replica-2", "replica-3")
# What has no program here: Grafana, Jaeger, and MinIO with its client, for which another S3 server stands in.
NOT_HERE = {"grafana", "traces", "s3", "bucket"}
_TIMEOUT = 60

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
async def demo(tmp_path: Path) -> AsyncIterator[Compose]:
    """Nothing runs yet."""
    async with compose(tmp_path) as running:
        yield running


@pytest.fixture
def storage() -> Iterator[S3Server]:
    """In place of MinIO and its client: an S3 with the bucket that the file names."""
    server = S3Server()
    bucket = urllib.request.Request(f"{server.url}/batch", method="PUT")
    urllib.request.urlopen(bucket, timeout=_TIMEOUT).close()
    yield server
    server.stop()


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    """Asks them."""
    async with ClientSession() as session:
        yield session


async def test_what_compose_up_starts(demo: Compose, session: ClientSession) -> None:
    """The traffic gets the sample order's ZIPs, Prometheus scrapes the service, and SIGTERM ends ours with 0."""
    service = f"http://{demo.addresses['service']}:8000"
    await demo.start("sandbox")
    await demo.start("service")
    await until_ready(session, f"{service}/readyz")
    await demo.start("traffic")
    await demo.start("prometheus")
    prometheus = f"http://{demo.addresses['prometheus']}:9090"
    await until_ready(session, f"{prometheus}/-/ready")

    await Prometheus(prometheus, session).until('up{job="autoenhance-batch"} == 1')
    await Prometheus(prometheus, session).until('batch_archives_total{outcome="success"} > 0')
    async with session.get(f"{prometheus}/api/v1/rules") as response:
        groups = (await response.json())["data"]["groups"]
    async with session.get(service) as response:
        page = response.status

    assert sum(len(group["rules"]) for group in groups) > 10
    assert page == HTTPStatus.OK
    lines = [json.loads(line) for line in demo.log("traffic").splitlines()]
    assert {line["status"] for line in lines if ORDER in line["query"]} == {HTTPStatus.OK}
    await demo.stop("traffic")
    assert [await demo.stop(name) for name in ("service", "sandbox")] == [0, 0]


async def test_what_the_scaled_profile_starts(demo: Compose, storage: S3Server, session: ClientSession) -> None:
    """The balancer reaches all three replicas, which share one archive, and SIGTERM ends each with 0."""
    await demo.start("sandbox")
    await demo.start("valkey")
    for name in REPLICAS:
        await demo.start(name, AWS_ENDPOINT_URL=storage.url)
    for name in REPLICAS:
        await until_ready(session, f"http://{demo.addresses[name]}:8000/readyz")
    await demo.start("balancer")
    address = f"http://{demo.addresses['balancer']}:8080"
    await until_ready(session, f"{address}/readyz")

    archives, bodies = set(), set()
    async with asyncio.timeout(_TIMEOUT):
        while not all("/v1/orders/{order_id}/images" in demo.log(name) for name in REPLICAS):
            async with session.get(f"{address}/v1/orders/{ORDER}/images") as response:
                archives.add(response.headers["X-Archive-Id"])
                bodies.add(await response.read())

    assert len(archives) == 1
    (body,) = bodies
    with zipfile.ZipFile(BytesIO(body)) as archive:
        assert len(archive.namelist()) == len(list(PHOTOS.glob("*.jpg")))
    await demo.stop("balancer")
    assert [await demo.stop(name) for name in REPLICAS] == [0, 0, 0]


def test_each_service_is_started_here_or_named_as_one_that_is_not(tmp_path: Path) -> None:
    """A service that is added to the file gets a test."""
    names = set(Compose(tmp_path).services)

    assert names - NOT_HERE == {"service", "sandbox", "traffic", "prometheus", "valkey", "balancer", *REPLICAS}
    assert names >= NOT_HERE
