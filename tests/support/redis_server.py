"""A real Redis as a process of its own."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Self

from tests.support.loopback import free_port
from tests.support.tools import require_tool

_START_SECONDS = 20.0


class RedisServer:
    """Redis on a free port, with what it acknowledges kept in `folder`. It can be killed, frozen, and started again."""

    def __init__(self, folder: Path) -> None:
        self._program = require_tool("redis-server")
        self._folder = folder
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and wait until it answers."""
        options = ["--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self._folder)]
        durable = ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
        self._process = subprocess.Popen([self._program, *options, *durable], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                connection.sendall(b"PING\r\n")
                if connection.recv(16).startswith(b"+PONG"):
                    return
            time.sleep(0.02)
        raise RuntimeError("Redis did not start")

    def kill(self) -> None:
        """End it at once."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        """Let it hold its connections and answer nothing."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        if self._process.poll() is None:
            os.kill(self._process.pid, signal.SIGCONT)

    def command(self, *parts: str) -> bytes:
        """Let it do something; returns the first bytes of its answer."""
        with socket.create_connection(("127.0.0.1", self.port), 5) as connection:
            connection.sendall(" ".join(parts).encode() + b"\r\n")
            return connection.recv(1 << 16)

    def stop(self) -> None:
        """End it, in whatever state it is."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        self._folder.mkdir(exist_ok=True)
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()
