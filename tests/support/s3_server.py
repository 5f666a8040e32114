"""An S3 server as a process of its own."""

import atexit
import subprocess
import sys
import time
import urllib.request
import uuid
from functools import cache
from pathlib import Path

from tests.support.loopback import free_port
from tests.support.tools import missing

_START_SECONDS = 30.0


class S3Server:
    """moto: a stand-in for S3 as a process of its own, with conditional writes."""

    def __init__(self) -> None:
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
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

    @property
    def environment(self) -> dict[str, str]:
        """What its clients read from the environment."""
        login = {"AWS_ACCESS_KEY_ID": "access", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}
        return {**login, "AWS_ENDPOINT_URL": self.url}

    def make_bucket(self) -> str:
        """A new bucket; returns its address."""
        name = f"batch-{uuid.uuid4().hex}"
        request = urllib.request.Request(f"{self.url}/{name}", method="PUT")
        urllib.request.urlopen(request, timeout=5).close()
        return f"s3://{name}/some/prefix"


@cache
def shared_server() -> S3Server:
    """One for all tests of this process that do not hurt it; each makes a bucket of its own."""
    server = S3Server()
    atexit.register(server.stop)
    return server
