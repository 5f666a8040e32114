"""Several instances in front of one upstream, with an S3 server between them."""

import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

# Imported before there is an event loop, as the command line does it.
import service.jobs.shared
import service.upstream.hint  # noqa: F401
from tests.e2e.client import Service, StartService
from tests.e2e.conftest import start_service, upstream
from tests.redis_server import RedisServer
from tests.tools import missing

__all__ = ["start_service", "upstream"]

_START_SECONDS = 30.0


class S3Server:
    """moto: a stand-in for S3 as a process of its own, with conditional writes."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start, and wait until it answers. It holds nothing then."""
        program = Path(sys.executable).with_name("moto_server")
        if not program.exists():
            missing("moto_server")
        self._process = subprocess.Popen(
            [program, "-H", "127.0.0.1", "-p", str(self._port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"{self.url}/moto-api/", timeout=1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        raise RuntimeError("the S3 server did not start")

    def stop(self) -> None:
        """End it, and everything in it."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def make_bucket(self) -> str:
        """A new bucket; returns its address."""
        name = f"batch-{uuid.uuid4().hex}"
        request = urllib.request.Request(f"{self.url}/{name}", method="PUT")
        urllib.request.urlopen(request, timeout=5).close()
        return f"s3://{name}/some/prefix"


@pytest.fixture(scope="session")
def s3_port() -> int:
    """A free port for the S3 server."""
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture(scope="session")
def s3_session(s3_port: int) -> Iterator[S3Server]:
    """One S3 server for all tests that do not hurt it."""
    server = S3Server(s3_port)
    yield server
    server.stop()


@pytest.fixture
def s3(s3_session: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """The S3 server, with what its client reads from the environment."""
    for name, value in {
        "AWS_ENDPOINT_URL": s3_session.url,
        "AWS_ACCESS_KEY_ID": "access",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    return s3_session


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of the test's own, running."""
    folder = tmp_path / "redis"
    folder.mkdir()
    server = RedisServer(folder)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def start_member(start_replica: StartService, redis: RedisServer) -> StartService:
    """A factory for instances that share a bucket and a Redis."""

    async def start(**settings: object) -> Service:
        return await start_replica(**({"shared_url": redis.url} | settings))

    return start


@pytest.fixture
def start_replica(s3: S3Server, start_service: StartService) -> StartService:
    """A factory for instances that share a bucket of their own; each has a data directory of its own."""
    bucket = s3.make_bucket()

    async def start(**settings: object) -> Service:
        return await start_service(**({"store_url": bucket} | settings))

    return start
