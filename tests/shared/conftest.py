"""Several instances in front of one upstream, with an S3 server between them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import service.cluster.breaker_hints

# Imported before there is an event loop, as the command line does it.
import service.cluster.jobs
import service.cluster.redis_link  # noqa: F401
from tests.e2e.conftest import start_service, upstream
from tests.support.client import TIMEOUT, Service, StartService
from tests.support.long_timeouts import BOUNDS
from tests.support.redis_server import RedisServer
from tests.support.s3_server import S3Server, shared_server

__all__ = ["start_service", "upstream"]


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """The S3 server, with what its client reads from the environment."""
    server = shared_server()
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return server


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of the test's own, running."""
    with RedisServer(tmp_path / "redis") as server:
        yield server


@pytest.fixture
def long_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """No call to Redis or S3 is given up because this machine is busy."""
    for bound in (*BOUNDS, "service.cluster.generations._WAIT_SECONDS", "service.cluster.named._WAIT_SECONDS"):
        monkeypatch.setattr(bound, TIMEOUT)


@pytest.fixture
def start_member(s3: S3Server, redis: RedisServer, start_service: StartService) -> StartService:
    """A factory for instances that share a bucket and a Redis of their own; each has its own data directory."""
    bucket = s3.make_bucket()

    async def start(**settings: object) -> Service:
        return await start_service(**({"store_url": bucket, "shared_url": redis.url} | settings))

    return start
